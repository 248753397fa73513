/* What the headers of a request ask of routing (shared spec "frontend" 2.5), and their bounds. */
#include "base/blake3.h"
#include "base/json.h"
#include "frontend/request_priv.h"

#include <string.h>

/* Numbers may begin with a plus. */
static struct weir_span number(struct weir_span value) {
    struct weir_span v = weir_span_trim(value);
    return v.len > 1 && v.data[0] == '+' && v.data[1] >= '0' && v.data[1] <= '9'
               ? weir_span(v.data + 1, v.len - 1)
               : v;
}

static bool header_u64(const struct weir_http_request *h, const char *const *names, uint64_t *ret) {
    for (; *names != NULL; names++) {
        struct weir_span v = weir_http_header_get(h, *names);
        if (v.data != NULL && weir_span_u64(number(v), ret))
            return true;
    }
    return false;
}

static bool put_salt(struct weir_request *r, struct weir_span tenant) {
    r->q.cache_salt = r->q.prep.routing.cache_salt = tenant;
    r->q.prep.routing.set = true;
    return weir_openai_put_extra_args(&r->q, &r->arena) == WEIR_OK;
}

static void apply_priority(struct weir_routing_hints *k, struct weir_span value) {
    int64_t v = 0;
    if (value.data == NULL || !weir_span_i64(number(value), &v) || v < INT32_MIN || v > INT32_MAX)
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

static void apply_ranks(const struct weir_http_request *h, struct weir_routing_hints *k) {
    static const char *const rank[] = {"x-dynamo-dp-rank", "x-dp-rank", "x-data-parallel-rank",
                                       NULL};
    static const char *const prefill[] = {"x-dynamo-prefill-dp-rank", "x-prefill-dp-rank", NULL};
    uint64_t v = 0;
    if (header_u64(h, rank, &v) && v <= UINT32_MAX) {
        k->set = true;
        k->dp_rank = (int64_t)v;
    }
    /* The greatest number says that there is none. */
    if (header_u64(h, prefill, &v) && v < UINT32_MAX) {
        k->set = true;
        k->prefill_dp_rank = (int64_t)v;
    }
}

/* Headers that stand for members of nvext, and Weir's own. False: the request has failed. */
static bool apply_routing(struct weir_request *r) {
    static const char *const patience[] = {"x-weir-queue-timeout-ms", NULL};
    static const char *const strict[] = {"x-dynamo-request-strict-priority", NULL};
    static const char *const worker[] = {"x-dynamo-worker-instance-id", "x-worker-instance-id",
                                         NULL};
    static const char *const prefill[] = {"x-dynamo-prefill-instance-id", "x-prefill-instance-id",
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
    apply_ranks(h, k);
    if (header_u64(h, strict, &v) && v <= UINT32_MAX) {
        k->set = true;
        k->strict_priority = (int64_t)v;
    }
    apply_priority(k, weir_http_header_get(h, "x-dynamo-request-priority"));
    if (header_u64(h, patience, &v))
        r->queue_ms = v;
    if (!apply_class(r, weir_http_header_get(h, "x-dynamo-meta-policy-class")))
        return false;
    r->explain = weir_span_eqz(weir_http_header_get(h, "x-weir-explain"), "1");
    return true;
}

/* Who asks is told and keeps its salt even where nvext is off. */
bool weir_request_apply_headers(struct weir_request *r) {
    struct weir_span session;
    struct weir_span tenant = weir_http_header_get(weir_http_exchange_request(r->x), "x-tenant-id");
    if (weir_request_read_agent(r, &session) != WEIR_OK)
        return weir_request_fail_memory(r);
    apply_session(r, session);
    if (!r->fl->app->options.disable_frontend_nvext && !apply_routing(r))
        return false;
    return tenant.len == 0 || put_salt(r, tenant) || weir_request_fail_memory(r);
}

/* One metadata header, without its prefix; false: none. Text that is no visible ASCII is not passed
 * on: what it means is not known. */
static bool metadata(const struct weir_http_header *h, struct weir_span prefix,
                     struct weir_span *ret_key) {
    if (h->name.len < prefix.len || !weir_span_ieq(weir_span(h->name.data, prefix.len), prefix))
        return false;
    *ret_key = weir_span(h->name.data + prefix.len, h->name.len - prefix.len);
    return true;
}

static bool put_metadata(struct weir_request *r, struct weir_jsonw *w, struct weir_span key,
                         struct weir_span value) {
    struct weir_span lower = weir_arena_copy(&r->arena, key);
    if (lower.data == NULL)
        return false;
    for (size_t k = 0; k < lower.len; k++)
        if (lower.data[k] >= 'A' && lower.data[k] <= 'Z')
            ((char *)lower.data)[k] += 'a' - 'A';
    weir_jsonw_key_span(w, lower);
    weir_jsonw_string(w, value);
    return w->status == WEIR_OK;
}

bool weir_request_read_metadata(struct weir_request *r) {
    enum { MAX_ENTRIES = 64, MAX_BYTES = 64 << 10 };
    const struct weir_http_request *h = weir_http_exchange_request(r->x);
    const char *name = r->fl->app->options.metadata_header;
    struct weir_span prefix = weir_span_z(name != NULL ? name : ""), keys[MAX_ENTRIES], key;
    size_t n = 0, bytes = 0;
    struct weir_buf out;
    struct weir_jsonw w;
    if (prefix.len == 0)
        return true;
    weir_buf_init(&out, 8 * MAX_BYTES);
    weir_jsonw_init(&w, &out);
    for (size_t i = 0; i < h->n_headers; i++) {
        struct weir_span value = weir_span_trim(h->headers[i].value);
        bool known = !metadata(&h->headers[i], prefix, &key) || !weir_request_is_text(value);
        for (size_t k = 0; k < n && !known; k++) /* the first of several counts */
            known = weir_span_ieq(keys[k], key);
        if (known)
            continue;
        bytes += key.len + value.len;
        if (n == MAX_ENTRIES || bytes > MAX_BYTES) {
            weir_buf_fini(&out);
            weir_request_fail(
                r, 431,
                n == MAX_ENTRIES
                    ? WEIR_SPAN_LIT("metadata headers exceed the limit of 64 entries")
                    : WEIR_SPAN_LIT("metadata headers exceed the limit of 65536 bytes"),
                "validation");
            return false;
        }
        if (n == 0)
            weir_jsonw_object_begin(&w);
        keys[n++] = key;
        if (!put_metadata(r, &w, key, value)) {
            weir_buf_fini(&out);
            return weir_request_fail_memory(r);
        }
    }
    if (n == 0)
        return true;
    weir_jsonw_object_end(&w);
    if (w.status == WEIR_OK)
        r->metadata = weir_arena_copy(&r->arena, weir_buf_span(&out));
    weir_buf_fini(&out);
    return r->metadata.data != NULL || weir_request_fail_memory(r);
}
