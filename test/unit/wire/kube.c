/*
 * Documents of the Kubernetes API. Outside references: ids that Rust's DefaultHasher gives (what
 * the reference hashes pod names with), objects as a cluster and Dynamo 1.6.1 write them.
 */
#include "wire/kube.h"

#include "base/json.h"
#include "test/said.h"

static struct weir_arena arena;

static void case_instance_ids(void) {
    static const struct {
        const char *name;
        uint64_t id;
    } rows[] = {
        {"worker-0", 0x43710f49c0cff},
        {"", 0x6ea523c53def},
        {"a", 0x1b50b9a4f0e9f3},
        {"dynamo-agg-vllmdecodeworker-7c9d8f6b5-x2k4q", 0xbff9dcbb8ed96},
        {"worker-0-engine-1", 0xe67ea8a3f7642},
        {"abcdefg", 0x15ef44bd078ae9},
        {"abcdefgh", 0x17657fa7f96c16},
        {"0123456789abcdef", 0x1d3ee8e7c8d0cb},
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++)
        CHECK_EQ_U64(weir_kube_instance_id(weir_span_z(rows[i].name)), rows[i].id);
}

static void case_cr_names(void) {
    static const char *const rows[][3] = {{"p", "", "p"}, {"p", "main", "p"}, {"p", "e1", "p-e1"}};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        struct weir_buf name;
        weir_buf_init(&name, 100);
        CHECK(weir_kube_cr_name(weir_span_z(rows[i][0]), weir_span_z(rows[i][1]), &name) ==
              WEIR_OK);
        CHECK_EQ_STR(name.data, name.len, rows[i][2]);
        weir_buf_fini(&name);
    }
}

static void said_begin(void) {
    len = 0;
    text[0] = '\0';
}

static void on_item(void *arg, struct weir_span item) {
    (void)arg;
    add("[%.*s]", WEIR_SPAN_ARG(item));
}

static void case_lists(void) {
    static const struct {
        const char *json, *items, *version, *next; /* version NULL: refused */
    } rows[] = {
        {"{\"kind\":\"PodList\",\"metadata\":{\"resourceVersion\":\"17\"},\"items\":[{\"a\":1}, "
         "{}]}",
         "[{\"a\":1}][{}]", "17", ""},
        {"{\"items\":[],\"metadata\":{\"continue\":\"x/y=\",\"resourceVersion\":\"9\"}}", "", "9",
         "x/y="},
        {"{\"items\":null,\"metadata\":{\"continue\":null,\"resourceVersion\":\"9\"}}", "", "9",
         ""},
        {"{\"metadata\":{\"resourceVersion\":\"1\\u0032\"}}", "", "12", ""},
        {"{\"items\":[],\"metadata\":{}}", "", NULL, NULL},
        {"{\"items\":[]}", "", NULL, NULL},
        {"{\"items\":{},\"metadata\":{\"resourceVersion\":\"9\"}}", "", NULL, NULL},
        {"{\"items\":[],\"metadata\":{\"resourceVersion\":9}}", "", NULL, NULL},
        {"[]", "", NULL, NULL},
        {"", "", NULL, NULL},
        {"{\"metadata\":{\"resourceVersion\":\"9\"},\"items\":[{}]", "", NULL, NULL},
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        struct weir_kube_list list;
        said_begin();
        enum weir_status st =
            weir_kube_decode_list(weir_span_z(rows[i].json), &arena, on_item, NULL, &list);
        CHECK_MSG((st == WEIR_OK) == (rows[i].version != NULL), "row %zu", i);
        CHECK_EQ_STR(text, len, rows[i].items);
        if (st == WEIR_OK) {
            CHECK_EQ_STR(list.resource_version.data, list.resource_version.len, rows[i].version);
            CHECK_EQ_STR(list.next.data, list.next.len, rows[i].next);
        }
    }
}

static void on_record(void *arg, const struct weir_kube_record *r) {
    (void)arg;
    add("%d:%.*s=%.*s ", (int)r->kind, WEIR_SPAN_ARG(r->key), WEIR_SPAN_ARG(r->json));
}

/* Deeper than we read objects: it is refused alone, and not the list or the event that has it. */
static void case_one_that_is_deep(void) {
    struct weir_buf item, list;
    struct weir_kube_list ret;
    struct weir_kube_meta meta;
    enum weir_kube_change change;
    struct weir_span object;
    bool has_data;
    weir_buf_init(&item, 4096);
    weir_buf_init(&list, 8192);
    CHECK(weir_buf_append_z(&item, "{\"metadata\":{\"name\":\"deep\"},\"spec\":{\"data\":") ==
          WEIR_OK);
    for (int i = 0; i < 400; i++)
        CHECK(weir_buf_append_c(&item, '[') == WEIR_OK);
    for (int i = 0; i < 400; i++)
        CHECK(weir_buf_append_c(&item, ']') == WEIR_OK);
    CHECK(weir_buf_append_z(&item, "}}") == WEIR_OK);
    CHECK(weir_buf_printf(&list, "{\"metadata\":{\"resourceVersion\":\"9\"},\"items\":[%.*s,{}]}",
                          WEIR_SPAN_ARG(weir_buf_span(&item))) == WEIR_OK);
    said_begin();
    CHECK(weir_kube_decode_list(weir_buf_span(&list), &arena, on_item, NULL, &ret) == WEIR_OK);
    CHECK(len == item.len + 6);
    CHECK(weir_kube_decode_metadata(weir_buf_span(&item), &arena, on_record, NULL, &meta,
                                    &has_data) == WEIR_INVALID);
    if (weir_kube_decode_meta(weir_buf_span(&item), &arena, &meta) == WEIR_OK)
        CHECK_EQ_STR(meta.name.data, meta.name.len, "deep");
    else
        CHECK(!"its name can be read");
    weir_buf_clear(&list);
    CHECK(weir_buf_printf(&list, "{\"type\":\"ADDED\",\"object\":%.*s}",
                          WEIR_SPAN_ARG(weir_buf_span(&item))) == WEIR_OK);
    CHECK(weir_kube_decode_event(weir_buf_span(&list), &change, &object) == WEIR_OK);
    weir_buf_fini(&item);
    weir_buf_fini(&list);
}

static void case_events(void) {
    static const struct {
        const char *json;
        int change; /* -1: refused */
    } rows[] = {
        {"{\"type\":\"ADDED\",\"object\":{\"x\":1}}", WEIR_KUBE_PUT},
        {"{\"object\":{\"x\":1},\"type\":\"MODIFIED\"}", WEIR_KUBE_PUT},
        {"{\"type\":\"DELETED\",\"object\":{\"x\":1}}", WEIR_KUBE_DELETED},
        {"{\"type\":\"BOOKMARK\",\"object\":{\"x\":1}}", WEIR_KUBE_BOOKMARK},
        {"{\"type\":\"ERROR\",\"object\":{\"x\":1}}", WEIR_KUBE_ERROR},
        {"{\"type\":\"added\",\"object\":{\"x\":1}}", -1},
        {"{\"type\":\"ADDED\"}", -1},
        {"{\"type\":\"ADDED\",\"object\":[]}", -1},
        {"{\"type\":\"ADDED\",\"object\":{\"x\":1}", -1},
        {"{\"object\":{}}", -1},
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        enum weir_kube_change change;
        struct weir_span object;
        enum weir_status st = weir_kube_decode_event(weir_span_z(rows[i].json), &change, &object);
        CHECK_MSG((st == WEIR_OK) == (rows[i].change >= 0), "row %zu", i);
        if (st == WEIR_OK) {
            CHECK_EQ_U64(change, rows[i].change);
            CHECK_EQ_STR(object.data, object.len, "{\"x\":1}");
        }
    }
}

static void case_status(void) {
    struct weir_kube_status s;
    weir_kube_decode_status(
        WEIR_SPAN_LIT("{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":"
                      "\"Failure\",\"message\":\"too old \\u201cversion\\u201d\",\"reason\":"
                      "\"Expired\",\"code\":410}"),
        &s);
    CHECK(s.code == 410 && strcmp(s.reason, "Expired") == 0);
    CHECK(strcmp(s.message, "too old \xe2\x80\x9cversion\xe2\x80\x9d") == 0);
    weir_kube_decode_status(WEIR_SPAN_LIT("upstream connect error"), &s);
    CHECK(s.code == 0 && s.reason[0] == '\0' && s.message[0] == '\0');
    char *big = calloc(1, 5000);
    CHECK(big != NULL);
    memset(big, 'x', 4000);
    memcpy(big, "{\"message\":\"", 12);
    memcpy(big + 4000, "\"}", 3);
    weir_kube_decode_status(weir_span_z(big), &s);
    CHECK(strlen(s.message) == sizeof(s.message) - 1);
    free(big);
}

static void on_ready(void *arg, struct weir_span name, struct weir_span uid) {
    (void)arg;
    add("%.*s=%.*s ", WEIR_SPAN_ARG(name), WEIR_SPAN_ARG(uid));
}

#define META "\"metadata\":{\"name\":\"s\",\"uid\":\"1-2\",\"resourceVersion\":\"5\"}"

static void case_slices(void) {
    static const struct {
        const char *json, *ready; /* NULL: refused */
    } rows[] = {
        {"{" META ",\"endpoints\":["
         "{\"addresses\":[\"10.0.0.1\"],\"conditions\":{\"ready\":true,\"serving\":true},"
         "\"nodeName\":\"n\",\"targetRef\":{\"kind\":\"Pod\",\"name\":\"a\",\"uid\":\"ua\"}},"
         "{\"conditions\":{\"ready\":false},\"targetRef\":{\"name\":\"b\",\"uid\":\"ub\"}},"
         "{\"conditions\":{},\"targetRef\":{\"name\":\"c\",\"uid\":\"uc\"}},"
         "{\"conditions\":{\"ready\":true},\"targetRef\":{\"name\":\"d\"}},"
         "{\"conditions\":{\"ready\":true},\"targetRef\":{\"uid\":\"ue\"}},"
         "{\"conditions\":{\"ready\":true}},"
         "{\"conditions\":{\"ready\":null},\"targetRef\":null},"
         "{\"targetRef\":{\"name\":\"f\",\"uid\":\"uf\"}},"
         "{\"targetRef\":{\"uid\":\"ug\",\"name\":\"g\"},\"conditions\":{\"ready\":true}}]}",
         "a=ua g=ug "},
        {"{" META ",\"endpoints\":null}", ""},
        {"{" META "}", ""},
        {"{\"endpoints\":[]}", NULL},
        {"{\"metadata\":{\"name\":\"\"},\"endpoints\":[]}", NULL},
        {"{\"metadata\":{\"name\":5},\"endpoints\":[]}", NULL},
        {"{" META ",\"endpoints\":5}", NULL},
        {"{" META ",\"endpoints\":[5]}", NULL},
        {"{" META ",\"endpoints\":[{\"conditions\":[],\"targetRef\":{}}]}", NULL},
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        struct weir_kube_meta meta;
        said_begin();
        enum weir_status st =
            weir_kube_decode_slice(weir_span_z(rows[i].json), &arena, on_ready, NULL, &meta);
        CHECK_MSG((st == WEIR_OK) == (rows[i].ready != NULL), "row %zu", i);
        if (st != WEIR_OK)
            continue;
        CHECK_EQ_STR(text, len, rows[i].ready);
        CHECK_EQ_STR(meta.name.data, meta.name.len, "s");
        CHECK_EQ_STR(meta.resource_version.data, meta.resource_version.len, "5");
    }
}

static void case_pods(void) {
    static const struct {
        const char *json, *ready;
    } rows[] = {
        {"{" META ",\"status\":{\"phase\":\"Running\",\"containerStatuses\":["
         "{\"name\":\"main\",\"ready\":true},{\"name\":\"e1\",\"ready\":true},"
         "{\"name\":\"e2\",\"ready\":false},{\"ready\":true}]}}",
         "s=1-2 s-e1=1-2 "},
        {"{" META ",\"status\":{}}", ""},
        {"{" META "}", ""},
        {"{\"metadata\":{\"name\":\"s\",\"uid\":\"1-2\",\"deletionTimestamp\":\"2026-11-27T00:00:"
         "00Z\"},"
         "\"status\":{\"containerStatuses\":[{\"name\":\"main\",\"ready\":true}]}}",
         ""},
        {"{\"metadata\":{\"name\":\"s\",\"uid\":\"1-2\",\"deletionTimestamp\":null},"
         "\"status\":{\"containerStatuses\":[{\"name\":\"main\",\"ready\":true}]}}",
         "s=1-2 "},
        {"{\"metadata\":{\"name\":\"s\"},\"status\":{\"containerStatuses\":[{\"name\":\"main\","
         "\"ready\":true}]}}",
         ""},
        {"{" META ",\"status\":{\"containerStatuses\":{}}}", NULL},
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        struct weir_kube_meta meta;
        said_begin();
        enum weir_status st =
            weir_kube_decode_pod(weir_span_z(rows[i].json), &arena, on_ready, NULL, &meta);
        CHECK_MSG((st == WEIR_OK) == (rows[i].ready != NULL), "row %zu", i);
        if (st == WEIR_OK)
            CHECK_EQ_STR(text, len, rows[i].ready);
    }
}

static void case_metadata(void) {
    static const struct {
        const char *json, *records;
        bool has_data;
    } rows[] = {
        {"{\"apiVersion\":\"nvidia.com/v1alpha1\",\"metadata\":{\"name\":\"p\",\"uid\":\"u\","
         "\"ownerReferences\":[{\"kind\":\"Node\",\"uid\":\"n\"},{\"kind\":\"Pod\",\"uid\":\"pu\"}]"
         "},"
         "\"spec\":{\"data\":{\"endpoints\":{\"a/b\":{\"type\":\"Endpoint\"},\"c\\/d\":{}},"
         "\"model_cards\":null,\"event_sources\":{\"s\":{\"n\":[1, 2]}},\"later\":{\"x\":1}}}}",
         "0:a/b={\"type\":\"Endpoint\"} 0:c/d={} 3:s={\"n\":[1, 2]} ", true},
        {"{\"metadata\":{\"name\":\"p\"},\"spec\":{\"data\":null}}", "", false},
        {"{\"metadata\":{\"name\":\"p\"},\"spec\":{}}", "", false},
        {"{\"metadata\":{\"name\":\"p\"}}", "", false},
        {"{\"metadata\":{\"name\":\"p\"},\"spec\":{\"data\":[]}}", NULL, false},
        {"{\"metadata\":{\"name\":\"p\"},\"spec\":{\"data\":{\"endpoints\":[]}}}", NULL, false},
        {"{\"metadata\":{\"name\":\"p\",\"ownerReferences\":{}},\"spec\":{}}", NULL, false},
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        struct weir_kube_meta meta;
        bool has_data = false;
        said_begin();
        enum weir_status st = weir_kube_decode_metadata(weir_span_z(rows[i].json), &arena,
                                                        on_record, NULL, &meta, &has_data);
        CHECK_MSG((st == WEIR_OK) == (rows[i].records != NULL), "row %zu", i);
        if (st != WEIR_OK)
            continue;
        CHECK_EQ_STR(text, len, rows[i].records);
        CHECK(has_data == rows[i].has_data);
        if (i == 0)
            CHECK_EQ_STR(meta.owner_pod_uid.data, meta.owner_pod_uid.len, "pu");
    }
}

/* Event channels of both forms, in the order in which Dynamo writes their members (by name). */
static void case_channel_scopes(void) {
    static const struct {
        const char *json, *ns, *component, *name;
    } rows[] = {
        {"{\"component\":\"\",\"instance_id\":7,\"namespace\":\"n\",\"scope\":{\"kind\":"
         "\"namespace\",\"name\":\"n\"},\"topic\":\"t\",\"transport\":{\"config\":{\"endpoint\":"
         "\"tcp://1.2.3.4:5\"},\"kind\":\"Zmq\"},\"type\":\"EventChannel\"}",
         "n", "", ""},
        {"{\"component\":\"c\",\"instance_id\":7,\"namespace\":\"n\",\"scope\":{\"endpoint\":"
         "{\"component\":\"c\",\"name\":\"e\",\"namespace\":\"n\"},\"kind\":\"endpoint\"},"
         "\"topic\":\"t\",\"transport\":{\"config\":{\"endpoint\":\"tcp://1.2.3.4:5\"},\"kind\":"
         "\"Zmq\"},\"type\":\"EventChannel\"}",
         "n", "c", "e"},
        {"{\"component\":\"c\",\"instance_id\":7,\"namespace\":\"n\",\"topic\":\"t\","
         "\"transport\":{\"config\":{\"endpoint\":\"tcp://1.2.3.4:5\"},\"kind\":\"Zmq\"},"
         "\"type\":\"EventChannel\"}",
         "n", "c", ""},
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        struct weir_record r;
        struct weir_err err;
        CHECK_MSG(weir_record_decode(weir_span_z(rows[i].json), &arena, &r, &err) == WEIR_OK, "%s",
                  err.text);
        CHECK_EQ_STR(r.endpoint.ns.data, r.endpoint.ns.len, rows[i].ns);
        CHECK_EQ_STR(r.endpoint.component.data, r.endpoint.component.len, rows[i].component);
        CHECK_EQ_STR(r.endpoint.name.data, r.endpoint.name.len, rows[i].name);
    }
}

static void case_what_is_written(void) {
    struct weir_buf out;
    const struct weir_kube_record records[] = {
        {WEIR_RECORD_EVENT_CHANNEL, WEIR_SPAN_LIT("namespace/n/topic/t/7"),
         WEIR_SPAN_LIT("{\"type\":\"EventChannel\",\"scope\":{\"kind\":\"namespace\",\"name\":"
                       "\"n\"},\"topic\":\"t\",\"instance_id\":7,\"transport\":{\"kind\":\"Zmq\","
                       "\"config\":{\"endpoint\":\"tcp://1.2.3.4:5\"}}}")},
        {WEIR_RECORD_ENDPOINT, WEIR_SPAN_LIT("n/c/\"e"), WEIR_SPAN_LIT("{\"x\":1}")},
        {WEIR_RECORD_ENDPOINT, WEIR_SPAN_LIT("n/c/f"), WEIR_SPAN_LIT("{\"y\":2}")},
    };
    static const char want[] =
        "{\"apiVersion\":\"nvidia.com/v1alpha1\",\"kind\":\"DynamoWorkerMetadata\",\"metadata\":"
        "{\"name\":\"p-e\",\"ownerReferences\":[{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"name\":"
        "\"p\",\"uid\":\"u\",\"controller\":false,\"blockOwnerDeletion\":false}]},\"spec\":{"
        "\"data\":"
        "{\"endpoints\":{\"n/c/\\\"e\":{\"x\":1},\"n/c/f\":{\"y\":2}},\"model_cards\":{},"
        "\"event_channels\":{\"namespace/n/topic/t/7\":{\"namespace\":\"n\",\"component\":\"\","
        "\"type\":\"EventChannel\",\"scope\":{\"kind\":\"namespace\",\"name\":\"n\"},\"topic\":"
        "\"t\","
        "\"instance_id\":7,\"transport\":{\"kind\":\"Zmq\",\"config\":{\"endpoint\":"
        "\"tcp://1.2.3.4:5\"}}}},\"event_sources\":{}}}}";
    weir_buf_init(&out, 1 << 20);
    CHECK(weir_kube_encode_metadata(WEIR_SPAN_LIT("p-e"), WEIR_SPAN_LIT("p"), WEIR_SPAN_LIT("u"),
                                    records, 3, &out) == WEIR_OK);
    CHECK_EQ_STR(out.data, out.len, want);
    weir_buf_clear(&out);
    CHECK(weir_kube_encode_metadata(WEIR_SPAN_LIT("p"), WEIR_SPAN_LIT("p"), WEIR_SPAN_LIT("u"),
                                    NULL, 0, &out) == WEIR_OK);
    CHECK(strstr(out.data, "\"controller\":true") != NULL);
    weir_buf_clear(&out);
    CHECK(weir_kube_encode_query(WEIR_SPAN_LIT("a/B=c,d e\x80-._~"), &out) == WEIR_OK);
    CHECK_EQ_STR(out.data, out.len, "a%2FB%3Dc%2Cd%20e%80-._~");
    weir_buf_fini(&out);
}

int main(void) {
    weir_arena_init(&arena, 4 << 20);
    CHECK_RUN(case_instance_ids);
    CHECK_RUN(case_cr_names);
    CHECK_RUN(case_lists);
    CHECK_RUN(case_one_that_is_deep);
    CHECK_RUN(case_events);
    CHECK_RUN(case_status);
    CHECK_RUN(case_slices);
    CHECK_RUN(case_pods);
    CHECK_RUN(case_metadata);
    CHECK_RUN(case_channel_scopes);
    CHECK_RUN(case_what_is_written);
    weir_arena_fini(&arena);
    return check_finish();
}
