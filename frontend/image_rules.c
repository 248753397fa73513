/*
 * Source: what a live Dynamo 1.6.1 was seen to do (test/data/image-rules-1.6.1.jsonl,
 * interop_media.py): which names it knows, what it takes of preprocessor_config.json and refuses,
 * how many tokens it counts.
 */
#include "frontend/image_rules.h"

#include "base/arena.h"
#include "base/file.h"
#include "base/json.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { FILE_MAX = 4 << 20, DEPTH = 64 };

/* ---- families ----------------------------------------------------------------------------- */

enum family { NONE, OTHER, QWEN2, QWEN3 };

/* Those whose tokens are counted otherwise are here so that a name of two families is none. */
static const struct {
    const char *name;
    enum family family;
} names[] = {
    {"qwen2-vl", QWEN2},   {"qwen2_vl", QWEN2}, {"qwen2.5-vl", QWEN2},   {"qwen2_5-vl", QWEN2},
    {"qwen2_5_vl", QWEN2}, {"qwen3-vl", QWEN3}, {"qwen3_vl", QWEN3},     {"qwen3.5", QWEN3},
    {"qwen3_5", QWEN3},    {"qwen3.6", QWEN3},  {"qwen3_6", QWEN3},      {"qwen3-omni", OTHER},
    {"qwen3_omni", OTHER}, {"llava", OTHER},    {"phi-3-vision", OTHER}, {"phi3-vision", OTHER},
    {"phi3_v", OTHER},     {"phi-4", OTHER},    {"phi4", OTHER},         {"llama-4", OTHER},
    {"llama4", OTHER},     {"kimi", OTHER},     {"pixtral", OTHER},      {"inkling", OTHER},
    {"nemotron", OTHER}};

/* The only one that the text names. */
static enum family family_in(struct weir_span text) {
    char low[PATH_MAX];
    enum family found = NONE;
    if (text.len >= sizeof(low))
        return OTHER;
    for (size_t i = 0; i < text.len; i++)
        low[i] =
            (char)(text.data[i] >= 'A' && text.data[i] <= 'Z' ? text.data[i] | 0x20 : text.data[i]);
    for (size_t i = 0; i < WEIR_ARRAY_LEN(names); i++)
        if (memmem(low, text.len, names[i].name, strlen(names[i].name)) != NULL)
            found = found == NONE || found == names[i].family ? names[i].family : OTHER;
    return found;
}

/* ---- preprocessor_config.json ------------------------------------------------------------- */

enum field_kind { TEXT, FLAG, REAL, REALS, WHOLE, SIDES, PATCH };

/* What the reference reads of the file. A member of another type makes all of it unreadable there,
 * and so do both of two names for one. */
static const struct field {
    const char *name, *also;
    enum field_kind kind;
} fields[] = {{"image_processor_type", NULL, TEXT}, {"do_convert_rgb", NULL, FLAG},
              {"do_normalize", NULL, FLAG},         {"do_pad", NULL, FLAG},
              {"do_rescale", NULL, FLAG},           {"do_resize", NULL, FLAG},
              {"do_center_crop", NULL, FLAG},       {"image_mean", "norm_mean", REALS},
              {"image_std", "norm_std", REALS},     {"rescale_factor", NULL, REAL},
              {"resampling", "resample", WHOLE},    {"size", NULL, SIDES},
              {"crop_size", NULL, SIDES},           {"patch_size", NULL, PATCH},
              {"merge_size", NULL, WHOLE},          {"min_pixels", NULL, WHOLE},
              {"max_pixels", NULL, WHOLE},          {"temporal_patch_size", NULL, WHOLE},
              {"num_crops", NULL, WHOLE},           {"dynamic_hd", NULL, WHOLE},
              {"max_image_tiles", NULL, WHOLE},     {"num_img_tokens", NULL, WHOLE},
              {"im_start_token", NULL, TEXT},       {"im_end_token", NULL, TEXT},
              {"slice_start_token", NULL, TEXT},    {"slice_end_token", NULL, TEXT},
              {"vision_start_token", NULL, TEXT},   {"vision_end_token", NULL, TEXT}};

static bool whole_of(struct weir_span raw, uint64_t most, uint64_t *ret) {
    struct weir_json j;
    weir_json_init(&j, raw, 2);
    return weir_json_u64(&j, ret) && *ret <= most;
}

static bool is_reals(struct weir_span raw) {
    struct weir_json j;
    double v;
    weir_json_init(&j, raw, 2);
    if (!weir_json_array_enter(&j))
        return false;
    while (weir_json_array_next(&j))
        if (!weir_json_f64(&j, &v))
            return false;
    return weir_json_finish(&j);
}

static bool is_sides(struct weir_span raw) {
    struct weir_json j;
    struct weir_json_str key;
    struct weir_span value;
    uint64_t v;
    weir_json_init(&j, raw, 2);
    if (!weir_json_object_enter(&j))
        return false;
    while (weir_json_object_next(&j, &key))
        if (!weir_json_skip(&j, &value) || !whole_of(value, UINT32_MAX, &v))
            return false;
    return weir_json_finish(&j);
}

static bool fits(enum field_kind kind, struct weir_span raw) {
    enum weir_json_type type = weir_json_type_of(raw);
    uint64_t v;
    switch (kind) {
    case TEXT:
        return type == WEIR_JSON_STRING;
    case FLAG:
        return type == WEIR_JSON_TRUE || type == WEIR_JSON_FALSE;
    case REAL:
        return type == WEIR_JSON_NUMBER;
    case REALS:
        return is_reals(raw);
    case WHOLE:
        return whole_of(raw, INT64_MAX, &v);
    case SIDES:
        return is_sides(raw);
    case PATCH:
        return whole_of(raw, INT32_MAX, &v) || is_sides(raw);
    }
    return false;
}

/* A member that is there and no null. */
static bool member(struct weir_span object, const char *name, struct weir_span *ret) {
    return name != NULL && weir_json_member(object, name, ret) &&
           weir_json_type_of(*ret) != WEIR_JSON_NULL;
}

static bool is_object(struct weir_span text, struct weir_span *ret) {
    struct weir_json j;
    weir_json_init(&j, text, DEPTH);
    return text.data != NULL && weir_json_peek(&j) == WEIR_JSON_OBJECT && weir_json_skip(&j, ret) &&
           weir_json_finish(&j);
}

static bool is_readable(struct weir_span config) {
    struct weir_span raw;
    for (size_t i = 0; i < WEIR_ARRAY_LEN(fields); i++) {
        const struct field *f = &fields[i];
        bool here = member(config, f->name, &raw);
        if (here && !fits(f->kind, raw))
            return false;
        if (!member(config, f->also, &raw))
            continue;
        if (here || !fits(f->kind, raw))
            return false;
    }
    return true;
}

/* The number, where it is said; it fits, see is_readable(). */
static uint64_t number(struct weir_span config, const char *name, uint64_t otherwise) {
    struct weir_span raw;
    uint64_t v;
    return member(config, name, &raw) && whole_of(raw, INT64_MAX, &v) ? v : otherwise;
}

static uint64_t patch_of(struct weir_span config, uint64_t otherwise) {
    struct weir_span raw = {NULL, 0};
    if (!member(config, "patch_size", &raw))
        return otherwise;
    return weir_json_type_of(raw) == WEIR_JSON_OBJECT ? number(raw, "height", otherwise)
                                                      : number(config, "patch_size", otherwise);
}

static bool fill(enum family family, struct weir_span config, struct weir_image_rules *r) {
    enum { SIDE_MAX = 1 << 12 };
    static const uint64_t pixels_max = (uint64_t)1 << 40;
    bool third = family == QWEN3;
    uint64_t least = third ? 65536 : 200704, most = third ? 16777216 : 1003520;
    struct weir_span size;
    /* Files of the second family name these too, and there they are not read. */
    if (third && member(config, "size", &size)) {
        least = number(size, "shortest_edge", least);
        most = number(size, "longest_edge", most);
    }
    uint64_t patch = patch_of(config, third ? 16 : 14), merge = number(config, "merge_size", 2);
    r->min_pixels = number(config, "min_pixels", least);
    r->max_pixels = number(config, "max_pixels", most);
    if (patch == 0 || patch > SIDE_MAX || merge == 0 || merge > SIDE_MAX || r->max_pixels == 0 ||
        r->max_pixels > pixels_max || r->min_pixels > pixels_max)
        return false;
    r->patch = (uint32_t)patch;
    r->merge = (uint32_t)merge;
    return true;
}

/* ---- all of it ---------------------------------------------------------------------------- */

static enum family family_of(struct weir_span source, struct weir_span config) {
    struct weir_span raw;
    struct weir_json j;
    struct weir_json_str s;
    enum family named = family_in(source);
    if (named != NONE)
        return named;
    if (!member(config, "model_type", &raw))
        return NONE;
    weir_json_init(&j, raw, 2);
    return weir_json_string(&j, &s) && !s.escaped ? family_in(s.raw) : NONE;
}

void weir_image_rules_read(struct weir_span source, const struct weir_image_files *files,
                           struct weir_image_rules *ret) {
    struct weir_span config, preprocessor, raw;
    uint64_t token;
    *ret = (struct weir_image_rules){.known = false};
    if (!is_object(files->model, &config) || !is_object(files->preprocessor, &preprocessor))
        return;
    enum family family = family_of(source, config);
    if ((family != QWEN2 && family != QWEN3) || !is_readable(preprocessor) ||
        !member(config, "image_token_id", &raw) || !whole_of(raw, UINT32_MAX, &token) ||
        !fill(family, preprocessor, ret))
        return;
    ret->image_token = (uint32_t)token;
    ret->known = true;
}

/* bos_token, a text or an object with one, where add_bos_token says so; data NULL: none. */
static struct weir_span bos_text(struct weir_span config, struct weir_arena *arena) {
    struct weir_span raw, none = {NULL, 0};
    struct weir_json j;
    struct weir_json_str s;
    if (!member(config, "add_bos_token", &raw) || weir_json_type_of(raw) != WEIR_JSON_TRUE ||
        !member(config, "bos_token", &raw) ||
        (weir_json_type_of(raw) == WEIR_JSON_OBJECT && !member(raw, "content", &raw)))
        return none;
    weir_json_init(&j, raw, 2);
    return weir_json_string(&j, &s) ? weir_json_text(s, arena) : none;
}

static struct weir_span read_file(const char *dir, const char *name, struct weir_arena *arena) {
    char path[PATH_MAX];
    struct weir_buf text;
    struct weir_err err = {.text = ""};
    struct weir_span out = {NULL, 0};
    int n = snprintf(path, sizeof(path), "%s/%s", dir, name);
    if (n < 0 || (size_t)n >= sizeof(path))
        return out;
    weir_buf_init(&text, FILE_MAX);
    if (weir_file_read(path, WEIR_FILE_PLAIN, &text, &err) == WEIR_OK)
        out = weir_arena_copy(arena, weir_buf_span(&text));
    weir_buf_fini(&text);
    return out;
}

void weir_image_rules_load(const char *dir, const char *source, const struct wtok *tok,
                           struct weir_image_rules *ret) {
    struct weir_arena arena;
    uint32_t ids[2];
    size_t n = 0;
    weir_arena_init(&arena, (size_t)4 * FILE_MAX);
    const struct weir_image_files files = {read_file(dir, "config.json", &arena),
                                           read_file(dir, "preprocessor_config.json", &arena)};
    struct weir_span tokenizer = read_file(dir, "tokenizer_config.json", &arena);
    weir_image_rules_read(weir_span_z(source), &files, ret);
    struct weir_span bos = ret->known ? bos_text(tokenizer, &arena) : weir_span(NULL, 0);
    if (bos.data != NULL && wtok_encode(tok, bos, WTOK_SPECIAL, ids, 2, &n) == WEIR_OK && n == 1) {
        ret->has_bos = true;
        ret->bos = ids[0];
    }
    weir_arena_fini(&arena);
}

/* ---- tokens ------------------------------------------------------------------------------- */

/* Pixels a side in whole tokens, at least one of them. */
static double at_least_one(double side, double token) {
    return side < token ? token : side;
}

/* Sides become whole tokens of about the same area; an area beyond a bound is brought to that. One
 * that is very long becomes a single token. */
uint64_t weir_image_rules_tokens(const struct weir_image_rules *r, uint32_t width,
                                 uint32_t height) {
    const double longest = 200;
    double w = width, h = height, token = (double)r->patch * r->merge;
    double least = (double)r->min_pixels, most = (double)r->max_pixels;
    if (fmax(w, h) / fmin(w, h) > longest)
        return 1;
    double across = at_least_one(rint(w / token) * token, token),
           down = at_least_one(rint(h / token) * token, token);
    if (across * down > most) {
        double shrink = sqrt(w * h / most);
        across = at_least_one(floor(w / shrink / token) * token, token);
        down = at_least_one(floor(h / shrink / token) * token, token);
    } else if (across * down < least) {
        double grow = sqrt(least / (w * h));
        across = ceil(w * grow / token) * token;
        down = ceil(h * grow / token) * token;
    }
    return (uint64_t)(across / token) * (uint64_t)(down / token);
}
