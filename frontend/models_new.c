/*
 * A card made into a model: names, parsers, router, waiting room, tokenizer. Happy path: new →
 * its tokenizer is read on a thread → on_loaded: the workers that are there join. Failure modes: a
 * model that cannot be made is logged once and not there; one whose files cannot be read is there
 * and never ready.
 */
#include "frontend/models_priv.h"

#include "base/log.h"
#include "base/mem.h"
#include "parsers/wprs.h"
#include "wire/card_sum.h"

#include <math.h>

/* A model whose calls nobody could read is not served: better than calls as plain text. */
static enum weir_status fill_parsers(struct weir_models *m, struct weir_model *x,
                                     const struct weir_card *card, struct weir_err *err) {
    struct weir_span tool = m->config.tool_parser != NULL ? weir_span_z(m->config.tool_parser)
                                                          : card->tool_call_parser,
                     reasoning = m->config.reasoning_parser != NULL
                                     ? weir_span_z(m->config.reasoning_parser)
                                     : card->reasoning_parser;
    enum weir_status st = wprs_check_names(tool, reasoning, err);
    if (st != WEIR_OK)
        return st;
    x->info.tool_parser = weir_arena_copy(&x->arena, tool);
    x->info.reasoning_parser = weir_arena_copy(&x->arena, reasoning);
    return x->info.tool_parser.data != NULL && x->info.reasoning_parser.data != NULL
               ? WEIR_OK
               : weir_err_set(err, WEIR_NOMEM, "out of memory");
}

static bool has_tokenizer(const struct weir_models *m) {
    return m->config.model_path != NULL || m->config.bytes_tokenizer;
}

/* Requests can be served: with a tokenizer, or by engines that need none from us. */
bool weir_model_usable(const struct weir_model *x) {
    return x->info.tok != NULL || x->info.text_input ||
           (x->info.engines && x->load == NULL && !x->failed);
}

/* Without tokens there is nothing to match with what the engines hold. */
static void fill_engines(struct weir_models *m, struct weir_model *x,
                         const struct weir_models_engine *engine, struct weir_router_config *rc) {
    x->info.engines = true;
    x->info.needs_prefill = engine->sglang && engine->decode;
    x->info.flavour = engine->sglang ? WTOK_FLAVOUR_SGLANG : WTOK_FLAVOUR_VLLM;
    x->info.tokenizes = engine->tokenizes;
    if (has_tokenizer(m))
        return;
    x->info.engine_tokens = engine->tokenizes && rc->mode == WEIR_ROUTE_KV;
    if (rc->mode != WEIR_ROUTE_KV || engine->tokenizes)
        return;
    rc->mode = WEIR_ROUTE_ROUND_ROBIN;
    WEIR_LOG(WEIR_LOG_WARN, "models",
             "model %s: no routing by KV cache, because there is no tokenizer: its engine has no "
             "/tokenize and no --model-path is given; its requests take turns",
             x->name);
}

static void observe_wait(void *arg, double waited_s) {
    weir_metric_observe(arg, waited_s);
}

enum weir_status weir_models_rooms(const struct weir_models_config *c, struct weir_span model,
                                   bool prefill, struct weir_router *router,
                                   struct weir_rooms **ret) {
    const struct weir_policy_profile *profile =
        c->policy != NULL ? weir_policy_profile_of(c->policy, model) : NULL;
    const struct weir_pool_set *pools =
        c->pools != NULL ? weir_pool_config_set(c->pools, prefill) : NULL;
    if (profile == NULL && isnan(c->router.queue_threshold) &&
        isnan(c->router.queue_decode_threshold))
        return WEIR_OK;
    char *name = weir_strndup(model.data, model.len);
    if (name == NULL)
        return WEIR_NOMEM;
    struct weir_admission_config ac = {
        .queue = c->queue,
        .profile = profile,
        .on_granted = observe_wait,
        .arg = weir_front_queue_wait(c->metrics, name, prefill ? "prefill" : "serve")};
    weir_free(name);
    return weir_rooms_create(&ac, router, pools != NULL ? (uint32_t)pools->n : 0, ret);
}

/* A file's checksum tells it from another; the path does where there is none. */
static bool copy_sums(struct weir_model *x, const struct weir_card *card) {
    const struct weir_file_ref *files[] = {&card->tokenizer, &card->prompt_formatter,
                                           &card->chat_template, &card->gen_config};
    bool ok = true;
    for (size_t i = 0; i < WEIR_ARRAY_LEN(files); i++) {
        const struct weir_file_ref *f = files[i];
        x->sums[i] = weir_arena_copy(&x->arena, f->checksum.len > 0 ? f->checksum : f->path);
        ok &= x->sums[i].data != NULL;
    }
    return ok;
}

static enum weir_status fill_info(struct weir_models *m, struct weir_model *x,
                                  const struct weir_card *card) {
    struct weir_span raw;
    x->name = weir_strndup(card->display_name.data, card->display_name.len);
    x->decodes_media = weir_json_member(card->json, "media_decoder", &raw) &&
                       weir_json_type_of(raw) != WEIR_JSON_NULL;
    x->aliases = weir_arena_alloc(&x->arena, (card->aliases.n + 1) * sizeof(*x->aliases));
    if (x->name == NULL || x->aliases == NULL || !copy_sums(x, card))
        return WEIR_NOMEM;
    for (size_t i = 0; i < card->aliases.n; i++)
        x->aliases[x->n_aliases++] = weir_arena_copy(&x->arena, card->aliases.items[i]);
    x->info = (struct weir_model_info){.name = x->name,
                                       .workers_of = x->name,
                                       .context_length = card->context_length,
                                       .block_size = weir_models_block_size(m, card),
                                       .migration_limit = card->migration_limit,
                                       .total_kv_blocks = card->total_kv_blocks,
                                       .max_num_seqs = card->max_num_seqs,
                                       .max_num_batched_tokens = card->max_num_batched_tokens,
                                       .chat = card->chat,
                                       .completions = card->completions,
                                       .embeddings = weir_card_only_embeds(card),
                                       .text_input = !card->input_tokens,
                                       .eagle = card->enable_eagle};
    return WEIR_OK;
}

/* As the reference's preprocessor, which is made of the first card of a set: what comes later has
 * an equal one, but for where the model came from. */
static enum weir_status fill_sum(struct weir_model *x, const struct weir_card *card) {
    char hex[WEIR_CARD_SUM_BYTES];
    enum weir_status st = weir_card_sum_of(card, true, hex);
    if (st != WEIR_OK)
        return st;
    x->info.card_sum = weir_arena_copy(&x->arena, weir_span(hex, sizeof(hex) - 1));
    return x->info.card_sum.data != NULL ? WEIR_OK : WEIR_NOMEM;
}

static enum weir_status fill_router(struct weir_models *m, struct weir_model *x,
                                    const struct weir_models_engine *engine) {
    struct weir_router_config rc = m->config.router;
    rc.block_size = x->info.block_size;
    if (engine != NULL)
        fill_engines(m, x, engine, &rc);
    enum weir_status st = weir_router_create(&rc, &x->info.router);
    if (st == WEIR_OK)
        weir_router_set_thresholds(x->info.router, &m->config.thresholds);
    if (st == WEIR_OK && m->config.sync != NULL)
        weir_replica_sync_attach(m->config.sync, x->info.router);
    return st == WEIR_OK ? weir_models_rooms(&m->config, weir_span_z(x->name), false,
                                             x->info.router, &x->info.rooms)
                         : st;
}

/* Whose frontend reads the images itself names them by what it read, which is not done here. */
static void set_tokenizer(struct weir_model *x, struct wtok *tok,
                          const struct weir_image_rules *images) {
    x->info.tok = tok;
    x->info.images = *images;
    x->info.images.known &= !x->decodes_media && x->info.block_size > 0;
}

/* The tokenizer is there, or cannot be had. On the control loop. */
static void on_loaded(void *arg, struct wtok *tok, const struct weir_image_rules *images,
                      const struct weir_err *err) {
    struct weir_model *x = arg;
    struct weir_models *m = x->models;
    pthread_mutex_lock(&m->lock);
    x->load = NULL;
    weir_list_remove(&x->loading);
    set_tokenizer(x, tok, images);
    x->failed = tok == NULL;
    WEIR_LIST_FOREACH(it, &m->models) {
        if (MODEL(it)->base == x && !MODEL(it)->own_tok)
            set_tokenizer(MODEL(it), tok, images);
    }
    if (x->failed)
        WEIR_LOG(WEIR_LOG_ERROR, "models", "model %s is not served: %s", x->name, err->text);
    WEIR_LIST_FOREACH(it, &m->workers) {
        if (tok != NULL && WORKER(it)->model == x && WORKER(it)->records.address != NULL)
            weir_models_join(WORKER(it));
        else if (x->base != NULL && WORKER(it)->model == x->base)
            weir_models_adapters_join(WORKER(it));
    }
    pthread_mutex_unlock(&m->lock);
    weir_model_unref(x);
}

static enum weir_status start_load(struct weir_models *m, struct weir_model *x,
                                   const struct weir_card *card) {
    if (x->info.text_input || (x->info.engines && !has_tokenizer(m)))
        return WEIR_OK;
    if (card->builtin_bytes_tokenizer || m->config.bytes_tokenizer)
        return wtok_create_bytes(&x->info.tok);
    atomic_fetch_add_explicit(&x->refs, 1, memory_order_relaxed);
    struct weir_tok_load_config lc = {.model = x->name,
                                      .model_path = m->config.model_path,
                                      .hub = m->config.hub,
                                      .cache_bytes = m->config.tokenizer_cache_bytes};
    enum weir_status st = weir_tok_load_start(m->config.loop, card, &lc, on_loaded, x, &x->load);
    if (st == WEIR_OK)
        weir_list_push_back(&m->loading, &x->loading);
    else
        atomic_fetch_sub_explicit(&x->refs, 1, memory_order_relaxed);
    return st;
}

static struct weir_model *begin_model(struct weir_models *m) {
    struct weir_model *x = weir_calloc(1, sizeof(*x));
    if (x == NULL)
        return NULL;
    weir_list_init(&x->node);
    weir_list_init(&x->loading);
    weir_arena_init(&x->arena, 1 << 20);
    atomic_init(&x->refs, 1);
    x->models = m;
    return x;
}

/* Into the registry; or freed, for the reason given. */
static struct weir_model *end_model(struct weir_models *m, struct weir_model *x,
                                    const struct weir_card *card, enum weir_status st,
                                    const struct weir_err *err) {
    if (st != WEIR_OK) {
        WEIR_LOG(WEIR_LOG_ERROR, "models", "model %.*s is not served: %s",
                 WEIR_SPAN_ARG(card->display_name),
                 err->text[0] != '\0' ? err->text : weir_status_text(st));
        weir_model_free(x);
        return NULL;
    }
    struct weir_front_model_metrics *g = &x->info.metrics;
    weir_front_metrics_model(m->config.metrics, x->name, g);
    weir_metric_set(g->total_kv_blocks, (double)x->info.total_kv_blocks);
    weir_metric_set(g->max_num_seqs, (double)x->info.max_num_seqs);
    weir_metric_set(g->max_num_batched_tokens, (double)x->info.max_num_batched_tokens);
    weir_metric_set(g->context_length, x->info.context_length);
    weir_metric_set(g->block_size, x->info.block_size);
    weir_metric_set(g->migration_limit, x->info.migration_limit);
    weir_list_push_back(&m->models, &x->node);
    return x;
}

struct weir_model *weir_models_new(struct weir_models *m, const struct weir_card *card,
                                   const struct weir_models_engine *engine) {
    struct weir_model *x = begin_model(m);
    struct weir_err err = {.text = ""};
    if (x == NULL)
        return NULL;
    enum weir_status st = fill_info(m, x, card);
    x->info.embeddings |= engine != NULL; /* it says what it can */
    if (st == WEIR_OK && engine == NULL)
        st = fill_sum(x, card);
    if (st == WEIR_OK)
        st = fill_router(m, x, engine);
    if (st == WEIR_OK)
        st = fill_parsers(m, x, card, &err);
    if (st == WEIR_OK)
        st = start_load(m, x, card);
    return end_model(m, x, card, st, &err);
}

static bool same_files(const struct weir_models *m, const struct weir_model *x) {
    bool same = true;
    for (size_t i = 0; i < WEIR_ARRAY_LEN(x->sums); i++)
        same &= weir_span_eq(x->sums[i], x->base->sums[i]);
    return same || has_tokenizer(m); /* an operator's files are for every model */
}

/* Whose workers it has, and how they are shared. */
static enum weir_status fill_base(struct weir_models *m, struct weir_model *x,
                                  const struct weir_card *card, struct weir_model *base) {
    x->base = weir_model_ref(base);
    x->info.router = base->info.router;
    x->info.rooms = base->info.rooms;
    x->info.block_size = base->info.block_size;
    x->info.eagle = base->info.eagle;
    x->info.adapter = ++m->last_adapter;
    x->info.workers_of = base->name;
    x->info.card_sum = base->info.card_sum; /* its requests are made as the base's are */
    x->info.lora = weir_arena_copy(&x->arena, card->lora_name);
    return x->info.lora.data != NULL ? WEIR_OK : WEIR_NOMEM;
}

struct weir_model *weir_models_new_adapter(struct weir_models *m, const struct weir_card *card,
                                           struct weir_model *base) {
    struct weir_model *x = begin_model(m);
    struct weir_err err = {.text = ""};
    if (x == NULL)
        return NULL;
    enum weir_status st = fill_info(m, x, card);
    if (st == WEIR_OK)
        st = fill_base(m, x, card, base);
    if (st == WEIR_OK)
        st = fill_parsers(m, x, card, &err);
    x->own_tok = st == WEIR_OK && !same_files(m, x);
    if (x->own_tok)
        st = start_load(m, x, card);
    else if (st == WEIR_OK)
        set_tokenizer(x, base->info.tok, &base->info.images);
    return end_model(m, x, card, st, &err);
}
