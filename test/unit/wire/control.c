/* Control headers, handshakes, prologues and the errors of workers: each malformed form with its
 * exact outcome. */
#include "wire/control.h"

#include "test/check.h"

static struct weir_arena arena;
static struct weir_buf out;

static void fresh(void) {
    weir_arena_fini(&arena);
    weir_buf_fini(&out);
    weir_arena_init(&arena, 1 << 20);
    weir_buf_init(&out, 1 << 20);
}

#define INFO                                                                                       \
    "\"{\\\"address\\\":\\\"::1:9301\\\",\\\"subject\\\":\\\"s\\\",\\\"context\\\":\\\"r\\\"}\""
#define CONNECTION "\"connection_info\":{\"transport\":\"tcp_server\",\"info\":" INFO "}"

static void case_control_forms(void) {
    static const struct {
        const char *json;
        enum weir_status status;
    } rows[] = {
        {"{\"id\":\"r\"," CONNECTION "}", WEIR_OK},
        {"{\"id\":\"r\",\"payload_codec\":\"msgpack\"," CONNECTION "}", WEIR_OK},
        {"{\"id\":\"r\",\"payload_codec\":null," CONNECTION "}", WEIR_OK},
        {"{\"id\":\"r\",\"metadata\":{\"a\":\"b\"},\"frontend_send_ts_ns\":1," CONNECTION "}",
         WEIR_OK},
        {" {\"id\" : \"r\", " CONNECTION " } ", WEIR_OK},
        {"{\"id\":\"r\",\"payload_codec\":\"cbor\"," CONNECTION "}", WEIR_UNSUPPORTED},
        {"{\"id\":\"r\",\"connection_info\":{\"transport\":\"quic\",\"info\":\"x\"}}",
         WEIR_UNSUPPORTED},
        {"{\"id\":\"r\",\"connection_info\":{\"info\":" INFO "}}", WEIR_UNSUPPORTED},
        {"{\"id\":\"other\"," CONNECTION "}", WEIR_INVALID},
        {"{" CONNECTION "}", WEIR_INVALID},
        {"{\"id\":null," CONNECTION "}", WEIR_INVALID},
        {"{\"id\":\"r\"}", WEIR_INVALID},
        {"{\"id\":\"r\",\"connection_info\":null}", WEIR_INVALID},
        {"{\"id\":\"r\",\"connection_info\":{\"transport\":\"tcp_server\"}}", WEIR_INVALID},
        {"{\"id\":\"r\",\"connection_info\":{\"transport\":\"tcp_server\",\"info\":\"{\"}}",
         WEIR_INVALID},
        {"{\"id\":\"r\",\"connection_info\":{\"transport\":\"tcp_server\",\"info\":{}}}",
         WEIR_INVALID},
        {"{\"id\":\"\",\"connection_info\":{\"transport\":\"tcp_server\",\"info\":\"{}\"}}",
         WEIR_INVALID},
        {"{\"id\":\"r\"," CONNECTION "}x", WEIR_INVALID},
        {"{\"id\":\"r\"," CONNECTION, WEIR_INVALID},
        {"[]", WEIR_INVALID},
        {"", WEIR_INVALID},
        {"null", WEIR_INVALID},
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        struct weir_control c;
        fresh();
        enum weir_status st = weir_control_decode(weir_span_z(rows[i].json), &arena, &c);
        CHECK_MSG(st == rows[i].status, "%s: %s", rows[i].json, weir_status_name(st));
        if (st == WEIR_OK)
            CHECK(weir_span_eqz(c.address, "::1:9301") && weir_span_eqz(c.subject, "s") &&
                  weir_span_eqz(c.context, "r"));
    }
}

/* The quick way for plain texts writes what the general one writes. */
static void case_control_two_ways(void) {
    static const struct weir_span ids[] = {WEIR_SPAN_LIT("11111111-2222-4333-8444-555555555555"),
                                           WEIR_SPAN_LIT("x"), WEIR_SPAN_LIT("a b/c~")};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(ids); i++)
        for (int k = 0; k < 4; k++) {
            char odd[64];
            struct weir_control c = {.id = ids[i],
                                     .context = ids[i],
                                     .subject = WEIR_SPAN_LIT("sub"),
                                     .address = WEIR_SPAN_LIT("::1:9301"),
                                     .many_in = (k & 1) != 0,
                                     .codec = (enum weir_codec)(k >> 1)};
            fresh();
            CHECK(weir_control_encode(&c, &out) == WEIR_OK);
            size_t plain = out.len;
            /* The general way: DEL sends it there, and is written as it is. */
            snprintf(odd, sizeof(odd), "sub\x7f");
            c.subject = weir_span_z(odd);
            CHECK(weir_control_encode(&c, &out) == WEIR_OK);
            CHECK_EQ_U64(out.len - plain, plain + 1);
            char *del = memchr(out.data + plain, 0x7f, out.len - plain);
            CHECK(del != NULL);
            memmove(del, del + 1, (size_t)(out.data + out.len - del) - 1);
            CHECK(memcmp(out.data, out.data + plain, plain) == 0);
        }
}

/* Texts that need escapes pass two levels of JSON unharmed. */
static void case_control_escapes(void) {
    const struct weir_control c = {.id = WEIR_SPAN_LIT("a \"quoted\"\n\\ id \xc3\xa9"),
                                   .context = WEIR_SPAN_LIT("a \"quoted\"\n\\ id \xc3\xa9"),
                                   .subject = WEIR_SPAN_LIT("sub\tject"),
                                   .address = WEIR_SPAN_LIT("127.0.0.1:1"),
                                   .many_in = true,
                                   .codec = WEIR_CODEC_MSGPACK};
    struct weir_control got;
    fresh();
    CHECK(weir_control_encode(&c, &out) == WEIR_OK);
    CHECK(weir_control_decode(weir_buf_span(&out), &arena, &got) == WEIR_OK);
    CHECK(weir_span_eq(got.id, c.id) && weir_span_eq(got.subject, c.subject));
    CHECK(got.many_in && got.codec == WEIR_CODEC_MSGPACK);
}

static void case_control_too_long(void) {
    static char id[600];
    memset(id, 'x', sizeof(id));
    const struct weir_control c = {.id = weir_span(id, sizeof(id)),
                                   .context = weir_span(id, sizeof(id)),
                                   .subject = WEIR_SPAN_LIT("s"),
                                   .address = WEIR_SPAN_LIT("127.0.0.1:1")};
    fresh();
    CHECK(weir_control_encode(&c, &out) == WEIR_OK);
    /* With an escape in it, it must fit the room for the inner text. */
    id[7] = '"';
    weir_buf_clear(&out);
    CHECK(weir_control_encode(&c, &out) == WEIR_TOO_LARGE);
    CHECK_EQ_U64(out.len, 0);
    /* Out of the buffer's room: nothing is written. */
    id[7] = 'x';
    weir_buf_fini(&out);
    weir_buf_init(&out, 700);
    CHECK(weir_control_encode(&c, &out) == WEIR_TOO_LARGE);
    CHECK_EQ_U64(out.len, 0);
}

static void case_handshake(void) {
    static const struct {
        const char *json;
        enum weir_status status;
    } rows[] = {{"{\"subject\":\"u-1\",\"stream_type\":\"response\"}", WEIR_OK},
                {"{\"stream_type\":\"response\",\"extra\":[1],\"subject\":\"u-1\"}", WEIR_OK},
                {"{\"subject\":\"u-1\",\"stream_type\":\"request\"}", WEIR_PROTOCOL},
                {"{\"subject\":\"u-1\"}", WEIR_PROTOCOL},
                {"{\"subject\":\"\",\"stream_type\":\"response\"}", WEIR_PROTOCOL},
                {"{\"subject\":\"u\\n1\",\"stream_type\":\"response\"}", WEIR_PROTOCOL},
                {"{\"subject\":7,\"stream_type\":\"response\"}", WEIR_PROTOCOL},
                {"{\"subject\":\"u-1\",\"stream_type\":\"response\"", WEIR_PROTOCOL},
                {"\"sentinel\"", WEIR_PROTOCOL},
                {"", WEIR_PROTOCOL}};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        struct weir_span subject;
        enum weir_status st = weir_handshake_decode(weir_span_z(rows[i].json), &subject);
        CHECK_MSG(st == rows[i].status, "%s: %s", rows[i].json, weir_status_name(st));
        if (st == WEIR_OK)
            CHECK_EQ_STR(subject.data, subject.len, "u-1");
    }
}

static void case_stream_control(void) {
    static const struct {
        const char *json;
        enum weir_stream_ctl ctl;
    } rows[] = {
        {"{\"error\":null}", WEIR_CTL_PROLOGUE_OK},
        {"{}", WEIR_CTL_PROLOGUE_OK},
        {"{ \"error\" : null }", WEIR_CTL_PROLOGUE_OK},
        {"{\"error\":null,\"typed_error\":null}", WEIR_CTL_PROLOGUE_OK},
        {"{\"version\":2}", WEIR_CTL_PROLOGUE_OK},
        {"\"sentinel\"", WEIR_CTL_SENTINEL},
        {"\"stop\"", WEIR_CTL_STOP},
        {"\"kill\"", WEIR_CTL_KILL},
        {"{\"error\":\"boom\"}", WEIR_CTL_PROLOGUE_ERROR},
        {"{\"error\":\"\"}", WEIR_CTL_PROLOGUE_ERROR},
        {"{\"typed_error\":{\"error_type\":\"Unknown\",\"message\":\"m\"}}",
         WEIR_CTL_PROLOGUE_ERROR},
        {"{\"error\":7}", WEIR_CTL_UNKNOWN},
        {"{\"error\":\"boom\",\"typed_error\":7}", WEIR_CTL_UNKNOWN},
        {"{\"error\":\"boom\"", WEIR_CTL_UNKNOWN},
        {"\"hello\"", WEIR_CTL_UNKNOWN},
        {"null", WEIR_CTL_UNKNOWN},
        {"[]", WEIR_CTL_UNKNOWN},
        {"", WEIR_CTL_UNKNOWN},
        {"\xff", WEIR_CTL_UNKNOWN},
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        struct weir_wire_error error;
        fresh();
        enum weir_stream_ctl ctl =
            weir_stream_ctl_decode(weir_span_z(rows[i].json), &arena, &error);
        CHECK_MSG(ctl == rows[i].ctl, "%s: %d", rows[i].json, ctl);
    }
}

/* What a frontend makes of each error: spec transport 2.5, 3.4. */
static void case_prologue_errors(void) {
    static const struct {
        const char *json;
        enum weir_status status;
        int http;
        bool migratable;
        const char *message, *public_text;
    } rows[] = {
        {"{\"error\":\"boom text\"}", WEIR_UNAVAILABLE, 503, true, "boom text", ""},
        {"{\"error\":\"boom\",\"typed_error\":{\"error_type\":\"InvalidArgument\",\"class\":"
         "\"InvalidRequest\",\"reason\":\"request.invalid_argument\",\"message\":\"bad arg\","
         "\"public\":{\"type\":\"message\",\"message\":\"public text\"}}}",
         WEIR_INVALID, 400, false, "bad arg", "public text"},
        {"{\"typed_error\":{\"error_type\":\"InvalidArgument\",\"message\":\"bad\"},\"error\":"
         "\"x\"}",
         WEIR_INVALID, 400, false, "bad", ""},
        {"{\"error\":\"e\",\"typed_error\":{\"error_type\":{\"Backend\":\"EngineShutdown\"},"
         "\"message\":\"down\"}}",
         WEIR_UNAVAILABLE, 503, true, "down", ""},
        {"{\"error\":\"e\",\"typed_error\":{\"error_type\":\"ResourceExhausted\",\"message\":\"f\"}"
         "}",
         WEIR_OVERLOADED, 529, true, "f", ""},
        {"{\"error\":\"e\",\"typed_error\":{\"error_type\":\"Disconnected\",\"message\":\"d\","
         "\"caused_by\":{\"error_type\":\"Unknown\",\"message\":\"deep\"}}}",
         WEIR_DISCONNECTED, 503, true, "d", ""},
        {"{\"error\":\"e\",\"typed_error\":{\"class\":\"NotFound\",\"message\":\"n\"}}",
         WEIR_NOT_FOUND, 404, false, "n", ""},
        {"{\"error\":\"e\",\"typed_error\":{\"error_type\":\"SomethingNew\",\"message\":\"n\"}}",
         WEIR_INTERNAL, 500, false, "n", ""},
        {"{\"error\":\"e\",\"typed_error\":{\"error_type\":7,\"message\":\"n\",\"public\":\"p\"}}",
         WEIR_INTERNAL, 500, false, "n", "p"},
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        struct weir_wire_error e;
        fresh();
        CHECK_MSG(weir_stream_ctl_decode(weir_span_z(rows[i].json), &arena, &e) ==
                      WEIR_CTL_PROLOGUE_ERROR,
                  "%s", rows[i].json);
        CHECK_MSG(e.status == rows[i].status && e.http_status == rows[i].http &&
                      e.migratable == rows[i].migratable,
                  "%s: %s %d", rows[i].json, weir_status_name(e.status), e.http_status);
        CHECK_EQ_STR(e.message.data, e.message.len, rows[i].message);
        CHECK_EQ_STR(e.public_text.data, e.public_text.len, rows[i].public_text);
    }
}

static void case_prologue_written(void) {
    fresh();
    CHECK(weir_prologue_encode(NULL, &out) == WEIR_OK);
    CHECK_EQ_STR(out.data, out.len, "{\"error\":null}");
    weir_buf_clear(&out);
    CHECK(weir_prologue_encode("it \"broke\"", &out) == WEIR_OK);
    CHECK_EQ_STR(out.data, out.len, "{\"error\":\"it \\\"broke\\\"\"}");
}

int main(void) {
    CHECK_RUN(case_control_forms);
    CHECK_RUN(case_control_two_ways);
    CHECK_RUN(case_control_escapes);
    CHECK_RUN(case_control_too_long);
    CHECK_RUN(case_handshake);
    CHECK_RUN(case_stream_control);
    CHECK_RUN(case_prologue_errors);
    CHECK_RUN(case_prologue_written);
    fresh();
    weir_arena_fini(&arena);
    return check_finish();
}
