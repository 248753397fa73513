#include "wire/kube.h"

#include "base/json.h"
#include "base/utf8.h"

#include <stdio.h>

/* Of an object; of a list or an event, which no object that is deeper than others may spoil. */
enum { DEPTH = 128, LIST_DEPTH = 1024 };

/* ---- members of an object ----------------------------------------------------------------- */

struct member {
    const char *name;
    struct weir_span *raw; /* becomes the value as it stands there; stays NULL when it is absent */
};

/* Passes over a whole object and notes where the members are that are asked for. */
static bool find_members(struct weir_json *j, const struct member *m, size_t n) {
    struct weir_json_str key;
    if (!weir_json_object_enter(j))
        return false;
    while (weir_json_object_next(j, &key)) {
        struct weir_span raw;
        if (!weir_json_skip(j, &raw))
            return false;
        for (size_t i = 0; i < n; i++)
            if (weir_json_str_eqz(key, m[i].name))
                *m[i].raw = raw;
    }
    return j->error == WEIR_JSON_ERR_NONE;
}

static bool members_within(struct weir_span json, unsigned depth, const struct member *m,
                           size_t n) {
    struct weir_json j;
    weir_json_init(&j, json, depth);
    return find_members(&j, m, n) && weir_json_finish(&j);
}

static bool members_of(struct weir_span json, const struct member *m, size_t n) {
    return members_within(json, DEPTH, m, n);
}

/* The text of a string, empty of null or nothing. False: another type, or no memory. */
static bool text_of(struct weir_span raw, struct weir_arena *arena, struct weir_span *ret) {
    struct weir_json j;
    struct weir_json_str s;
    *ret = weir_span(NULL, 0);
    if (raw.data == NULL || weir_json_type_of(raw) == WEIR_JSON_NULL)
        return true;
    weir_json_init(&j, raw, DEPTH);
    if (!weir_json_string(&j, &s))
        return false;
    *ret = weir_json_text(s, arena);
    return ret->data != NULL;
}

static bool is_null(struct weir_span raw) {
    return raw.data == NULL || weir_json_type_of(raw) == WEIR_JSON_NULL;
}

/* ---- lists, events, Status ---------------------------------------------------------------- */

enum weir_status weir_kube_decode_list(struct weir_span json, struct weir_arena *arena,
                                       weir_kube_item_fn fn, void *arg,
                                       struct weir_kube_list *ret_list) {
    struct weir_span meta = {0}, items = {0}, version = {0}, next = {0}, item;
    struct weir_kube_list list;
    const struct member top[] = {{"metadata", &meta}, {"items", &items}};
    const struct member inner[] = {{"resourceVersion", &version}, {"continue", &next}};
    if (!members_within(json, LIST_DEPTH, top, 2) || is_null(meta) || !members_of(meta, inner, 2) ||
        !text_of(version, arena, &list.resource_version) || !text_of(next, arena, &list.next) ||
        list.resource_version.len == 0)
        return WEIR_INVALID;
    if (!is_null(items)) { /* an empty list of Go may be null */
        struct weir_json j;
        weir_json_init(&j, items, LIST_DEPTH);
        if (!weir_json_array_enter(&j))
            return WEIR_INVALID;
        while (weir_json_array_next(&j) && weir_json_skip(&j, &item))
            fn(arg, item);
    }
    *ret_list = list;
    return WEIR_OK;
}

enum weir_status weir_kube_decode_event(struct weir_span json, enum weir_kube_change *ret_change,
                                        struct weir_span *ret_object) {
    static const struct {
        const char *json;
        enum weir_kube_change change;
    } types[] = {{"\"ADDED\"", WEIR_KUBE_PUT},
                 {"\"MODIFIED\"", WEIR_KUBE_PUT},
                 {"\"DELETED\"", WEIR_KUBE_DELETED},
                 {"\"BOOKMARK\"", WEIR_KUBE_BOOKMARK},
                 {"\"ERROR\"", WEIR_KUBE_ERROR}};
    struct weir_span type = {0}, object = {0};
    const struct member top[] = {{"type", &type}, {"object", &object}};
    if (!members_within(json, LIST_DEPTH, top, 2) || weir_json_type_of(object) != WEIR_JSON_OBJECT)
        return WEIR_INVALID;
    for (size_t i = 0; i < WEIR_ARRAY_LEN(types); i++)
        if (weir_span_eqz(type, types[i].json)) {
            *ret_change = types[i].change;
            *ret_object = object;
            return WEIR_OK;
        }
    return WEIR_INVALID;
}

static void keep_text(struct weir_span raw, struct weir_arena *arena, char *out, size_t cap) {
    struct weir_span text;
    if (text_of(raw, arena, &text))
        snprintf(out, cap, "%.*s", WEIR_SPAN_ARG(weir_utf8_cut(text, cap - 1)));
}

void weir_kube_decode_status(struct weir_span json, struct weir_kube_status *ret_status) {
    struct weir_span code = {0}, reason = {0}, message = {0};
    const struct member top[] = {{"code", &code}, {"reason", &reason}, {"message", &message}};
    struct weir_arena arena;
    *ret_status = (struct weir_kube_status){0};
    if (!members_of(json, top, 3))
        return;
    weir_arena_init(&arena, 64 << 10);
    if (code.data != NULL && !weir_span_i64(code, &ret_status->code))
        ret_status->code = 0;
    keep_text(reason, &arena, ret_status->reason, sizeof(ret_status->reason));
    keep_text(message, &arena, ret_status->message, sizeof(ret_status->message));
    weir_arena_fini(&arena);
}

/* ---- objects ------------------------------------------------------------------------------ */

static bool read_owner(struct weir_span owners, struct weir_arena *arena, struct weir_span *ret) {
    struct weir_json j;
    weir_json_init(&j, owners, DEPTH);
    if (!weir_json_array_enter(&j))
        return false;
    while (weir_json_array_next(&j)) {
        struct weir_span kind = {0}, uid = {0};
        const struct member m[] = {{"kind", &kind}, {"uid", &uid}};
        if (!find_members(&j, m, 2))
            return false;
        if (weir_json_is(kind, "Pod"))
            return text_of(uid, arena, ret);
    }
    return weir_json_finish(&j);
}

static enum weir_status read_meta(struct weir_span raw, struct weir_arena *arena,
                                  struct weir_kube_meta *ret) {
    struct weir_span name = {0}, uid = {0}, version = {0}, owners = {0}, deleted = {0};
    struct weir_kube_meta meta = {0};
    const struct member m[] = {{"name", &name},
                               {"uid", &uid},
                               {"resourceVersion", &version},
                               {"ownerReferences", &owners},
                               {"deletionTimestamp", &deleted}};
    if (is_null(raw) || !members_of(raw, m, WEIR_ARRAY_LEN(m)) ||
        !text_of(name, arena, &meta.name) || !text_of(uid, arena, &meta.uid) ||
        !text_of(version, arena, &meta.resource_version) ||
        (!is_null(owners) && !read_owner(owners, arena, &meta.owner_pod_uid)))
        return WEIR_INVALID;
    meta.deleted = !is_null(deleted);
    *ret = meta;
    return WEIR_OK;
}

enum weir_status weir_kube_decode_meta(struct weir_span json, struct weir_arena *arena,
                                       struct weir_kube_meta *ret_meta) {
    struct weir_span meta = {0};
    const struct member top[] = {{"metadata", &meta}};
    return members_within(json, LIST_DEPTH, top, 1) ? read_meta(meta, arena, ret_meta)
                                                    : WEIR_INVALID;
}

/* One of a slice's endpoints. */
static bool read_endpoint(struct weir_json *j, struct weir_arena *arena, weir_kube_ready_fn fn,
                          void *arg) {
    struct weir_span conditions = {0}, target = {0}, ready = {0}, name = {0}, uid = {0};
    const struct member m[] = {{"conditions", &conditions}, {"targetRef", &target}};
    const struct member c[] = {{"ready", &ready}}, t[] = {{"name", &name}, {"uid", &uid}};
    struct weir_span pod, pod_uid;
    if (!find_members(j, m, 2))
        return false;
    if (is_null(conditions) || is_null(target))
        return true;
    if (!members_of(conditions, c, 1) || !members_of(target, t, 2) || !text_of(name, arena, &pod) ||
        !text_of(uid, arena, &pod_uid))
        return false;
    /* Without a uid it might be a namesake that died. */
    if (weir_span_eqz(ready, "true") && pod.len > 0 && pod_uid.len > 0)
        fn(arg, pod, pod_uid);
    return true;
}

enum weir_status weir_kube_decode_slice(struct weir_span json, struct weir_arena *arena,
                                        weir_kube_ready_fn fn, void *arg,
                                        struct weir_kube_meta *ret_meta) {
    struct weir_span meta = {0}, endpoints = {0};
    const struct member top[] = {{"metadata", &meta}, {"endpoints", &endpoints}};
    struct weir_kube_meta found;
    struct weir_json j;
    if (!members_of(json, top, 2) || read_meta(meta, arena, &found) != WEIR_OK ||
        found.name.len == 0)
        return WEIR_INVALID;
    if (!is_null(endpoints)) {
        weir_json_init(&j, endpoints, DEPTH);
        if (!weir_json_array_enter(&j))
            return WEIR_INVALID;
        while (weir_json_array_next(&j))
            if (!read_endpoint(&j, arena, fn, arg))
                return WEIR_INVALID;
    }
    *ret_meta = found;
    return WEIR_OK;
}

static enum weir_status cr_name_in(struct weir_arena *arena, struct weir_span pod,
                                   struct weir_span container, struct weir_span *ret) {
    struct weir_buf name;
    weir_buf_init(&name, 4096);
    enum weir_status st = weir_kube_cr_name(pod, container, &name);
    if (st == WEIR_OK) {
        *ret = weir_arena_copy(arena, weir_buf_span(&name));
        st = ret->data != NULL ? WEIR_OK : WEIR_NOMEM;
    }
    weir_buf_fini(&name);
    return st;
}

/* One of a pod's containers. */
static bool read_container(struct weir_json *j, struct weir_arena *arena,
                           const struct weir_kube_meta *pod, weir_kube_ready_fn fn, void *arg) {
    struct weir_span name = {0}, ready = {0}, text, cr_name;
    const struct member m[] = {{"name", &name}, {"ready", &ready}};
    if (!find_members(j, m, 2) || !text_of(name, arena, &text))
        return false;
    if (!weir_span_eqz(ready, "true") || text.len == 0 || pod->uid.len == 0 || pod->deleted)
        return true;
    if (cr_name_in(arena, pod->name, text, &cr_name) != WEIR_OK)
        return false;
    fn(arg, cr_name, pod->uid);
    return true;
}

enum weir_status weir_kube_decode_pod(struct weir_span json, struct weir_arena *arena,
                                      weir_kube_ready_fn fn, void *arg,
                                      struct weir_kube_meta *ret_meta) {
    struct weir_span meta = {0}, status = {0}, list = {0};
    const struct member top[] = {{"metadata", &meta}, {"status", &status}};
    const struct member inner[] = {{"containerStatuses", &list}};
    struct weir_kube_meta found;
    struct weir_json j;
    if (!members_of(json, top, 2) || read_meta(meta, arena, &found) != WEIR_OK ||
        found.name.len == 0 || (!is_null(status) && !members_of(status, inner, 1)))
        return WEIR_INVALID;
    if (!is_null(list)) {
        weir_json_init(&j, list, DEPTH);
        if (!weir_json_array_enter(&j))
            return WEIR_INVALID;
        while (weir_json_array_next(&j))
            if (!read_container(&j, arena, &found, fn, arg))
                return WEIR_INVALID;
    }
    *ret_meta = found;
    return WEIR_OK;
}

/* In the order of enum weir_record_kind. */
static const char *const buckets[] = {"endpoints", "model_cards", "event_channels",
                                      "event_sources"};
enum { KINDS = WEIR_ARRAY_LEN(buckets) };

static bool read_bucket(struct weir_span raw, enum weir_record_kind kind, struct weir_arena *arena,
                        weir_kube_record_fn fn, void *arg) {
    struct weir_json j;
    struct weir_json_str key;
    if (is_null(raw)) /* an empty map may come back so */
        return true;
    weir_json_init(&j, raw, DEPTH);
    if (!weir_json_object_enter(&j))
        return false;
    while (weir_json_object_next(&j, &key)) {
        struct weir_kube_record r = {.kind = kind, .key = weir_json_text(key, arena)};
        if (r.key.data == NULL || !weir_json_skip(&j, &r.json))
            return false;
        if (r.key.len > 0)
            fn(arg, &r);
    }
    return weir_json_finish(&j);
}

enum weir_status weir_kube_decode_metadata(struct weir_span json, struct weir_arena *arena,
                                           weir_kube_record_fn fn, void *arg,
                                           struct weir_kube_meta *ret_meta, bool *ret_has_data) {
    struct weir_span meta = {0}, spec = {0}, data = {0}, kinds[KINDS] = {{0}};
    const struct member top[] = {{"metadata", &meta}, {"spec", &spec}};
    const struct member inner[] = {{"data", &data}};
    struct member m[KINDS];
    struct weir_kube_meta found;
    if (!members_of(json, top, 2) || read_meta(meta, arena, &found) != WEIR_OK ||
        found.name.len == 0 || (!is_null(spec) && !members_of(spec, inner, 1)))
        return WEIR_INVALID;
    for (int k = 0; k < KINDS; k++)
        m[k] = (struct member){buckets[k], &kinds[k]};
    if (!is_null(data) && !members_of(data, m, KINDS))
        return WEIR_INVALID;
    for (int k = 0; k < KINDS && !is_null(data); k++)
        if (!read_bucket(kinds[k], (enum weir_record_kind)k, arena, fn, arg))
            return WEIR_INVALID;
    *ret_meta = found;
    *ret_has_data = !is_null(data);
    return WEIR_OK;
}

/* ---- who one is --------------------------------------------------------------------------- */

enum weir_status weir_kube_cr_name(struct weir_span pod, struct weir_span container,
                                   struct weir_buf *out) {
    enum weir_status st = weir_buf_append_span(out, pod);
    if (st != WEIR_OK || container.len == 0 || weir_span_eqz(container, "main"))
        return st;
    st = weir_buf_append_c(out, '-');
    return st == WEIR_OK ? weir_buf_append_span(out, container) : st;
}

static uint64_t rotl(uint64_t x, unsigned n) {
    return x << n | x >> (64 - n);
}

static void sip_round(uint64_t v[4]) {
    v[0] += v[1];
    v[2] += v[3];
    v[1] = rotl(v[1], 13) ^ v[0];
    v[3] = rotl(v[3], 16) ^ v[2];
    v[0] = rotl(v[0], 32);
    v[2] += v[1];
    v[0] += v[3];
    v[1] = rotl(v[1], 17) ^ v[2];
    v[3] = rotl(v[3], 21) ^ v[0];
    v[2] = rotl(v[2], 32);
}

static void sip_word(uint64_t v[4], uint64_t word) {
    v[3] ^= word;
    sip_round(v);
    v[0] ^= word;
}

uint64_t weir_kube_instance_id(struct weir_span cr_name) {
    /* The constants of SipHash: "somepseudorandomlygeneratedbytes". */
    uint64_t v[4] = {0x736f6d6570736575u, 0x646f72616e646f6du, 0x6c7967656e657261u,
                     0x7465646279746573u};
    uint64_t word = 0;
    size_t n = cr_name.len + 1; /* with the 0xff behind it */
    for (size_t i = 0; i < n; i++) {
        uint64_t byte = i < cr_name.len ? (unsigned char)cr_name.data[i] : 0xff;
        word |= byte << 8 * (i % 8);
        if (i % 8 == 7) {
            sip_word(v, word);
            word = 0;
        }
    }
    sip_word(v, word | (uint64_t)n << 56);
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        sip_round(v);
    return (v[0] ^ v[1] ^ v[2] ^ v[3]) & ((1ull << 53) - 1);
}

/* ---- what is written ---------------------------------------------------------------------- */

static void put_text(struct weir_jsonw *w, const char *key, struct weir_span text) {
    weir_jsonw_key(w, key);
    weir_jsonw_string(w, text);
}

/* The channel with two members more, before its own. */
static enum weir_status put_channel(struct weir_jsonw *w, struct weir_span json) {
    struct weir_arena arena;
    struct weir_record record;
    struct weir_err err;
    weir_arena_init(&arena, 1 << 20);
    enum weir_status st = weir_record_decode(json, &arena, &record, &err);
    json = weir_span_trim(json);
    if (st == WEIR_OK && (json.len < 3 || json.data[0] != '{'))
        st = WEIR_INVALID;
    if (st == WEIR_OK) {
        weir_jsonw_object_begin(w);
        put_text(w, "namespace", record.endpoint.ns);
        put_text(w, "component", record.endpoint.component);
        if (w->status == WEIR_OK)
            w->status = weir_buf_append_c(w->buf, ',');
        if (w->status == WEIR_OK)
            w->status = weir_buf_append(w->buf, json.data + 1, json.len - 1);
        w->need_comma = true;
    }
    weir_arena_fini(&arena);
    return st;
}

static enum weir_status put_bucket(struct weir_jsonw *w, enum weir_record_kind kind,
                                   const struct weir_kube_record *records, size_t n) {
    enum weir_status st = WEIR_OK;
    weir_jsonw_key(w, buckets[kind]);
    weir_jsonw_object_begin(w);
    for (size_t i = 0; i < n && st == WEIR_OK; i++) {
        if (records[i].kind != kind)
            continue;
        weir_jsonw_key_span(w, records[i].key);
        if (kind == WEIR_RECORD_EVENT_CHANNEL)
            st = put_channel(w, records[i].json);
        else
            weir_jsonw_raw(w, records[i].json);
    }
    weir_jsonw_object_end(w);
    return st;
}

static void put_owner(struct weir_jsonw *w, struct weir_span pod, struct weir_span uid,
                      bool controller) {
    weir_jsonw_key(w, "ownerReferences");
    weir_jsonw_array_begin(w);
    weir_jsonw_object_begin(w);
    put_text(w, "apiVersion", WEIR_SPAN_LIT("v1"));
    put_text(w, "kind", WEIR_SPAN_LIT("Pod"));
    put_text(w, "name", pod);
    put_text(w, "uid", uid);
    weir_jsonw_key(w, "controller"); /* an object has one at most, a pod's CRs may be many */
    weir_jsonw_bool(w, controller);
    weir_jsonw_key(w, "blockOwnerDeletion");
    weir_jsonw_bool(w, false);
    weir_jsonw_object_end(w);
    weir_jsonw_array_end(w);
}

enum weir_status weir_kube_encode_metadata(struct weir_span cr_name, struct weir_span pod,
                                           struct weir_span pod_uid,
                                           const struct weir_kube_record *records, size_t n,
                                           struct weir_buf *out) {
    struct weir_jsonw w;
    enum weir_status st = WEIR_OK;
    weir_jsonw_init(&w, out);
    weir_jsonw_object_begin(&w);
    put_text(&w, "apiVersion", WEIR_SPAN_LIT("nvidia.com/v1alpha1"));
    put_text(&w, "kind", WEIR_SPAN_LIT("DynamoWorkerMetadata"));
    weir_jsonw_key(&w, "metadata");
    weir_jsonw_object_begin(&w);
    put_text(&w, "name", cr_name);
    put_owner(&w, pod, pod_uid, weir_span_eq(cr_name, pod));
    weir_jsonw_object_end(&w);
    weir_jsonw_key(&w, "spec");
    weir_jsonw_object_begin(&w);
    weir_jsonw_key(&w, "data");
    weir_jsonw_object_begin(&w);
    for (int k = 0; k < KINDS && st == WEIR_OK; k++)
        st = put_bucket(&w, (enum weir_record_kind)k, records, n);
    weir_jsonw_object_end(&w);
    weir_jsonw_object_end(&w);
    weir_jsonw_object_end(&w);
    return st == WEIR_OK ? w.status : st;
}

enum weir_status weir_kube_encode_query(struct weir_span text, struct weir_buf *out) {
    enum weir_status st = WEIR_OK;
    for (size_t i = 0; i < text.len && st == WEIR_OK; i++) {
        unsigned char c = (unsigned char)text.data[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     strchr("-._~", c) != NULL;
        st = plain && c != 0 ? weir_buf_append_c(out, (char)c) : weir_buf_printf(out, "%%%02X", c);
    }
    return st;
}
