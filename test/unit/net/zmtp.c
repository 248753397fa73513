/* The bytes of ZMTP: a captured handshake, every cut, and peers that misbehave; pings and older
 * publishers over a socket, which libzmq's own publisher (zmq.c) does not show. */
#include "net/zmtp.h"
#include "base/mem.h"
#include "base/rng.h"
#include "net/stream.h"
#include "net/zmq.h"
#include "test/check.h"

/* Captured between a Dynamo 1.6.1 frontend (libzmq 4.3) and its worker. */
static const char captured_sub[] = "ff00000000000000017f03014e554c4c0000000000000000000000000000000"
                                   "000000000000000000000000000000000"
                                   "000000000000000000000000000000000419055245414459"
                                   "0b536f636b65742d547970650000000353554204140953554253435249424"
                                   "56b765f6d657472696373";
static const char captured_pub[] =
    "ff00000000000000017f03014e554c4c00000000000000000000000000000000000000000000000000000000000000"
    "00"
    "0000000000000000000000000000000004190552454144590b536f636b65742d5479706500000003505542";

static struct weir_span unhex(const char *hex, char *room) {
    size_t n = strlen(hex) / 2;
    for (size_t i = 0; i < n; i++) {
        uint64_t v = 0;
        CHECK(weir_span_hex64(weir_span(hex + 2 * i, 2), &v));
        room[i] = (char)v;
    }
    return weir_span(room, n);
}

static void case_we_say_what_libzmq_says(void) {
    char room[256];
    struct weir_span want = unhex(captured_sub, room);
    struct weir_buf out;
    weir_buf_init(&out, 1024);
    CHECK(weir_zmtp_hello(&out) == WEIR_OK);
    CHECK(weir_zmtp_subscribe(1, WEIR_SPAN_LIT("kv_metrics"), &out) == WEIR_OK);
    /* libzmq fills the eight bytes of the signature for older peers; their value has no meaning. */
    memcpy(out.data + 1, want.data + 1, 8);
    CHECK(out.len == want.len && memcmp(out.data, want.data, want.len) == 0);
    weir_buf_clear(&out);
    CHECK(weir_zmtp_subscribe(0, WEIR_SPAN_LIT("ab"), &out) == WEIR_OK);
    CHECK(weir_span_eq(weir_buf_span(&out), weir_span("\0\3\1ab", 5)));
    weir_buf_fini(&out);
}

static void case_a_captured_publisher_is_understood_at_every_cut(void) {
    char room[256];
    struct weir_span all = unhex(captured_pub, room);
    unsigned minor = 9;
    const char *why = NULL;
    struct weir_span context;
    for (size_t n = 0; n < WEIR_ZMTP_GREETING; n++)
        CHECK(weir_zmtp_greeting(weir_span(all.data, n), &minor, &why) == WEIR_AGAIN);
    CHECK(weir_zmtp_greeting(all, &minor, &why) == WEIR_OK && minor == 1);
    struct weir_span rest = weir_span(all.data + 64, all.len - 64);
    struct weir_zmtp_message m;
    weir_zmtp_message_init(&m);
    for (size_t n = 0; n < rest.len; n++)
        CHECK(weir_zmtp_message_decode(&m, weir_span(rest.data, n), 1024) == WEIR_AGAIN);
    CHECK(weir_zmtp_message_decode(&m, rest, 1024) == WEIR_OK);
    CHECK(m.n_frames == 0 && m.used == rest.len);
    CHECK(weir_zmtp_command_decode(m.command, &context) == WEIR_ZMTP_READY);
}

static void case_messages_at_every_cut(void) {
    static const char bytes[] = "\1\2ab\1\0\3\0\0\0\0\0\0\0\3xyz\0\1q"
                                "\0\1r";
    struct weir_zmtp_message m;
    for (size_t cut = 0; cut < 20; cut++) {
        weir_zmtp_message_init(&m);
        CHECK(weir_zmtp_message_decode(&m, weir_span(bytes, cut), 64) == WEIR_AGAIN);
        CHECK(weir_zmtp_message_decode(&m, weir_span(bytes, sizeof(bytes) - 1), 64) == WEIR_OK);
        CHECK(m.n_frames == 4 && m.used == 21);
        CHECK(weir_span_eqz(m.frames[0], "ab") && m.frames[1].len == 0);
        CHECK(weir_span_eqz(m.frames[2], "xyz") && weir_span_eqz(m.frames[3], "q"));
    }
}

/* A message offered at once is read on another way than one that comes in pieces, which is looked
 * at frame by frame: both say the same, whatever the lengths, the bound and what stands behind it.
 */
static void case_whole_and_in_pieces_are_the_same(void) {
    struct weir_rng rng;
    struct weir_buf all;
    unsigned whole = 0, refused = 0;
    weir_rng_seed(&rng, 20261128);
    weir_buf_init(&all, 1 << 20);
    for (int i = 0; i < 20000; i++) {
        size_t n = 1 + (size_t)weir_rng_below(&rng, 10),
               max = 64 + (size_t)weir_rng_below(&rng, 900);
        weir_buf_clear(&all);
        for (size_t k = 0; k < n; k++) {
            size_t len = (size_t)weir_rng_below(&rng, weir_rng_below(&rng, 4) == 0 ? 400 : 12);
            bool is_long = len > 255 || weir_rng_below(&rng, 4) == 0;
            bool bad = weir_rng_below(&rng, 200) == 0;
            char head[9] = {(char)((k + 1 < n ? 1 : 0) | (is_long ? 2 : 0) | (bad ? 8 : 0)),
                            (char)len};
            if (is_long)
                head[1] = 0, head[7] = (char)(len >> 8), head[8] = (char)len;
            CHECK(weir_buf_append(&all, head, is_long ? 9 : 2) == WEIR_OK);
            for (size_t b = 0; b < len; b++)
                CHECK(weir_buf_append_c(&all, (char)weir_rng_u64(&rng)) == WEIR_OK);
        }
        size_t size = all.len, behind = (size_t)weir_rng_below(&rng, 12);
        for (size_t b = 0; b < behind; b++)
            CHECK(weir_buf_append_c(&all, (char)weir_rng_u64(&rng)) == WEIR_OK);
        struct weir_zmtp_message a, b;
        weir_zmtp_message_init(&a);
        weir_zmtp_message_init(&b);
        enum weir_status sa = weir_zmtp_message_decode(&a, weir_buf_span(&all), max);
        enum weir_status sb = WEIR_AGAIN;
        for (size_t at = 1; sb == WEIR_AGAIN && at <= all.len; at++)
            sb = weir_zmtp_message_decode(&b, weir_span(all.data, at), max);
        CHECK(sa == sb && sa != WEIR_AGAIN);
        refused += sa != WEIR_OK;
        if (sa != WEIR_OK)
            continue;
        whole++;
        CHECK(a.n_frames == n && b.n_frames == n && a.used == size && b.used == size);
        for (size_t k = 0; k < n && k < WEIR_ZMTP_FRAMES; k++)
            CHECK(a.frames[k].data == b.frames[k].data && a.frames[k].len == b.frames[k].len);
    }
    weir_buf_fini(&all);
    CHECK(whole > 5000 && refused > 1000);
}

static void case_bad_bytes_are_refused(void) {
    static const struct {
        const char *bytes;
        size_t n;
        enum weir_status want;
    } rows[] = {
        {"\x08\0", 2, WEIR_PROTOCOL},                /* a reserved flag */
        {"\5\1\0", 3, WEIR_PROTOCOL},                /* a command that goes on */
        {"\0\xff", 2, WEIR_TOO_LARGE},               /* beyond 64 bytes */
        {"\2\xff\0\0\0\0\0\0\1", 9, WEIR_TOO_LARGE}, /* beyond 2^63 */
        {"\1\x20"
         "12345678901234567890123456789012\1\x20"
         "12345678901234567890123456789012",
         68, WEIR_TOO_LARGE},              /* together */
        {"\1\1a\4\1\0", 6, WEIR_PROTOCOL}, /* a command inside of a message */
    };
    struct weir_span context;
    unsigned minor;
    const char *why = NULL;
    struct weir_zmtp_message m;
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        weir_zmtp_message_init(&m);
        CHECK_MSG(weir_zmtp_message_decode(&m, weir_span(rows[i].bytes, rows[i].n), 64) ==
                      rows[i].want,
                  "row %zu", i);
    }
    CHECK(weir_zmtp_greeting(WEIR_SPAN_LIT("HTTP/1.1 400"), &minor, &why) == WEIR_PROTOCOL);
    CHECK(weir_zmtp_greeting(WEIR_SPAN_LIT("\xff\0\0\0\0\0\0\0\0\x7f\1"), &minor, &why) ==
          WEIR_PROTOCOL);
    char curve[64] = "\xff\0\0\0\0\0\0\0\0\x7f\3\1"
                     "CURVE";
    CHECK(weir_zmtp_greeting(weir_span(curve, 64), &minor, &why) == WEIR_PROTOCOL);
    CHECK(weir_zmtp_command_decode(weir_span("", 0), &context) == WEIR_ZMTP_BAD);
    CHECK(weir_zmtp_command_decode(weir_span("\7READY", 6), &context) == WEIR_ZMTP_BAD);
    CHECK(weir_zmtp_command_decode(WEIR_SPAN_LIT("\5READY"), &context) == WEIR_ZMTP_BAD);
    CHECK(weir_zmtp_command_decode(WEIR_SPAN_LIT("\5READY\x0bSocket-Type\0\0\0\3SUB"), &context) ==
          WEIR_ZMTP_BAD);
    CHECK(weir_zmtp_command_decode(WEIR_SPAN_LIT("\5READY\x0bSocket-Type\0\0\0\xffPUB"),
                                   &context) == WEIR_ZMTP_BAD);
    CHECK(weir_zmtp_command_decode(WEIR_SPAN_LIT("\5ERROR\3bad"), &context) == WEIR_ZMTP_BAD);
    CHECK(weir_zmtp_command_decode(WEIR_SPAN_LIT("\4PING\0\1hey"), &context) == WEIR_ZMTP_PING);
    CHECK(weir_span_eqz(context, "hey"));
    CHECK(weir_zmtp_command_decode(WEIR_SPAN_LIT("\4PING\0"), &context) == WEIR_ZMTP_BAD);
    CHECK(weir_zmtp_command_decode(WEIR_SPAN_LIT("\4NEWS"), &context) == WEIR_ZMTP_OTHER);
}

/* ---- over a socket ------------------------------------------------------------------------- */

/* A publisher of version 3.0: expects a message as subscription, pings, is heard, and hangs up;
 * the second time it is no publisher at all; the third time it is well again. */
struct bed {
    struct weir_loop *loop;
    struct weir_listener *listener;
    struct weir_stream *stream;
    struct weir_zmq_sub *sub;
    struct weir_timer guard;
    struct weir_buf heard;
    unsigned visits, messages, joined;
    bool sent, timed_out;
};

static void say(struct bed *b, const char *bytes, size_t n) {
    CHECK(weir_stream_write(b->stream, bytes, n) == WEIR_OK);
}

static void on_heard(void *arg, struct weir_span bytes) {
    struct bed *b = arg;
    CHECK(weir_buf_append_span(&b->heard, bytes) == WEIR_OK);
    /* Greeting 64, READY 27, subscription 5, PONG 10. */
    if (b->heard.len == 96 && !b->sent) {
        CHECK(memcmp(b->heard.data + 91, "\0\3\1ev", 5) == 0);
        say(b, "\4\x0a\4PING\0\1abc", 12);
        b->sent = true;
    }
    if (b->heard.len < 106)
        return;
    CHECK(memcmp(b->heard.data + 96, "\4\x08\4PONGabc", 10) == 0);
    say(b, "\1\2ev\0\1x\1\3no!\0\1y\1\3eve\0\1z", 23);
}

static void on_gone(void *arg, enum weir_status status, const char *reason) {
    struct bed *b = arg;
    (void)status;
    (void)reason;
    b->stream = NULL;
}

static void on_visit(void *arg, struct weir_stream *s) {
    static const struct weir_stream_ops ops = {.on_read = on_heard, .on_close = on_gone};
    struct bed *b = arg;
    char greeting[64] = "\xff\0\0\0\0\0\0\0\0\x7f\3\0NULL";
    b->stream = s;
    weir_stream_adopt(s, &ops, b);
    weir_buf_clear(&b->heard);
    b->sent = false;
    say(b, greeting, 64);
    if (++b->visits == 2)
        say(b, "\4\x1a\5READY\x0bSocket-Type\0\0\0\4PULL", 28);
    else
        say(b, "\4\x19\5READY\x0bSocket-Type\0\0\0\3PUB", 27);
}

static void on_message(void *arg, const struct weir_span *frames, size_t n) {
    struct bed *b = arg;
    CHECK(n == 2 && weir_span_starts(frames[0], WEIR_SPAN_LIT("ev")));
    CHECK(weir_span_eqz(frames[1], b->messages % 2 == 0 ? "x" : "z"));
    if (++b->messages == 2)
        weir_stream_close(b->stream, WEIR_OK, "test");
    if (b->messages == 4)
        weir_loop_stop(b->loop);
}

static void on_joined(void *arg) {
    struct bed *b = arg;
    b->joined++;
    CHECK(b->messages == (b->joined == 1 ? 0 : 2)); /* before any message of its connection */
}

static void on_guard(void *arg) {
    struct bed *b = arg;
    b->timed_out = true;
    weir_loop_stop(b->loop);
}

static void case_an_older_publisher_that_comes_and_goes(void) {
    struct bed b = {0};
    struct weir_listen_config lc = {.ip = "127.0.0.1"};
    char endpoint[64];
    weir_buf_init(&b.heard, 4096);
    CHECK(weir_loop_create(0, &b.loop) == WEIR_OK);
    CHECK(weir_listen(b.loop, &lc, on_visit, &b, &b.listener, NULL) == WEIR_OK);
    snprintf(endpoint, sizeof(endpoint), "tcp://127.0.0.1:%u", weir_listener_port(b.listener));
    CHECK(weir_zmq_sub_open(b.loop, endpoint, WEIR_SPAN_LIT("ev"), on_message, &b, &b.sub, NULL) ==
          WEIR_OK);
    weir_zmq_sub_on_joined(b.sub, on_joined);
    weir_timer_init(&b.guard, b.loop, on_guard, &b);
    CHECK(weir_timer_start(&b.guard, 30000) == WEIR_OK);
    weir_loop_run(b.loop);
    CHECK(!b.timed_out);
    CHECK(b.visits == 3 && b.messages == 4);
    CHECK(b.joined == 2); /* not with the one that is no publisher */
    weir_timer_stop(&b.guard);
    weir_zmq_sub_close(b.sub);
    weir_listener_close(b.listener);
    weir_loop_destroy(b.loop);
    weir_buf_fini(&b.heard);
}

/* ---- long messages ------------------------------------------------------------------------- */

/* Their last frames, in bytes: shorter and longer than what is read in place, and than what a
 * frame's word alone gets memory for. */
static const size_t lengths[] = {70000, 10,     400000, 65536, 65535,   65537, 1500000, 0,
                                 255,   200000, 256,    90000, 5000000, 1,     130000,  3000000};

static char byte_at(size_t message, size_t i) {
    return (char)((i + message) * 0x9E3779B97F4A7C15u >> 56);
}

static void put_long(struct weir_buf *out, size_t message) {
    char head[9] = {2};
    for (unsigned i = 0; i < 8; i++)
        head[1 + i] = (char)((uint64_t)lengths[message] >> (56 - 8 * i));
    CHECK(weir_buf_append(out, "\1\2ev", 4) == WEIR_OK);
    CHECK(weir_buf_append(out, head, sizeof(head)) == WEIR_OK);
    CHECK(weir_buf_reserve(out, lengths[message]) == WEIR_OK);
    for (size_t i = 0; i < lengths[message]; i++)
        out->data[out->len++] = byte_at(message, i);
}

static void on_subscribed(void *arg, struct weir_span bytes) {
    struct bed *b = arg;
    struct weir_buf out;
    CHECK(weir_buf_append_span(&b->heard, bytes) == WEIR_OK);
    if (b->heard.len < 96 || b->sent)
        return;
    b->sent = true;
    weir_buf_init(&out, 64 << 20);
    for (size_t i = 0; i < WEIR_ARRAY_LEN(lengths); i++)
        put_long(&out, i);
    say(b, out.data, out.len);
    weir_buf_fini(&out);
}

static void on_long_visit(void *arg, struct weir_stream *s) {
    static const struct weir_stream_ops ops = {.on_read = on_subscribed, .on_close = on_gone};
    struct bed *b = arg;
    char greeting[64] = "\xff\0\0\0\0\0\0\0\0\x7f\3\0NULL";
    b->stream = s;
    weir_stream_adopt(s, &ops, b);
    say(b, greeting, 64);
    say(b, "\4\x19\5READY\x0bSocket-Type\0\0\0\3PUB", 27);
}

static void on_long_message(void *arg, const struct weir_span *frames, size_t n) {
    struct bed *b = arg;
    CHECK(n == 2 && frames[1].len == lengths[b->messages]);
    for (size_t i = 0; i < frames[1].len; i++)
        CHECK(frames[1].data[i] == byte_at(b->messages, i));
    if (++b->messages == WEIR_ARRAY_LEN(lengths))
        weir_loop_stop(b->loop);
}

static void case_long_messages(void) {
    struct bed b = {0};
    struct weir_listen_config lc = {.ip = "127.0.0.1"};
    char endpoint[64];
    weir_buf_init(&b.heard, 4096);
    CHECK(weir_loop_create(0, &b.loop) == WEIR_OK);
    CHECK(weir_listen(b.loop, &lc, on_long_visit, &b, &b.listener, NULL) == WEIR_OK);
    snprintf(endpoint, sizeof(endpoint), "tcp://127.0.0.1:%u", weir_listener_port(b.listener));
    CHECK(weir_zmq_sub_open(b.loop, endpoint, WEIR_SPAN_LIT("ev"), on_long_message, &b, &b.sub,
                            NULL) == WEIR_OK);
    weir_timer_init(&b.guard, b.loop, on_guard, &b);
    CHECK(weir_timer_start(&b.guard, 30000) == WEIR_OK);
    weir_loop_run(b.loop);
    CHECK(!b.timed_out);
    CHECK_EQ_U64(b.messages, WEIR_ARRAY_LEN(lengths));
    weir_timer_stop(&b.guard);
    weir_zmq_sub_close(b.sub);
    weir_listener_close(b.listener);
    weir_loop_destroy(b.loop);
    weir_buf_fini(&b.heard);
}

int main(void) {
    CHECK_RUN(case_we_say_what_libzmq_says);
    CHECK_RUN(case_a_captured_publisher_is_understood_at_every_cut);
    CHECK_RUN(case_messages_at_every_cut);
    CHECK_RUN(case_whole_and_in_pieces_are_the_same);
    CHECK_RUN(case_bad_bytes_are_refused);
    CHECK_RUN(case_an_older_publisher_that_comes_and_goes);
    CHECK_RUN(case_long_messages);
    return check_finish();
}
