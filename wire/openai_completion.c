/* Prompts of completion requests. */
#include "wire/openai_priv.h"

enum { MAX_PROMPTS = 4096 };

static bool one_text(struct weir_openai_reading *r, struct weir_span raw, struct weir_prompt *p) {
    p->kind = WEIR_PROMPT_TEXT;
    return weir_raw_string(r, raw, &p->text);
}

/* [1, 2, 3] */
static bool one_ids(struct weir_openai_reading *r, struct weir_span raw, struct weir_prompt *p) {
    p->kind = WEIR_PROMPT_IDS;
    return weir_raw_ids(r, raw, &p->ids);
}

/* All elements are of one kind; numbers are one prompt together. */
static bool read_list(struct weir_openai_reading *r, struct weir_span raw,
                      struct weir_prompt *prompts, size_t *ret_n) {
    struct weir_json j;
    size_t n = 0;
    weir_json_init(&j, raw, WEIR_OPENAI_DEPTH);
    weir_json_array_enter(&j);
    while (weir_json_array_next(&j)) {
        struct weir_span item;
        enum weir_json_type type = weir_json_peek(&j);
        if (type == WEIR_JSON_NUMBER) {
            *ret_n = 1;
            return one_ids(r, raw, &prompts[0]);
        }
        if (n == MAX_PROMPTS)
            return weir_openai_fail(r, 400, "Validation: more than %d prompts", MAX_PROMPTS);
        if (!weir_json_skip(&j, &item) ||
            !(type == WEIR_JSON_STRING ? one_text(r, item, &prompts[n])
                                       : one_ids(r, item, &prompts[n])))
            return false;
        n++;
    }
    *ret_n = n;
    return true;
}

bool weir_openai_check_prompts(struct weir_openai_reading *r) {
    const struct weir_prompt *p = r->req->prompts;
    size_t n = r->req->n_prompts;
    if (n == 0)
        return weir_openai_fail(r, 400, "Validation: Prompt string array cannot be empty");
    for (size_t i = 0; i < n; i++) {
        bool text = p[i].kind == WEIR_PROMPT_TEXT;
        if (text ? p[i].text.len > 0 : p[i].ids.n > 0)
            continue;
        if (!r->prompt_is_list)
            return weir_openai_fail(r, 400, "Validation: Prompt string cannot be empty");
        return weir_openai_fail(r, 400, "Validation: Prompt %s at index %zu cannot be empty",
                                text ? "string" : "integer array", i);
    }
    return true;
}

/* The shape is right. */
bool weir_openai_read_prompt(struct weir_openai_reading *r, struct weir_span raw) {
    size_t n = 1, room = 1;
    r->prompt_is_list = weir_json_type_of(raw) == WEIR_JSON_ARRAY;
    for (size_t i = 0; r->prompt_is_list && i < raw.len && room < MAX_PROMPTS + 1; i++)
        room += raw.data[i] == ',';
    struct weir_prompt *prompts = weir_arena_zalloc(r->arena, room * sizeof(*prompts));
    if (prompts == NULL)
        return weir_openai_nomem(r);
    if (!(r->prompt_is_list ? read_list(r, raw, prompts, &n) : one_text(r, raw, prompts)))
        return false;
    r->req->prompts = prompts;
    r->req->n_prompts = n;
    return true;
}
