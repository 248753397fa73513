/*
 * KV events of the simulated engines beside those of the real ones (test/data/engines/events.txt,
 * replay.txt): the same members in the same order, what is evicted and what is stored in one batch
 * in the order of that engine, and replays in its frames.
 */
#include "worker/mock_http.h"

#include "base/json.h"
#include "base/msgpack.h"
#include "net/http_client.h"
#include "net/zmq.h"
#include "runtime/engine_answers.h"
#include "test/check.h"
#include "test/unit/runtime/turns.h"

enum { BATCHES = 64, FORMS = 16 };

static struct weir_loop *loop;
static struct weir_arena arena;

/* ---- what a batch looks like -------------------------------------------------------------- */

/* Kind and members of an event, "BlockRemoved:block_hashes,medium" or, of an array,
 * "BlockRemoved:3". */
struct look {
    char kind[32], form[256];
    uint32_t n_hashes;
};

static void look_at_member(struct weir_mp *m, struct weir_span key, struct look *look) {
    struct weir_span word;
    uint32_t n;
    if (weir_span_eqz(key, "type")) {
        CHECK(weir_mp_str(m, &word));
        snprintf(look->kind, sizeof(look->kind), "%.*s", WEIR_SPAN_ARG(word));
    } else if (weir_span_eqz(key, "block_hashes")) {
        CHECK(weir_mp_array(m, &n));
        look->n_hashes = n;
        for (uint32_t i = 0; i < n; i++)
            CHECK(weir_mp_skip(m, NULL));
    } else {
        CHECK(weir_mp_skip(m, NULL));
    }
}

static void look_at(struct weir_mp *m, struct look *look) {
    struct weir_span key;
    uint32_t n;
    char members[200] = "";
    size_t at = 0;
    *look = (struct look){.kind = ""};
    if (weir_mp_peek(m) == WEIR_MP_ARRAY) {
        CHECK(weir_mp_array(m, &n));
        for (uint32_t i = 0; i < n; i++)
            look_at_member(m, weir_span_z(i == 0 ? "type" : i == 1 ? "block_hashes" : ""), look);
        snprintf(members, sizeof(members), "%u", n);
    } else {
        CHECK(weir_mp_map(m, &n));
        for (uint32_t i = 0; i < n; i++) {
            CHECK(weir_mp_str(m, &key));
            at += (size_t)snprintf(members + at, sizeof(members) - at, "%s%.*s", i > 0 ? "," : "",
                                   WEIR_SPAN_ARG(key));
            CHECK(at < sizeof(members));
            look_at_member(m, key, look);
        }
    }
    snprintf(look->form, sizeof(look->form), "%s:%s", look->kind, members);
}

/* "C R1x38 S64": the events of a batch, equal neighbours together. `forms` gets each event's. */
static void pattern_of(struct weir_span payload, char *room, size_t bytes,
                       void (*each)(const char *form)) {
    struct weir_mp m;
    double time;
    uint32_t n, n_events;
    char last[32] = "";
    unsigned run = 0;
    size_t at = 0;
    weir_mp_init(&m, payload);
    CHECK(weir_mp_array(&m, &n) && n >= 2 && weir_mp_f64(&m, &time));
    CHECK(weir_mp_array(&m, &n_events));
    room[0] = '\0';
    for (uint32_t i = 0; i <= n_events; i++) {
        char word[32] = "";
        if (i < n_events) {
            struct look look;
            look_at(&m, &look);
            each(look.form);
            char letter = look.kind[0] == 'A' ? 'C' : look.kind[5]; /* BlockStored, BlockRemoved */
            if (letter == 'C')
                snprintf(word, sizeof(word), "C");
            else
                snprintf(word, sizeof(word), "%c%u", letter, look.n_hashes);
        }
        if (strcmp(word, last) != 0 && run > 0) {
            at += (size_t)snprintf(room + at, bytes - at, "%s%s", at > 0 ? " " : "", last);
            if (run > 1)
                at += (size_t)snprintf(room + at, bytes - at, "x%u", run);
            CHECK(at < bytes);
            run = 0;
        }
        memcpy(last, word, sizeof(last));
        run++;
    }
}

/* ---- recorded ----------------------------------------------------------------------------- */

static char recorded[FORMS][256];
static size_t n_recorded;

static void remember(const char *form) {
    for (size_t i = 0; i < n_recorded; i++)
        if (strcmp(recorded[i], form) == 0)
            return;
    CHECK(n_recorded < FORMS);
    snprintf(recorded[n_recorded++], sizeof(recorded[0]), "%s", form);
}

static void must_be_recorded(const char *form) {
    bool found = false;
    for (size_t i = 0; i < n_recorded; i++)
        found |= strcmp(recorded[i], form) == 0;
    CHECK_MSG(found, "no real engine of this kind published %s", form);
}

/* vLLM: cleared, removed one by one, stored. SGLang: stored, then removed in one event. */
static bool in_order(const char *pattern, bool sglang) {
    static const char *const orders[] = {"CRS", "SR"};
    const char *order = orders[sglang];
    size_t at = 0;
    if (strcmp(pattern, "C") == 0)
        return true;
    for (const char *p = pattern; p != NULL && *p != '\0'; p = strchr(p, ' ')) {
        p += *p == ' ';
        const char *place = strchr(order + at, *p);
        if (place == NULL ||
            (*p == 'R' && !sglang && (p[1] != '1' || (p[2] >= '0' && p[2] <= '9'))) ||
            (*p == 'R' && sglang && strchr(p, 'x') != NULL))
            return false;
        at = (size_t)(place - order);
    }
    return true;
}

static size_t from_hex(const char *hex, char *out) {
    size_t n = 0;
    for (; hex[0] != '\0' && hex[1] != '\0' && hex[0] != '\n'; hex += 2) {
        char digits[3] = {hex[0], hex[1], '\0'};
        out[n++] = (char)strtoul(digits, NULL, 16);
    }
    return n;
}

static void read_recorded(const char *engine, bool sglang) {
    static char line[1 << 20], payload[1 << 19];
    char name[64], pattern[256];
    unsigned n = 0;
    int at;
    n_recorded = 0;
    FILE *f = fopen("test/data/engines/events.txt", "r");
    CHECK(f != NULL);
    while (fgets(line, sizeof(line), f) != NULL) {
        if (sscanf(line, "B %63s %*u %n", name, &at) != 1 ||
            strncmp(name, engine, strlen(engine)) != 0)
            continue;
        size_t bytes = from_hex(line + at, payload);
        pattern_of(weir_span(payload, bytes), pattern, sizeof(pattern), remember);
        CHECK_MSG(in_order(pattern, sglang), "recorded, and not as thought: %s", pattern);
        n++;
    }
    fclose(f);
    CHECK(n >= 4 && n_recorded >= 3);
}

/* Frames of a replay, as the file names them. */
static void read_replay(const char *engine, char *answer, char *end) {
    char line[256], name[64];
    bool found = false;
    FILE *f = fopen("test/data/engines/replay.txt", "r");
    CHECK(f != NULL);
    while (!found && fgets(line, sizeof(line), f) != NULL)
        found = sscanf(line, "%63[^\t]\t%63[^\t]\t%63[^\n]", name, answer, end) == 3 &&
                strcmp(name, engine) == 0;
    fclose(f);
    CHECK(found);
}

/* ---- asking the simulated one ------------------------------------------------------------- */

static struct {
    struct weir_mock_http *http;
    struct weir_http_client *client;
    struct weir_zmq_sub *replay;
    struct weir_buf body;
    int status;
    bool done, sglang, ended;
    char answer[64], end[64];
    char got[BATCHES][256];
    uint64_t n;
} mock;

static void on_head(void *arg, int status, const struct weir_http_header *headers, size_t n) {
    (void)arg;
    (void)headers;
    (void)n;
    mock.status = status;
}
static void on_body(void *arg, struct weir_span bytes) {
    (void)arg;
    CHECK(weir_buf_append_span(&mock.body, bytes) == WEIR_OK);
}
static void on_done(void *arg, enum weir_status status, bool sent_any) {
    (void)arg;
    (void)sent_any;
    CHECK(status == WEIR_OK);
    mock.done = true;
}
static bool is_done(void *arg) {
    (void)arg;
    return mock.done;
}

static void ask(const char *method, const char *target, struct weir_span body) {
    static const struct weir_http_call_ops ops = {on_head, on_body, on_done};
    struct weir_http_call *call;
    struct weir_http_call_config c = {
        .method = method, .target = target, .body = body, .total_ms = 20000};
    weir_buf_clear(&mock.body);
    mock.done = false;
    CHECK(weir_http_call_start(mock.client, &c, &ops, NULL, &call) == WEIR_OK);
    CHECK(turns_until(loop, is_done, NULL));
}

/* n ids from `first` on, and `max` to follow. */
static void complete(unsigned first, unsigned n, unsigned max) {
    struct weir_buf out;
    weir_buf_init(&out, 1 << 20);
    CHECK(weir_buf_printf(&out, "{\"model\":\"m\",\"max_tokens\":%u,\"prompt\":[", max) == WEIR_OK);
    for (unsigned i = 0; i < n; i++)
        CHECK(weir_buf_printf(&out, "%s%u", i > 0 ? "," : "", (first + i) % 250) == WEIR_OK);
    CHECK(weir_buf_printf(&out, "]}") == WEIR_OK);
    ask("POST", "/v1/completions", weir_buf_span(&out));
    CHECK_MSG(mock.status == 200, "%.*s", (int)mock.body.len, mock.body.data);
    weir_buf_fini(&out);
}

static void frames_are(const char *form, const struct weir_span *frames, size_t n) {
    struct weir_span rest = weir_span_z(form);
    size_t i = 0;
    for (; rest.data != NULL && rest.len > 0; i++) {
        struct weir_span name = weir_span_split(rest, ' ', &rest);
        CHECK(i < n);
        CHECK(!weir_span_eqz(name, "-") || frames[i].len == 0);
        CHECK(!weir_span_eqz(name, "TOPIC") || frames[i].len > 0);
        CHECK(!weir_span_eqz(name, "SEQ") || frames[i].len == 8);
        CHECK(!weir_span_eqz(name, "ffffffffffffffff") ||
              (frames[i].len == 8 &&
               memcmp(frames[i].data, "\xff\xff\xff\xff\xff\xff\xff\xff", 8) == 0));
    }
    CHECK(i == n);
}

static void on_replay(void *arg, const struct weir_span *frames, size_t n) {
    (void)arg;
    CHECK(n >= 3);
    if (frames[n - 1].len == 0) {
        frames_are(mock.end, frames, n);
        mock.ended = true;
        return;
    }
    frames_are(mock.answer, frames, n);
    CHECK(mock.n < BATCHES);
    CHECK_EQ_U64((unsigned char)frames[n - 2].data[7], mock.n);
    char *room = mock.got[mock.n++];
    pattern_of(frames[n - 1], room, sizeof(mock.got[0]), must_be_recorded);
    CHECK_MSG(in_order(room, mock.sglang), "%s", room);
}
static bool has_ended(void *arg) {
    (void)arg;
    return mock.ended;
}

/* Everything that it has published, a line a batch. */
static void expect(const char *want) {
    static char got[BATCHES * 256];
    struct weir_span frames[] = {weir_span("", 0), weir_span("\0\0\0\0\0\0\0\0", 8)};
    size_t at = 0;
    mock.n = 0;
    mock.ended = false;
    CHECK(weir_zmq_sub_send(mock.replay, frames, 2) == WEIR_OK);
    CHECK(turns_until(loop, has_ended, NULL));
    got[0] = '\0';
    for (uint64_t i = 0; i < mock.n; i++)
        at += (size_t)snprintf(got + at, sizeof(got) - at, "%s%s", i > 0 ? "|" : "", mock.got[i]);
    CHECK_MSG(strcmp(got, want) == 0, "got %s\nwant %s", got, want);
}

static void open_replay(void) {
    struct weir_engine_source s[2];
    struct weir_err err = {.text = ""};
    uint32_t page = 0;
    size_t n = 0;
    ask("GET", mock.sglang ? "/server_info" : "/kv_event_sources", weir_span("", 0));
    struct weir_span body = weir_buf_span(&mock.body);
    if (mock.sglang)
        CHECK(weir_engine_read_server_info(body, "127.0.0.1", &arena, s, 2, &n, &page) == WEIR_OK);
    else if (mock.status == 200)
        CHECK(weir_engine_read_sources(body, "127.0.0.1", &arena, s, 2, &n) == WEIR_OK);
    CHECK(n == 1 && s[0].rank == 0 && (!mock.sglang || page == 16));
    CHECK(weir_zmq_dealer_open(loop, s[0].replay.data, on_replay, NULL, &mock.replay, &err) ==
          WEIR_OK);
}

static void start(enum weir_mock_form form, const char *engine, struct wtok *tok,
                  const struct weir_engine_config *e) {
    static struct weir_mock_faults faults = {.exit_after = -1};
    struct weir_err err = {.text = ""};
    struct weir_mock_http_config c = {.form = form,
                                      .ip = "127.0.0.1",
                                      .model = "m",
                                      .tok = tok,
                                      .bytes_text = true,
                                      .engine = *e,
                                      .n_ranks = 1,
                                      .kv_events = true,
                                      .default_max_tokens = 16,
                                      .faults = &faults,
                                      .name_seed = check_seed()};
    memset(&mock, 0, sizeof(mock));
    mock.sglang = form == WEIR_MOCK_SGLANG;
    weir_buf_init(&mock.body, 1 << 20);
    read_recorded(engine, mock.sglang);
    read_replay(engine, mock.answer, mock.end);
    CHECK_MSG(weir_mock_http_open(loop, &c, &mock.http, &err) == WEIR_OK, "%s", err.text);
    struct weir_http_client_config hc = {.ip = "127.0.0.1", .port = weir_mock_http_port(mock.http)};
    CHECK(weir_http_client_create(loop, &hc, &mock.client) == WEIR_OK);
    open_replay();
}

static void stop(void) {
    weir_zmq_sub_close(mock.replay);
    weir_http_client_destroy(mock.client);
    weir_mock_http_close(mock.http);
    turns_flush(loop);
    weir_buf_fini(&mock.body);
}

static struct wtok *tok;

/* Passes of 2,048 tokens and blocks of 32, as the engine that was recorded. */
static const struct weir_engine_config vllm = {.block_size = 32,
                                               .n_blocks = 160,
                                               .max_num_seqs = 8,
                                               .max_num_batched_tokens = 2048,
                                               .prefix_caching = true,
                                               .chunked_prefill = true};

static void case_vllm(void) {
    start(WEIR_MOCK_VLLM, "vllm-0.32.0", tok, &vllm);
    complete(0, 100, 2);
    expect("S3");
    ask("POST", "/reset_prefix_cache", weir_span("", 0));
    expect("S3");
    complete(7, 5000, 2); /* as recorded: the last part has 28 blocks */
    expect("S3|C S64|S64|S28");
    /* Four blocks hold nothing that could be found again; all others are evicted as passes need
     * them. 24 tokens of the answer fill a block, and the next one evicts by itself; 32 more, 3. */
    complete(11, 5000, 60);
    expect("S3|C S64|S64|S28|R1x60 S64|R1x64 S64|R1x29 S28|S1|R1|S1|R1");
    stop();
}

static void case_sglang(void) {
    struct weir_engine_config e = vllm;
    e.block_size = 16;
    e.n_blocks = 600;
    e.max_num_batched_tokens = 4096;
    start(WEIR_MOCK_SGLANG, "sglang-0.5.23", tok, &e);
    expect("C"); /* of its start */
    complete(7, 5000, 2);
    expect("C|S256|S56");
    complete(11, 5000, 2);
    expect("C|S256|S56|S256 R25|S56");
    ask("POST", "/flush_cache", weir_span("", 0));
    expect("C|S256|S56|S256 R25|S56|C");
    stop();
}

static bool has_begun(void *arg) {
    (void)arg;
    return mock.body.len > 0;
}

/* Blocks that a request holds stay: an engine says that it did not empty its cache. */
static void case_reset_under_load(void) {
    struct weir_engine_config e = vllm;
    struct weir_http_call *long_one;
    static const struct weir_http_call_ops ops = {on_head, on_body, on_done};
    struct weir_http_call_config c = {
        .method = "POST",
        .target = "/v1/completions",
        .body = WEIR_SPAN_LIT("{\"model\":\"m\",\"max_tokens\":4000,\"stream\":true,"
                              "\"prompt\":\"a prompt of more than one block of thirty-two\"}"),
        .total_ms = 60000};
    e.speedup = 1;
    e.decode_speedup = 1;
    e.decode_base_ms = 50;
    e.prefill_tokens_per_s = 1e6;
    start(WEIR_MOCK_VLLM, "vllm-0.32.0", tok, &e);
    CHECK(weir_http_call_start(mock.client, &c, &ops, NULL, &long_one) == WEIR_OK);
    CHECK(turns_until(loop, has_begun, NULL));
    ask("POST", "/reset_prefix_cache", weir_span("", 0));
    CHECK(mock.status == 200);
    CHECK(memmem(mock.body.data, mock.body.len, "\"success\":false", 15) != NULL);
    weir_http_call_cancel(long_one);
    stop();
}

int main(void) {
    weir_arena_init(&arena, 16 << 20);
    CHECK(weir_loop_create(0, &loop) == WEIR_OK);
    CHECK(wtok_create_bytes(&tok) == WEIR_OK);
    CHECK_RUN(case_vllm);
    CHECK_RUN(case_sglang);
    CHECK_RUN(case_reset_under_load);
    wtok_destroy(tok);
    weir_loop_destroy(loop);
    weir_zmq_shutdown();
    weir_arena_fini(&arena);
    return check_finish();
}
