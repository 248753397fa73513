/* Prompts whose long strings are lent, beside the same prompts rendered whole and encoded without
 * the segment cache. The cache is so small that entries come and go. */
#include "tokenizer/wtok.h"

#include "base/mem.h"
#include "base/rng.h"
#include "test/check.h"

#include <stdio.h>
#include <unistd.h>

enum { PROMPT_MAX = 8 << 20, BASES = 5, BASE_BYTES = 48 << 10 };

static char bases[BASES][BASE_BYTES]; /* what messages begin with, as it stands in JSON */

static const char *const templates[] = {
    "{% for m in messages %}{{ '<s>' + m.role + '\\n' + m.content + '</s>' }}{% endfor %}"
    "{% if add_generation_prompt %}<s>a{% endif %}",
    "{% for m in messages %}{{ m.content }}{% endfor %}",
    "{% macro f(m) %}{{ m.content }}{% endmacro %}"
    "{% for m in messages %}{{ f(m) }}, {% endfor %}",
    "{% for m in messages %}{% set t = m.role + m.content | trim + '</s>' %}{{ t }}"
    "{% filter upper %}{{ m.content }}{% endfilter %}{% endfor %}",
};

/* Text as it stands in JSON. `plain`: with many places to cut at. */
static void put_text(struct weir_rng *rng, struct weir_buf *out, size_t bytes, bool plain) {
    static const char *const atoms[] = {"hello",
                                        " wo",
                                        " x",
                                        "\\nab",
                                        "12",
                                        " ",
                                        "\xC3\xA9",
                                        "e\xCC\x81",
                                        "\\n",
                                        "\\\"",
                                        "\xE5\xA5\xBD\xE3\x80\x82\xE5\xA5\xBD",
                                        "<",
                                        "s>",
                                        "</"};
    for (size_t end = out->len + bytes; out->len < end;) {
        const char *atom = plain ? atoms[weir_rng_below(rng, WEIR_ARRAY_LEN(atoms))] : "q";
        if (plain && weir_rng_below(rng, 300) == 0)
            atom = weir_rng_below(rng, 2) == 0 ? "<s>" : "</s>";
        CHECK(weir_buf_append_z(out, atom) == WEIR_OK);
    }
}

static void make_bases(struct weir_rng *rng) {
    for (size_t i = 0; i < BASES; i++) {
        struct weir_buf text;
        weir_buf_init(&text, 2 * (size_t)BASE_BYTES);
        put_text(rng, &text, BASE_BYTES, true);
        memcpy(bases[i], text.data, BASE_BYTES);
        weir_buf_fini(&text);
    }
}

/* A part of a base, up to the last of its atoms that begins with a blank and a letter. */
static void put_base(struct weir_rng *rng, struct weir_buf *out) {
    const char *b = bases[weir_rng_below(rng, BASES)];
    size_t n = WTOK_LENT_MIN - 300 + weir_rng_below(rng, BASE_BYTES - WTOK_LENT_MIN);
    while (n > 1 && (b[n] != ' ' || b[n + 1] != 'x'))
        n--;
    CHECK(weir_buf_append(out, b, n) == WEIR_OK);
}

static void put_message(struct weir_rng *rng, struct weir_buf *out, bool is_long) {
    unsigned kind = (unsigned)weir_rng_below(rng, is_long ? 7 : 12);
    CHECK(weir_buf_append_z(out, "{\"role\":\"user\",\"content\":\"") == WEIR_OK);
    if (kind < 7)
        put_base(rng, out);
    if (kind != 0)
        put_text(rng, out, weir_rng_below(rng, 3000), true);
    if (kind == 11) /* no place to cut at */
        put_text(rng, out, WTOK_LENT_MIN + weir_rng_below(rng, 2000), false);
    CHECK(weir_buf_append_z(out, "\"}") == WEIR_OK);
}

/* `many`: more long ones than may be lent. */
static void put_messages(struct weir_rng *rng, struct weir_buf *out, bool many) {
    size_t n = many ? 2 * (size_t)WTOK_LENT : 1 + weir_rng_below(rng, 5);
    weir_buf_clear(out);
    for (size_t i = 0; i < n; i++) {
        CHECK(weir_buf_append_c(out, i == 0 ? '[' : ',') == WEIR_OK);
        put_message(rng, out, many);
    }
    CHECK(weir_buf_append_c(out, ']') == WEIR_OK);
}

static void write_file(const char *dir, const char *name, struct weir_span text) {
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    CHECK(f != NULL && fwrite(text.data, 1, text.len, f) == text.len && fclose(f) == 0);
}

static void remove_file(const char *dir, const char *name) {
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    CHECK(unlink(path) == 0);
}

/* `may_be_cut`: no added token looks at what stands beside it. */
static struct wtok *load(const char *template, bool may_be_cut, size_t cache_bytes) {
    static char json[1 << 20];
    char dir[64] = "/tmp/weir-prompt-XXXXXX";
    struct wtok_config config = {.cache_dir = "", .segment_cache_bytes = cache_bytes};
    struct weir_err err = {.text = ""};
    struct wtok *tok = NULL;
    FILE *f = fopen("test/fuzz/corpus/tokenizer_json/byte_level.json", "r");
    CHECK(f != NULL);
    size_t n = fread(json, 1, sizeof(json) - 1, f);
    fclose(f);
    json[n] = '\0';
    char *sides = strstr(json, "\"lstrip\":true,\"rstrip\":true");
    CHECK(sides != NULL && mkdtemp(dir) != NULL);
    if (may_be_cut) {
        static const char none[] = "\"lstrip\":0001,\"rstrip\":0001";
        memcpy(sides, none, sizeof(none) - 1);
        memcpy(strstr(sides, "0001"), "null", 4);
        memcpy(strstr(sides, "0001"), "null", 4);
    }
    write_file(dir, "tokenizer.json", weir_span(json, n));
    write_file(dir, "chat_template.jinja", weir_span_z(template));
    write_file(dir, "tokenizer_config.json", WEIR_SPAN_LIT("{\"bos_token\":\"<s>\"}"));
    CHECK_MSG(wtok_load(dir, &config, &tok, &err) == WEIR_OK, "%s", err.text);
    remove_file(dir, "tokenizer.json");
    remove_file(dir, "chat_template.jinja");
    remove_file(dir, "tokenizer_config.json");
    (void)rmdir(dir);
    return tok;
}

/* Returns how many strings were lent until the end. */
static size_t compare(const struct wtok *tok, const struct wtok_chat *chat) {
    struct weir_err err = {.text = ""};
    struct weir_buf whole;
    struct wtok_prompt p;
    size_t n = 0, want_n = 0;
    weir_buf_init(&whole, PROMPT_MAX);
    wtok_prompt_init(&p, PROMPT_MAX);
    CHECK_MSG(wtok_render_chat(tok, chat, &whole, &err) == WEIR_OK, "%s", err.text);
    CHECK_MSG(wtok_render_prompt(tok, chat, &p, &err) == WEIR_OK, "%s", err.text);
    CHECK_EQ_U64(wtok_prompt_bytes(&p), whole.len);
    size_t room = wtok_encode_bound(tok, whole.len);
    uint32_t *ids = weir_malloc(room * sizeof(*ids)), *want = weir_malloc(room * sizeof(*want));
    CHECK(ids != NULL && want != NULL);
    CHECK(wtok_encode(tok, weir_buf_span(&whole), WTOK_SPECIAL | WTOK_NO_CACHE, want, room,
                      &want_n) == WEIR_OK);
    CHECK(wtok_encode_prompt(tok, &p, WTOK_SPECIAL, ids, room, &n) == WEIR_OK);
    CHECK_EQ_U64(n, want_n);
    CHECK(memcmp(ids, want, n * sizeof(*ids)) == 0);
    size_t lent = p.n_lent;
    if (lent > 0) /* each id has its room, and none more is written */
        CHECK(wtok_encode_prompt(tok, &p, WTOK_SPECIAL, ids, want_n - 1, &n) == WEIR_TOO_LARGE);
    CHECK(wtok_prompt_join(&p) == WEIR_OK && p.n_lent == 0);
    CHECK(p.text.len == whole.len && memcmp(p.text.data, whole.data, whole.len) == 0);
    weir_free(ids);
    weir_free(want);
    weir_buf_fini(&whole);
    wtok_prompt_fini(&p);
    return lent;
}

static void case_ids_of_the_whole(void) {
    struct weir_rng rng;
    struct weir_buf messages;
    size_t lent = 0, most = 0;
    weir_rng_seed(&rng, check_seed());
    make_bases(&rng);
    weir_buf_init(&messages, PROMPT_MAX);
    for (size_t t = 0; t < WEIR_ARRAY_LEN(templates); t++) {
        struct wtok *tok = load(templates[t], true, t == 1 ? 0 : 1 << 20);
        for (int i = 0; i < 25; i++) {
            put_messages(&rng, &messages, i == 0);
            struct wtok_chat chat = {.messages = weir_buf_span(&messages),
                                     .add_generation_prompt = i % 2 == 0};
            size_t n = compare(tok, &chat);
            lent += n;
            most = n > most ? n : most;
        }
        struct wtok_stats stats;
        wtok_stats(tok, &stats);
        CHECK((stats.segment_evictions > 0) == (t != 1) && (stats.segment_hits > 0) == (t != 1));
        wtok_destroy(tok);
    }
    CHECK_MSG(lent > 50 && most == WTOK_LENT, "%zu lent, %zu of one prompt", lent, most);
    weir_buf_fini(&messages);
}

/* Where a token looks at what stands beside it, and for what the end of the text is looked for. */
static void case_joined_where_parts_would_differ(void) {
    struct weir_rng rng;
    struct weir_buf messages;
    weir_rng_seed(&rng, check_seed());
    make_bases(&rng);
    weir_buf_init(&messages, PROMPT_MAX);
    struct wtok *odd = load(templates[0], false, 64 << 10), *tok = load(templates[0], true, 0);
    for (int i = 0; i < 10; i++) {
        put_messages(&rng, &messages, false);
        struct wtok_chat chat = {.messages = weir_buf_span(&messages)};
        CHECK_EQ_U64(compare(odd, &chat), 0);
        chat.continue_final_message = true;
        CHECK_EQ_U64(compare(tok, &chat), 0);
        /* The same wish among the arguments. (Failed before: the final message was not found.) */
        chat.continue_final_message = false;
        chat.flavour = WTOK_FLAVOUR_PLAIN;
        chat.template_args = WEIR_SPAN_LIT("{\"continue_final_message\": true}");
        CHECK_EQ_U64(compare(tok, &chat), 0);
    }
    wtok_destroy(odd);
    wtok_destroy(tok);
    weir_buf_fini(&messages);
}

/* What is lent counts: the bound is that of the whole prompt. */
static void case_bound_of_the_whole(void) {
    struct weir_rng rng;
    struct weir_buf messages;
    weir_rng_seed(&rng, check_seed());
    make_bases(&rng);
    weir_buf_init(&messages, PROMPT_MAX);
    struct wtok *tok = load(templates[0], true, 0);
    for (int i = 0; i < 20; i++) {
        struct weir_err err = {.text = ""};
        struct wtok_prompt p;
        put_messages(&rng, &messages, false);
        struct wtok_chat chat = {.messages = weir_buf_span(&messages)};
        wtok_prompt_init(&p, PROMPT_MAX);
        CHECK(wtok_render_prompt(tok, &chat, &p, &err) == WEIR_OK);
        size_t bytes = wtok_prompt_bytes(&p);
        wtok_prompt_fini(&p);
        for (size_t less = 0; less < 2; less++) {
            wtok_prompt_init(&p, bytes - less);
            enum weir_status st = wtok_render_prompt(tok, &chat, &p, &err);
            CHECK(st == (less == 0 ? WEIR_OK : WEIR_INVALID));
            CHECK(less == 0 || (strstr(err.text, "larger than") != NULL && p.n_lent == 0));
            wtok_prompt_fini(&p);
        }
    }
    wtok_destroy(tok);
    weir_buf_fini(&messages);
}

/* SGLang's way to continue a message: its text is encoded alone, without the begin of text that it
 * then has. Without memory there are no ids, not others. */
static void case_tail(void) {
    static const char text[] = "hello wo";
    struct wtok *tok = load(templates[0], true, 0);
    struct wtok_chat chat = {
        .messages = WEIR_SPAN_LIT("[{\"role\":\"user\",\"content\":\"hello\"},{\"role\":"
                                  "\"assistant\",\"content\":\"hello wo\"}]"),
        .continue_final_message = true,
        .flavour = WTOK_FLAVOUR_SGLANG};
    struct wtok_prompt p;
    struct weir_err err = {.text = ""};
    uint32_t want[256], ids[256];
    size_t n_front = 0, n_tail = 0, n = 0;
    wtok_prompt_init(&p, PROMPT_MAX);
    CHECK_MSG(wtok_render_prompt(tok, &chat, &p, &err) == WEIR_OK, "%s", err.text);
    CHECK(weir_span_eqz(p.tail, text) && p.n_lent == 0);
    CHECK(wtok_encode(tok, weir_buf_span(&p.text), WTOK_SPECIAL | WTOK_NO_CACHE, want, 256,
                      &n_front) == WEIR_OK);
    CHECK(wtok_encode(tok, weir_span_z(text), WTOK_SPECIAL | WTOK_NO_CACHE, want + n_front,
                      256 - n_front, &n_tail) == WEIR_OK);
    bool failed = true;
    for (uint64_t k = 1; failed; k++) {
        weir_mem_fail_at(k);
        enum weir_status st = wtok_encode_prompt(tok, &p, WTOK_SPECIAL, ids, 256, &n);
        failed = weir_mem_count() >= k;
        weir_mem_fail_at(0);
        CHECK(st == WEIR_OK || (st == WEIR_NOMEM && failed));
        CHECK(st != WEIR_OK || (n == n_front + n_tail && memcmp(ids, want, n * sizeof(*ids)) == 0));
    }
    wtok_prompt_fini(&p);
    wtok_destroy(tok);
}

int main(void) {
    CHECK_RUN(case_ids_of_the_whole);
    CHECK_RUN(case_tail);
    CHECK_RUN(case_joined_where_parts_would_differ);
    CHECK_RUN(case_bound_of_the_whole);
    return check_finish();
}
