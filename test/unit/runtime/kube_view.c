/*
 * Which records are visible: cases by name, then random objects, lists and deletions against a
 * model that looks at everything anew each time.
 */
#include "runtime/discovery_kube_view.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/rng.h"
#include "test/said.h"

static struct weir_kube_view *view;

/* ---- cases by name ------------------------------------------------------------------------ */

static void on_change(void *arg, enum weir_record_kind kind, struct weir_span key,
                      struct weir_span json) {
    (void)arg;
    if (json.data != NULL)
        add("+%d:%.*s=%.*s ", (int)kind, WEIR_SPAN_ARG(key), WEIR_SPAN_ARG(json));
    else
        add("-%d:%.*s ", (int)kind, WEIR_SPAN_ARG(key));
}

static void told(const char *want) {
    weir_kube_view_settle(view);
    CHECK_EQ_STR(text, len, want);
    len = 0;
    text[0] = '\0';
}

static void put(enum weir_kube_side side, const char *json) {
    CHECK(weir_kube_view_put(view, side, weir_span_z(json)) == WEIR_OK);
}

static void gone(enum weir_kube_side side, const char *name) {
    char json[200];
    snprintf(json, sizeof(json), "{\"metadata\":{\"name\":\"%s\"}}", name);
    CHECK(weir_kube_view_remove(view, side, weir_span_z(json)) == WEIR_OK);
}

#define READY(pod, uid)                                                                            \
    "{\"conditions\":{\"ready\":true},\"targetRef\":{\"name\":\"" pod "\",\"uid\":\"" uid "\"}}"
#define SLICE(name, ends) "{\"metadata\":{\"name\":\"" name "\"},\"endpoints\":[" ends "]}"
#define CR(name, uid, pod_uid, data)                                                               \
    "{\"metadata\":{\"name\":\"" name "\",\"uid\":\"" uid "\",\"ownerReferences\":[{\"kind\":"     \
    "\"Pod\",\"uid\":\"" pod_uid "\"}]},\"spec\":{\"data\":" data "}}"
#define ONE(key, value) "{\"endpoints\":{\"" key "\":" value "}}"

static void open_view(void) {
    len = 0;
    text[0] = '\0';
    view = weir_kube_view_create(100, on_change, NULL);
    CHECK(view != NULL);
}

static void case_both_sides(void) {
    open_view();
    put(WEIR_KUBE_SLICES, SLICE("s", READY("a", "1")));
    told("");
    put(WEIR_KUBE_CRS, CR("a", "x", "1", ONE("k", "1")));
    told("+0:k=1 ");
    put(WEIR_KUBE_CRS, CR("a", "x", "1", ONE("k", "1"))); /* nothing new */
    told("");
    put(WEIR_KUBE_CRS,
        CR("a", "x", "1", "{\"endpoints\":{\"k\":2,\"l\":3},\"model_cards\":{\"k\":4}}"));
    told("+0:k=2 +0:l=3 +1:k=4 ");
    put(WEIR_KUBE_CRS, CR("a", "x", "1", ONE("l", "3")));
    told("-0:k -1:k ");
    put(WEIR_KUBE_SLICES, SLICE("s", ""));
    told("-0:l ");
    put(WEIR_KUBE_SLICES, SLICE("s", READY("a", "1")));
    told("+0:l=3 ");
    gone(WEIR_KUBE_SLICES, "s");
    told("-0:l ");
    gone(WEIR_KUBE_SLICES, "s");
    gone(WEIR_KUBE_CRS, "a");
    told("");
    struct weir_kube_counts n = weir_kube_view_counts(view);
    CHECK(n.visible == 0 && n.crs == 0 && n.ready == 0);
    weir_kube_view_destroy(view);
}

static void case_namesakes(void) {
    open_view();
    put(WEIR_KUBE_CRS, CR("a", "x", "1", ONE("k", "1")));
    put(WEIR_KUBE_SLICES, SLICE("s", READY("a", "2")));
    told(""); /* the CR is of the pod that died */
    put(WEIR_KUBE_CRS, CR("a", "y", "2", ONE("k", "2")));
    told("+0:k=2 ");
    put(WEIR_KUBE_SLICES, SLICE("t", READY("a", "1")));
    told("-0:k "); /* which of them? */
    put(WEIR_KUBE_SLICES, SLICE("t", READY("a", "2") "," READY("a", "2")));
    told("+0:k=2 ");
    gone(WEIR_KUBE_SLICES, "s"); /* the other slice has it */
    told("");
    gone(WEIR_KUBE_SLICES, "t");
    told("-0:k ");
    put(WEIR_KUBE_CRS, "{\"metadata\":{\"name\":\"b\"},\"spec\":{\"data\":" ONE("k", "1") "}}");
    put(WEIR_KUBE_SLICES, SLICE("s", READY("b", "1")));
    told(""); /* nobody owns it */
    weir_kube_view_destroy(view);
}

/* The server takes owners of any length: no lack of memory, which would have everything listed anew
 * without end. */
static void case_an_owner_with_a_long_uid(void) {
    static char uid[100001], json[101000];
    memset(uid, 'u', sizeof(uid) - 1);
    snprintf(json, sizeof(json),
             "{\"metadata\":{\"name\":\"a\",\"uid\":\"x\",\"ownerReferences\":[{\"kind\":\"Pod\","
             "\"uid\":"
             "\"%s\"}]},\"spec\":{\"data\":{}}}",
             uid);
    open_view();
    put(WEIR_KUBE_CRS, json);
    told("");
    weir_kube_view_destroy(view);
}

static void case_records_that_are_not_there_for_the_moment(void) {
    open_view();
    put(WEIR_KUBE_SLICES, SLICE("s", READY("a", "1")));
    put(WEIR_KUBE_CRS, CR("a", "x", "1", ONE("k", "1")));
    told("+0:k=1 ");
    put(WEIR_KUBE_CRS, CR("a", "x", "1", "null"));
    told("");
    CHECK(weir_kube_view_put(view, WEIR_KUBE_CRS, WEIR_SPAN_LIT(CR("a", "x", "1", "[]"))) ==
          WEIR_INVALID);
    told("");
    put(WEIR_KUBE_CRS, CR("a", "y", "1", "null")); /* another object */
    told("-0:k ");
    weir_kube_view_destroy(view);
}

static void case_lists(void) {
    open_view();
    put(WEIR_KUBE_SLICES, SLICE("s", READY("a", "1")));
    put(WEIR_KUBE_SLICES, SLICE("t", READY("b", "2")));
    put(WEIR_KUBE_CRS, CR("a", "x", "1", ONE("k", "1")));
    put(WEIR_KUBE_CRS, CR("b", "y", "2", ONE("l", "2")));
    told("+0:k=1 +0:l=2 ");
    /* a moves to the other slice, page by page: it was never gone. */
    weir_kube_view_list_begin(view, WEIR_KUBE_SLICES);
    put(WEIR_KUBE_SLICES, SLICE("s", ""));
    told("");
    put(WEIR_KUBE_CRS, CR("a", "x", "1", ONE("k", "3"))); /* meanwhile */
    put(WEIR_KUBE_CRS, CR("b", "y", "2", ONE("l", "4")));
    told("+0:l=4 ");
    weir_kube_view_list_begin(view, WEIR_KUBE_SLICES); /* once more from the start */
    put(WEIR_KUBE_SLICES, SLICE("s", ""));
    put(WEIR_KUBE_SLICES, SLICE("t", READY("b", "2") "," READY("a", "1")));
    told("");
    weir_kube_view_list_end(view, WEIR_KUBE_SLICES);
    told("+0:k=3 ");
    /* What a list does not name is gone; what it names but cannot be read is not. */
    weir_kube_view_list_begin(view, WEIR_KUBE_CRS);
    CHECK(weir_kube_view_put(view, WEIR_KUBE_CRS, WEIR_SPAN_LIT(CR("b", "y", "2", "5"))) ==
          WEIR_INVALID);
    told("");
    weir_kube_view_list_end(view, WEIR_KUBE_CRS);
    told("-0:k ");
    weir_kube_view_destroy(view);
}

static void case_one_key_of_two(void) {
    open_view();
    put(WEIR_KUBE_SLICES, SLICE("s", READY("a", "1") "," READY("b", "2")));
    put(WEIR_KUBE_CRS, CR("a", "x", "1", ONE("k", "1")));
    put(WEIR_KUBE_CRS, CR("b", "y", "2", ONE("k", "2")));
    told("+0:k=1 +0:k=2 ");
    gone(WEIR_KUBE_CRS, "b");
    told("+0:k=1 ");
    gone(WEIR_KUBE_CRS, "a");
    told("-0:k ");
    weir_kube_view_destroy(view);
}

static void case_containers(void) {
    open_view();
    put(WEIR_KUBE_CRS, CR("p", "x", "1", ONE("k", "1")));
    put(WEIR_KUBE_CRS, CR("p-e", "y", "1", ONE("l", "2")));
    put(WEIR_KUBE_PODS, "{\"metadata\":{\"name\":\"p\",\"uid\":\"1\"},\"status\":{"
                        "\"containerStatuses\":[{\"name\":\"main\",\"ready\":true},"
                        "{\"name\":\"e\",\"ready\":false}]}}");
    told("+0:k=1 ");
    put(WEIR_KUBE_PODS, "{\"metadata\":{\"name\":\"p\",\"uid\":\"1\"},\"status\":{"
                        "\"containerStatuses\":[{\"name\":\"main\",\"ready\":false},"
                        "{\"name\":\"e\",\"ready\":true}]}}");
    weir_kube_view_settle(view);
    CHECK(strstr(text, "-0:k") != NULL && strstr(text, "+0:l=2") != NULL);
    weir_kube_view_destroy(view);
}

static void case_limits(void) {
    len = 0;
    view = weir_kube_view_create(2, on_change, NULL);
    put(WEIR_KUBE_CRS, CR("a", "x", "1", "{}"));
    put(WEIR_KUBE_CRS, CR("b", "x", "1", "{}"));
    CHECK(weir_kube_view_put(view, WEIR_KUBE_CRS, WEIR_SPAN_LIT(CR("c", "x", "1", "{}"))) ==
          WEIR_LIMIT);
    put(WEIR_KUBE_CRS, CR("b", "x", "1", "{}"));
    gone(WEIR_KUBE_CRS, "a");
    put(WEIR_KUBE_CRS, CR("c", "x", "1", "{}"));
    weir_kube_view_destroy(view);
}

/* ---- random, against a model -------------------------------------------------------------- */

enum { PODS = 5, UIDS = 2, SLICES = 4, KEYS = 6 };

struct model_cr {
    bool there;
    int uid, owner;
    bool has[KEYS]; /* key 0 may be of several */
    int value;
};
struct model {
    bool slice[SLICES][PODS][UIDS];
    struct model_cr cr[PODS];
};

static int seen[PODS * KEYS]; /* by key: value + 1; 0: not visible */

/* Key 0 is the same for all. */
static int key_index(int pod, int k) {
    return k == 0 ? 0 : pod * KEYS + k;
}

static void on_random(void *arg, enum weir_record_kind kind, struct weir_span key,
                      struct weir_span json) {
    (void)arg;
    (void)kind;
    uint64_t at = 0, value = 0;
    CHECK(weir_span_u64(key, &at) && at < PODS * KEYS);
    CHECK(json.data == NULL || weir_span_u64(json, &value));
    CHECK(json.data != NULL || seen[at] != 0);
    seen[at] = json.data != NULL ? (int)value + 1 : 0;
}

static bool model_shows(const struct model *m, int pod, int k) {
    int uid = -1;
    for (int s = 0; s < SLICES; s++)
        for (int u = 0; u < UIDS; u++)
            if (m->slice[s][pod][u]) {
                if (uid >= 0 && uid != u)
                    return false;
                uid = u;
            }
    return uid >= 0 && m->cr[pod].there && m->cr[pod].owner == uid && m->cr[pod].has[k];
}

static void check_model(const struct model *m) {
    bool shown[PODS * KEYS] = {false}, right[PODS * KEYS] = {false};
    for (int p = 0; p < PODS; p++)
        for (int k = 0; k < KEYS; k++)
            if (model_shows(m, p, k)) {
                int at = key_index(p, k);
                shown[at] = true;
                right[at] |= seen[at] == m->cr[p].value + 1;
            }
    for (int i = 0; i < PODS * KEYS; i++)
        CHECK_MSG(shown[i] ? right[i] : seen[i] == 0, "key %d: %d", i, seen[i]);
}

static void random_slice(struct weir_rng *rng, struct model *m, int s, bool write) {
    struct weir_buf json;
    bool first = true;
    weir_buf_init(&json, 1 << 16);
    CHECK(weir_buf_printf(&json, "{\"metadata\":{\"name\":\"s%d\"},\"endpoints\":[", s) == WEIR_OK);
    for (int p = 0; p < PODS; p++)
        for (int u = 0; u < UIDS; u++) {
            if (!write)
                m->slice[s][p][u] = weir_rng_below(rng, 10) < (u == 0 ? 4 : 1);
            if (!m->slice[s][p][u])
                continue;
            CHECK(weir_buf_printf(&json,
                                  "%s{\"conditions\":{\"ready\":true},\"targetRef\":{\"name\":"
                                  "\"p%d\",\"uid\":\"u%d\"}}",
                                  first ? "" : ",", p, u) == WEIR_OK);
            first = false;
        }
    CHECK(weir_buf_append_z(&json, "]}") == WEIR_OK);
    CHECK(weir_kube_view_put(view, WEIR_KUBE_SLICES, weir_buf_span(&json)) == WEIR_OK);
    weir_buf_fini(&json);
}

static void random_cr(struct weir_rng *rng, struct model *m, int p, bool write) {
    struct model_cr *c = &m->cr[p];
    struct weir_buf json;
    bool first = true;
    weir_buf_init(&json, 1 << 16);
    if (!write) {
        c->there = true;
        c->owner = (int)weir_rng_below(rng, UIDS);
        c->value = (int)weir_rng_below(rng, 1000);
    }
    CHECK(weir_buf_printf(&json,
                          "{\"metadata\":{\"name\":\"p%d\",\"uid\":\"c\",\"ownerReferences\":[{"
                          "\"kind\":\"Pod\",\"uid\":\"u%d\"}]},\"spec\":{\"data\":{\"endpoints\":{",
                          p, c->owner) == WEIR_OK);
    for (int k = 0; k < KEYS; k++) {
        if (!write)
            c->has[k] = weir_rng_below(rng, 2) == 0;
        if (!c->has[k])
            continue;
        CHECK(weir_buf_printf(&json, "%s\"%d\":%d", first ? "" : ",", key_index(p, k), c->value) ==
              WEIR_OK);
        first = false;
    }
    CHECK(weir_buf_append_z(&json, "}}}}") == WEIR_OK);
    CHECK(weir_kube_view_put(view, WEIR_KUBE_CRS, weir_buf_span(&json)) == WEIR_OK);
    weir_buf_fini(&json);
}

/* Some objects change or go unseen, then all that are left are listed. */
static void random_list(struct weir_rng *rng, struct model *m, bool crs) {
    weir_kube_view_list_begin(view, crs ? WEIR_KUBE_CRS : WEIR_KUBE_SLICES);
    for (int i = 0; i < (crs ? PODS : SLICES); i++) {
        bool drop = weir_rng_below(rng, 3) == 0;
        if (crs && drop)
            m->cr[i].there = false;
        else if (crs && m->cr[i].there)
            random_cr(rng, m, i, true);
        else if (!crs && drop)
            memset(m->slice[i], 0, sizeof(m->slice[i]));
        else if (!crs)
            random_slice(rng, m, i, weir_rng_below(rng, 2) == 0);
    }
    weir_kube_view_list_end(view, crs ? WEIR_KUBE_CRS : WEIR_KUBE_SLICES);
}

static void random_step(struct weir_rng *rng, struct model *m) {
    int s = (int)weir_rng_below(rng, SLICES), p = (int)weir_rng_below(rng, PODS);
    char name[16];
    switch (weir_rng_below(rng, 8)) {
    case 0:
    case 1:
        random_slice(rng, m, s, false);
        break;
    case 2:
    case 3:
    case 4:
        random_cr(rng, m, p, false);
        break;
    case 5:
        snprintf(name, sizeof(name), "s%d", s);
        gone(WEIR_KUBE_SLICES, name);
        memset(m->slice[s], 0, sizeof(m->slice[s]));
        break;
    case 6:
        snprintf(name, sizeof(name), "p%d", p);
        gone(WEIR_KUBE_CRS, name);
        m->cr[p].there = false;
        break;
    default:
        random_list(rng, m, weir_rng_below(rng, 2) == 0);
    }
}

static void case_random(void) {
    struct weir_rng rng;
    weir_rng_seed(&rng, check_seed());
    for (int round = 0; round < 50; round++) {
        struct model m = {0};
        memset(seen, 0, sizeof(seen));
        view = weir_kube_view_create(100, on_random, NULL);
        for (int i = 0; i < 300; i++) {
            random_step(&rng, &m);
            if (weir_rng_below(&rng, 3) == 0) {
                weir_kube_view_settle(view);
                check_model(&m);
            }
        }
        weir_kube_view_destroy(view);
    }
}

/* Each allocation fails once; what then is put again is as if nothing had been. */
static void case_out_of_memory(void) {
    static const char slice[] = SLICE("s", READY("a", "1") "," READY("b", "2"));
    static const char cr[] = CR("a", "x", "1", "{\"endpoints\":{\"k\":1,\"l\":2}}");
    for (uint64_t k = 1; k < 200; k++) {
        open_view();
        weir_mem_fail_at(k);
        enum weir_status one = weir_kube_view_put(view, WEIR_KUBE_SLICES, weir_span_z(slice));
        enum weir_status two = weir_kube_view_put(view, WEIR_KUBE_CRS, weir_span_z(cr));
        weir_kube_view_settle(view);
        weir_mem_fail_at(0);
        CHECK(one == WEIR_OK || one == WEIR_NOMEM || one == WEIR_INVALID);
        CHECK(two == WEIR_OK || two == WEIR_NOMEM || two == WEIR_INVALID);
        put(WEIR_KUBE_SLICES, slice);
        put(WEIR_KUBE_CRS, cr);
        told("+0:k=1 +0:l=2 ");
        gone(WEIR_KUBE_CRS, "a");
        told("-0:k -0:l ");
        weir_kube_view_destroy(view);
    }
}

int main(void) {
    CHECK_RUN(case_both_sides);
    CHECK_RUN(case_namesakes);
    CHECK_RUN(case_an_owner_with_a_long_uid);
    CHECK_RUN(case_records_that_are_not_there_for_the_moment);
    CHECK_RUN(case_lists);
    CHECK_RUN(case_one_key_of_two);
    CHECK_RUN(case_containers);
    CHECK_RUN(case_limits);
    CHECK_RUN(case_random);
    CHECK_RUN(case_out_of_memory);
    return check_finish();
}
