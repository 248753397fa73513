#include "bench/origin.h"

#include "base/span.h"

#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>

static bool copy(char out[WEIR_ORIGIN_TEXT], struct weir_span s) {
    if (s.len >= WEIR_ORIGIN_TEXT)
        return false;
    memcpy(out, s.data, s.len);
    out[s.len] = '\0';
    return true;
}

static bool ends_with(struct weir_span s, const char *z) {
    size_t n = strlen(z);
    return s.len >= n && memcmp(s.data + s.len - n, z, n) == 0;
}

static bool parse_path(struct weir_span path, struct weir_origin *o) {
    while (ends_with(path, "/"))
        path.len--;
    if (ends_with(path, "/v1"))
        path.len -= 3;
    else if (weir_span_eqz(path, "v1"))
        path.len = 0;
    if (path.len == 0) {
        o->path[0] = '\0';
        return true;
    }
    char with_slash[WEIR_ORIGIN_TEXT];
    int n = snprintf(with_slash, sizeof(with_slash), "/%.*s", WEIR_SPAN_ARG(path));
    return n > 0 && n < WEIR_ORIGIN_TEXT && copy(o->path, weir_span(with_slash, (size_t)n));
}

/* "host", "host:port", "[v6]" or "[v6]:port" */
static bool parse_authority(struct weir_span text, struct weir_origin *o) {
    struct weir_span host = text, port = {NULL, 0};
    if (text.len > 0 && text.data[0] == '[') {
        ptrdiff_t end = weir_span_find(text, ']');
        if (end < 0)
            return false;
        host = weir_span(text.data + 1, (size_t)end - 1);
        struct weir_span tail = weir_span(text.data + end + 1, text.len - (size_t)end - 1);
        if (tail.len > 0 && tail.data[0] != ':')
            return false;
        if (tail.len > 0)
            port = weir_span(tail.data + 1, tail.len - 1);
    } else {
        host = weir_span_split(text, ':', &port);
    }
    uint64_t number = o->tls ? 443 : 80;
    if (port.data != NULL && (!weir_span_u64(port, &number) || number == 0 || number > 65535))
        return false;
    o->port = (uint16_t)number;
    return host.len > 0 && copy(o->host, host) && copy(o->authority, text);
}

enum weir_status weir_origin_parse(const char *url, struct weir_origin *ret_origin,
                                   struct weir_err *err) {
    struct weir_origin o = {.tls = false};
    struct weir_span text = weir_span_z(url);
    struct weir_span http = WEIR_SPAN_LIT("http://"), https = WEIR_SPAN_LIT("https://");
    o.tls = weir_span_starts(text, https);
    bool good = o.tls || weir_span_starts(text, http);
    if (good) {
        size_t skip = o.tls ? https.len : http.len;
        struct weir_span path = {NULL, 0};
        struct weir_span authority =
            weir_span_split(weir_span(text.data + skip, text.len - skip), '/', &path);
        bool odd = weir_span_find(authority, '@') >= 0 || weir_span_find(text, '?') >= 0 ||
                   weir_span_find(text, '#') >= 0;
        good = !odd && parse_authority(authority, &o) && parse_path(path, &o);
    }
    if (!good)
        return weir_err_set(err, WEIR_INVALID,
                            "--url '%s': write http://HOST:PORT or https://HOST:PORT, with a path "
                            "before /v1 where the server has one",
                            url);
    *ret_origin = o;
    return WEIR_OK;
}

enum weir_status weir_origin_resolve(struct weir_origin *origin, struct weir_err *err) {
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *found = NULL;
    int rc = getaddrinfo(origin->host, NULL, &hints, &found);
    if (rc == 0 && found != NULL)
        rc = getnameinfo(found->ai_addr, found->ai_addrlen, origin->ip, sizeof(origin->ip), NULL, 0,
                         NI_NUMERICHOST);
    if (found != NULL)
        freeaddrinfo(found);
    if (rc != 0)
        return weir_err_set(err, WEIR_CANNOT_CONNECT, "%s: %s", origin->host, gai_strerror(rc));
    return WEIR_OK;
}
