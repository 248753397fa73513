/* Answers and dumps as JSON (shared spec "kvrouter" 3.8, 6.1). */
#include "base/mem.h"
#include "indexer/service.h"
#include "indexer/service_priv.h"
#include "kvindex/kvi_persist.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EVENT_WORDS = 1 << 17, LINE_BYTES = 8 << 20 };

/* ---- scores -----------------------------------------------------------------------------------
 */

static int by_worker(const void *a, const void *b) {
    const struct kvi_worker *p = &((const struct kvi_score *)a)->worker,
                            *q = &((const struct kvi_score *)b)->worker;
    if (p->worker_id != q->worker_id)
        return p->worker_id < q->worker_id ? -1 : 1;
    return p->dp_rank < q->dp_rank ? -1 : p->dp_rank > q->dp_rank;
}

static void put_number_key(struct weir_jsonw *w, uint64_t number) {
    char text[24];
    int n = snprintf(text, sizeof(text), "%" PRIu64, number);
    weir_jsonw_key_span(w, weir_span(text, (size_t)n));
}

static size_t same_worker(const struct kvi_score *s, size_t n) {
    size_t i = 1;
    while (i < n && s[i].worker.worker_id == s[0].worker.worker_id)
        i++;
    return i;
}

static void put_ranks(struct weir_jsonw *w, const struct kvi_score *s, size_t n, uint64_t bs) {
    weir_jsonw_object_begin(w);
    for (size_t i = 0; i < n; i++) {
        put_number_key(w, s[i].worker.dp_rank);
        weir_jsonw_u64(w, s[i].blocks[KVI_DEVICE] * bs);
    }
    weir_jsonw_object_end(w);
}

static void put_field(struct weir_jsonw *w, const char *key, uint64_t value) {
    weir_jsonw_key(w, key);
    weir_jsonw_u64(w, value);
}

/* Each figure includes the tiers above it; the best rank counts. */
static void put_instance(struct weir_jsonw *w, const struct kvi_score *s, size_t n, uint64_t bs) {
    uint64_t gpu = 0, cpu = 0, disk = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t g = s[i].blocks[KVI_DEVICE], c = g + s[i].blocks[KVI_HOST];
        uint64_t d = c + s[i].blocks[KVI_DISK] + s[i].blocks[KVI_EXTERNAL];
        gpu = g > gpu ? g : gpu;
        cpu = c > cpu ? c : cpu;
        disk = d > disk ? d : disk;
    }
    weir_jsonw_object_begin(w);
    put_field(w, "longest_matched", disk * bs);
    put_field(w, "gpu", gpu * bs);
    weir_jsonw_key(w, "dp");
    put_ranks(w, s, n, bs);
    put_field(w, "cpu", cpu * bs);
    put_field(w, "disk", disk * bs);
    weir_jsonw_object_end(w);
}

void weir_indexer_put_scores(struct weir_jsonw *w, struct kvi_score *scores, size_t n,
                             uint32_t block_size) {
    qsort(scores, n, sizeof(*scores), by_worker);
    weir_jsonw_object_begin(w);
    weir_jsonw_key(w, "scores");
    weir_jsonw_object_begin(w);
    for (size_t i = 0, k; i < n; i += k) {
        k = same_worker(scores + i, n - i);
        put_number_key(w, scores[i].worker.worker_id);
        put_ranks(w, scores + i, k, block_size);
    }
    weir_jsonw_object_end(w);
    weir_jsonw_key(w, "frequencies");
    weir_jsonw_raw(w, WEIR_SPAN_LIT("[]"));
    weir_jsonw_key(w, "instances");
    weir_jsonw_object_begin(w);
    for (size_t i = 0, k; i < n; i += k) {
        k = same_worker(scores + i, n - i);
        put_number_key(w, scores[i].worker.worker_id);
        put_instance(w, scores + i, k, block_size);
    }
    weir_jsonw_object_end(w);
    weir_jsonw_object_end(w);
}

/* ---- dump -------------------------------------------------------------------------------------
 */

struct dump {
    const struct weir_group *group;
    struct weir_jsonw *w;
    struct weir_buf *out;
    uint64_t next_id;
    bool lines;
    enum weir_status status;
};

static void put_key(struct weir_jsonw *w, const struct weir_group *g) {
    char text[512];
    int n = snprintf(text, sizeof(text), "%s:%s", g->model, g->name);
    weir_jsonw_key_span(w,
                        weir_span(text, (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1));
}

static enum weir_status put_event(struct dump *d, const struct kvi_event *event) {
    struct weir_buf *out = d->out;
    for (size_t room = 4096;;) {
        enum weir_status st = weir_buf_reserve(out, room);
        if (st != WEIR_OK)
            return st;
        size_t n = kvi_event_to_json(event, d->next_id, out->data + out->len, room);
        if (n <= room) {
            out->len += n;
            d->next_id++;
            return WEIR_OK;
        }
        room = n;
    }
}

static bool on_event(void *arg, const struct kvi_event *event) {
    struct dump *d = arg;
    struct weir_buf *out = d->out;
    if (d->lines) {
        struct weir_jsonw w;
        char key[512];
        weir_jsonw_init(&w, out);
        weir_jsonw_object_begin(&w);
        weir_jsonw_key(&w, "key");
        snprintf(key, sizeof(key), "%s:%s", d->group->model, d->group->name);
        weir_jsonw_string_z(&w, key);
        weir_jsonw_key(&w, "block_size");
        weir_jsonw_u64(&w, d->group->block_size);
        weir_jsonw_key(&w, "event");
        d->status = w.status;
    } else if (d->next_id > 0) {
        d->status = weir_buf_append_c(out, ',');
    }
    if (d->status == WEIR_OK)
        d->status = put_event(d, event);
    if (d->status == WEIR_OK && d->lines)
        d->status = weir_buf_append_z(out, "}\n");
    return d->status == WEIR_OK;
}

static enum weir_status dump_group(struct weir_group *g, struct dump *d) {
    d->group = g;
    d->next_id = 0;
    enum kvi_result r = kvi_dump(g->index, on_event, d);
    return d->status != WEIR_OK ? d->status : r == KVI_OK ? WEIR_OK : WEIR_NOMEM;
}

enum weir_status weir_indexer_dump(struct weir_groups *groups, bool lines, struct weir_buf *out) {
    struct weir_jsonw w;
    struct dump d = {.w = &w, .out = out, .lines = lines};
    enum weir_status st = WEIR_OK;
    weir_jsonw_init(&w, out);
    if (!lines)
        weir_jsonw_object_begin(&w);
    WEIR_LIST_FOREACH(it, weir_groups_list(groups)) {
        struct weir_group *g = WEIR_CONTAINER_OF(it, struct weir_group, node);
        if (g->left)
            continue;
        if (!lines) {
            put_key(&w, g);
            weir_jsonw_object_begin(&w);
            put_field(&w, "block_size", g->block_size);
            weir_jsonw_key(&w, "events");
            weir_jsonw_array_begin(&w);
        }
        if (st == WEIR_OK)
            st = dump_group(g, &d);
        if (!lines) {
            weir_jsonw_array_end(&w);
            weir_jsonw_object_end(&w);
        }
    }
    if (!lines)
        weir_jsonw_object_end(&w);
    return st == WEIR_OK ? w.status : st;
}

/* ---- restore ----------------------------------------------------------------------------------
 */

struct restore {
    struct weir_groups *groups;
    struct weir_err *err;
    uint64_t *scratch; /* EVENT_WORDS */
    uint64_t n;
};

static enum weir_status apply(struct restore *r, struct weir_span key, uint64_t block_size,
                              struct weir_span event_text) {
    struct weir_span name, model = key;
    struct weir_group *g;
    struct kvi_event event;
    uint64_t id;
    /* "model:group"; a model's name may hold colons itself. */
    ptrdiff_t colon = -1;
    for (size_t i = 0; i < key.len; i++)
        if (key.data[i] == ':')
            colon = (ptrdiff_t)i;
    if (colon <= 0 || block_size == 0 || block_size > 65536)
        return weir_err_set(r->err, WEIR_INVALID,
                            "event %" PRIu64 ": it needs a key \"model:routing_group\" and a "
                            "block_size",
                            r->n);
    model.len = (size_t)colon;
    name = weir_span(key.data + colon + 1, key.len - (size_t)colon - 1);
    enum weir_status st = weir_groups_get(r->groups, model, name, (uint32_t)block_size, &g);
    if (st != WEIR_OK)
        return weir_err_set(
            r->err, st == WEIR_EXISTS ? WEIR_INVALID : st, "event %" PRIu64 ": group %.*s: %s",
            r->n, (int)(key.len < 100 ? key.len : 100), key.data,
            st == WEIR_EXISTS
                ? "it has another block size; restore into a model or routing group of its own"
                : weir_status_text(st));
    switch (kvi_event_from_json(event_text.data, event_text.len, r->scratch, EVENT_WORDS, &event,
                                &id)) {
    case KVI_JSON_OK:
        weir_mirror_apply(g->mirror, &event);
        r->n++;
        return WEIR_OK;
    case KVI_JSON_UNSUPPORTED:
        return WEIR_OK;
    default:
        return weir_err_set(r->err, WEIR_INVALID, "event %" PRIu64 " is no router event", r->n);
    }
}

/* One {key, block_size, event}. */
static enum weir_status restore_line(struct restore *r, struct weir_span line) {
    struct weir_json j;
    struct weir_json_str k, s = {{NULL, 0}, false};
    struct weir_span event = {NULL, 0};
    uint64_t block_size = 0;
    weir_json_init(&j, line, 32);
    if (weir_json_peek(&j) == WEIR_JSON_OBJECT && weir_json_object_enter(&j))
        while (weir_json_object_next(&j, &k)) {
            if (weir_json_str_eqz(k, "key") && weir_json_peek(&j) == WEIR_JSON_STRING)
                weir_json_string(&j, &s);
            else if (weir_json_str_eqz(k, "block_size") && weir_json_peek(&j) == WEIR_JSON_NUMBER)
                weir_json_u64(&j, &block_size);
            else if (weir_json_str_eqz(k, "event"))
                weir_json_skip(&j, &event);
            else
                weir_json_skip(&j, NULL);
        }
    if (!weir_json_finish(&j) || event.data == NULL || s.escaped)
        return weir_err_set(r->err, WEIR_INVALID,
                            "record %" PRIu64 " is no {\"key\", \"block_size\", \"event\"}", r->n);
    return apply(r, s.raw, block_size, event);
}

static enum weir_status restore_events(struct restore *r, struct weir_span key, uint64_t block_size,
                                       struct weir_span events) {
    struct weir_json j;
    enum weir_status st = WEIR_OK;
    weir_json_init(&j, events, 32);
    if (weir_json_peek(&j) != WEIR_JSON_ARRAY || !weir_json_array_enter(&j))
        return weir_err_set(r->err, WEIR_INVALID, "\"events\" must be an array");
    while (st == WEIR_OK && weir_json_array_next(&j)) {
        struct weir_span event = {NULL, 0};
        if (weir_json_skip(&j, &event))
            st = apply(r, key, block_size, event);
    }
    return st;
}

/* {"model:group": {"block_size": N, "events": […]}, …}; a group that has "error" instead is passed
 * over. */
static enum weir_status restore_object(struct restore *r, struct weir_span text) {
    struct weir_json j;
    struct weir_json_str key, k;
    enum weir_status st = WEIR_OK;
    weir_json_init(&j, text, 32);
    weir_json_object_enter(&j);
    while (st == WEIR_OK && weir_json_object_next(&j, &key)) {
        struct weir_span events = {NULL, 0};
        uint64_t block_size = 0;
        if (weir_json_peek(&j) != WEIR_JSON_OBJECT || !weir_json_object_enter(&j))
            return weir_err_set(r->err, WEIR_INVALID, "each group must be an object");
        while (weir_json_object_next(&j, &k)) {
            if (weir_json_str_eqz(k, "block_size") && weir_json_peek(&j) == WEIR_JSON_NUMBER)
                weir_json_u64(&j, &block_size);
            else
                weir_json_skip(&j, weir_json_str_eqz(k, "events") ? &events : NULL);
        }
        if (events.data != NULL)
            st = restore_events(r, key.raw, block_size, events);
    }
    if (st == WEIR_OK && !weir_json_finish(&j))
        st = weir_err_set(r->err, WEIR_INVALID, "the dump is no JSON: %s",
                          weir_json_error_text(j.error));
    return st;
}

enum weir_status weir_service_restore(struct weir_groups *groups, struct weir_span text,
                                      uint64_t *ret_n, struct weir_err *err) {
    struct restore r = {
        .groups = groups, .err = err, .scratch = weir_calloc(EVENT_WORDS, sizeof(uint64_t))};
    struct weir_span rest = text, line = weir_span_split(text, '\n', &rest);
    enum weir_status st = WEIR_OK;
    if (r.scratch == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    if (weir_span_starts(line, WEIR_SPAN_LIT("{\"key\":"))) {
        for (rest = text; st == WEIR_OK && rest.data != NULL && rest.len > 0;) {
            line = weir_span_split(rest, '\n', &rest);
            if (weir_span_trim(line).len > 0)
                st = restore_line(&r, line);
        }
    } else {
        struct weir_json j;
        weir_json_init(&j, text, 32);
        st = weir_json_peek(&j) == WEIR_JSON_OBJECT
                 ? restore_object(&r, text)
                 : weir_err_set(err, WEIR_INVALID, "the dump must be a JSON object or NDJSON");
    }
    weir_free(r.scratch);
    *ret_n = r.n;
    return st;
}
