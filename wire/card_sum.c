#include "wire/card_sum.h"

#include "base/arena.h"
#include "base/blake3.h"
#include "base/json.h"

#include <stdlib.h>
#include <string.h>

enum { DEPTH = 64, MAX_LIST = 1024, ARENA_MAX = 4 << 20, INPUT_MAX = 4 << 20 };

/* Raw texts of the members that count; data NULL: absent or null. */
enum member {
    NAME,
    SOURCE,
    INFO,
    TOKENIZER,
    FORMATTER,
    TEMPLATE,
    GENERATION,
    EXTRA,
    CONTEXT,
    LENGTH,
    BLOCK_SIZE,
    PART,
    NEEDS,
    ROUTER,
    IDENTITY,
    ALIASES,
    RUNTIME,
    ARCHITECTURE,
    N_MEMBERS
};
static const char *const names[N_MEMBERS] = {
    "display_name",   "source_path",         "model_info",
    "tokenizer",      "prompt_formatter",    "chat_template_file",
    "gen_config",     "extra_files",         "prompt_context",
    "context_length", "kv_cache_block_size", "worker_type",
    "needs",          "router_config",       "indexer_identity",
    "aliases",        "runtime_config",      "architectural_max_context_length"};

static bool find(struct weir_span object, const char *const *keys, size_t n,
                 struct weir_span *ret) {
    struct weir_json j;
    struct weir_json_str key;
    for (size_t i = 0; i < n; i++)
        ret[i] = weir_span(NULL, 0);
    weir_json_init(&j, object, DEPTH);
    if (!weir_json_object_enter(&j))
        return false;
    while (weir_json_object_next(&j, &key)) {
        size_t i = 0;
        struct weir_span raw;
        while (i < n && !weir_json_str_eqz(key, keys[i]))
            i++;
        bool null = weir_json_peek(&j) == WEIR_JSON_NULL;
        if (weir_json_skip(&j, &raw) && i < n && !null)
            ret[i] = raw;
    }
    return weir_json_finish(&j);
}

static struct weir_span text_of(struct weir_span raw, struct weir_arena *arena) {
    struct weir_json j;
    struct weir_json_str s;
    weir_json_init(&j, raw, 1);
    return raw.data != NULL && weir_json_string(&j, &s) ? weir_json_text(s, arena)
                                                        : weir_span(NULL, 0);
}

static uint32_t number_of(struct weir_span raw) {
    uint64_t v = 0;
    return raw.data != NULL && weir_span_u64(raw, &v) && v <= UINT32_MAX ? (uint32_t)v : 0;
}

struct sum {
    struct weir_arena arena;
    struct weir_buf *out;
    enum weir_status st;
};

static void put(struct sum *s, struct weir_span bytes) {
    if (s->st == WEIR_OK && bytes.len > 0)
        s->st = weir_buf_append_span(s->out, bytes);
}

static void put_hash(struct sum *s, struct weir_span bytes) {
    struct weir_blake3 h;
    unsigned char hash[WEIR_BLAKE3_BYTES];
    if (bytes.data == NULL)
        return;
    weir_blake3_init(&h);
    weir_blake3_update(&h, bytes);
    weir_blake3_final(&h, hash);
    put(s, weir_span((const char *)hash, sizeof(hash)));
}

static void put_u32(struct sum *s, uint32_t v) {
    const char be[4] = {(char)(v >> 24), (char)(v >> 16), (char)(v >> 8), (char)v};
    put(s, weir_span(be, sizeof(be)));
}

static void put_byte(struct sum *s, unsigned v) {
    const char b = (char)v;
    put(s, weir_span(&b, 1));
}

/* The checksum of a FILE, which stands inside of one or two objects that say what it is. */
static struct weir_span checksum_in(struct weir_span raw, struct weir_arena *arena,
                                    unsigned depth) {
    struct weir_json j;
    struct weir_json_str key;
    struct weir_span found = {NULL, 0};
    weir_json_init(&j, raw, DEPTH);
    if (raw.data == NULL || depth == 0 || !weir_json_object_enter(&j))
        return found;
    while (weir_json_object_next(&j, &key)) {
        struct weir_span inner, sum = {NULL, 0};
        enum weir_json_type type = weir_json_peek(&j);
        if (!weir_json_skip(&j, &inner))
            break;
        if (type == WEIR_JSON_STRING && weir_json_str_eqz(key, "checksum"))
            sum = text_of(inner, arena);
        else if (type == WEIR_JSON_OBJECT)
            sum = checksum_in(inner, arena, depth - 1);
        if (found.data == NULL)
            found = sum;
    }
    return found;
}

/* ---- extra files ---------------------------------------------------------------------------- */

struct pair {
    struct weir_span name, value;
};

static int compare(const void *a, const void *b) {
    const struct pair *x = a, *y = b;
    int c = weir_span_compare(x->name, y->name);
    return c != 0 ? c : weir_span_compare(x->value, y->value);
}

static struct pair extra_of(struct weir_span raw, struct weir_arena *arena) {
    static const char *const keys[] = {"path", "checksum"};
    struct weir_span at[2], name, hash;
    if (!find(raw, keys, 2, at))
        return (struct pair){{NULL, 0}, {NULL, 0}};
    name = text_of(at[0], arena);
    hash = text_of(at[1], arena);
    for (ptrdiff_t slash; (slash = weir_span_find(name, '/')) >= 0;)
        name = weir_span(name.data + slash + 1, name.len - (size_t)slash - 1);
    ptrdiff_t colon = weir_span_find(hash, ':');
    if (colon >= 0)
        hash = weir_span(hash.data + colon + 1, hash.len - (size_t)colon - 1);
    return (struct pair){name, hash};
}

static void put_extras(struct sum *s, struct weir_span raw) {
    struct weir_json j;
    struct weir_span item;
    size_t n = 0;
    struct pair *extras = weir_arena_alloc(&s->arena, MAX_LIST * sizeof(*extras));
    weir_json_init(&j, raw, DEPTH);
    if (extras == NULL)
        s->st = WEIR_NOMEM;
    if (extras == NULL || raw.data == NULL || !weir_json_array_enter(&j))
        return;
    while (weir_json_array_next(&j) && weir_json_skip(&j, &item)) {
        if (n == MAX_LIST) {
            s->st = WEIR_LIMIT;
            return;
        }
        extras[n++] = extra_of(item, &s->arena);
    }
    qsort(extras, n, sizeof(*extras), compare);
    for (size_t i = 0; i < n; i++) {
        put(s, extras[i].name);
        put_byte(s, 0);
        put(s, extras[i].value);
    }
}

/* ---- what a card tells of its index ---------------------------------------------------------- */

static void put_u32_le(struct sum *s, uint32_t v) {
    const char le[4] = {(char)v, (char)(v >> 8), (char)(v >> 16), (char)(v >> 24)};
    put(s, weir_span(le, sizeof(le)));
}

static void put_counted(struct sum *s, struct weir_span text) {
    put_u32_le(s, (uint32_t)text.len);
    put(s, text);
}

/* A map of texts, by its keys. */
static void put_map(struct sum *s, struct weir_span raw) {
    struct weir_json j;
    struct weir_json_str key;
    struct weir_span value;
    size_t n = 0;
    put_byte(s, raw.data != NULL);
    struct pair *pairs = weir_arena_alloc(&s->arena, MAX_LIST * sizeof(*pairs));
    weir_json_init(&j, raw, DEPTH);
    if (pairs == NULL)
        s->st = WEIR_NOMEM;
    if (pairs == NULL || raw.data == NULL || !weir_json_object_enter(&j))
        return;
    while (weir_json_object_next(&j, &key) && weir_json_skip(&j, &value)) {
        if (n == MAX_LIST) {
            s->st = WEIR_LIMIT;
            return;
        }
        pairs[n++] = (struct pair){weir_json_text(key, &s->arena), text_of(value, &s->arena)};
    }
    qsort(pairs, n, sizeof(*pairs), compare);
    put_u32_le(s, (uint32_t)n);
    for (size_t i = 0; i < n; i++) {
        put_counted(s, pairs[i].name);
        put_counted(s, pairs[i].value);
    }
}

static void put_identity(struct sum *s, struct weir_span raw) {
    static const char *const keys[] = {"semantics", "routing_scope"};
    struct weir_span at[2];
    if (raw.data == NULL || !find(raw, keys, 2, at))
        return;
    put(s, weir_span_z("dynamo/model-card/indexer-identity/v1"));
    put_map(s, at[0]);
    put_map(s, at[1]);
}

/* ---- what its engine can --------------------------------------------------------------------- */

static bool is_on(struct weir_span raw, struct weir_arena *arena) {
    static const char *const words[] = {"1", "true", "on", "yes"};
    if (raw.data == NULL || weir_span_eqz(raw, "true"))
        return raw.data != NULL;
    struct weir_span text = weir_span_trim(text_of(raw, arena));
    for (size_t i = 0; i < WEIR_ARRAY_LEN(words); i++) {
        if (weir_span_ieq(text, weir_span_z(words[i])))
            return true;
    }
    return false;
}

static void put_abilities(struct sum *s, struct weir_span data) {
    static const char *const keys[] = {"vllm_enable_tower_connector_lora",
                                       "vllm_inference_v1_generate"};
    struct weir_span at[2];
    if (data.data == NULL || !find(data, keys, 2, at))
        return;
    for (size_t i = 0; i < 2; i++) {
        if (!is_on(at[i], &s->arena))
            continue;
        put_byte(s, 0);
        put(s, weir_span_z(keys[i]));
        put_byte(s, 0);
        put(s, weir_span_z("true"));
    }
}

/* ---- the rest ------------------------------------------------------------------------------- */

/* As the reference's debug text has the list. */
static void put_context(struct sum *s, struct weir_span raw) {
    struct weir_json j;
    struct weir_span item;
    const char *between = "";
    weir_json_init(&j, raw, DEPTH);
    if (raw.data == NULL || !weir_json_array_enter(&j))
        return;
    put(s, weir_span_z("["));
    while (weir_json_array_next(&j) && weir_json_skip(&j, &item)) {
        struct weir_span name = text_of(item, &s->arena);
        put(s, weir_span_z(between));
        put(s, weir_span_eqz(name, "oai_chat")           ? weir_span_z("OaiChat")
               : weir_span_eqz(name, "llama3_date_time") ? weir_span_z("Llama3DateTime")
                                                         : name);
        between = ", ";
    }
    put(s, weir_span_z("]"));
}

static unsigned part_byte(struct weir_span word) {
    return weir_span_eqz(word, "prefill")      ? 1
           : weir_span_eqz(word, "decode")     ? 2
           : weir_span_eqz(word, "encode")     ? 3
           : weir_span_eqz(word, "aggregated") ? 4
                                               : 0;
}

/* Elements of an array, counted beforehand: the count comes first. */
static uint32_t count(struct weir_span array) {
    struct weir_json j;
    uint32_t n = 0;
    weir_json_init(&j, array, DEPTH);
    if (array.data == NULL || !weir_json_array_enter(&j))
        return 0;
    while (weir_json_array_next(&j) && weir_json_skip(&j, NULL))
        n++;
    return n;
}

static void put_needs(struct sum *s, struct weir_span raw) {
    struct weir_json all, one;
    struct weir_span item, word;
    put_u32(s, count(raw));
    weir_json_init(&all, raw, DEPTH);
    if (raw.data == NULL || !weir_json_array_enter(&all))
        return;
    while (weir_json_array_next(&all) && weir_json_skip(&all, &item)) {
        put_u32(s, count(item));
        weir_json_init(&one, item, DEPTH);
        if (!weir_json_array_enter(&one))
            continue;
        while (weir_json_array_next(&one) && weir_json_skip(&one, &word))
            put_byte(s, part_byte(text_of(word, &s->arena)));
    }
}

static void put_aliases(struct sum *s, struct weir_span raw) {
    struct weir_json j;
    struct weir_span item;
    uint32_t n = count(raw);
    if (n == 0)
        return;
    put_u32(s, n);
    weir_json_init(&j, raw, DEPTH);
    if (!weir_json_array_enter(&j))
        return;
    while (weir_json_array_next(&j) && weir_json_skip(&j, &item)) {
        struct weir_span alias = text_of(item, &s->arena);
        put_u32(s, (uint32_t)alias.len);
        put(s, alias);
    }
}

enum weir_status weir_card_sum_input(struct weir_span card, bool source, struct weir_buf *out) {
    static const char *const in_runtime[] = {"context_length", "runtime_data"};
    struct weir_span m[N_MEMBERS], runtime[2] = {{NULL, 0}, {NULL, 0}};
    struct sum s = {.out = out};
    if (!find(card, names, N_MEMBERS, m))
        return WEIR_INVALID;
    if (m[RUNTIME].data != NULL && !find(m[RUNTIME], in_runtime, 2, runtime))
        return WEIR_INVALID;
    weir_arena_init(&s.arena, ARENA_MAX);
    put(&s, text_of(m[NAME], &s.arena));
    if (source)
        put(&s, text_of(m[SOURCE], &s.arena));
    for (unsigned i = INFO; i <= GENERATION; i++)
        put(&s, checksum_in(m[i], &s.arena, 3));
    put_extras(&s, m[EXTRA]);
    put_context(&s, m[CONTEXT]);
    put_u32(&s, number_of(runtime[0].data != NULL        ? runtime[0]
                          : m[ARCHITECTURE].data != NULL ? m[ARCHITECTURE]
                                                         : m[LENGTH]));
    put_u32(&s, number_of(m[BLOCK_SIZE]));
    put_byte(&s, part_byte(text_of(m[PART], &s.arena)));
    put_needs(&s, m[NEEDS]);
    put_hash(&s, m[ROUTER]);
    put_identity(&s, m[IDENTITY]);
    put_aliases(&s, m[ALIASES]);
    put_abilities(&s, runtime[1]);
    weir_arena_fini(&s.arena);
    return s.st;
}

enum weir_status weir_card_sum(struct weir_span card, bool source,
                               char ret_hex[WEIR_CARD_SUM_BYTES]) {
    struct weir_buf in;
    struct weir_blake3 h;
    weir_buf_init(&in, INPUT_MAX);
    enum weir_status st = weir_card_sum_input(card, source, &in);
    if (st == WEIR_OK) {
        weir_blake3_init(&h);
        weir_blake3_update(&h, weir_buf_span(&in));
        weir_blake3_hex(&h, ret_hex);
    }
    weir_buf_fini(&in);
    return st;
}

enum weir_status weir_card_sum_of(const struct weir_card *card, bool source,
                                  char ret_hex[WEIR_CARD_SUM_BYTES]) {
    if (card->json.data != NULL)
        return weir_card_sum(card->json, source, ret_hex);
    struct weir_buf text;
    weir_buf_init(&text, INPUT_MAX);
    enum weir_status st = weir_card_encode(card, &text);
    if (st == WEIR_OK)
        st = weir_card_sum(weir_buf_span(&text), source, ret_hex);
    weir_buf_fini(&text);
    return st;
}
