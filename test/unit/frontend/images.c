/*
 * Tokens of images. Outside reference: what a live Dynamo 1.6.1 counted, image by image
 * (images-1.6.1.jsonl) and model by model (image-rules-1.6.1.jsonl); interop_media.py asks it
 * again.
 */
#include "base/arena.h"
#include "base/base64.h"
#include "base/json.h"
#include "frontend/image_rules.h"
#include "kvindex/kvi.h"
#include "test/check.h"
#include "wire/image_size.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct weir_arena arena;

/* The raw member; data NULL: null, or not there. */
static struct weir_span raw_of(struct weir_span row, const char *name) {
    struct weir_span raw;
    if (!weir_json_member(row, name, &raw) || weir_json_type_of(raw) == WEIR_JSON_NULL)
        return weir_span(NULL, 0);
    return raw;
}

static struct weir_span text_of(struct weir_span row, const char *name) {
    struct weir_span raw = raw_of(row, name);
    struct weir_json j;
    struct weir_json_str s;
    weir_json_init(&j, raw, 2);
    return raw.data != NULL && weir_json_string(&j, &s) ? weir_json_text(s, &arena)
                                                        : weir_span(NULL, 0);
}

static uint64_t number_of(struct weir_span raw) {
    struct weir_json j;
    uint64_t v = UINT64_MAX;
    weir_json_init(&j, raw, 2);
    CHECK(weir_json_u64(&j, &v));
    return v;
}

/* Rows where the reference counts and this is content not to know. */
static bool is_here(struct weir_span row) {
    return !weir_span_eqz(raw_of(row, "here"), "false");
}

static unsigned each_row(const char *file, void (*check)(struct weir_span row)) {
    char *line = NULL;
    size_t room = 0;
    ssize_t n;
    unsigned rows = 0;
    FILE *f = fopen(file, "rb");
    CHECK(f != NULL);
    for (; f != NULL && (n = getline(&line, &room, f)) > 0; rows++) {
        check(weir_span(line, (size_t)n));
        weir_arena_reset(&arena);
    }
    free(line);
    if (f != NULL)
        fclose(f);
    return rows;
}

/* ---- images ------------------------------------------------------------------------------- */

static const struct weir_image_rules qwen3 = {
    .known = true, .patch = 16, .merge = 2, .min_pixels = 65536, .max_pixels = 16777216};

static void check_image(struct weir_span row) {
    struct weir_image_size size = {0, 0};
    struct weir_span url = text_of(row, "url"), tokens = raw_of(row, "tokens"), hash;
    bool known = weir_image_size_of_url(url, &size);
    CHECK_MSG(known == (tokens.data != NULL && is_here(row)), "%.*s: %s",
              WEIR_SPAN_ARG(text_of(row, "id")), known ? "has a size" : "has none");
    if (!known || tokens.data == NULL)
        return;
    uint64_t got = weir_image_rules_tokens(&qwen3, size.width, size.height);
    CHECK_MSG(got == number_of(tokens), "%.*s: %ux%u, %llu tokens, not %.*s",
              WEIR_SPAN_ARG(text_of(row, "id")), size.width, size.height, (unsigned long long)got,
              WEIR_SPAN_ARG(tokens));
    char hex[17];
    snprintf(hex, sizeof(hex), "%016llx", (unsigned long long)kvi_medium_hash(url.data, url.len));
    hash = text_of(row, "hash");
    CHECK_MSG(weir_span_eqz(hash, hex), "%.*s: called %s, not %.*s",
              WEIR_SPAN_ARG(text_of(row, "id")), hex, WEIR_SPAN_ARG(hash));
}

static void case_images_as_dynamo_counts_them(void) {
    CHECK(each_row("test/data/images-1.6.1.jsonl", check_image) > 200);
}

/* Cut short anywhere it has no size or the same, and no byte behind its end is read (asan). */
static void check_cuts(struct weir_span row) {
    struct weir_image_size whole, cut;
    struct weir_span url = text_of(row, "url");
    if (url.len > 2000 || !weir_image_size_of_url(url, &whole))
        return;
    for (size_t n = 0; n < url.len; n++) {
        char *copy = malloc(n + 1);
        CHECK(copy != NULL);
        memcpy(copy, url.data, n);
        if (weir_image_size_of_url(weir_span(copy, n), &cut))
            CHECK(cut.width == whole.width && cut.height == whole.height);
        free(copy);
    }
}

static void case_cut_anywhere(void) {
    CHECK(each_row("test/data/images-1.6.1.jsonl", check_cuts) > 200);
}

/* Each byte of the text counts, wherever it stands: as base64 is read elsewhere here. */
static void case_text_that_is_no_base64(void) {
    static const char head[] = "data:image/gif;base64,";
    /* A screen of 3 x 5, a picture, its end: 32 bytes. */
    static const char gif[] = "R0lGODlhAwAFAIAAAAAAAAAAACwAAAAABQAFAAACAkQBADs=";
    char url[sizeof(head) + sizeof(gif)];
    struct weir_image_size size;
    struct weir_span bytes;
    for (size_t at = 0; at < sizeof(gif) - 1; at++)
        for (unsigned c = 1; c < 256; c++) {
            snprintf(url, sizeof(url), "%s%s", head, gif);
            char *text = url + sizeof(head) - 1;
            text[at] = (char)c;
            if (weir_image_size_of_url(weir_span_z(url), &size))
                CHECK_MSG(weir_base64_decode(weir_span_z(text), &arena, &bytes) == WEIR_OK,
                          "byte %u at %zu", c, at);
            weir_arena_reset(&arena);
        }
    snprintf(url, sizeof(url), "%s%s", head, gif);
    CHECK(weir_image_size_of_url(weir_span_z(url), &size) && size.width == 3 && size.height == 5);
}

/* ---- rules -------------------------------------------------------------------------------- */

static void check_counts(struct weir_span id, const struct weir_image_rules *rules,
                         struct weir_span counts) {
    struct weir_json j;
    uint64_t v[3];
    weir_json_init(&j, counts, 4);
    CHECK(weir_json_array_enter(&j));
    while (weir_json_array_next(&j)) {
        CHECK(weir_json_array_enter(&j));
        for (size_t i = 0; i < 3; i++)
            CHECK(weir_json_array_next(&j) && weir_json_u64(&j, &v[i]));
        CHECK(!weir_json_array_next(&j));
        uint64_t got = weir_image_rules_tokens(rules, (uint32_t)v[0], (uint32_t)v[1]);
        CHECK_MSG(got == v[2], "%.*s: %llux%llu, %llu tokens, not %llu", WEIR_SPAN_ARG(id),
                  (unsigned long long)v[0], (unsigned long long)v[1], (unsigned long long)got,
                  (unsigned long long)v[2]);
    }
    CHECK(weir_json_finish(&j));
}

static void put_file(const char *dir, const char *name, struct weir_span text) {
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    if (text.data == NULL) {
        unlink(path);
        return;
    }
    FILE *f = fopen(path, "wb");
    CHECK(f != NULL && fwrite(text.data, 1, text.len, f) == text.len);
    if (f != NULL)
        fclose(f);
}

static char dir[] = "/tmp/weir-images-XXXXXX";

/* A text is the file itself; else the member is. */
static void check_rules(struct weir_span row) {
    struct weir_image_rules rules;
    struct weir_span id = text_of(row, "id"), counts = raw_of(row, "counts");
    struct weir_span file = text_of(row, "preprocessor");
    char source[256];
    struct wtok *tok = NULL;
    CHECK(wtok_create_bytes(&tok) == WEIR_OK);
    snprintf(source, sizeof(source), "/models/%.*s", WEIR_SPAN_ARG(text_of(row, "source")));
    put_file(dir, "config.json", raw_of(row, "config"));
    put_file(dir, "preprocessor_config.json",
             file.data != NULL ? file : raw_of(row, "preprocessor"));
    put_file(dir, "tokenizer_config.json", raw_of(row, "tokenizer_config"));
    weir_image_rules_load(dir, source, tok, &rules);
    wtok_destroy(tok);
    /* A token that no template writes is never found: the reference counts none. */
    bool found = rules.known && rules.image_token == 151655;
    CHECK_MSG(found == (counts.data != NULL && is_here(row)), "%.*s: %s", WEIR_SPAN_ARG(id),
              found ? "known" : "not known");
    if (found && counts.data != NULL)
        check_counts(id, &rules, counts);
}

static void case_rules_as_dynamo_has_them(void) {
    CHECK(mkdtemp(dir) != NULL);
    CHECK(each_row("test/data/image-rules-1.6.1.jsonl", check_rules) > 40);
    put_file(dir, "config.json", weir_span(NULL, 0));
    put_file(dir, "preprocessor_config.json", weir_span(NULL, 0));
    put_file(dir, "tokenizer_config.json", weir_span(NULL, 0));
    CHECK(rmdir(dir) == 0);
}

/* The number that stands for an image in what is hashed: shared spec "kvrouter" 1.2. */
static void case_ids(void) {
    CHECK(kvi_medium_id(0) == 1000000);
    CHECK(kvi_medium_id((1u << 30) | 0xCAFE) == 1000000 + 0xCAFE);
}

int main(void) {
    weir_arena_init(&arena, (size_t)64 << 20);
    CHECK_RUN(case_images_as_dynamo_counts_them);
    CHECK_RUN(case_cut_anywhere);
    CHECK_RUN(case_text_that_is_no_base64);
    CHECK_RUN(case_rules_as_dynamo_has_them);
    CHECK_RUN(case_ids);
    weir_arena_fini(&arena);
    return check_finish();
}
