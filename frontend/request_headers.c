/* What the headers of a request ask of routing (shared spec "frontend" 2.5), and their bounds. */
#include "base/blake3.h"
#include "base/json.h"
#include "frontend/request_priv.h"

#include <string.h>

static bool header_u64(const struct weir_http_request *h, const char *const *names, uint64_t *ret) {
    for (; *names != NULL; names++) {
        struct weir_span v = weir_http_header_get(h, *names);
        if (v.data != NULL && weir_span_u64(weir_span_trim(v), ret))
            return true;
    }
    return false;
}

static bool put_salt(struct weir_request *r, struct weir_span tenant) {
    struct weir_buf out;
    struct weir_jsonw *w = &(struct weir_jsonw){0};
    weir_buf_init(&out, tenant.len * 6 + 64);
    weir_jsonw_init(w, &out);
    weir_jsonw_object_begin(w);
    weir_jsonw_key(w, "nvext");
    weir_jsonw_object_begin(w);
    weir_jsonw_key(w, "cache_salt");
    weir_jsonw_string(w, tenant);
    weir_jsonw_object_end(w);
    weir_jsonw_object_end(w);
    if (w->status == WEIR_OK)
        r->q.prep.extra_args = weir_arena_copy(&r->arena, weir_buf_span(&out));
    weir_buf_fini(&out);
    r->q.cache_salt = r->q.prep.routing.cache_salt = tenant;
    return r->q.prep.extra_args.data != NULL;
}

static void apply_priority(struct weir_routing_hints *k, struct weir_span value) {
    int64_t v = 0;
    if (value.data == NULL || !weir_span_i64(weir_span_trim(value), &v) || v < INT32_MIN ||
        v > INT32_MAX)
        return;
    k->set = k->has_priority = true;
    k->priority = (int32_t)v;
    k->priority_jump = v > 0 ? (double)v : 0;
}

/* Without configured classes the header is metadata like any other. */
static bool apply_class(struct weir_request *r, struct weir_span name) {
    const struct weir_queue_classes *c = &r->fl->app->queue_classes;
    r->policy_class = weir_span_trim(name);
    if (!c->configured || name.data == NULL ||
        weir_queue_classes_find(c, weir_span_trim(name), &r->queue_class))
        return true;
    weir_request_fail(r, 400,
                      WEIR_SPAN_LIT("x-dynamo-meta-policy-class: there is no such policy class; "
                                    "--router-queue-class of the frontend names them"),
                      "validation");
    return false;
}

static void apply_session(struct weir_request *r, struct weir_span id) {
    struct weir_blake3 h;
    unsigned char hash[WEIR_BLAKE3_BYTES];
    if (id.len == 0 || r->fl->app->options.router_session_affinity_ttl_secs == WEIR_CONFIG_NONE)
        return;
    weir_blake3_init(&h);
    weir_blake3_update(&h, id);
    weir_blake3_final(&h, hash);
    memcpy(&r->session, hash, sizeof(r->session));
    r->has_session = true;
}

bool weir_request_apply_headers(struct weir_request *r) {
    static const char *const patience[] = {"x-weir-queue-timeout-ms", NULL};
    static const char *const strict[] = {"x-dynamo-request-strict-priority", NULL};
    static const char *const worker[] = {"x-dynamo-worker-instance-id", "x-worker-instance-id",
                                         NULL};
    static const char *const prefill[] = {"x-dynamo-prefill-instance-id", "x-prefill-instance-id",
                                          NULL};
    static const char *const rank[] = {"x-dynamo-dp-rank", "x-dp-rank", "x-data-parallel-rank",
                                       NULL};
    const struct weir_http_request *h = weir_http_exchange_request(r->x);
    struct weir_routing_hints *k = &r->q.prep.routing;
    uint64_t v = 0;
    if (header_u64(h, worker, &v)) {
        k->set = k->has_backend_instance_id = k->has_decode_worker_id = true;
        k->backend_instance_id = k->decode_worker_id = v;
    }
    if (header_u64(h, prefill, &v)) {
        k->set = k->has_prefill_worker_id = true;
        k->prefill_worker_id = v;
    }
    if (header_u64(h, rank, &v) && v <= UINT32_MAX) {
        k->set = true;
        k->dp_rank = (int64_t)v;
    }
    if (header_u64(h, strict, &v) && v <= UINT32_MAX) {
        k->set = true;
        k->strict_priority = (int64_t)v;
    }
    apply_priority(k, weir_http_header_get(h, "x-dynamo-request-priority"));
    apply_session(r, weir_http_header_get(h, "x-dynamo-session-id"));
    if (header_u64(h, patience, &v))
        r->queue_ms = v;
    if (!apply_class(r, weir_http_header_get(h, "x-dynamo-meta-policy-class")))
        return false;
    r->explain = weir_span_eqz(weir_http_header_get(h, "x-weir-explain"), "1");
    struct weir_span tenant = weir_http_header_get(h, "x-tenant-id");
    return tenant.len == 0 || put_salt(r, tenant) || weir_request_fail_memory(r);
}

/* Metadata headers are bounded; what they carry is not passed on yet. */
bool weir_request_metadata_fits(struct weir_request *r) {
    enum { MAX_ENTRIES = 64, MAX_BYTES = 64 << 10 };
    const char *prefix = r->fl->app->options.metadata_header;
    const struct weir_http_request *h = weir_http_exchange_request(r->x);
    size_t n = 0, bytes = 0, len = prefix != NULL ? strlen(prefix) : 0;
    for (size_t i = 0; len > 0 && i < h->n_headers; i++)
        if (h->headers[i].name.len > len &&
            weir_span_ieq(weir_span(h->headers[i].name.data, len), weir_span_z(prefix))) {
            n++;
            bytes += h->headers[i].name.len - len + h->headers[i].value.len;
        }
    if (n <= MAX_ENTRIES && bytes <= MAX_BYTES)
        return true;
    weir_request_fail(r, 431,
                      n > MAX_ENTRIES
                          ? WEIR_SPAN_LIT("metadata headers exceed the limit of 64 entries")
                          : WEIR_SPAN_LIT("metadata headers exceed the limit of 65536 bytes"),
                      "validation");
    return false;
}
