/* JetStream's bodies against what a nats-server 2.9.10 sent, and records of its object store
 * against what nats-py 2.16 wrote. */
#include "wire/jetstream.h"

#include "test/check.h"

static struct weir_arena arena;
static struct weir_buf out;

static struct weir_js_answer answer(const char *json) {
    struct weir_js_answer a;
    weir_arena_reset(&arena);
    CHECK_MSG(weir_js_answer_decode(weir_span_z(json), &arena, &a) == WEIR_OK, "%s", json);
    return a;
}

static void case_names(void) {
    static const struct {
        const char *ns, *component, *name;
    } rows[] = {
        {"dynamo", "backend", "namespace-dynamo-component-backend-kv-events"},
        {"My_NS", "vllm.prefill", "namespace-my-ns-component-vllm-prefill-kv-events"},
        {"a b", "\xc3\xa4\xe2\x82\xac", "namespace-a-b-component----kv-events"},
    };
    char name[WEIR_JS_NAME_BYTES];
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        CHECK(weir_js_name(weir_span_z(rows[i].ns), weir_span_z(rows[i].component), "kv-events",
                           name) == WEIR_OK);
        CHECK_EQ_STR(name, strlen(name), rows[i].name);
    }
    char long_ns[WEIR_JS_NAME_BYTES];
    memset(long_ns, 'x', sizeof(long_ns));
    memcpy(name, "as before", 10);
    CHECK(weir_js_name(weir_span(long_ns, sizeof(long_ns)), weir_span_z("b"), "kv-events", name) ==
          WEIR_TOO_LARGE);
    CHECK_EQ_STR(name, strlen(name), "as before");
}

static void case_requests(void) {
    weir_buf_clear(&out);
    CHECK(weir_js_put_stream("s", 3600, &out) == WEIR_OK);
    CHECK_EQ_STR(
        out.data, out.len,
        "{\"name\":\"s\",\"subjects\":[\"s.*\"],\"max_consumers\":-1,\"max_msgs\":-1,"
        "\"max_bytes\":-1,\"max_msg_size\":-1,\"retention\":\"limits\",\"storage\":\"file\","
        "\"discard\":\"old\",\"num_replicas\":1,\"max_age\":3600000000000}");
    weir_buf_clear(&out);
    CHECK(weir_js_put_bucket("b", &out) == WEIR_OK);
    CHECK_EQ_STR(
        out.data, out.len,
        "{\"name\":\"OBJ_b\",\"subjects\":[\"$O.b.C.>\",\"$O.b.M.>\"],\"max_consumers\":-1,"
        "\"max_msgs\":-1,\"max_bytes\":-1,\"max_msg_size\":-1,\"retention\":\"limits\","
        "\"storage\":\"file\",\"discard\":\"new\",\"num_replicas\":1,"
        "\"allow_rollup_hdrs\":true,\"allow_direct\":true}");
    weir_buf_clear(&out);
    CHECK(weir_js_put_consumer("s", "7", 0, 64, 300, &out) == WEIR_OK);
    CHECK_EQ_STR(out.data, out.len,
                 "{\"stream_name\":\"s\",\"config\":{\"durable_name\":\"7\",\"ack_policy\":\"all\","
                 "\"replay_policy\":\"instant\",\"ack_wait\":30000000000,\"max_ack_pending\":64,"
                 "\"inactive_threshold\":300000000000,\"deliver_policy\":\"all\"}}");
    weir_buf_clear(&out);
    CHECK(weir_js_put_consumer("s", "7", 12, 64, 300, &out) == WEIR_OK);
    CHECK(strstr(out.data, "\"deliver_policy\":\"by_start_sequence\",\"opt_start_seq\":12}}") !=
          NULL);
}

static void case_answers(void) {
    struct weir_js_answer a =
        answer("{\"type\":\"io.nats.jetstream.api.v1.stream_create_response\",\"error\":{\"code\":"
               "400,\"err_code\":10058,\"description\":\"stream name already in use with a "
               "different configuration\"}}");
    CHECK_EQ_U64(a.error, WEIR_JS_STREAM_EXISTS);
    CHECK_EQ_STR(a.text.data, a.text.len,
                 "stream name already in use with a different configuration");
    a = answer("{\"stream\":\"namespace-dynamo-component-backend-kv-events\", \"seq\":5}");
    CHECK(a.error == 0 && a.seq == 5);
    a = answer("{\"error\":{\"code\":404,\"description\":\"old server\"}}");
    CHECK_EQ_U64(a.error, 404);
    a = answer("{\"error\":{}}");
    CHECK(a.error != 0);
    a = answer("{\"config\":{\"name\":\"s\",\"state\":1},\"created\":\"2026-11-27T08:29:16.2Z\","
               "\"state\":{\"messages\":3,\"bytes\":264,\"first_seq\":3,\"first_ts\":\"2026\","
               "\"last_seq\":5}}");
    CHECK(a.messages == 3 && a.first_seq == 3 && a.last_seq == 5 && a.created != 0);
    uint64_t created = a.created;
    a = answer("{\"created\":\"2026-11-27T08:29:16.3Z\"}");
    CHECK(a.created != 0 && a.created != created);
    a = answer("{\"type\":\"io.nats.jetstream.api.v1.stream_msg_get_response\",\"message\":{"
               "\"subject\":\"$O.b.C.x\",\"seq\":4,\"hdrs\":\"TkFUUy8=\",\"data\":\"eHh4eA==\","
               "\"time\":\"2026\"}}");
    CHECK_EQ_U64(a.seq, 4);
    CHECK_EQ_STR(a.data.data, a.data.len, "xxxx");
}

static void case_consumers(void) {
    struct weir_js_answer a = answer(
        "{\"total\":3,\"offset\":0,\"limit\":256,\"consumers\":[{\"name\":\"c1\",\"delivered\":{"
        "\"consumer_seq\":5,\"stream_seq\":9},\"ack_floor\":{\"consumer_seq\":3,\"stream_seq\":7}},"
        "{\"name\":\"c2\",\"ack_floor\":{\"stream_seq\":4}},{\"name\":\"c3\",\"ack_floor\":{"
        "\"stream_seq\":11}}]}");
    CHECK(a.total == 3 && a.n_consumers == 3 && a.least_floor == 4 && a.n_routers == 0);
    a = answer("{\"total\":5,\"consumers\":[{\"name\":\"18446744073709551615\"},{\"name\":\"7\"},"
               "{\"name\":\"07\"},{\"name\":\"18446744073709551616\"},{\"name\":\"7a\"}]}");
    CHECK(a.n_consumers == 5 && a.n_routers == 2);
    CHECK(a.routers[0] == UINT64_MAX && a.routers[1] == 7);
    uint64_t names = a.names;
    a = answer("{\"total\":5,\"consumers\":[{\"name\":\"7a\"},{\"name\":\"07\"},{\"name\":\"7\"},"
               "{\"name\":\"18446744073709551616\"},{\"name\":\"18446744073709551615\"}]}");
    CHECK(a.names == names && names != 0);
    a = answer("{\"total\":5,\"consumers\":[{\"name\":\"7a\"},{\"name\":\"07\"},{\"name\":\"8\"},"
               "{\"name\":\"18446744073709551616\"},{\"name\":\"18446744073709551615\"}]}");
    CHECK(a.names != names);
    a = answer("{\"total\":2,\"offset\":1,\"consumers\":[{\"name\":\"new\",\"ack_floor\":{"
               "\"consumer_seq\":0,\"stream_seq\":0}}]}");
    CHECK(a.n_consumers == 1 && a.least_floor == 0);
    a = answer("{\"total\":0,\"consumers\":null}");
    CHECK(a.n_consumers == 0);
}

static void case_damage(void) {
    static const char *const rows[] = {"",           "[]",           "{",      "{\"seq\":1}x",
                                       "{\"seq\":-", "{\"error\":[", "nothing"};
    struct weir_js_answer a;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        CHECK_MSG(weir_js_answer_decode(weir_span_z(rows[i]), &arena, &a) == WEIR_PROTOCOL, "%s",
                  rows[i]);
    CHECK(weir_js_answer_decode(weir_span_z("{\"message\":{\"data\":\"%\"}}"), &arena, &a) ==
          WEIR_PROTOCOL);
}

static void case_delivery(void) {
    uint64_t seq = 0, delivery = 0;
    CHECK(weir_js_delivery(weir_span_z("$JS.ACK.namespace-dynamo-component-backend-kv-events.c1.1."
                                       "12.4.1795768156294579564.4"),
                           &seq, &delivery));
    CHECK(seq == 12 && delivery == 4);
    CHECK(weir_js_delivery(weir_span_z("$JS.ACK.hub.ACC.s.c.1.13.5.1795768156294579564.0.f2a4"),
                           &seq, &delivery));
    CHECK(seq == 13 && delivery == 5);
    CHECK(weir_js_delivery(weir_span_z("$JS.ACK._.ACC.s.c.1.14.6.1795768156294579564.0"), &seq,
                           &delivery));
    CHECK(seq == 14 && delivery == 6);
    static const char *const bad[] = {"",
                                      "$JS.ACK.s.c.1.2.3.4",
                                      "$JS.ACK.s.c.1.x.3.4.5",
                                      "_INBOX.s.c.1.2.3.4.5.6",
                                      "$JS.ACK.s.c.1.0.3.4.5",
                                      "$JS.ACK.a.b.s.c.1.2.3.4.5.6.7.8",
                                      "$JS.ACK.a.s.c.1.2.3.4.5"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        CHECK_MSG(!weir_js_delivery(weir_span_z(bad[i]), &seq, &delivery), "%s", bad[i]);
}

static void case_object(void) {
    struct weir_js_object o;
    const char *from_python =
        "{\"name\": \"radix-state\", \"bucket\": \"bkt\", \"nuid\": \"zP2vknKj3DMdTk0cmAijq0\", "
        "\"size\": 300000, \"mtime\": \"2026-11-27T08:29:20.313726+00:00\", \"chunks\": 3, "
        "\"digest\": \"SHA-256=KZJ-JzrMxoKGAFAX9_puTye9202zCD_4uNTDZnkFt_o=\", \"deleted\": false, "
        "\"options\": {\"max_chunk_size\": 131072}}";
    CHECK(weir_js_object_decode(weir_span_z(from_python), &arena, &o) == WEIR_OK);
    CHECK(o.size == 300000 && o.chunks == 3 && !o.deleted);
    CHECK_EQ_STR(o.nuid.data, o.nuid.len, "zP2vknKj3DMdTk0cmAijq0");
    CHECK_EQ_STR(o.digest.data, o.digest.len,
                 "SHA-256=KZJ-JzrMxoKGAFAX9_puTye9202zCD_4uNTDZnkFt_o=");
    o.mtime_ms = 1795768160313;
    weir_buf_clear(&out);
    CHECK(weir_js_object_encode(&o, &out) == WEIR_OK);
    CHECK_EQ_STR(out.data, out.len,
                 "{\"name\":\"radix-state\",\"bucket\":\"bkt\",\"nuid\":\"zP2vknKj3DMdTk0cmAijq0\","
                 "\"size\":300000,\"mtime\":\"2026-11-27T08:29:20.313Z\",\"chunks\":3,\"digest\":"
                 "\"SHA-256=KZJ-JzrMxoKGAFAX9_puTye9202zCD_4uNTDZnkFt_o=\"}");
    CHECK(weir_js_object_decode(weir_span_z("{\"name\":\"x\",\"nuid\":\"y\",\"deleted\":true}"),
                                &arena, &o) == WEIR_OK &&
          o.deleted);
    CHECK(weir_js_object_decode(weir_span_z("{\"name\":\"x\",\"nuid\":\"y\"}"), &arena, &o) ==
          WEIR_PROTOCOL);
    weir_buf_clear(&out);
    CHECK(weir_js_base64url(weir_span_z("radix-state"), &out) == WEIR_OK);
    CHECK_EQ_STR(out.data, out.len, "cmFkaXgtc3RhdGU=");
    weir_buf_clear(&out);
    CHECK(weir_js_base64url(weir_span("\xfb\xff\xfe", 3), &out) == WEIR_OK);
    CHECK_EQ_STR(out.data, out.len, "-__-");
}

int main(void) {
    weir_arena_init(&arena, 1 << 20);
    weir_buf_init(&out, 1 << 20);
    CHECK_RUN(case_names);
    CHECK_RUN(case_requests);
    CHECK_RUN(case_answers);
    CHECK_RUN(case_consumers);
    CHECK_RUN(case_damage);
    CHECK_RUN(case_delivery);
    CHECK_RUN(case_object);
    weir_buf_fini(&out);
    weir_arena_fini(&arena);
    return check_finish();
}
