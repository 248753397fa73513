#include "runtime/discovery_etcd_priv.h"

enum { DEFAULT_PORT = 2379 };

static bool parse_one(struct weir_span text, bool tls, struct etcd_endpoint *ep) {
    static const struct weir_span http = {"http://", 7}, https = {"https://", 8};
    ep->tls = tls;
    if (weir_span_starts(text, http)) {
        ep->tls = false;
        text = weir_span(text.data + http.len, text.len - http.len);
    } else if (weir_span_starts(text, https)) {
        ep->tls = true;
        text = weir_span(text.data + https.len, text.len - https.len);
    }
    if (text.len > 0 && text.data[text.len - 1] == '/')
        text.len--;
    ep->port = DEFAULT_PORT;
    return weir_host_parse(text, ep->host, &ep->port);
}

enum weir_status weir_etcd_endpoints_parse(const char *text, bool tls,
                                           struct etcd_endpoint ret[ETCD_MAX_ENDPOINTS],
                                           unsigned *ret_n, struct weir_err *err) {
    struct weir_span rest = weir_span_z(text);
    unsigned n = 0;
    while (rest.data != NULL) {
        struct weir_span one = weir_span_trim(weir_span_split(rest, ',', &rest));
        if (one.len == 0)
            continue;
        if (n == ETCD_MAX_ENDPOINTS)
            return weir_err_set(err, WEIR_LIMIT, "ETCD_ENDPOINTS: more than %d endpoints",
                                ETCD_MAX_ENDPOINTS);
        if (!parse_one(one, tls, &ret[n]))
            return weir_err_set(err, WEIR_INVALID,
                                "ETCD_ENDPOINTS: '%.*s' is no endpoint; write http://HOST:PORT or "
                                "https://HOST:PORT, several with commas between them",
                                WEIR_SPAN_ARG(one));
        n++;
    }
    if (n == 0)
        return weir_err_set(err, WEIR_INVALID, "ETCD_ENDPOINTS is empty");
    *ret_n = n;
    return WEIR_OK;
}
