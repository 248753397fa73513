/*
 * Chats with images, videos or sounds before workers of the request plane: the worker fetches and
 * decodes them, and puts its own tokens where the template has one for each. Where it is known what
 * it puts there, blocks are compared all through (request_images.c). Else the tokens here say what
 * a block holds up to the first of them and no further: only those blocks are looked for and
 * promised (kvindex would else take two prompts for one that differ in their images alone). Those
 * behind them count as load.
 */
#include "base/utf8.h"
#include "frontend/request_priv.h"
#include "wire/openai_media.h"

/* Stands for no medium in any template: where the prompt changes with it, the first one begins. */
#define MARK                                                                                       \
    "\x02"                                                                                         \
    "weir"                                                                                         \
    "\x03"

static struct weir_media_rules rules_of(const struct weir_app *app) {
    return (struct weir_media_rules){.max_url_bytes = (size_t)app->options.mm_max_data_url_mb << 20,
                                     .allow_internal = app->options.mm_allow_internal};
}

enum weir_status weir_request_media_of(const struct weir_app *app, struct weir_openai_request *q,
                                       struct weir_arena *arena, struct weir_err *err) {
    struct weir_media_rules rules = rules_of(app);
    char text[WEIR_MEDIA_TEXT];
    enum weir_status st = weir_openai_take_media(q, &rules, arena, text);
    return st == WEIR_INVALID ? weir_err_set(err, st, "%s", text) : st;
}

/* "messages[0].content[1].image_url.url: why". Of a request of another API that place is not one of
 * the client's: the why alone. */
static void fail_medium(struct weir_request *r, const char *text) {
    struct weir_err words = {.text = ""};
    struct weir_span why = weir_span_z(text);
    if (weir_request_is_translated(r) && weir_span_starts(why, WEIR_SPAN_LIT("messages["))) {
        weir_span_split(why, ' ', &why);
        (void)weir_err_set(&words, WEIR_INVALID, "image: %.*s", WEIR_SPAN_ARG(why));
        why = weir_span_z(words.text);
    }
    weir_request_fail(r, 400, weir_arena_copy(&r->arena, why), "validation");
}

bool weir_request_take_media(struct weir_request *r) {
    struct weir_err err = {.text = ""};
    if (r->only_counts) {
        weir_request_fail(r, 501, WEIR_SPAN_LIT(WEIR_REQUEST_MEDIA_NOT_COUNTED), "not_implemented");
        return false;
    }
    enum weir_status st = weir_request_media_of(r->fl->app, &r->q, &r->arena, &err);
    if (st == WEIR_OK)
        return true;
    if (st != WEIR_INVALID)
        return weir_request_fail_memory(r);
    fail_medium(r, err.text);
    return false;
}

/* ---- tokens before the first -------------------------------------------------------------- */

static size_t common_bytes(struct weir_span a, struct weir_span b) {
    size_t n = 0, end = a.len < b.len ? a.len : b.len;
    while (n < end && a.data[n] == b.data[n])
        n++;
    return n;
}

/* The same conversation with marks instead of media; false: no memory. A template that refuses it
 * leaves `out` empty. */
static bool render_marked(struct weir_request *r, struct weir_buf *out) {
    struct weir_err err = {.text = ""};
    struct weir_buf messages;
    weir_buf_init(&messages, WEIR_REQUEST_ARENA);
    struct wtok_chat chat = weir_request_chat_of(r->fl->app, weir_model_info(r->model), &r->q);
    enum weir_status st = weir_openai_put_messages(&r->q, WEIR_SPAN_LIT(MARK), &messages);
    chat.messages = weir_buf_span(&messages);
    if (st == WEIR_OK)
        st = wtok_render_chat(weir_model_info(r->model)->tok, &chat, out, &err);
    if (st != WEIR_OK)
        weir_buf_clear(out);
    weir_buf_fini(&messages);
    return st != WEIR_NOMEM;
}

/* What precedes the first medium in the text makes the same tokens alone, but for the last ones.
 * (Where a template shows members that are not told, the texts may part within a character.) */
static bool find_first(struct weir_request *r, struct weir_span text, struct weir_ids ids) {
    struct weir_buf marked;
    struct weir_ids front;
    weir_buf_init(&marked, WEIR_REQUEST_ARENA);
    bool ok = render_marked(r, &marked);
    text = weir_utf8_cut(text, common_bytes(text, weir_buf_span(&marked)));
    weir_buf_fini(&marked);
    r->before_media = 0;
    if (!ok)
        return weir_request_fail_memory(r);
    if (!weir_request_encode(r, text, WTOK_SPECIAL, &front))
        return false;
    while (r->before_media < front.n && r->before_media < ids.n &&
           front.ids[r->before_media] == ids.ids[r->before_media])
        r->before_media++;
    return true;
}

bool weir_request_tell_media(struct weir_request *r, struct wtok_prompt *prompt,
                             struct weir_ids ids) {
    struct weir_buf messages;
    if (wtok_prompt_join(prompt) != WEIR_OK)
        return weir_request_fail_memory(r);
    struct weir_span text = weir_buf_span(&prompt->text);
    if (!weir_request_expand_images(r, ids) ||
        (r->expanded.ids == NULL && !find_first(r, text, ids)))
        return false;
    weir_buf_init(&messages, WEIR_REQUEST_ARENA);
    bool ok = weir_openai_put_messages(&r->q, weir_span(NULL, 0), &messages) == WEIR_OK;
    if (ok) {
        r->q.told_messages = weir_arena_copy(&r->arena, weir_buf_span(&messages));
        r->q.told_prompt = weir_arena_copy(&r->arena, text);
        ok = r->q.told_messages.data != NULL && r->q.told_prompt.data != NULL &&
             weir_openai_put_extra_args(&r->q, &r->arena) == WEIR_OK;
    }
    weir_buf_fini(&messages);
    return ok || weir_request_fail_memory(r);
}

void weir_request_count_media(const struct weir_request *r) {
    const struct weir_front_model_metrics *m = &weir_model_info(r->model)->metrics;
    const struct weir_media *media = &r->q.prep.media;
    size_t images = 0, videos = 0;
    for (size_t i = 0; i < media->n; i++) {
        images += weir_span_eqz(media->items[i].kind, "image_url");
        videos += weir_span_eqz(media->items[i].kind, "video_url");
    }
    weir_metric_observe(m->images, (double)images);
    weir_metric_observe(m->videos, (double)videos);
    weir_metric_observe(m->sounds, (double)(media->n - images - videos));
}
