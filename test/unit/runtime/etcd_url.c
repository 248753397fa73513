/* Endpoints as text, and the pauses between attempts. */
#include "runtime/discovery_etcd_priv.h"

#include "test/check.h"

static struct etcd_endpoint ep[ETCD_MAX_ENDPOINTS];
static unsigned n;

static void check_one(unsigned i, const char *host, uint16_t port, bool tls) {
    CHECK_MSG(strcmp(ep[i].host, host) == 0 && ep[i].port == port && ep[i].tls == tls,
              "%s %u %d, want %s %u %d", ep[i].host, ep[i].port, ep[i].tls, host, port, tls);
}

static void case_good(void) {
    struct weir_err err;
    CHECK(weir_etcd_endpoints_parse("http://localhost:2379", false, ep, &n, &err) == WEIR_OK);
    CHECK_EQ_U64(n, 1);
    check_one(0, "localhost", 2379, false);
    CHECK(weir_etcd_endpoints_parse(" https://a.b , c:1,[::1]:2,http://[fe80::1]/,", true, ep, &n,
                                    &err) == WEIR_OK);
    CHECK_EQ_U64(n, 4);
    check_one(0, "a.b", 2379, true);
    check_one(1, "c", 1, true); /* no scheme: as the certificates say */
    check_one(2, "::1", 2, true);
    check_one(3, "fe80::1", 2379, false);
}

static void case_bad(void) {
    static const char *const bad[] = {"",
                                      ",",
                                      "http://",
                                      "http://:2379",
                                      "a:0",
                                      "a:65536",
                                      "a:x",
                                      "a:1:2",
                                      "::1",
                                      "[::1",
                                      "[::1]x",
                                      "unix:///tmp/x",
                                      "http://u:p@a:1",
                                      "http://a/path",
                                      "http://a?x",
                                      "a b",
                                      "a:1 b:2",
                                      "a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a"};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(bad); i++) {
        struct weir_err err = {0};
        CHECK_MSG(weir_etcd_endpoints_parse(bad[i], false, ep, &n, &err) != WEIR_OK, "%s", bad[i]);
        CHECK(strstr(err.text, "ETCD_ENDPOINTS") != NULL);
    }
}

static void case_pauses(void) {
    /* Three addresses: each is tried soon, then the pause doubles up to its limit. */
    CHECK(weir_discovery_backoff_ms(1, 3, 5000, 0.999) < 20);
    CHECK(weir_discovery_backoff_ms(2, 3, 5000, 0.999) < 20);
    static const uint64_t want[] = {100, 200, 400, 800, 1600, 3200, 5000, 5000};
    for (unsigned i = 0; i < WEIR_ARRAY_LEN(want); i++) {
        CHECK_EQ_U64(weir_discovery_backoff_ms(3 + i, 3, 5000, 0), want[i]);
        uint64_t least = weir_discovery_backoff_ms(3 + i, 3, 5000, 0.999);
        CHECK(least >= want[i] / 2 && least <= want[i] / 2 + 10);
    }
    CHECK_EQ_U64(weir_discovery_backoff_ms(4000000000u, 3, 5000, 0), 5000);
}

int main(void) {
    CHECK_RUN(case_good);
    CHECK_RUN(case_bad);
    CHECK_RUN(case_pauses);
    return check_finish();
}
