/*
 * `best_worker_id` and `get_overlap_scores`: a request with token ids, one item in answer; nothing
 * is booked. Shared spec "deploy" 2, "kvrouter" 6.2.
 */
#include "base/json.h"
#include "base/mem.h"
#include "base/msgpack.h"
#include "router/local_priv.h"

enum { MAX_IDS = 4 << 20, ARENA = 256 << 20, ANSWER_MAX = 64 << 20 };

/* The wrapper of one item: {"data":{"data":…},"complete_final":false}. */
static void reply(struct weir_plane_request *r, enum weir_codec codec, struct weir_span json) {
    struct weir_buf out;
    weir_buf_init(&out, ANSWER_MAX);
    enum weir_status st = weir_buf_append_z(&out, "{\"data\":{\"data\":");
    if (st == WEIR_OK)
        st = weir_buf_append_span(&out, json);
    if (st == WEIR_OK)
        st = weir_buf_append_z(&out, "},\"complete_final\":false}");
    if (st == WEIR_OK && codec == WEIR_CODEC_MSGPACK) {
        struct weir_buf packed;
        weir_buf_init(&packed, ANSWER_MAX);
        st = weir_mp_from_json(weir_buf_span(&out), &packed);
        weir_buf_move(&out, &packed);
    }
    weir_plane_reply_prologue(r, st == WEIR_OK ? NULL : weir_status_text(st));
    if (st == WEIR_OK) {
        weir_plane_reply_raw(r, weir_buf_span(&out));
        weir_plane_reply_end(r);
    }
    weir_buf_fini(&out);
}

static enum weir_status put_best(struct weir_local *l, const struct weir_prep_request *req,
                                 const struct weir_local_hashes *h, struct weir_jsonw *w) {
    struct weir_route_override override;
    struct weir_route chosen = {0};
    struct weir_route_query query = {.local_hashes = h->local,
                                     .sequence_hashes = h->sequence,
                                     .n_blocks = h->n,
                                     .isl_tokens = weir_local_isl(req),
                                     .pinned_rank = -1,
                                     .adapter = weir_local_adapter(l, req->routing.lora_name),
                                     .override = &override,
                                     .query_only = true,
                                     .rng = weir_loop_rng(l->service.loop),
                                     .now_ms = weir_loop_now_ms(l->service.loop)};
    if (!weir_local_override(req->router_config_override, &override))
        return WEIR_INVALID;
    enum weir_status st = weir_router_route(l->router, &query, &chosen);
    weir_jsonw_u64(w, chosen.worker_id);
    return st == WEIR_OK ? w->status : st;
}

static void put_u64(struct weir_jsonw *w, const char *key, uint64_t v) {
    weir_jsonw_key(w, key);
    weir_jsonw_u64(w, v);
}

static void put_overlap(struct weir_jsonw *w, const struct weir_router_overlap *o) {
    uint32_t host = o->device_blocks + o->host_blocks;
    weir_jsonw_object_begin(w);
    put_u64(w, "worker_id", o->worker_id);
    put_u64(w, "dp_rank", o->dp_rank);
    put_u64(w, "device_blocks", o->device_blocks);
    put_u64(w, "host_pinned_blocks", host);
    put_u64(w, "disk_blocks", host + o->disk_blocks);
    put_u64(w, "host_pinned_extension_blocks", o->host_blocks);
    put_u64(w, "disk_extension_blocks", o->disk_blocks);
    put_u64(w, "shared_beyond_device_blocks", 0);
    weir_jsonw_key(w, "router_credit_blocks");
    weir_jsonw_f64(w, o->credit);
    weir_jsonw_object_end(w);
}

static enum weir_status put_scores(struct weir_local *l, const struct weir_local_hashes *h,
                                   struct weir_jsonw *w) {
    size_t n = weir_router_overlaps(l->router, h->local, h->n, NULL, 0);
    struct weir_router_overlap *list = weir_calloc(n + 1, sizeof(*list));
    if (list == NULL)
        return WEIR_NOMEM;
    n = weir_router_overlaps(l->router, h->local, h->n, list, n);
    weir_jsonw_object_begin(w);
    weir_jsonw_key(w, "workers");
    weir_jsonw_array_begin(w);
    for (size_t i = 0; i < n; i++)
        put_overlap(w, &list[i]);
    weir_jsonw_array_end(w);
    put_u64(w, "block_size", l->block_size);
    put_u64(w, "num_blocks", h->n);
    weir_jsonw_key(w, "shared_cache");
    weir_jsonw_raw(w, WEIR_SPAN_LIT("{\"enabled\":false,\"total_hit_blocks\":0,\"ranges\":[],"
                                    "\"error\":null}"));
    weir_jsonw_object_end(w);
    weir_free(list);
    return w->status;
}

static void answer(struct weir_local *l, struct weir_plane_request *r, bool scores) {
    struct weir_arena arena;
    struct weir_prep_request req;
    struct weir_local_hashes h = {0};
    struct weir_buf json;
    struct weir_jsonw w;
    struct weir_err err = {.text = ""};
    enum weir_codec codec;
    struct weir_span body = weir_plane_request_body(r, &codec);
    if (l->router == NULL) {
        weir_plane_reply_refuse_text(r, WEIR_UNAVAILABLE, "no worker has joined this router yet");
        return;
    }
    weir_arena_init(&arena, ARENA);
    weir_buf_init(&json, ANSWER_MAX);
    weir_jsonw_init(&w, &json);
    enum weir_status st = weir_prep_request_decode(body, codec, MAX_IDS, &arena, &req, &err);
    if (st == WEIR_OK && !weir_local_hash(l, &req, &h))
        st = WEIR_NOMEM;
    if (st == WEIR_OK)
        st = scores ? put_scores(l, &h, &w) : put_best(l, &req, &h, &w);
    if (st == WEIR_OK)
        reply(r, codec, weir_buf_span(&json));
    else
        weir_plane_reply_refuse_text(r, st, err.text[0] != '\0' ? err.text : weir_status_text(st));
    weir_free(h.local);
    weir_buf_fini(&json);
    weir_arena_fini(&arena);
}

static void on_best(void *arg, struct weir_plane_request *r, const struct weir_prep_request *req) {
    (void)req;
    answer(arg, r, false);
}
static void on_scores(void *arg, struct weir_plane_request *r,
                      const struct weir_prep_request *req) {
    (void)req;
    answer(arg, r, true);
}
static void on_over(void *arg, struct weir_plane_request *r) {
    (void)arg;
    (void)r;
}

const struct weir_plane_handler weir_local_best_worker = {on_best, on_over, on_over};
const struct weir_plane_handler weir_local_overlap_scores = {on_scores, on_over, on_over};
