/* The records of decisions as a client and an operator see them: the header of an answer, a page,
 * and the lines of the ring and the log. */
#include "frontend/request_priv.h"
#include "router/decide.h"

#include <stdio.h>

enum {
    LINE_MAX_BYTES = 1 << 20,
    PAGE_MAX = 64 << 20,
    HEADER_CANDIDATES = 8, /* some 250 bytes each: below the 8 KiB that the strictest clients take
                              as a header's line */
};

static void put_line(struct weir_leg *leg, const char *part, const struct weir_decision *d) {
    struct weir_request *r = leg->request;
    struct weir_buf line;
    struct weir_jsonw w;
    weir_buf_init(&line, LINE_MAX_BYTES);
    weir_jsonw_init(&w, &line);
    weir_jsonw_object_begin(&w);
    weir_jsonw_key(&w, "time_ms");
    weir_jsonw_u64(&w, weir_wall_ms());
    weir_front_put_z(&w, "request_id", r->uuid);
    weir_front_put_z(&w, "model", weir_model_info(r->model)->name);
    weir_jsonw_key(&w, "prompt"); /* which one of a batch */
    weir_jsonw_u64(&w, (uint64_t)(leg - r->legs));
    weir_front_put_z(&w, "leg", part);
    weir_jsonw_key(&w, "workers_tried");
    weir_jsonw_u64(&w, part[0] == 'p' ? leg->disagg.n_tried : leg->n_tried);
    weir_leg_pool_write(part[0] == 'p' ? &leg->prefill_pool : &leg->pool, &w);
    weir_decision_write(d, SIZE_MAX, &w);
    weir_jsonw_object_end(&w);
    if (w.status == WEIR_OK)
        weir_explain_put(r->fl->app->explain, weir_span_z(r->uuid), weir_buf_span(&line));
    weir_buf_fini(&line);
}

static void put_header(struct weir_leg *leg, const char *part, const struct weir_decision *d) {
    uint64_t prefill;
    uint32_t rank;
    struct weir_request *r = leg->request;
    struct weir_buf out;
    struct weir_jsonw w;
    weir_buf_init(&out, LINE_MAX_BYTES);
    weir_jsonw_init(&w, &out);
    weir_jsonw_object_begin(&w);
    weir_front_put_z(&w, "request_id", r->uuid);
    weir_front_put_z(&w, "leg", part);
    if (weir_disagg_worker(leg, &prefill, &rank)) {
        weir_jsonw_key(&w, "prefill_worker_id");
        weir_jsonw_u64(&w, prefill);
    }
    weir_leg_pool_write(part[0] == 'p' ? &leg->prefill_pool : &leg->pool, &w);
    weir_decision_write(d, HEADER_CANDIDATES, &w);
    weir_jsonw_object_end(&w);
    if (w.status == WEIR_OK)
        r->explained = weir_arena_copy(&r->arena, weir_buf_span(&out));
    weir_buf_fini(&out);
}

bool weir_leg_explains(const struct weir_leg *leg) {
    return leg->request->explain || leg->request->fl->app->explain != NULL;
}

/* The split goes into the first line that follows it, and into each header. */
static void explain(struct weir_leg *leg, const char *part, const struct weir_decision *decision) {
    struct weir_decision d = *decision;
    struct weir_disagg *g = &leg->disagg;
    if (d.n == 0)
        return; /* out of memory: no record */
    d.split = g->split;
    d.has_split = g->split.why != WEIR_SPLIT_UNDECIDED && !g->split_told;
    if (leg->request->fl->app->explain != NULL)
        put_line(leg, part, &d);
    g->split_told = true;
    d.has_split = g->split.why != WEIR_SPLIT_UNDECIDED;
    if (leg->request->explain && leg == leg->request->legs)
        put_header(leg, part, &d);
}

void weir_leg_explain(struct weir_leg *leg, const struct weir_decision *d) {
    uint64_t id;
    uint32_t rank;
    explain(leg, weir_disagg_worker(leg, &id, &rank) ? "decode" : "whole", d);
}

void weir_leg_explain_prefill(struct weir_leg *leg, const struct weir_decision *d) {
    explain(leg, "prefill", d);
}

/* "request_id=…" anywhere in the query; the id as clients know it may carry the answer's prefix. */
static struct weir_span asked_id(struct weir_span query) {
    struct weir_span rest = query;
    while (rest.data != NULL && rest.len > 0) {
        struct weir_span value, one = weir_span_split(rest, '&', &rest);
        struct weir_span key = weir_span_split(one, '=', &value);
        if (!weir_span_eqz(key, "request_id") || value.data == NULL)
            continue;
        if (weir_span_starts(value, WEIR_SPAN_LIT("chatcmpl-")))
            return weir_span(value.data + 9, value.len - 9);
        if (weir_span_starts(value, WEIR_SPAN_LIT("cmpl-")))
            return weir_span(value.data + 5, value.len - 5);
        return value;
    }
    return weir_span(NULL, 0);
}

void weir_front_explain(struct weir_front_loop *fl, struct weir_http_exchange *x) {
    struct weir_span id = asked_id(weir_http_exchange_request(x)->query);
    struct weir_buf body, list;
    struct weir_jsonw w;
    bool found = false;
    if (!weir_explain_has_ring(fl->app->explain)) {
        weir_front_error(fl, x, 404,
                         "No decisions are kept: start the frontend with --router-explain-ring N, "
                         "or send the request header x-weir-explain: 1");
        return;
    }
    if (id.len == 0) {
        weir_front_error(fl, x, 400, "The query parameter request_id is missing");
        return;
    }
    weir_buf_init(&body, PAGE_MAX);
    weir_buf_init(&list, PAGE_MAX);
    enum weir_status st = weir_explain_find(fl->app->explain, id, &list, &found);
    if (st == WEIR_OK && !found) {
        weir_front_error(fl, x, 404,
                         "No decision of this request is kept: it was never routed, or it is older "
                         "than the last --router-explain-ring decisions");
    } else {
        weir_jsonw_init(&w, &body);
        weir_jsonw_object_begin(&w);
        weir_jsonw_key(&w, "request_id");
        weir_jsonw_string(&w, id);
        weir_jsonw_key(&w, "decisions");
        weir_jsonw_raw(&w, weir_buf_span(&list));
        weir_jsonw_object_end(&w);
        if (st != WEIR_OK)
            w.status = st;
        weir_front_send(x, 200, &w, &body);
    }
    weir_buf_fini(&body);
    weir_buf_fini(&list);
}

size_t weir_request_explain_header(struct weir_http_exchange *x, struct weir_http_header *headers,
                                   size_t n) {
    const struct weir_request *r = weir_http_exchange_user(x);
    if (r != NULL && r->explained.len > 0)
        headers[n++] = (struct weir_http_header){WEIR_SPAN_LIT("x-weir-explain"), r->explained};
    return n;
}
