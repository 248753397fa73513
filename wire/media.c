/* multi_modal_data and multi_modal_uuids, in either codec. */
#include "wire/request_priv.h"

/* ---- writing ------------------------------------------------------------------------------ */

static size_t count_kind(const struct weir_media *m, struct weir_span kind) {
    size_t n = 0;
    for (size_t i = 0; i < m->n; i++)
        n += weir_span_eq(m->items[i].kind, kind);
    return n;
}

/* Nothing before it is of its kind. */
static bool is_first(const struct weir_media *m, size_t at) {
    for (size_t i = 0; i < at; i++)
        if (weir_span_eq(m->items[i].kind, m->items[at].kind))
            return false;
    return true;
}

static void put_medium(struct weir_enc *e, const struct weir_medium *m) {
    struct weir_enc_box b;
    if (m->form == WEIR_MEDIA_OTHER) {
        weir_enc_json(e, m->value);
        return;
    }
    weir_enc_map(e, &b);
    weir_enc_key(e, &b, m->form == WEIR_MEDIA_URL ? "Url" : "UuidOnly");
    weir_enc_str(e, m->value);
    weir_enc_map_end(e, &b);
}

static void put_kinds(struct weir_enc *e, const struct weir_media *m, bool uuids) {
    struct weir_enc_box b;
    weir_enc_map(e, &b);
    for (size_t k = 0; k < m->n; k++) {
        struct weir_span kind = m->items[k].kind;
        if (!is_first(m, k))
            continue;
        weir_enc_key_text(e, &b, kind);
        weir_enc_array(e, (uint32_t)count_kind(m, kind));
        for (size_t i = k; i < m->n; i++)
            if (!weir_span_eq(m->items[i].kind, kind))
                continue;
            else if (uuids)
                weir_enc_str(e, m->items[i].uuid);
            else
                put_medium(e, &m->items[i]);
        weir_enc_array_end(e);
    }
    weir_enc_map_end(e, &b);
}

void weir_prep_put_media(struct weir_enc *e, struct weir_enc_box *box, const struct weir_media *m) {
    bool uuids = false;
    if (m->n == 0)
        return;
    weir_enc_key(e, box, "multi_modal_data");
    put_kinds(e, m, false);
    for (size_t i = 0; i < m->n; i++)
        uuids |= m->items[i].uuid.data != NULL;
    if (!uuids)
        return;
    weir_enc_key(e, box, "multi_modal_uuids");
    put_kinds(e, m, true);
}

/* ---- reading ------------------------------------------------------------------------------ */

/* One member, a text: an address or a name. Anything else is kept as it is. */
static bool read_medium(struct weir_dec *d, struct weir_medium *m) {
    struct weir_dec probe = *d;
    struct weir_dec_box box;
    struct weir_span key;
    m->form = WEIR_MEDIA_OTHER;
    if (weir_dec_type(d) != WEIR_JSON_OBJECT)
        return weir_dec_fail(d);
    if (weir_dec_map(&probe, &box) && weir_dec_map_next(&probe, &box, &key) &&
        weir_dec_type(&probe) == WEIR_JSON_STRING)
        m->form = weir_span_eqz(key, "Url")        ? WEIR_MEDIA_URL
                  : weir_span_eqz(key, "UuidOnly") ? WEIR_MEDIA_UUID
                                                   : WEIR_MEDIA_OTHER;
    if (m->form == WEIR_MEDIA_OTHER)
        return weir_dec_json(d, &m->value);
    return weir_dec_map(d, &box) && weir_dec_map_next(d, &box, &key) &&
           weir_dec_str(d, &m->value) && !weir_dec_map_next(d, &box, &key) && !weir_dec_failed(d);
}

/* How many media stand there, to make their room exact. */
static bool count_media(struct weir_dec d, size_t *ret_n) {
    struct weir_dec_box box;
    struct weir_span key;
    unsigned kinds = 0;
    if (!weir_dec_map(&d, &box))
        return false;
    for (*ret_n = 0; weir_dec_map_next(&d, &box, &key); kinds++) {
        *ret_n += weir_dec_count(d);
        if (!weir_dec_skip(&d, NULL))
            return false;
    }
    return !weir_dec_failed(&d) && *ret_n <= WEIR_MEDIA_MAX && kinds <= WEIR_MEDIA_MAX_KINDS;
}

/* As the reference names them; so that a key of JSON needs no escapes. */
static bool is_kind(struct weir_span key) {
    for (size_t i = 0; i < key.len; i++)
        if (!((key.data[i] >= 'a' && key.data[i] <= 'z') || key.data[i] == '_'))
            return false;
    return key.len > 0 && key.len <= 32;
}

bool weir_prep_read_media(struct weir_dec *d, struct weir_media *ret) {
    struct weir_dec_box box, list;
    struct weir_span key;
    size_t n = 0, at = 0;
    if (!count_media(*d, &n))
        return weir_dec_fail(d);
    struct weir_medium *items = weir_dec_zalloc(d, (n + 1) * sizeof(*items));
    if (items == NULL || !weir_dec_map(d, &box))
        return false;
    while (weir_dec_map_next(d, &box, &key)) {
        if (!is_kind(key))
            return weir_dec_fail(d);
        struct weir_span kind = weir_arena_copy(d->arena, key);
        if (kind.data == NULL) {
            d->nomem = true;
            return weir_dec_fail(d);
        }
        if (!weir_dec_array(d, &list))
            return false;
        while (weir_dec_array_next(d, &list)) {
            if (at == n)
                return weir_dec_fail(d);
            items[at].kind = kind;
            if (!read_medium(d, &items[at++]))
                return false;
        }
    }
    *ret = (struct weir_media){items, at};
    return !weir_dec_failed(d);
}

/* The next of a kind, from *at on; NULL: there is none. */
static struct weir_medium *next_of(const struct weir_media *m, struct weir_span kind, size_t *at) {
    while (*at < m->n && !weir_span_eq(m->items[*at].kind, kind))
        ++*at;
    return *at < m->n ? (struct weir_medium *)(uintptr_t)&m->items[(*at)++] : NULL;
}

bool weir_prep_name_media(struct weir_dec *d, struct weir_media *m, struct weir_span uuids) {
    struct weir_json j;
    struct weir_json_str key, text;
    weir_json_init(&j, uuids, 8);
    if (!weir_json_object_enter(&j))
        return false;
    while (weir_json_object_next(&j, &key)) {
        struct weir_span kind = weir_json_text(key, d->arena);
        d->nomem |= kind.data == NULL;
        if (d->nomem || !weir_json_array_enter(&j))
            return false;
        size_t at = 0;
        while (weir_json_array_next(&j)) {
            struct weir_medium *item = next_of(m, kind, &at);
            if (weir_json_peek(&j) == WEIR_JSON_NULL) {
                if (!weir_json_skip(&j, NULL))
                    return false;
                continue;
            }
            if (item == NULL || !weir_json_string(&j, &text))
                return false;
            item->uuid = weir_json_text(text, d->arena);
            d->nomem |= item->uuid.data == NULL;
            if (d->nomem)
                return false;
        }
    }
    return weir_json_finish(&j);
}

/* block_mm_infos says of a block what its ids do not. */
static bool names_more(struct weir_span infos) {
    struct weir_json j;
    weir_json_init(&j, infos, 2);
    if (weir_json_type_of(infos) != WEIR_JSON_ARRAY || !weir_json_array_enter(&j))
        return false;
    while (weir_json_array_next(&j))
        if (!weir_json_null(&j))
            return true;
    return false;
}

bool weir_prep_read_routing_ids(struct weir_dec *d, struct weir_span json, size_t max,
                                struct weir_ids *ret) {
    struct weir_json j;
    struct weir_json_str key;
    struct weir_span list = {NULL, 0}, infos = {NULL, 0};
    uint64_t length = UINT64_MAX, v;
    weir_json_init(&j, json, 16);
    if (!weir_json_object_enter(&j))
        return false;
    while (weir_json_object_next(&j, &key)) {
        bool ok = weir_json_str_eqz(key, "routing_token_ids")     ? weir_json_skip(&j, &list)
                  : weir_json_str_eqz(key, "expanded_prompt_len") ? weir_json_u64(&j, &length)
                  : weir_json_str_eqz(key, "block_mm_infos")      ? weir_json_skip(&j, &infos)
                                                                  : weir_json_skip(&j, NULL);
        if (!ok)
            return false;
    }
    /* A number and its comma are two bytes at least. */
    size_t room = list.len / 2 + 1, n = 0;
    if (!weir_json_finish(&j) || room / 4 > max)
        return false;
    uint32_t *ids = weir_arena_alloc(d->arena, room * sizeof(*ids));
    d->nomem |= ids == NULL;
    if (d->nomem)
        return false;
    weir_json_init(&j, list, 2);
    if (!weir_json_array_enter(&j))
        return false;
    while (weir_json_array_next(&j)) {
        if (!weir_json_u64(&j, &v) || v > UINT32_MAX || n == max)
            return false;
        ids[n++] = (uint32_t)v;
    }
    n = n < length ? n : (size_t)length;
    *ret = n > 0 && !names_more(infos) ? (struct weir_ids){ids, n} : (struct weir_ids){NULL, 0};
    return weir_json_finish(&j);
}
