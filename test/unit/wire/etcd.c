/*
 * Answers of real etcds (test/data/etcd/answers.tsv, see capture.py there) say what Python's json
 * and base64 read in them, and ask for what etcd meant; requests are the JSON that etcd's API
 * documents; broken documents are refused.
 */
#include "wire/etcd.h"

#include "test/said.h"

static struct weir_arena arena;

static void on_kv(void *arg, const struct weir_etcd_answer *answer, const struct weir_etcd_kv *kv) {
    (void)arg;
    (void)answer;
    add(" %u:%c%.*s=%.*s@%" PRId64 "/%" PRId64, kv->op, kv->deleted ? '-' : '+',
        WEIR_SPAN_ARG(kv->key), WEIR_SPAN_ARG(kv->value), kv->mod_revision, kv->lease);
}

static enum weir_status decode(struct weir_span json, struct weir_etcd_answer *a) {
    char kvs[sizeof(text)];
    len = 0;
    text[0] = '\0';
    enum weir_status st = weir_etcd_decode(json, &arena, on_kv, NULL, a);
    memcpy(kvs, text, len + 1);
    len = 0;
    add("rev=%" PRId64 " lease=%" PRId64 " ttl=%" PRId64 " more=%d ok=%d created=%d canceled=%d "
        "compact=%" PRId64 " error=%d text=%s%s",
        a->revision, a->lease, a->ttl_s, a->more, a->succeeded, a->created, a->canceled,
        a->compact_revision, a->is_error, a->text, kvs);
    return st;
}

static const struct {
    const char *name;
    enum weir_etcd_fault fault;
} wanted[] = {
    {"put-no-lease", WEIR_ETCD_LEASE_GONE},
    {"watch-compacted1", WEIR_ETCD_COMPACTED},
    {"range-compacted", WEIR_ETCD_COMPACTED},
    {"range-future", WEIR_ETCD_FUTURE},
    {"revoke-unknown", WEIR_ETCD_LEASE_GONE},
    {"login-off", WEIR_ETCD_NO_AUTH},
    {"no-user", WEIR_ETCD_TOKEN},
    {"login-wrong", WEIR_ETCD_PASSWORD},
    {"login-nobody", WEIR_ETCD_PASSWORD},
    {"no-permission", WEIR_ETCD_PERMISSION},
    {"watch-no-permission", WEIR_ETCD_PERMISSION},
    {"stale-token", WEIR_ETCD_TOKEN},
    {"stale-token-kept", WEIR_ETCD_TOKEN},
};

static enum weir_etcd_fault wanted_fault(const char *name, int status) {
    for (size_t i = 0; i < WEIR_ARRAY_LEN(wanted); i++)
        if (strcmp(wanted[i].name, name) == 0 &&
            /* 3.4 does not look at the token of a keep-alive. */
            !(status == 200 && strcmp(name, "stale-token-kept") == 0))
            return wanted[i].fault;
    return WEIR_ETCD_NO_FAULT;
}

static void case_captured(void) {
    static char line[1 << 16];
    unsigned n = 0;
    FILE *f = fopen("test/data/etcd/answers.tsv", "re");
    CHECK(f != NULL);
    while (fgets(line, sizeof(line), f) != NULL) {
        char *field[5];
        char *at = line;
        line[strcspn(line, "\n")] = '\0';
        for (int i = 0; i < 5; i++) {
            field[i] = at;
            at += strcspn(at, "\t");
            *at = '\0';
            at++;
        }
        struct weir_etcd_answer a;
        int status = (int)strtol(field[2], NULL, 10);
        CHECK_MSG(decode(weir_span_z(field[3]), &a) == WEIR_OK, "%s %s", field[0], field[1]);
        CHECK_EQ_STR(text, len, field[4]);
        CHECK_MSG(weir_etcd_fault(status, &a) == wanted_fault(field[1], status), "%s %s: fault %d",
                  field[0], field[1], (int)weir_etcd_fault(status, &a));
        n++;
    }
    fclose(f);
    CHECK(n > 50);
}

static void case_faults_without_a_document(void) {
    CHECK(weir_etcd_fault(404, NULL) == WEIR_ETCD_NO_GATEWAY);
    CHECK(weir_etcd_fault(400, NULL) == WEIR_ETCD_NO_GATEWAY);
    CHECK(weir_etcd_fault(200, NULL) == WEIR_ETCD_NO_GATEWAY);
    CHECK(weir_etcd_fault(503, NULL) == WEIR_ETCD_AGAIN);
    struct weir_etcd_answer a;
    CHECK(decode(WEIR_SPAN_LIT("{\"error\":\"etcdserver: no leader\",\"code\":14}"), &a) ==
          WEIR_OK);
    CHECK(weir_etcd_fault(503, &a) == WEIR_ETCD_AGAIN);
    CHECK(
        decode(WEIR_SPAN_LIT("{\"error\":{\"grpc_code\":14,\"http_code\":503,\"message\":\"x\"}}"),
               &a) == WEIR_OK);
    CHECK(a.is_error && a.grpc_code == 14 && weir_etcd_fault(200, &a) == WEIR_ETCD_AGAIN);
    CHECK(decode(WEIR_SPAN_LIT("{\"code\":3,\"message\":\"etcdserver: something new\"}"), &a) ==
          WEIR_OK);
    CHECK(weir_etcd_fault(400, &a) == WEIR_ETCD_OTHER);
}

static void case_broken(void) {
    static const char *const bad[] = {
        "",
        "[]",
        "3",
        "{",
        "{\"kvs\":{}}",
        "{\"kvs\":[3]}",
        "{\"kvs\":[{\"key\":\"djE\"}]}",
        "{\"kvs\":[{\"key\":\"dj=v\"}]}",
        "{\"kvs\":[{\"key\":\"djE-\"}]}",
        "{\"kvs\":[{\"key\":\"dk==\"}]}", /* bits that no encoder sets */
        "{\"kvs\":[{\"key\":5}]}",
        "{\"header\":[]}",
        "{\"header\":{\"revision\":\"x\"}}",
        "{\"header\":{\"revision\":\"9223372036854775808\"}}",
        "{\"ID\":\"1.5\"}",
        "{\"ID\":true}",
        "{\"created\":\"yes\"}",
        "{\"events\":[{\"kv\":[]}]}",
        "{\"responses\":[{\"response_range\":[]}]}",
        "{\"token\":\"a\\u0041\"}",
        "{} {}"};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(bad); i++) {
        struct weir_etcd_answer a;
        CHECK_MSG(decode(weir_span_z(bad[i]), &a) == WEIR_INVALID, "%s", bad[i]);
    }
}

static void case_lenient(void) {
    struct weir_etcd_answer a;
    /* Null lists, numbers as numbers, members of a later etcd, keys without bytes. */
    CHECK(decode(WEIR_SPAN_LIT("{\"header\":{\"revision\":7,\"new\":[{}]},\"kvs\":null,\"ID\":-5,"
                               "\"new\":{\"kvs\":[1]},\"keys\":[\"\"]}"),
                 &a) == WEIR_OK);
    CHECK(a.revision == 7 && a.lease == -5 && strchr(text, '@') == NULL);
    CHECK(decode(WEIR_SPAN_LIT("{\"token\":\"abc.12\"}"), &a) == WEIR_OK);
    CHECK_EQ_STR(a.token.data, a.token.len, "abc.12");
}

static void only_without_value(void *arg, const struct weir_etcd_answer *answer,
                               const struct weir_etcd_kv *kv) {
    unsigned *n = arg;
    (void)answer;
    *n += kv->value.data == NULL && kv->key.len == 3;
}

/* A value that is larger than the arena is told as such; its neighbours are read. */
static void case_too_large(void) {
    struct weir_arena small;
    struct weir_buf json;
    struct weir_etcd_answer a;
    unsigned n = 0;
    weir_arena_init(&small, 64 << 10);
    weir_buf_init(&json, 1 << 20);
    CHECK(weir_buf_append_z(&json, "{\"kvs\":[{\"key\":\"djEv\",\"value\":\"") == WEIR_OK);
    for (int i = 0; i < 1 << 17; i++)
        CHECK(weir_buf_append_c(&json, 'A') == WEIR_OK);
    CHECK(weir_buf_append_z(&json, "\"},{\"key\":\"djEv\",\"value\":\"QQ==\"}]}") == WEIR_OK);
    CHECK(weir_etcd_decode(weir_buf_span(&json), &small, only_without_value, &n, &a) == WEIR_OK);
    CHECK_EQ_U64(n, 1);
    weir_buf_fini(&json);
    weir_arena_fini(&small);
}

static void case_requests(void) {
    struct weir_buf out;
    const struct weir_span key = WEIR_SPAN_LIT("v1/a"), end = WEIR_SPAN_LIT("v10");
    const struct weir_etcd_put puts[] = {{key, WEIR_SPAN_LIT("{}"), 0},
                                         {WEIR_SPAN_LIT("v1/b"), WEIR_SPAN_LIT(""), 9}};
    weir_buf_init(&out, 1 << 16);
#define CHECK_REQUEST(call, want)                                                                  \
    do {                                                                                           \
        weir_buf_clear(&out);                                                                      \
        CHECK((call) == WEIR_OK);                                                                  \
        CHECK_EQ_STR(out.data, out.len, want);                                                     \
    } while (0)
    CHECK_REQUEST(weir_etcd_encode_range(key, end, 0, 0, false, &out),
                  "{\"key\":\"djEvYQ==\",\"range_end\":\"djEw\"}");
    CHECK_REQUEST(weir_etcd_encode_range(key, end, 2, 3, true, &out),
                  "{\"key\":\"djEvYQ==\",\"range_end\":\"djEw\",\"limit\":\"2\",\"revision\":\"3\","
                  "\"keys_only\":true}");
    CHECK_REQUEST(
        weir_etcd_encode_puts(puts, 2, INT64_MAX, &out),
        "{\"compare\":[{\"key\":\"djEvYQ==\",\"target\":\"VERSION\",\"result\":\"EQUAL\","
        "\"version\":\"0\"},{\"key\":\"djEvYg==\",\"target\":\"MOD\",\"result\":\"EQUAL\","
        "\"mod_revision\":\"9\"}],\"success\":[{\"request_put\":{\"key\":\"djEvYQ==\",\"value\":"
        "\"e30=\",\"lease\":\"9223372036854775807\"}},{\"request_put\":{\"key\":\"djEvYg==\","
        "\"value\":\"\",\"lease\":\"9223372036854775807\"}}],\"failure\":[{\"request_range\":{"
        "\"key\":\"djEvYQ==\"}},{\"request_range\":{\"key\":\"djEvYg==\"}}]}");
    CHECK_REQUEST(weir_etcd_encode_delete(key, 5, &out),
                  "{\"compare\":[{\"key\":\"djEvYQ==\",\"target\":\"LEASE\",\"result\":\"EQUAL\","
                  "\"lease\":\"5\"}],\"success\":[{\"request_delete_range\":{\"key\":\"djEvYQ==\"}}"
                  "]}");
    CHECK_REQUEST(weir_etcd_encode_watch(key, end, 8, &out),
                  "{\"create_request\":{\"key\":\"djEvYQ==\",\"range_end\":\"djEw\","
                  "\"start_revision\":\"8\",\"fragment\":true}}");
    CHECK_REQUEST(weir_etcd_encode_lease(0, 30, false, &out), "{\"ID\":\"0\",\"TTL\":\"30\"}");
    CHECK_REQUEST(weir_etcd_encode_lease(7, 0, true, &out), "{\"ID\":\"7\",\"keys\":true}");
    CHECK_REQUEST(weir_etcd_encode_login(WEIR_SPAN_LIT("u"), WEIR_SPAN_LIT("p\"\\"), &out),
                  "{\"name\":\"u\",\"password\":\"p\\\"\\\\\"}");
    weir_buf_fini(&out);
}

int main(void) {
    weir_arena_init(&arena, 1 << 20);
    CHECK_RUN(case_captured);
    CHECK_RUN(case_faults_without_a_document);
    CHECK_RUN(case_broken);
    CHECK_RUN(case_lenient);
    CHECK_RUN(case_too_large);
    CHECK_RUN(case_requests);
    weir_arena_fini(&arena);
    return check_finish();
}
