#include "runtime/discovery_etcd_priv.h"

#include <stdio.h>

enum { DEFAULT_PORT = 2379, FIRST_PAUSE_MS = 100, NEXT_ADDRESS_MS = 20 };

/* "host", "host:port", "[v6]", "[v6]:port". */
static bool split_host(struct weir_span text, struct etcd_endpoint *ep) {
    struct weir_span host = text, port = {NULL, 0};
    if (text.len > 0 && text.data[0] == '[') {
        struct weir_span rest;
        host = weir_span_split(weir_span(text.data + 1, text.len - 1), ']', &rest);
        if (rest.data == NULL || (rest.len > 0 && rest.data[0] != ':'))
            return false;
        if (rest.len > 0)
            port = weir_span(rest.data + 1, rest.len - 1);
    } else {
        host = weir_span_split(text, ':', &port);
        if (port.data != NULL && weir_span_find(port, ':') >= 0)
            return false; /* IPv6 without brackets */
    }
    uint64_t number = DEFAULT_PORT;
    if (host.len == 0 || host.len >= sizeof(ep->host) ||
        (port.data != NULL && (!weir_span_u64(port, &number) || number < 1 || number > 65535)))
        return false;
    for (size_t i = 0; i < host.len; i++)
        if ((unsigned char)host.data[i] <= ' ' || strchr("/@?#\"\\", host.data[i]) != NULL)
            return false;
    memcpy(ep->host, host.data, host.len);
    ep->host[host.len] = '\0';
    ep->port = (uint16_t)number;
    return true;
}

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
    return split_host(text, ep);
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

uint64_t weir_etcd_backoff_ms(unsigned failures, unsigned addresses, uint64_t max_ms, double unit) {
    if (failures < addresses)
        return (uint64_t)(NEXT_ADDRESS_MS * unit);
    unsigned round = failures - addresses;
    uint64_t ms = round < 16 ? (uint64_t)FIRST_PAUSE_MS << round : max_ms;
    if (ms > max_ms)
        ms = max_ms;
    return ms - (uint64_t)((double)ms / 2 * unit);
}
