/*
 * Batches of real engines (test/data/engines/events.txt) say what the official MessagePack decoder
 * read in them; made-up ones show each optional member, the array form's tail, and what is broken.
 */
#include "wire/engine_event.h"

#include "base/msgpack.h"
#include "test/said.h"

static struct weir_arena arena;

static void add_hashes(const struct weir_engine_event *e) {
    for (size_t i = 0; i < e->n_hashes; i++)
        add("%s%" PRIu64, i > 0 ? "," : "", e->hashes[i]);
}

static void on_event(void *arg, const struct weir_engine_event *e) {
    (void)arg;
    if (e->kind == WEIR_ENGINE_CLEARED) {
        add("cleared\n");
    } else if (e->kind == WEIR_ENGINE_REMOVED) {
        add("removed ");
        add_hashes(e);
        add("\n");
    } else if (e->kind == WEIR_ENGINE_STORED) {
        add("stored ");
        add_hashes(e);
        if (e->has_parent)
            add(" parent %" PRIu64 " tokens ", e->parent);
        else
            add(" parent - tokens ");
        for (size_t i = 0; i < e->n_tokens; i++)
            add("%s%u", i > 0 ? "," : "", e->tokens[i]);
        add(" size %u lora %.*s salt %.*s", e->block_size, e->lora.len > 0 ? (int)e->lora.len : 1,
            e->lora.len > 0 ? e->lora.data : "-", e->salt.len > 0 ? (int)e->salt.len : 1,
            e->salt.len > 0 ? e->salt.data : "-");
        add("%s", e->media ? " media" : "");
        if (e->media && e->n_hashes > 1 && e->first_media_block == 0)
            add(" at 0");
        add("%s%s\n", e->remote ? " remote" : "", e->eagle ? " eagle" : "");
    } else {
        add("other\n");
    }
}

static void on_group(void *arg, const struct weir_engine_event *e) {
    (void)arg;
    CHECK(e->kind == WEIR_ENGINE_REMOVED && e->group == 3);
}

static size_t from_hex(const char *hex, char *out) {
    size_t n = 0;
    unsigned byte;
    while (sscanf(hex + 2 * n, "%2x", &byte) == 1)
        out[n++] = (char)byte;
    return n;
}

static void case_captured(void) {
    static char line[1 << 20], want[1 << 20], payload[1 << 19], hex[1 << 20];
    struct weir_engine_batch batch;
    unsigned n_batches = 0;
    FILE *f = fopen("test/data/engines/events.txt", "r");
    CHECK(f != NULL);
    size_t n_want = 0;
    bool more = true;
    while (more) {
        more = fgets(line, sizeof(line), f) != NULL;
        bool begins = more && line[0] == 'B';
        if ((begins || !more) && n_batches > 0) {
            CHECK_MSG(len == n_want && memcmp(text, want, len) == 0, "batch %u:\n%swant\n%s",
                      n_batches, text, want);
        }
        if (begins) {
            CHECK(sscanf(line, "B %*s %*u %s", hex) == 1);
            size_t n = from_hex(hex, payload);
            len = n_want = 0;
            CHECK(weir_engine_batch_decode(weir_span(payload, n), &arena, on_event, NULL, &batch) ==
                  WEIR_OK);
            /* The rank is told with each event's batch; the text has it in front. */
            memmove(text + 64, text, len);
            int head = snprintf(text, 64, "R %" PRIi64 "\n", batch.rank);
            memmove(text + head, text + 64, len);
            len += (size_t)head;
            text[len] = '\0';
            n_batches++;
            /* Cut short anywhere it is refused or gives a beginning, and never reads outside. */
            for (size_t cut = 0; cut < n; cut += 1 + n / 64) {
                char *copy = malloc(cut + 1);
                size_t keep = len;
                CHECK(copy != NULL);
                memcpy(copy, payload, cut);
                CHECK(weir_engine_batch_decode(weir_span(copy, cut), &arena, on_event, NULL,
                                               &batch) == WEIR_INVALID);
                len = keep;
                text[len] = '\0';
                free(copy);
            }
        } else if (more && line[0] != '#') {
            n_want += (size_t)snprintf(want + n_want, sizeof(want) - n_want, "%s", line);
        }
    }
    fclose(f);
    CHECK_EQ_U64(n_batches, 37);
}

/* ---- made-up ones ------------------------------------------------------------------------- */

static struct weir_buf out;

/* [1.5, [EVENT], 3] with an event written as JSON. */
static const char *decode(const char *json) {
    struct weir_mpw w;
    struct weir_engine_batch batch;
    weir_buf_clear(&out);
    weir_mpw_init(&w, &out);
    weir_mpw_array(&w, 3);
    weir_mpw_f64(&w, 1.5);
    weir_mpw_array(&w, 1);
    CHECK(w.status == WEIR_OK && weir_mp_from_json(weir_span_z(json), &out) == WEIR_OK);
    weir_mpw_u64(&w, 3);
    len = 0;
    text[0] = '\0';
    if (weir_engine_batch_decode(weir_buf_span(&out), &arena, on_event, NULL, &batch) != WEIR_OK)
        return "invalid";
    CHECK(batch.rank == 3 && batch.timestamp == 1.5 && batch.n_events == 1);
    return text;
}

#define SAYS(json, want)                                                                           \
    do {                                                                                           \
        const char *got = decode(json);                                                            \
        CHECK_MSG(strcmp(got, want) == 0, "%s:\n%swant\n%s", json, got, want);                     \
    } while (0)

static void case_arrays(void) {
    /* llm-d's published vector */
    SAYS("[\"BlockStored\",[100,101],99,[1,2,3],16,null,\"gpu\",null,null]",
         "stored 100,101 parent 99 tokens 1,2,3 size 16 lora - salt -\n");
    SAYS("[\"BlockStored\",[-1],null,[1],1]",
         "stored 18446744073709551615 parent - tokens 1 size 1 lora - salt -\n");
    /* SGLang's map in the place of the LoRA name */
    SAYS("[\"BlockStored\",[1],null,[1],1,null,\"GPU\",{\"cache_salt\":\"s\",\"x\":1}]",
         "stored 1 parent - tokens 1 size 1 lora - salt s\n");
    /* a tail in any order, and what is new behind it */
    SAYS("[\"BlockStored\",[1],null,[1],1,1,\"GPU\",\"ad\",[[\"ad\",\"s\"]],\"full_attention\","
         "[null],0,4096,{\"new\":[1]},true]",
         "stored 1 parent - tokens 1 size 1 lora ad salt s\n");
    SAYS("[\"BlockRemoved\",[1,2],\"CPU\",1,\"sliding_window\"]", "removed 1,2\n");
    SAYS("[\"AllBlocksCleared\",1]", "cleared\n");
    SAYS("[\"Ignored\"]", "other\n");
    SAYS("[\"BlockMoved\",[1],{}]", "other\n");
}

static void case_maps(void) {
    SAYS("{\"type\":\"BlockStored\",\"block_hashes\":[1],\"token_ids\":[1],\"block_size\":1}",
         "stored 1 parent - tokens 1 size 1 lora - salt -\n");
    /* the tag may come last, members may be new */
    SAYS("{\"new\":{\"a\":[1]},\"block_hashes\":[5],\"medium\":null,\"type\":\"BlockRemoved\"}",
         "removed 5\n");
    SAYS("{\"type\":\"BlockStored\",\"block_hashes\":[1],\"token_ids\":[1],\"block_size\":1,"
         "\"locality\":\"REMOTE\"}",
         "stored 1 parent - tokens 1 size 1 lora - salt - remote\n");
    SAYS("{\"type\":\"BlockStored\",\"block_hashes\":[1],\"token_ids\":[1],\"block_size\":1,"
         "\"locality\":\"LOCAL\"}",
         "stored 1 parent - tokens 1 size 1 lora - salt -\n");
    /* the salt that the event tells beats none; media by id and offset, by id, by info */
    SAYS("{\"type\":\"BlockStored\",\"block_hashes\":[1,2],\"token_ids\":[1,2],\"block_size\":1,"
         "\"extra_keys\":[null,[[\"img\",3]]]}",
         "stored 1,2 parent - tokens 1,2 size 1 lora - salt - media\n");
    SAYS("{\"type\":\"BlockStored\",\"block_hashes\":[1],\"token_ids\":[1],\"block_size\":1,"
         "\"extra_keys\":[[\"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"]]}",
         "stored 1 parent - tokens 1 size 1 lora - salt - media\n");
    SAYS("{\"type\":\"BlockStored\",\"block_hashes\":[1],\"token_ids\":[1],\"block_size\":1,"
         "\"block_mm_infos\":[{\"mm_objects\":[]}]}",
         "stored 1 parent - tokens 1 size 1 lora - salt - media\n");
    /* a text where no salt can stand */
    SAYS("{\"type\":\"BlockStored\",\"block_hashes\":[1],\"token_ids\":[1],\"block_size\":1,"
         "\"parent_block_hash\":9,\"extra_keys\":[[\"what\"]]}",
         "stored 1 parent 9 tokens 1 size 1 lora - salt - media\n");
    SAYS("{\"type\":\"BlockStored\",\"block_hashes\":[1],\"token_ids\":[[1,2],[2,3]],"
         "\"block_size\":2}",
         "stored 1 parent - tokens 1,2,3 size 2 lora - salt - eagle\n");
}

/* Each was read wrongly once. */
static void case_what_parts_blocks(void) {
#define STORED_1                                                                                   \
    "{\"type\":\"BlockStored\",\"block_hashes\":[1],\"token_ids\":[1],\"block_size\":1,"
    /* The adapter's name stands once in the keys of a block: the other one is the salt. */
    SAYS(STORED_1 "\"lora_name\":\"ad\",\"extra_keys\":[[\"ad\",\"ad\"]]}",
         "stored 1 parent - tokens 1 size 1 lora ad salt ad\n");
    /* A salt that is told twice is one. */
    SAYS(STORED_1 "\"cache_salt\":\"s\",\"extra_keys\":[[\"s\"]]}",
         "stored 1 parent - tokens 1 size 1 lora - salt s\n");
    SAYS(STORED_1 "\"cache_salt\":\"s\",\"extra_keys\":[[\"t\"]]}",
         "stored 1 parent - tokens 1 size 1 lora - salt s media\n");
    /* What cannot be read parts the blocks nevertheless. */
    SAYS(STORED_1 "\"cache_salt\":7}", "stored 1 parent - tokens 1 size 1 lora - salt - media\n");
    SAYS(STORED_1 "\"extra_keys\":\"s\"}",
         "stored 1 parent - tokens 1 size 1 lora - salt - media\n");
    SAYS(STORED_1 "\"block_mm_infos\":{}}",
         "stored 1 parent - tokens 1 size 1 lora - salt - media\n");
    SAYS(STORED_1 "\"locality\":7}", "stored 1 parent - tokens 1 size 1 lora - salt - remote\n");
    /* The first block with media is the first, whichever member tells it. */
    SAYS("{\"type\":\"BlockStored\",\"block_hashes\":[1,2],\"token_ids\":[1,2],\"block_size\":1,"
         "\"block_mm_infos\":[null,{}],\"extra_keys\":[[[\"img\",0]],null]}",
         "stored 1,2 parent - tokens 1,2 size 1 lora - salt - media at 0\n");
    /* No size is read as "not told". */
    SAYS("[\"BlockStored\",[1],null,[1],1048592]",
         "stored 1 parent - tokens 1 size 1048592 lora - salt -\n");
    SAYS("[\"BlockStored\",[1],null,[1],4294967312]",
         "stored 1 parent - tokens 1 size 4294967295 lora - salt -\n");
}

/* Some encoders keep the width and the sign of an integer's type: found by dialects.py. */
static void case_signed_forms(void) {
    /* [1.5, [["BlockRemoved", [1], nil, 3 as int64], {"type": …, "group_idx": 3 as int8}], 2 as
     * int32] */
    static const char payload[] = "\x93\xcb\x3f\xf8\0\0\0\0\0\0"
                                  "\x92\x94\xac"
                                  "BlockRemoved"
                                  "\x91\x01\xc0\xd3\0\0\0\0\0\0\0\x03"
                                  "\x82\xa4"
                                  "type"
                                  "\xac"
                                  "BlockRemoved"
                                  "\xa9"
                                  "group_idx"
                                  "\xd0\x03"
                                  "\xd2\0\0\0\x02";
    struct weir_engine_batch b;
    CHECK(weir_engine_batch_decode(weir_span(payload, sizeof(payload) - 1), &arena, on_group, NULL,
                                   &b) == WEIR_OK);
    CHECK(b.rank == 2 && b.n_events == 2);
}

static void case_later_engines(void) {
    /* Of a type that is not known here nothing is looked at, and it spoils nothing. */
    SAYS("{\"type\":\"BlockMoved\",\"block_hashes\":{\"from\":1},\"token_ids\":null}", "other\n");
    SAYS("{\"block_hashes\":{\"from\":1},\"type\":\"BlockMoved\"}", "other\n");
    SAYS("{\"type\":\"BlockRemoved\",\"block_hashes\":[4],\"token_ids\":null,\"block_size\":null}",
         "removed 4\n");
    /* Behind the kind of attention, texts and lists of a later engine mean nothing here. */
    SAYS("[\"BlockStored\",[1],null,[1],1,null,\"GPU\",null,null,[null],0,\"full_attention\",null,"
         "\"owner\",[1],7]",
         "stored 1 parent - tokens 1 size 1 lora - salt -\n");
    SAYS("[\"BlockStored\",[1],null,[1],1,null,\"GPU\",null,null,0,\"full_attention\",null,"
         "\"LOCAL\"]",
         "stored 1 parent - tokens 1 size 1 lora - salt -\n");
    SAYS("[\"BlockStored\",[1],null,[1],1,null,\"GPU\",null,null,0,\"full_attention\",null,"
         "\"REMOTE\"]",
         "stored 1 parent - tokens 1 size 1 lora - salt - remote\n");
}

/* A batch whose members have names, and what stands behind a batch. */
static void case_batches(void) {
    static const struct {
        const char *json;
        int64_t rank; /* -2: refused */
    } rows[] = {
        {"{\"ts\":1.5,\"events\":[[\"Ignored\"]],\"data_parallel_rank\":4}", 4},
        {"{\"data_parallel_rank\":4,\"new\":[],\"events\":[[\"Ignored\"]],\"ts\":1.5}", 4},
        {"{\"ts\":1.5,\"events\":[[\"Ignored\"]]}", -1},
        {"[1.5,[[\"Ignored\"]]]", -1},
        {"[1.5,[[\"Ignored\"]],null]", -1},
        {"[1.5,[[\"Ignored\"]],4,{\"new\":[1]}]", 4},
        {"{\"ts\":1.5}", -2},
        {"{\"events\":[[\"Ignored\"]]}", -2},
        {"{\"ts\":1.5,\"ts\":1.5,\"events\":[]}", -2},
        {"{\"ts\":1.5,\"events\":{}}", -2},
        {"[1.5]", -2},
    };
    struct weir_engine_batch b, p;
    double time;
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        weir_buf_clear(&out);
        CHECK(weir_mp_from_json(weir_span_z(rows[i].json), &out) == WEIR_OK);
        len = 0;
        enum weir_status want = rows[i].rank == -2 ? WEIR_INVALID : WEIR_OK;
        CHECK_MSG(weir_engine_batch_decode(weir_buf_span(&out), &arena, on_event, NULL, &b) == want,
                  "%s", rows[i].json);
        CHECK_MSG(weir_engine_batch_peek(weir_buf_span(&out), &p) == want, "%s", rows[i].json);
        if (want != WEIR_OK)
            continue;
        CHECK(weir_engine_batch_time(weir_buf_span(&out), &time) == WEIR_OK && time == 1.5);
        CHECK_MSG(b.rank == rows[i].rank && b.n_events == 1 && strcmp(text, "other\n") == 0 &&
                      p.rank == b.rank && p.n_events == 1,
                  "%s", rows[i].json);
        /* A batch is one value: with more behind it, or with a member missing, it is damaged. */
        CHECK(weir_buf_append_c(&out, '\0') == WEIR_OK);
        CHECK(weir_engine_batch_decode(weir_buf_span(&out), &arena, on_event, NULL, &b) ==
                  WEIR_INVALID &&
              weir_engine_batch_peek(weir_buf_span(&out), &b) == WEIR_INVALID);
    }
}

/* Removals in a row that differ in their names only come as one event, in their order; nothing else
 * is changed, and what was read before a fault is still handed over. */
static uint32_t n_joined;

static void on_joined(void *arg, const struct weir_engine_event *e) {
    n_joined += e->joined;
    on_event(arg, e);
}

static void case_joined(void) {
    static const struct {
        const char *events, *want;
        uint32_t joined;
        bool broken;
    } rows[] = {
        {"[\"BlockRemoved\",[1],\"GPU\"],[\"BlockRemoved\",[2,3],\"GPU\"]", "removed 1,2,3\n", 1,
         false},
        {"[\"BlockRemoved\",[1],\"GPU\"],[\"BlockRemoved\",[2],\"CPU\"]", "removed 1\nremoved 2\n",
         0, false},
        {"[\"BlockRemoved\",[1],\"GPU\",1],[\"BlockRemoved\",[2],\"GPU\",2]",
         "removed 1\nremoved 2\n", 0, false},
        {"[\"BlockRemoved\",[1],null],[\"AllBlocksCleared\"],[\"BlockRemoved\",[1],null]",
         "removed 1\ncleared\nremoved 1\n", 0, false},
        {"[\"BlockRemoved\",[],null],[\"BlockRemoved\",[4],null]", "removed \nremoved 4\n", 0,
         false},
        {"[\"BlockRemoved\",[1],null],[\"BlockRemoved\",[2],null],[]", "removed 1,2\n", 1, true},
    };
    struct weir_engine_batch b;
    char json[512];
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        snprintf(json, sizeof(json), "[1.5,[%s],0]", rows[i].events);
        weir_buf_clear(&out);
        CHECK(weir_mp_from_json(weir_span_z(json), &out) == WEIR_OK);
        len = n_joined = 0;
        enum weir_status st =
            weir_engine_batch_decode_joined(weir_buf_span(&out), &arena, on_joined, NULL, &b);
        CHECK_MSG((st != WEIR_OK) == rows[i].broken, "%s", json);
        CHECK_MSG(strcmp(text, rows[i].want) == 0, "%s: %s", json, text);
        CHECK_EQ_U64(n_joined, rows[i].joined);
    }
}

static void case_broken(void) {
    static const char *const rows[] = {"[\"BlockStored\",[\"x\"],null,[1],1]",
                                       "[\"BlockStored\",[1],\"x\",[1],1]",
                                       "[\"BlockStored\",[1],null,[-1],1]",
                                       "[\"BlockStored\",[1],null,[4294967296],1]",
                                       "[\"BlockStored\",[1],null,[[1,2],3],1]",
                                       "[\"BlockStored\",[1.5],null,[1],1]",
                                       "[\"BlockStored\",7,null,[1],1]",
                                       "{\"type\":\"BlockRemoved\",\"block_hashes\":{}}",
                                       "{\"type\":\"BlockStored\",\"token_ids\":\"x\"}",
                                       "{\"type\":\"BlockStored\",\"type\":\"BlockRemoved\"}",
                                       "{\"type\":\"BlockRemoved\",\"medium\":1,\"medium\":2}",
                                       "[]"};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++)
        SAYS(rows[i], "invalid");
    struct weir_engine_batch b;
    CHECK(weir_engine_batch_peek(weir_span("", 0), &b) == WEIR_INVALID);
    CHECK(weir_engine_batch_peek(WEIR_SPAN_LIT("\x92\xcb"), &b) == WEIR_INVALID);
}

int main(void) {
    weir_arena_init(&arena, 16 << 20);
    weir_buf_init(&out, 1 << 20);
    CHECK_RUN(case_captured);
    CHECK_RUN(case_arrays);
    CHECK_RUN(case_maps);
    CHECK_RUN(case_what_parts_blocks);
    CHECK_RUN(case_signed_forms);
    CHECK_RUN(case_later_engines);
    CHECK_RUN(case_batches);
    CHECK_RUN(case_joined);
    CHECK_RUN(case_broken);
    weir_buf_fini(&out);
    weir_arena_fini(&arena);
    return check_finish();
}
