#include "bench/replay_ways.h"

#include "base/span.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    enum weir_router_mode mode;
    bool has_policy;
    enum weir_selection_policy policy;
} modes[] = {
    {"kv", WEIR_ROUTE_KV, false, WEIR_SELECT_LINEAR},
    {"round-robin", WEIR_ROUTE_ROUND_ROBIN, false, WEIR_SELECT_LINEAR},
    {"random", WEIR_ROUTE_RANDOM, false, WEIR_SELECT_LINEAR},
    {"power-of-two", WEIR_ROUTE_POWER_OF_TWO, false, WEIR_SELECT_LINEAR},
    {"least-loaded", WEIR_ROUTE_LEAST_LOADED, false, WEIR_SELECT_LINEAR},
    {"linear", WEIR_ROUTE_KV, true, WEIR_SELECT_LINEAR},
    {"lmetric", WEIR_ROUTE_KV, true, WEIR_SELECT_LMETRIC},
    {"fleet", WEIR_ROUTE_KV, true, WEIR_SELECT_FLEET},
};
static const char *const orders[] = {"fcfs", "wspt", "lcfs"}; /* as of enum weir_queue_policy */

static bool read_mode(struct weir_span word, struct weir_replay_way *way) {
    for (size_t i = 0; i < WEIR_ARRAY_LEN(modes); i++)
        if (weir_span_eqz(word, modes[i].name)) {
            way->mode = modes[i].mode;
            way->has_policy = modes[i].has_policy;
            way->policy = modes[i].policy;
            return true;
        }
    return false;
}

static bool read_order(struct weir_span word, struct weir_replay_way *way) {
    for (size_t i = 0; i < WEIR_ARRAY_LEN(orders); i++)
        if (weir_span_eqz(word, orders[i])) {
            way->queues = true;
            way->order = (enum weir_queue_policy)i;
            return true;
        }
    return false;
}

static bool read_way(struct weir_span word, struct weir_replay_way *way) {
    struct weir_span order, mode = weir_span_split(word, '+', &order);
    *way = (struct weir_replay_way){.queues = false};
    snprintf(way->name, sizeof(way->name), "%.*s", WEIR_SPAN_ARG(word));
    return read_mode(mode, way) && (order.data == NULL || read_order(order, way));
}

enum weir_status weir_replay_ways_read(const char *text, struct weir_replay_way *ret, size_t room,
                                       size_t *ret_n, struct weir_err *err) {
    size_t n = 0;
    for (struct weir_span rest = weir_span_z(text); rest.data != NULL;) {
        struct weir_span word = weir_span_trim(weir_span_split(rest, ',', &rest));
        if (n == room)
            return weir_err_set(err, WEIR_INVALID, "--modes: at most %zu", room);
        if (!read_way(word, &ret[n]))
            return weir_err_set(err, WEIR_INVALID,
                                "--modes: '%.*s' is none of kv, round-robin, random, power-of-two, "
                                "least-loaded, linear, lmetric, fleet, with or without +fcfs, "
                                "+wspt or +lcfs behind it",
                                WEIR_SPAN_ARG(word));
        for (size_t i = 0; i < n; i++)
            if (strcmp(ret[i].name, ret[n].name) == 0)
                return weir_err_set(err, WEIR_INVALID, "--modes: %s stands there twice",
                                    ret[n].name);
        n++;
    }
    *ret_n = n;
    return WEIR_OK;
}

enum weir_status weir_replay_loads_read(const char *text, double *ret, size_t room, size_t *ret_n,
                                        struct weir_err *err) {
    size_t n = 0;
    for (struct weir_span rest = weir_span_z(text); rest.data != NULL;) {
        struct weir_span word = weir_span_trim(weir_span_split(rest, ',', &rest));
        if (n == room)
            return weir_err_set(err, WEIR_INVALID, "--loads: at most %zu", room);
        if (!weir_span_f64(word, &ret[n]) || ret[n] < 1e-6 || ret[n] > 1e9 ||
            (n > 0 && ret[n] <= ret[n - 1]))
            return weir_err_set(err, WEIR_INVALID,
                                "--loads: '%.*s' is no speedup of the trace, 1e-06 to 1e+09, above "
                                "the one before it",
                                WEIR_SPAN_ARG(word));
        n++;
    }
    *ret_n = n;
    return WEIR_OK;
}
