/*
 * URLs as the WHATWG standard reads and writes them (url.spec.whatwg.org, "URL parsing"), as far as
 * media need it: no base, and no host beyond ASCII. Written anew part by part into a buffer of the
 * arena; a text that stays as it is (nearly all of megabytes of data:) is handed back itself.
 */
#include "wire/media.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

struct writer {
    char *to; /* room for what the text can become */
    size_t n, room;
    const char *why;
};

/* Bytes that are percent-encoded in a part, beside those of C0 and above 0x7e, and what hosts may
 * not hold. (The standard has ^ in paths, too, the reference system's library does not.) */
enum part {
    OPAQUE = 0,
    FRAGMENT = 1,
    QUERY = 2,
    SPECIAL_QUERY = 4,
    PATH = 8,
    USER = 16,
    HOST = 32,      /* of schemes that the standard knows */
    OTHER_HOST = 64 /* of others */
};
enum { ALL = 127, QUERIES = QUERY | SPECIAL_QUERY, HOSTS = HOST | OTHER_HOST };
static const unsigned char odd[256] = {
    [' '] = ALL,
    ['"'] = FRAGMENT | QUERIES | PATH | USER,
    ['#'] = QUERIES | PATH | USER | HOST,
    ['%'] = HOST,
    ['\''] = SPECIAL_QUERY,
    ['/'] = USER | HOST,
    [':'] = USER | HOST,
    [';'] = USER,
    ['<'] = ALL,
    ['='] = USER,
    ['>'] = ALL,
    ['?'] = PATH | USER | HOST,
    ['@'] = USER | HOST,
    ['['] = USER | HOSTS,
    ['\\'] = USER | HOSTS,
    [']'] = USER | HOSTS,
    ['^'] = USER | HOSTS,
    ['`'] = FRAGMENT | PATH | USER,
    ['{'] = PATH | USER,
    ['|'] = USER | HOSTS,
    ['}'] = PATH | USER,
};

static bool fail(struct writer *w, const char *why) {
    w->why = why;
    return false;
}

static void put(struct writer *w, char c) {
    w->to[w->n++] = c;
}

static void put_text(struct writer *w, const char *text) {
    size_t n = strlen(text);
    memcpy(w->to + w->n, text, n);
    w->n += n;
}

static bool is_in(const char *set, char c) {
    while (*set != '\0' && *set != c)
        set++;
    return *set != '\0';
}

static bool is_plain(unsigned char c, enum part part) {
    return c > 0x1f && c < 0x7f && (odd[c] & part) == 0;
}

static void put_encoded(struct writer *w, struct weir_span text, enum part part) {
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (is_plain(c, part)) {
            put(w, (char)c);
            continue;
        }
        put(w, '%');
        put(w, digits[c >> 4]);
        put(w, digits[c & 15]);
    }
}

static char lower(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

static int hex(char c) {
    c = lower(c);
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The part before the first of these bytes; *rest begins with that byte, or is empty. */
static struct weir_span upto(struct weir_span text, const char *stops, struct weir_span *rest) {
    size_t n = 0;
    if (stops[1] == '\0') {
        ptrdiff_t at = weir_span_find(text, stops[0]);
        n = at < 0 ? text.len : (size_t)at;
    }
    while (n < text.len && !is_in(stops, text.data[n]))
        n++;
    *rest = weir_span(text.data + n, text.len - n);
    return weir_span(text.data, n);
}

/* ---- hosts -------------------------------------------------------------------------------- */

/* A number of an IPv4 address: decimal, 0x… or 0…; false: none. */
static bool ipv4_number(struct weir_span s, uint64_t *ret) {
    unsigned base = 10;
    if (s.len == 0)
        return false;
    if (s.len >= 2 && s.data[0] == '0' && lower(s.data[1]) == 'x')
        base = 16, s = weir_span(s.data + 2, s.len - 2);
    else if (s.len >= 2 && s.data[0] == '0')
        base = 8, s = weir_span(s.data + 1, s.len - 1);
    *ret = 0;
    for (size_t i = 0; i < s.len; i++) {
        int v = hex(s.data[i]);
        if (v < 0 || (unsigned)v >= base)
            return false;
        if (*ret <= UINT32_MAX)
            *ret = *ret * base + (unsigned)v;
    }
    return true;
}

static bool all_digits(struct weir_span s) {
    for (size_t i = 0; i < s.len; i++)
        if (s.data[i] < '0' || s.data[i] > '9')
            return false;
    return s.len > 0;
}

/* The host's last label is a number: the host is an IPv4 address or nothing. */
static bool ends_in_number(struct weir_span host) {
    uint64_t v;
    if (host.len > 0 && host.data[host.len - 1] == '.')
        host.len--;
    size_t at = host.len;
    while (at > 0 && host.data[at - 1] != '.')
        at--;
    struct weir_span last = weir_span(host.data + at, host.len - at);
    bool prefixed = last.len >= 2 && last.data[0] == '0' && lower(last.data[1]) == 'x';
    return all_digits(last) || (prefixed && ipv4_number(last, &v));
}

static bool put_ipv4(struct writer *w, struct weir_span host) {
    uint64_t v[4], all = 0;
    unsigned n = 0;
    if (host.data[host.len - 1] == '.')
        host.len--;
    for (struct weir_span rest = host; rest.data != NULL; n++) {
        struct weir_span part = weir_span_split(rest, '.', &rest);
        if (n == 4 || !ipv4_number(part, &v[n]))
            return fail(w, "the host is no IPv4 address");
    }
    for (unsigned i = 0; i < n; i++) {
        if (v[i] > (i + 1 < n ? 255 : (UINT64_C(1) << (8 * (5 - n))) - 1))
            return fail(w, "the host is no IPv4 address");
        all += i + 1 < n ? v[i] << (8 * (3 - i)) : v[i];
    }
    w->n += (size_t)snprintf(w->to + w->n, w->room - w->n, "%u.%u.%u.%u",
                             (unsigned)(all >> 24 & 255), (unsigned)(all >> 16 & 255),
                             (unsigned)(all >> 8 & 255), (unsigned)(all & 255));
    return true;
}

/* The last 32 bits of an IPv6 address in dots: four decimal numbers without leading zeros. */
static bool ipv6_dots(struct weir_span s, uint16_t pieces[2]) {
    unsigned v[4], n = 0;
    for (struct weir_span rest = s; rest.data != NULL; n++) {
        uint64_t number;
        struct weir_span part = weir_span_split(rest, '.', &rest);
        if (n == 4 || !weir_span_u64(part, &number) || number > 255 ||
            (part.len > 1 && part.data[0] == '0'))
            return false;
        v[n] = (unsigned)number;
    }
    if (n != 4)
        return false;
    pieces[0] = (uint16_t)(v[0] << 8 | v[1]);
    pieces[1] = (uint16_t)(v[2] << 8 | v[3]);
    return true;
}

static bool read_ipv6(struct weir_span s, uint16_t pieces[8]) {
    unsigned n = 0;
    int gap = -1;
    size_t at = 0;
    if (s.len >= 2 && s.data[0] == ':') {
        if (s.data[1] != ':')
            return false;
        gap = 0;
        at = 2;
    }
    while (at < s.len) {
        unsigned v = 0, digits = 0;
        if (n == 8)
            return false;
        if (s.data[at] == ':') {
            if (gap >= 0)
                return false;
            gap = (int)n;
            at++;
            continue;
        }
        size_t from = at;
        for (; at < s.len && digits < 4 && hex(s.data[at]) >= 0; at++, digits++)
            v = v << 4 | (unsigned)hex(s.data[at]);
        if (at < s.len && s.data[at] == '.') {
            if (digits == 0 || n > 6 ||
                !ipv6_dots(weir_span(s.data + from, s.len - from), &pieces[n]))
                return false;
            n += 2;
            break;
        }
        if (digits == 0 || (at < s.len && s.data[at] != ':') || (at + 1 == s.len))
            return false;
        at += at < s.len;
        pieces[n++] = (uint16_t)v;
    }
    if (gap < 0)
        return n == 8;
    if (n == 8)
        return false;
    unsigned behind = n - (unsigned)gap;
    memmove(&pieces[8 - behind], &pieces[gap], behind * sizeof(pieces[0]));
    memset(&pieces[gap], 0, (8 - n) * sizeof(pieces[0]));
    return true;
}

/* The longest run of zeros, of two at least, becomes "::"; the first of equal ones. */
static bool put_ipv6(struct writer *w, struct weir_span text) {
    uint16_t v[8];
    unsigned gap = 8, longest = 1;
    if (!read_ipv6(text, v))
        return fail(w, "the host is no IPv6 address");
    for (unsigned i = 0; i < 8; i++) {
        unsigned n = 0;
        while (i + n < 8 && v[i + n] == 0)
            n++;
        if (n > longest) {
            longest = n;
            gap = i;
        }
    }
    put(w, '[');
    for (unsigned i = 0; i < 8; i++) {
        if (i == gap) {
            put_text(w, i == 0 ? "::" : ":");
            i += longest - 1;
            continue;
        }
        w->n += (size_t)snprintf(w->to + w->n, w->room - w->n, "%x%s", (unsigned)v[i],
                                 i < 7 ? ":" : "");
    }
    put(w, ']');
    return true;
}

/* What no host may hold. */
static bool is_forbidden(unsigned char c) {
    return c <= ' ' || c == 0x7f || (odd[c] & HOST) != 0;
}

static bool put_host(struct writer *w, struct weir_span host) {
    if (host.len == 0)
        return fail(w, "it has no host");
    if (host.data[0] == '[')
        return host.data[host.len - 1] == ']' && host.len > 1
                   ? put_ipv6(w, weir_span(host.data + 1, host.len - 2))
                   : fail(w, "the host is no IPv6 address");
    size_t from = w->n;
    for (size_t i = 0; i < host.len; i++) {
        unsigned char c = (unsigned char)host.data[i];
        if (c == '%' && i + 2 < host.len && hex(host.data[i + 1]) >= 0 &&
            hex(host.data[i + 2]) >= 0) {
            c = (unsigned char)(hex(host.data[i + 1]) << 4 | hex(host.data[i + 2]));
            i += 2;
        }
        if (c > 0x7f)
            return fail(w, "its host is not written in ASCII (a name in another script has a form "
                           "that begins with xn--)");
        if (is_forbidden(c))
            return fail(w, "its host holds a character that no host may hold");
        put(w, lower((char)c));
    }
    struct weir_span name = weir_span(w->to + from, w->n - from);
    if (!ends_in_number(name))
        return true;
    char copy[256];
    if (name.len > sizeof(copy))
        return fail(w, "the host is no IPv4 address");
    memcpy(copy, name.data, name.len);
    w->n = from;
    return put_ipv4(w, weir_span(copy, name.len));
}

/* ---- the other parts ---------------------------------------------------------------------- */

struct scheme {
    const char *name;
    unsigned port;
};
static const struct scheme special[] = {
    {"http", 80}, {"https", 443}, {"ws", 80}, {"wss", 443}, {"ftp", 21}};

static bool put_port(struct writer *w, struct weir_span port, unsigned usual) {
    unsigned v = 0;
    for (size_t i = 0; i < port.len; i++) {
        if (port.data[i] < '0' || port.data[i] > '9')
            return fail(w, "its port is no number");
        v = v * 10 + (unsigned)(port.data[i] - '0');
        if (v > 65535)
            return fail(w, "its port is above 65535");
    }
    if (port.len > 0 && v != usual)
        w->n += (size_t)snprintf(w->to + w->n, w->room - w->n, ":%u", v);
    return true;
}

/* user:password@host:port */
static bool put_authority(struct writer *w, struct weir_span text, unsigned usual) {
    struct weir_span port = {NULL, 0};
    for (size_t at = text.len; at > 0; at--) {
        if (text.data[at - 1] != '@')
            continue;
        struct weir_span password,
            user = weir_span_split(weir_span(text.data, at - 1), ':', &password);
        put_encoded(w, user, USER);
        if (password.data != NULL && password.len > 0) {
            put(w, ':');
            put_encoded(w, password, USER);
        }
        if (user.len > 0 || (password.data != NULL && password.len > 0))
            put(w, '@');
        text = weir_span(text.data + at, text.len - at);
        break;
    }
    size_t n = text.len;
    while (n > 0 && text.data[n - 1] != ':' && text.data[n - 1] != ']')
        n--;
    if (n > 0 && text.data[n - 1] == ':') {
        port = weir_span(text.data + n, text.len - n);
        text.len = n - 1;
    }
    return put_host(w, text) && put_port(w, port, usual);
}

/* How many dots the segment is: "." 1, ".." 2, also with %2e; else 0. */
static int dots(struct weir_span s) {
    int n = 0;
    for (size_t i = 0; i < s.len; n++) {
        if (s.data[i] == '.')
            i++;
        else if (s.len - i >= 3 && strncasecmp(s.data + i, "%2e", 3) == 0)
            i += 3;
        else
            return 0;
    }
    return n <= 2 ? n : 0;
}

/* The path from its first slash on; `slashes`: what separates its segments. */
static void put_path(struct writer *w, struct weir_span path, const char *slashes) {
    size_t begin = w->n;
    if (path.len > 0 && is_in(slashes, path.data[0]))
        path = weir_span(path.data + 1, path.len - 1);
    for (bool more = true; more;) {
        struct weir_span rest, segment = upto(path, slashes, &rest);
        more = rest.len > 0;
        path = more ? weir_span(rest.data + 1, rest.len - 1) : rest;
        int n = dots(segment);
        if (n == 2) /* the segment before goes */
            while (w->n > begin && w->to[--w->n] != '/')
                continue;
        if (n == 0) {
            put(w, '/');
            put_encoded(w, segment, PATH);
        } else if (!more) {
            put(w, '/');
        }
    }
}

static void put_rest(struct writer *w, struct weir_span query, struct weir_span fragment,
                     bool is_special) {
    if (query.len > 0) {
        put(w, '?');
        put_encoded(w, weir_span(query.data + 1, query.len - 1),
                    is_special ? SPECIAL_QUERY : QUERY);
    }
    if (fragment.len > 0) {
        put(w, '#');
        put_encoded(w, weir_span(fragment.data + 1, fragment.len - 1), FRAGMENT);
    }
}

static bool put_special(struct writer *w, struct weir_span text, unsigned port) {
    struct weir_span path;
    while (text.len > 0 && (text.data[0] == '/' || text.data[0] == '\\'))
        text = weir_span(text.data + 1, text.len - 1);
    put_text(w, "//");
    if (!put_authority(w, upto(text, "/\\", &path), port))
        return false;
    put_path(w, path, "/\\");
    return true;
}

static bool put_file(struct writer *w, struct weir_span text) {
    struct weir_span host = {NULL, 0};
    put_text(w, "//");
    if (text.len >= 2 && is_in("/\\", text.data[0]) && is_in("/\\", text.data[1]))
        host = upto(weir_span(text.data + 2, text.len - 2), "/\\", &text);
    size_t from = w->n;
    if (host.len > 0 && !put_host(w, host))
        return false;
    if (weir_span_eqz(weir_span(w->to + from, w->n - from), "localhost"))
        w->n = from;
    put_path(w, text, "/\\");
    return true;
}

/* A scheme that the standard knows nothing of: s3://bucket/key, blob:… */
static bool put_other(struct writer *w, struct weir_span text) {
    struct weir_span path = text;
    bool has_host = text.len >= 2 && text.data[0] == '/' && text.data[1] == '/';
    size_t from = w->n;
    if (has_host) {
        struct weir_span host = upto(weir_span(text.data + 2, text.len - 2), "/", &path);
        for (size_t i = 0; i < host.len; i++)
            if ((odd[(unsigned char)host.data[i]] & OTHER_HOST) != 0)
                return fail(w, "its host holds a character that no host may hold");
        put_text(w, "//");
        put_encoded(w, host, OPAQUE);
        if (path.len == 0)
            return true;
    } else if (text.len == 0 || text.data[0] != '/') {
        put_encoded(w, text, OPAQUE);
        return true;
    }
    put_path(w, path, "/");
    if (!has_host && w->n - from >= 2 && w->to[from + 1] == '/') { /* else it would be a host */
        memmove(w->to + from + 2, w->to + from, w->n - from);
        memcpy(w->to + from, "/.", 2);
        w->n += 2;
    }
    return true;
}

/* ---- the whole ---------------------------------------------------------------------------- */

static bool is_scheme(struct weir_span s) {
    for (size_t i = 0; i < s.len; i++) {
        char c = lower(s.data[i]);
        bool letter = c >= 'a' && c <= 'z';
        if (!letter && (i == 0 || ((c < '0' || c > '9') && c != '+' && c != '-' && c != '.')))
            return false;
    }
    return s.len > 0;
}

static bool put_url(struct writer *w, struct weir_span text) {
    struct weir_span rest, fragment, query, scheme = weir_span_split(text, ':', &rest);
    if (rest.data == NULL || !is_scheme(scheme))
        return fail(w, "relative URL without a base");
    for (size_t i = 0; i < scheme.len; i++)
        put(w, lower(scheme.data[i]));
    scheme = weir_span(w->to, w->n);
    put(w, ':');
    rest = upto(rest, "#", &fragment);
    rest = upto(rest, "?", &query);
    for (size_t i = 0; i < sizeof(special) / sizeof(special[0]); i++)
        if (weir_span_eqz(scheme, special[i].name)) {
            if (!put_special(w, rest, special[i].port))
                return false;
            put_rest(w, query, fragment, true);
            return true;
        }
    bool file = weir_span_eqz(scheme, "file");
    if (!(file ? put_file(w, rest) : put_other(w, rest)))
        return false;
    put_rest(w, query, fragment, file);
    return true;
}

/* Without blanks and control characters at its ends, and without tabs and line ends. */
static struct weir_span clean(struct weir_span text, struct weir_arena *arena) {
    while (text.len > 0 && (unsigned char)text.data[0] <= ' ')
        text = weir_span(text.data + 1, text.len - 1);
    while (text.len > 0 && (unsigned char)text.data[text.len - 1] <= ' ')
        text.len--;
    if (weir_span_find(text, '\t') < 0 && weir_span_find(text, '\n') < 0 &&
        weir_span_find(text, '\r') < 0)
        return text;
    char *to = weir_arena_alloc(arena, text.len);
    size_t n = 0;
    for (size_t i = 0; to != NULL && i < text.len; i++)
        if (!is_in("\t\n\r", text.data[i]))
            to[n++] = text.data[i];
    return weir_span(to, n);
}

bool weir_media_url_holds_data(struct weir_span url) {
    return weir_span_starts(url, WEIR_SPAN_LIT("data:"));
}

/* data: with nothing to encode in it: neither query nor fragment, and printable. */
static bool stays(struct weir_span url) {
    unsigned char changes = 0;
    if (!weir_media_url_holds_data(url) || (url.len > 5 && url.data[5] == '/'))
        return false;
    for (size_t i = 0; i < url.len; i++) {
        unsigned char c = (unsigned char)url.data[i];
        changes |= (unsigned char)((c < ' ') | (c > '~') | (c == '?') | (c == '#'));
    }
    return changes == 0;
}

enum weir_status weir_media_url(struct weir_span text, struct weir_arena *arena,
                                struct weir_span *ret_url, const char **ret_why) {
    struct writer w = {.to = NULL};
    text = clean(text, arena);
    if (text.data == NULL)
        return WEIR_NOMEM;
    if (stays(text)) {
        *ret_url = text;
        return WEIR_OK;
    }
    w.room = 3 * text.len + 64; /* an address may grow: 1.1, [::1:2:3] */
    w.to = weir_arena_alloc(arena, w.room);
    if (w.to == NULL)
        return WEIR_NOMEM;
    if (!put_url(&w, text)) {
        *ret_why = w.why;
        return WEIR_INVALID;
    }
    struct weir_span url = weir_span(w.to, w.n);
    *ret_url = weir_span_eq(url, text) ? text : url;
    return WEIR_OK;
}

/* Names of this machine and of what clouds and clusters keep for themselves: Dynamo's list. */
static bool is_inner_name(struct weir_span host) {
    static const char *const names[] = {"localhost",
                                        "localhost.localdomain",
                                        "ip6-localhost",
                                        "ip6-loopback",
                                        "metadata",
                                        "metadata.google.internal",
                                        "metadata.goog",
                                        "kubernetes.default",
                                        "kubernetes.default.svc"};
    if (host.len > 0 && host.data[host.len - 1] == '.')
        host.len--;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (weir_span_eqz(host, names[i]))
            return true;
    return false;
}

const char *weir_media_url_refused(struct weir_span url) {
    struct weir_span rest, authority = url;
    if (weir_span_starts(url, WEIR_SPAN_LIT("http://")))
        authority = upto(weir_span(url.data + 7, url.len - 7), "/?#", &rest);
    else if (weir_span_starts(url, WEIR_SPAN_LIT("https://")))
        authority = upto(weir_span(url.data + 8, url.len - 8), "/?#", &rest);
    else
        return NULL;
    ptrdiff_t at = weir_span_find(authority, '@');
    if (at >= 0)
        authority = weir_span(authority.data + at + 1, authority.len - (size_t)at - 1);
    if (authority.len > 0 && authority.data[0] == '[')
        return "it names an address instead of a host";
    struct weir_span host = upto(authority, ":", &rest);
    if (rest.len > 0)
        return "it names a port";
    if (ends_in_number(host))
        return "it names an address instead of a host";
    return is_inner_name(host) ? "its host is an internal one" : NULL;
}
