#include "runtime/relay.h"

#include "base/log.h"

#include <string.h>

enum { ERROR_ARENA = 1 << 20, ERROR_IDS = 16 };

static void on_wrapper(void *arg, struct weir_span wrapper, const struct weir_output_look *look);
static void on_end(void *arg, const struct weir_plane_end *end);
static const struct weir_plane_call_ops call_ops = {.on_wrapper = on_wrapper, .on_end = on_end};

static void on_writable(void *user) {
    struct weir_relay *relay = user;
    if (relay->paused && relay->call != NULL)
        weir_plane_call_resume(relay->call);
    relay->paused = false;
}

void weir_relay_init(struct weir_relay *relay, struct weir_plane_client *client,
                     struct weir_plane_request *caller, const struct weir_relay_ops *ops,
                     void *arg) {
    *relay = (struct weir_relay){.client = client, .caller = caller, .ops = ops, .arg = arg};
    weir_plane_request_body(caller, &relay->codec);
    weir_plane_reply_on_writable(caller, on_writable, relay);
    weir_plane_reply_prologue(caller, NULL);
}

enum weir_status weir_relay_send(struct weir_relay *relay, struct weir_span address,
                                 struct weir_buf *take_body) {
    struct weir_plane_call_config c = {.address = address,
                                       .request_id = weir_plane_request_id(relay->caller),
                                       .codec = relay->codec,
                                       .take_body = take_body,
                                       .fresh = relay->fresh};
    relay->fresh = false;
    relay->call = NULL;
    relay->paused = false;
    return weir_plane_call_start(relay->client, &c, &call_ops, relay, &relay->call);
}

static void finish(struct weir_relay *relay, enum weir_status status) {
    if (relay->over)
        return;
    relay->over = true;
    relay->ops->on_over(relay->arg, status);
}

void weir_relay_refuse(struct weir_relay *relay, const struct weir_wire_error *error) {
    weir_plane_reply_refuse(relay->caller, error);
    finish(relay, error->status);
}

bool weir_relay_again(struct weir_relay *relay, const char *stage) {
    if (relay->resent || strcmp(stage, "stale") != 0)
        return false;
    relay->resent = relay->fresh = true;
    return true;
}

void weir_relay_cancel(struct weir_relay *relay) {
    if (relay->call != NULL)
        weir_plane_call_cancel(relay->call, false);
    relay->call = NULL;
    finish(relay, WEIR_CANCELLED);
}

/* True when the owner took another way. The failed attempt is still open then and gets closed. */
static bool retried_item(struct weir_relay *relay, struct weir_span wrapper) {
    struct weir_plane_call *failed = relay->call;
    struct weir_output item;
    uint32_t ids[ERROR_IDS];
    struct weir_arena arena;
    relay->call = NULL;
    weir_arena_init(&arena, ERROR_ARENA);
    bool again =
        weir_output_decode(wrapper, relay->codec, ids, ERROR_IDS, &arena, &item) == WEIR_OK &&
        relay->ops->on_failed(relay->arg, &item.error, "item");
    weir_arena_fini(&arena);
    if (again)
        weir_plane_call_cancel(failed, false);
    else
        relay->call = failed;
    return again;
}

static void on_wrapper(void *arg, struct weir_span wrapper, const struct weir_output_look *look) {
    struct weir_relay *relay = arg;
    if (!relay->passed && look->has_data) {
        if (look->is_error && retried_item(relay, wrapper))
            return;
        relay->passed = true;
        if (!look->is_error && relay->ops->on_first_item != NULL)
            relay->ops->on_first_item(relay->arg);
    }
    if (look->complete_final)
        weir_plane_reply_raw_last(relay->caller, wrapper);
    else
        weir_plane_reply_raw(relay->caller, wrapper);
    if (!relay->paused && !weir_plane_reply_writable(relay->caller)) {
        relay->paused = true;
        weir_plane_call_pause(relay->call);
    }
}

static void on_end(void *arg, const struct weir_plane_end *end) {
    struct weir_relay *relay = arg;
    relay->call = NULL;
    if (end->status == WEIR_OK) {
        finish(relay, WEIR_OK);
        return;
    }
    if (!relay->passed && relay->ops->on_failed(relay->arg, &end->error, end->stage))
        return;
    struct weir_wire_error error = end->error;
    error.status = end->status;
    weir_relay_refuse(relay, &error);
}
