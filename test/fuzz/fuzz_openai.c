/*
 * Bodies of chat and completion requests. Properties: a refusal has a status and words, a request
 * that passes has what it needs; bytes that pass as they are pass with blank space around; media
 * have addresses that are written alike once more, and the messages about them are JSON.
 */
#include "base/json.h"
#include "wire/openai_media.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok) {
    if (!ok)
        abort();
}

static void media(struct weir_openai_request *req, struct weir_arena *arena) {
    const struct weir_media_rules rules = {.max_url_bytes = 1 << 16, .allow_internal = true};
    char text[WEIR_MEDIA_TEXT] = "";
    struct weir_buf out;
    struct weir_json j;
    enum weir_status st = weir_openai_take_media(req, &rules, arena, text);
    must(st != WEIR_INVALID || text[0] != '\0');
    if (st != WEIR_OK)
        return;
    for (size_t i = 0; i < req->prep.media.n; i++) {
        const struct weir_medium *m = &req->prep.media.items[i];
        struct weir_span again;
        const char *why = NULL;
        if (m->form != WEIR_MEDIA_URL ||
            weir_media_url(m->value, arena, &again, &why) == WEIR_NOMEM)
            continue;
        must(why == NULL && weir_span_eq(again, m->value));
        weir_media_url_refused(m->value);
    }
    for (int marked = 0; marked < 2; marked++) {
        weir_buf_init(&out, 1 << 24);
        if (weir_openai_put_messages(req, marked ? WEIR_SPAN_LIT("x") : weir_span(NULL, 0), &out) ==
            WEIR_OK) {
            weir_json_init(&j, weir_buf_span(&out), 130);
            must(weir_json_skip(&j, NULL) && weir_json_finish(&j));
        }
        weir_buf_fini(&out);
    }
}

static bool parse(enum weir_openai_kind kind, struct weir_span body) {
    struct weir_arena arena;
    struct weir_openai_request req;
    struct weir_openai_error error = {0};
    const struct weir_openai_rules rules = {0};
    weir_arena_init(&arena, 64u << 20);
    enum weir_status st = weir_openai_parse(kind, body, &rules, &arena, &req, &error);
    if (st == WEIR_OK) {
        must(req.model.len > 0 && req.n >= 1 && req.n <= 128);
        must(kind == WEIR_OPENAI_CHAT ? req.messages.len > 2 : req.n_prompts > 0);
        if (kind == WEIR_OPENAI_CHAT)
            media(&req, &arena);
    } else if (st != WEIR_NOMEM) {
        must((error.http_status == 400 || error.http_status == 501) && error.message.len > 0);
    }
    weir_arena_fini(&arena);
    return st == WEIR_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct weir_buf spaced;
    struct weir_span body = weir_span((const char *)data, size);
    if (size == 0 || size > 1 << 16)
        return 0;
    weir_buf_init(&spaced, size + 16);
    must(weir_buf_append(&spaced, " \n", 2) == WEIR_OK &&
         weir_buf_append_span(&spaced, body) == WEIR_OK &&
         weir_buf_append(&spaced, "\t ", 2) == WEIR_OK);
    enum weir_openai_kind kinds[] = {WEIR_OPENAI_CHAT, WEIR_OPENAI_COMPLETION};
    for (size_t i = 0; i < 2; i++)
        must(!parse(kinds[i], body) || parse(kinds[i], weir_buf_span(&spaced)));
    weir_buf_fini(&spaced);
    return 0;
}
