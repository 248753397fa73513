/*
 * Requests of one application differ in their prompts and in little else. All that is small is
 * copied into a key of plain bytes, and compared as such; where the keys agree, so does all that
 * stands behind the token ids.
 */
#include "wire/request_priv.h"

#include <math.h>
#include <string.h>

static const uint32_t no_ids[1];

/* Copies `from` into room for WEIR_PREP_IDS and keeps only their number; NULL stays NULL. */
static bool key_ids(struct weir_ids from, struct weir_ids *to, uint32_t *room) {
    if (from.n > WEIR_PREP_IDS)
        return false;
    if (from.n > 0)
        memcpy(room, from.ids, from.n * sizeof(*room));
    *to = (struct weir_ids){from.ids != NULL ? no_ids : NULL, from.n};
    return true;
}

/* false: the request says something that has no place in a key. */
static bool make_key(const struct weir_prep_request *req, struct weir_prep_key *k) {
    const struct weir_stop_conditions *stop = &req->stop;
    const struct weir_routing_hints *hints = &req->routing;
    const void *const pointers[] = {stop->stop_token_ids.ids,
                                    stop->stop_token_ids_visible.ids,
                                    req->sampling.guided_decoding.data,
                                    req->sampling.allowed_token_ids.ids,
                                    req->sampling.bad_words_token_ids.data,
                                    hints->lora_name.data,
                                    hints->cache_salt.data,
                                    hints->routing_constraints.data,
                                    req->router_config_override.data,
                                    req->prefill_result.data,
                                    req->extra_args.data,
                                    req->router.data,
                                    req->agent_context.data,
                                    req->image_cache_scope.data,
                                    req->mm_processor_kwargs.data,
                                    req->media_io_kwargs.data,
                                    req->media.items,
                                    req->mm_routing_info.data};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(pointers); i++)
        if (pointers[i] != NULL)
            return false;
    if (stop->stop.set || req->annotations.n > 0 || req->bootstrap.set ||
        !isnan(req->request_timestamp_ms) || req->mdc_sum.len > sizeof(k->mdc_sum))
        return false;
    memset(k, 0, sizeof(*k));
    k->req = *req;
    k->req.model = weir_span(NULL, 0);
    k->req.token_ids = (struct weir_ids){NULL, 0};
    k->req.annotations = k->req.stop.stop = (struct weir_strings){NULL, 0, false};
    k->req.bootstrap = (struct weir_bootstrap){.set = false};
    if (req->mdc_sum.len > 0)
        memcpy(k->mdc_sum, req->mdc_sum.data, req->mdc_sum.len);
    k->req.mdc_sum.data = req->mdc_sum.data != NULL ? "" : NULL;
    return key_ids(req->eos_token_ids, &k->req.eos_token_ids, k->eos) &&
           key_ids(stop->stop_token_ids_hidden, &k->req.stop.stop_token_ids_hidden, k->hidden);
}

enum weir_status weir_prep_request_encode_like(struct weir_prep_pattern *p,
                                               const struct weir_prep_request *req,
                                               enum weir_codec codec, struct weir_buf *out) {
    struct weir_prep_key key;
    struct weir_enc e;
    struct weir_enc_box box;
    if (codec != WEIR_CODEC_MSGPACK || !make_key(req, &key))
        return weir_prep_request_encode(req, codec, out);
    weir_prep_put_head(&e, &box, req, codec, out);
    if (weir_enc_status(&e) != WEIR_OK)
        return weir_enc_status(&e);
    if (p->len > 0 && memcmp(&p->key, &key, sizeof(key)) == 0) {
        box.n += p->n_entries;
        weir_mpw_raw(&e.m, weir_span(p->bytes, p->len));
    } else {
        size_t from = out->len;
        uint32_t before = box.n;
        weir_prep_put_tail(&e, &box, req);
        if (weir_enc_status(&e) == WEIR_OK && out->len - from <= sizeof(p->bytes)) {
            p->key = key;
            p->n_entries = box.n - before;
            p->len = out->len - from;
            memcpy(p->bytes, out->data + from, p->len);
        }
    }
    weir_enc_map_end(&e, &box);
    return weir_enc_status(&e);
}
