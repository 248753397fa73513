/*
 * A chat whose images all have sizes that are known here: what its prompt becomes with them. Each
 * token that stands for an image becomes as many as the engine will make of it, of an id that is
 * made of what the image is called, and the worker is told both (mm_routing_info, mm_hashes), so
 * that its KV events tell of the same blocks. Captured of Dynamo 1.6.1, of which it is the rule for
 * when this is done and when it is not: videos and sounds, names for the worker's cache, other
 * numbers for its processor, a placeholder more or less than there are images. Images behind http
 * addresses have no size here; the reference asks for their first bytes.
 */
#include "frontend/request_priv.h"
#include "kvindex/kvi.h"
#include "wire/image_size.h"

#include <inttypes.h>
#include <stdio.h>

enum { EXPANDED_MAX = 1 << 20 /* of a model whose context length nobody says */ };

struct image {
    uint64_t hash, n_tokens;
};

/* Other sizes than the model's own: nobody but the engine knows what they come to. */
static bool has_other_sizes(struct weir_span kwargs) {
    struct weir_json j;
    struct weir_json_str key;
    if (kwargs.data == NULL || weir_json_type_of(kwargs) == WEIR_JSON_NULL)
        return false;
    weir_json_init(&j, kwargs, 2);
    return weir_json_type_of(kwargs) != WEIR_JSON_OBJECT || !weir_json_object_enter(&j) ||
           weir_json_object_next(&j, &key);
}

static bool measure(const struct weir_image_rules *rules, const struct weir_medium *m,
                    struct image *ret) {
    struct weir_image_size size;
    if (m->form != WEIR_MEDIA_URL || m->uuid.data != NULL || !weir_span_eqz(m->kind, "image_url") ||
        !weir_image_size_of_url(m->value, &size))
        return false;
    ret->hash = kvi_medium_hash(m->value.data, m->value.len);
    ret->n_tokens = weir_image_rules_tokens(rules, size.width, size.height);
    return true;
}

/* Tokens of a prompt with its images. What a model has no room for its engine refuses: a few bytes
 * that say they are a large image must not become a million ids here before it does. */
static uint64_t most_tokens(const struct weir_model_info *info) {
    return info->context_length > 0 && info->context_length < EXPANDED_MAX ? info->context_length
                                                                           : EXPANDED_MAX;
}

/* NULL: not all of them are known, or *ret_nomem. `total`: tokens of the whole prompt. */
static struct image *measure_all(struct weir_request *r, struct weir_ids ids, size_t *ret_total,
                                 bool *ret_nomem) {
    const struct weir_model_info *info = weir_model_info(r->model);
    const struct weir_image_rules *rules = &info->images;
    const struct weir_media *media = &r->q.prep.media;
    uint64_t most = most_tokens(info);
    uint64_t total = ids.n + rules->has_bos, places = 0;
    *ret_nomem = false;
    for (size_t i = 0; i < ids.n && rules->known; i++)
        places += ids.ids[i] == rules->image_token;
    if (!rules->known || places != media->n || has_other_sizes(r->q.prep.mm_processor_kwargs))
        return NULL;
    struct image *images = weir_arena_alloc(&r->arena, media->n * sizeof(*images));
    *ret_nomem = images == NULL;
    for (size_t i = 0; i < media->n && images != NULL; i++) {
        if (!measure(rules, &media->items[i], &images[i]) || images[i].n_tokens > most)
            return NULL;
        total += images[i].n_tokens - 1;
        if (total > most)
            return NULL;
    }
    *ret_total = (size_t)total;
    return images;
}

static struct weir_ids expand(struct weir_request *r, struct weir_ids ids,
                              const struct image *images, size_t total) {
    const struct weir_image_rules *rules = &weir_model_info(r->model)->images;
    uint32_t *out = weir_arena_alloc(&r->arena, total * sizeof(*out));
    size_t n = 0;
    if (out == NULL)
        return (struct weir_ids){NULL, 0};
    if (rules->has_bos)
        out[n++] = rules->bos;
    for (size_t i = 0; i < ids.n; i++) {
        if (ids.ids[i] != rules->image_token) {
            out[n++] = ids.ids[i];
            continue;
        }
        for (uint64_t k = 0; k < images->n_tokens; k++)
            out[n++] = kvi_medium_id(images->hash);
        images++;
    }
    WEIR_ASSERT(n == total);
    return (struct weir_ids){out, n};
}

/* The ids reach to the end of the last block, as the reference fills it up. */
static enum weir_status put_info(struct weir_buf *out, struct weir_ids ids, uint32_t block_size) {
    struct weir_jsonw w;
    size_t blocks = (ids.n + block_size - 1) / block_size;
    weir_jsonw_init(&w, out);
    weir_jsonw_object_begin(&w);
    weir_jsonw_key(&w, "routing_token_ids");
    weir_jsonw_array_begin(&w);
    for (size_t i = 0; i < blocks * block_size; i++)
        weir_jsonw_u64(&w, i < ids.n ? ids.ids[i] : 0);
    weir_jsonw_array_end(&w);
    weir_jsonw_key(&w, "block_mm_infos");
    weir_jsonw_array_begin(&w);
    weir_jsonw_array_end(&w);
    weir_jsonw_key(&w, "expanded_prompt_len");
    weir_jsonw_u64(&w, ids.n);
    weir_jsonw_object_end(&w);
    return w.status;
}

static enum weir_status put_hashes(struct weir_buf *out, const struct image *images, size_t n) {
    struct weir_jsonw w;
    char hex[17];
    weir_jsonw_init(&w, out);
    weir_jsonw_array_begin(&w);
    for (size_t i = 0; i < n; i++) {
        snprintf(hex, sizeof(hex), "%016" PRIx64, images[i].hash);
        weir_jsonw_string_z(&w, hex);
    }
    weir_jsonw_array_end(&w);
    return w.status;
}

static bool tell(struct weir_request *r, const struct image *images, struct weir_ids ids) {
    struct weir_buf out;
    weir_buf_init(&out, WEIR_REQUEST_ARENA);
    bool ok = put_info(&out, ids, weir_model_info(r->model)->block_size) == WEIR_OK;
    if (ok)
        r->q.prep.mm_routing_info = weir_arena_copy(&r->arena, weir_buf_span(&out));
    weir_buf_clear(&out);
    ok = ok && put_hashes(&out, images, r->q.prep.media.n) == WEIR_OK;
    if (ok)
        r->q.mm_hashes = weir_arena_copy(&r->arena, weir_buf_span(&out));
    weir_buf_fini(&out);
    return ok && r->q.prep.mm_routing_info.data != NULL && r->q.mm_hashes.data != NULL;
}

bool weir_request_expand_images(struct weir_request *r, struct weir_ids ids) {
    size_t total = 0;
    bool nomem;
    const struct image *images = measure_all(r, ids, &total, &nomem);
    if (images == NULL)
        return !nomem || weir_request_fail_memory(r);
    r->expanded = expand(r, ids, images, total);
    return (r->expanded.ids != NULL && tell(r, images, r->expanded)) || weir_request_fail_memory(r);
}
