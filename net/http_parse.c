#include "net/http_parse_priv.h"

/* ---- classes of bytes ----------------------------------------------------------------------- */

enum {
    TOKEN = 1,  /* RFC 9110 5.6.2: names and methods */
    VALUE = 2,  /* field values: visible, blank, tab, and bytes above ASCII */
    TARGET = 4, /* no blank; bytes above ASCII pass, as the reference system lets them */
    HOST = 8,   /* RFC 3986 host and port, without user information */
};

#define T (TOKEN | VALUE | TARGET)
#define H (TOKEN | VALUE | TARGET | HOST)
#define V (VALUE | TARGET)
#define U (VALUE | TARGET | HOST)
static const uint8_t classes[128] = {
    ['\t'] = VALUE, [' '] = VALUE, ['!'] = H, ['"'] = V, ['#'] = T, ['$'] = H,  ['%'] = H,
    ['&'] = H,      ['\''] = H,    ['('] = U, [')'] = U, ['*'] = H, ['+'] = H,  [','] = U,
    ['-'] = H,      ['.'] = H,     ['/'] = V, ['0'] = H, ['1'] = H, ['2'] = H,  ['3'] = H,
    ['4'] = H,      ['5'] = H,     ['6'] = H, ['7'] = H, ['8'] = H, ['9'] = H,  [':'] = U,
    [';'] = U,      ['<'] = V,     ['='] = U, ['>'] = V, ['?'] = V, ['@'] = V,  ['A'] = H,
    ['B'] = H,      ['C'] = H,     ['D'] = H, ['E'] = H, ['F'] = H, ['G'] = H,  ['H'] = H,
    ['I'] = H,      ['J'] = H,     ['K'] = H, ['L'] = H, ['M'] = H, ['N'] = H,  ['O'] = H,
    ['P'] = H,      ['Q'] = H,     ['R'] = H, ['S'] = H, ['T'] = H, ['U'] = H,  ['V'] = H,
    ['W'] = H,      ['X'] = H,     ['Y'] = H, ['Z'] = H, ['['] = U, ['\\'] = V, [']'] = U,
    ['^'] = T,      ['_'] = H,     ['`'] = T, ['a'] = H, ['b'] = H, ['c'] = H,  ['d'] = H,
    ['e'] = H,      ['f'] = H,     ['g'] = H, ['h'] = H, ['i'] = H, ['j'] = H,  ['k'] = H,
    ['l'] = H,      ['m'] = H,     ['n'] = H, ['o'] = H, ['p'] = H, ['q'] = H,  ['r'] = H,
    ['s'] = H,      ['t'] = H,     ['u'] = H, ['v'] = H, ['w'] = H, ['x'] = H,  ['y'] = H,
    ['z'] = H,      ['{'] = V,     ['|'] = T, ['}'] = V, ['~'] = H,
};
#undef T
#undef H
#undef V
#undef U

static bool is(unsigned char c, unsigned wanted) {
    return c < 128 ? (classes[c] & wanted) != 0 : (wanted & (VALUE | TARGET)) != 0;
}

static bool all(struct weir_span s, unsigned wanted) {
    for (size_t i = 0; i < s.len; i++)
        if (!is((unsigned char)s.data[i], wanted))
            return false;
    return true;
}

bool weir_http_value_ok(struct weir_span value) {
    return all(value, VALUE);
}

bool weir_http_token_ok(struct weir_span name) {
    return name.len > 0 && all(name, TOKEN);
}

static struct weir_http_fault fault(int status, const char *text) {
    return (struct weir_http_fault){status, text};
}
static const struct weir_http_fault no_fault;

static struct weir_span part(struct weir_span s, size_t from, size_t to) {
    return weir_span(s.data + from, to - from);
}

/* ---- finding the end ------------------------------------------------------------------------ */

/* A first line whose end has not come may already be too long. What is wrong with a start of a line
 * is wrong with the line, so that it does not matter how the bytes come. */
static struct weir_http_fault unfinished_first_line(struct weir_span line,
                                                    const struct weir_http_head_limits *limits) {
    if (limits->response)
        return no_fault;
    if (line.len > 0 && line.data[line.len - 1] == '\r')
        line.len--;
    ptrdiff_t blank = weir_span_find(line, ' ');
    if (line.len > WEIR_HTTP_METHOD_BYTES && (blank < 0 || blank > WEIR_HTTP_METHOD_BYTES))
        return fault(400, "the request line has no method");
    if (blank >= 0 && line.len - (size_t)blank - 1 > limits->target_bytes + strlen(" HTTP/1.1"))
        return fault(414, "the request target is too long");
    return no_fault;
}

static struct weir_http_fault check_first_line(struct weir_span line,
                                               const struct weir_http_head_limits *limits) {
    if (limits->response) {
        int status;
        bool http10;
        return weir_http_status_line(line, &status, &http10);
    }
    struct weir_http_request_line request;
    struct weir_http_fault f = weir_http_request_line(line, &request);
    if (f.status == 0 && request.target.len > limits->target_bytes)
        return fault(414, "the request target is too long");
    return f;
}

static size_t refuse(struct weir_http_fault *ret, struct weir_http_fault f) {
    *ret = f;
    return 0;
}

static struct weir_http_fault too_large(const struct weir_http_finder *f, struct weir_span bytes,
                                        const struct weir_http_head_limits *limits) {
    struct weir_http_fault first = no_fault;
    if (f->n_lines == 0 && f->line <= limits->bytes)
        first = unfinished_first_line(part(bytes, f->line, limits->bytes + 1), limits);
    return first.status != 0 ? first : fault(431, "the request head is too large");
}

size_t weir_http_head_find(struct weir_http_finder *f, struct weir_span bytes,
                           const struct weir_http_head_limits *limits,
                           struct weir_http_fault *ret_fault) {
    *ret_fault = no_fault;
    for (;;) {
        struct weir_span rest = part(bytes, f->seen, bytes.len);
        ptrdiff_t at = weir_span_find(rest, '\n');
        size_t end = at < 0 ? bytes.len : f->seen + (size_t)at; /* of what is seen of the line */
        if (end > limits->bytes)
            return refuse(ret_fault, too_large(f, bytes, limits));
        if (f->n_lines == 0)
            *ret_fault = unfinished_first_line(part(bytes, f->line, end), limits);
        if (ret_fault->status != 0)
            return 0;
        f->seen = end;
        if (at < 0)
            return 0;
        if (end == f->line || bytes.data[end - 1] != '\r')
            return refuse(ret_fault, fault(400, "a line does not end with CR LF"));
        struct weir_span line = part(bytes, f->line, end - 1);
        f->line = f->seen = end + 1;
        if (line.len == 0 && f->n_lines > 0)
            return f->line;
        if (line.len == 0) {
            if (limits->response || ++f->n_blank > WEIR_HTTP_LEADING_LINES)
                return refuse(ret_fault, fault(400, "empty lines before the first line"));
            f->start = f->line;
            continue;
        }
        if (f->n_lines++ == 0) {
            f->first_len = line.len;
            *ret_fault = check_first_line(line, limits);
            if (ret_fault->status != 0)
                return 0;
        } else if (f->n_lines - 1 > limits->count) {
            return refuse(ret_fault, fault(431, "too many header fields"));
        }
    }
}

/* ---- first lines ---------------------------------------------------------------------------- */

static bool read_version(struct weir_span s, bool *ret_http10) {
    if (weir_span_eqz(s, "HTTP/1.1"))
        *ret_http10 = false;
    else if (weir_span_eqz(s, "HTTP/1.0"))
        *ret_http10 = true;
    else
        return false;
    return true;
}

/* Splits the target into path and query; false: none of the four forms of RFC 9112 3.2. */
static bool read_target(struct weir_http_request_line *r) {
    struct weir_span t = r->target;
    if (weir_span_find(t, '#') >= 0)
        return false;
    if (t.data[0] != '/') {
        if (weir_span_eqz(t, "*") && weir_span_eqz(r->method, "OPTIONS")) {
            r->path = t;
            r->query = weir_span(t.data + t.len, 0);
            return true;
        }
        size_t scheme = 0;
        if (t.len > 7 && weir_span_ieq(weir_span(t.data, 7), WEIR_SPAN_LIT("http://")))
            scheme = 7;
        else if (t.len > 8 && weir_span_ieq(weir_span(t.data, 8), WEIR_SPAN_LIT("https://")))
            scheme = 8;
        if (scheme == 0)
            return false;
        size_t end = scheme;
        while (end < t.len && t.data[end] != '/' && t.data[end] != '?')
            end++;
        if (end == scheme || !all(part(t, scheme, end), HOST))
            return false;
        t = part(t, end, t.len);
    }
    ptrdiff_t mark = weir_span_find(t, '?');
    r->path = mark < 0 ? t : weir_span(t.data, (size_t)mark);
    r->query = mark < 0 ? weir_span(t.data + t.len, 0) : part(t, (size_t)mark + 1, t.len);
    if (r->path.len == 0)
        r->path = WEIR_SPAN_LIT("/");
    return true;
}

static struct weir_http_fault split_target(struct weir_http_request_line *r) {
    if (weir_span_eqz(r->method, "CONNECT"))
        return fault(501, "CONNECT is not supported: this is no proxy");
    return read_target(r) ? no_fault : fault(400, "the request target is malformed");
}

struct weir_http_fault weir_http_request_line(struct weir_span line,
                                              struct weir_http_request_line *ret_line) {
    struct weir_http_request_line r;
    struct weir_span rest;
    if (weir_span_eqz(line, "PRI * HTTP/2.0"))
        return fault(505, "HTTP/2 is not served here: use HTTP/1.1");
    r.method = weir_span_split(line, ' ', &rest);
    if (!weir_http_token_ok(r.method) || rest.data == NULL)
        return fault(400, "the request line is malformed");
    r.target = weir_span_split(rest, ' ', &rest);
    if (r.target.len == 0 || rest.data == NULL || !all(r.target, TARGET))
        return fault(400, "the request target is malformed");
    if (!read_version(rest, &r.http10))
        return fault(400, "the HTTP version is not 1.0 or 1.1");
    struct weir_http_fault f = split_target(&r);
    if (f.status == 0)
        *ret_line = r;
    return f;
}

struct weir_http_fault weir_http_request_target(struct weir_http_request_line *r) {
    if (r->target.len > 0 && !all(r->target, TARGET))
        return fault(400, "the request target is malformed");
    return split_target(r);
}

struct weir_http_fault weir_http_status_line(struct weir_span line, int *ret_status,
                                             bool *ret_http10) {
    uint64_t status;
    /* The blank after the code may be missing when there is no reason: many servers do so. */
    if (line.len < 12 || !read_version(weir_span(line.data, 8), ret_http10) ||
        line.data[8] != ' ' || !weir_span_u64(part(line, 9, 12), &status) || status < 100 ||
        (line.len > 12 && line.data[12] != ' ') || !all(part(line, 12, line.len), VALUE))
        return fault(502, "the status line is malformed");
    *ret_status = (int)status;
    return no_fault;
}

/* ---- fields --------------------------------------------------------------------------------- */

static struct weir_span without_blanks(struct weir_span s) {
    while (s.len > 0 && (s.data[0] == ' ' || s.data[0] == '\t'))
        s.data++, s.len--;
    while (s.len > 0 && (s.data[s.len - 1] == ' ' || s.data[s.len - 1] == '\t'))
        s.len--;
    return s;
}

struct weir_http_fault weir_http_fields(struct weir_span lines, struct weir_http_header *headers,
                                        size_t n_headers) {
    const char *p = lines.data, *end = lines.data + lines.len;
    for (size_t i = 0; i < n_headers; i++) {
        const char *name = p;
        while (p < end && is((unsigned char)*p, TOKEN))
            p++;
        if (p == name && p < end && (*p == ' ' || *p == '\t'))
            return fault(400, "a header field is folded over two lines");
        if (p == name || p == end || *p != ':')
            return fault(400, "the name of a header field is malformed");
        headers[i].name = weir_span(name, (size_t)(p - name));
        const char *value = ++p;
        while (p < end && is((unsigned char)*p, VALUE))
            p++;
        if (end - p < 2 || p[0] != '\r' || p[1] != '\n')
            return fault(400, "the value of a header field holds a control character");
        headers[i].value = without_blanks(weir_span(value, (size_t)(p - value)));
        p += 2;
    }
    return no_fault;
}

/* Calls fn with each element of a comma-separated list. */
static bool list_has(struct weir_span list, struct weir_span word) {
    while (list.data != NULL)
        if (weir_span_ieq(without_blanks(weir_span_split(list, ',', &list)), word))
            return true;
    return false;
}

struct seen {
    unsigned hosts, lengths, codings;
    bool close, keep_alive;
    struct weir_span host, coding, expect;
    struct weir_http_fault fault;
};

static void see_length(struct seen *s, struct weir_span value, struct weir_http_framing *f) {
    uint64_t n;
    /* 2^62 keeps every later sum of lengths in range. */
    if (!weir_span_u64(value, &n) || n > (uint64_t)1 << 62)
        s->fault = fault(400, "Content-Length is no number");
    else if (s->lengths++ > 0)
        s->fault = fault(400, "Content-Length is given twice");
    else
        f->content_length = (int64_t)n;
}

/* The length of the name tells the few that matter apart from most others. */
static void see(struct seen *s, const struct weir_http_header *h, struct weir_http_framing *f) {
    switch (h->name.len) {
    case 4:
        if (weir_span_ieq(h->name, WEIR_SPAN_LIT("host"))) {
            s->hosts++;
            s->host = h->value;
        }
        break;
    case 6:
        if (weir_span_ieq(h->name, WEIR_SPAN_LIT("expect")))
            s->expect = h->value;
        break;
    case 10:
        if (weir_span_ieq(h->name, WEIR_SPAN_LIT("connection"))) {
            s->close |= list_has(h->value, WEIR_SPAN_LIT("close"));
            s->keep_alive |= list_has(h->value, WEIR_SPAN_LIT("keep-alive"));
        }
        break;
    case 14:
        if (weir_span_ieq(h->name, WEIR_SPAN_LIT("content-length")))
            see_length(s, h->value, f);
        break;
    case 17:
        if (weir_span_ieq(h->name, WEIR_SPAN_LIT("transfer-encoding"))) {
            s->codings++;
            s->coding = h->value;
        }
        break;
    }
}

static struct weir_http_fault read_framing(const struct weir_http_header *headers, size_t n_headers,
                                           bool http10, struct seen *s,
                                           struct weir_http_framing *f) {
    *f = (struct weir_http_framing){.content_length = -1};
    *s = (struct seen){.hosts = 0};
    for (size_t i = 0; i < n_headers; i++)
        see(s, &headers[i], f);
    if (s->fault.status != 0)
        return s->fault;
    f->keep_alive = !s->close && (!http10 || s->keep_alive);
    if (s->codings > 0) {
        if (http10)
            return fault(400, "Transfer-Encoding does not exist in HTTP/1.0");
        if (s->lengths > 0)
            return fault(400, "Content-Length and Transfer-Encoding exclude each other");
        if (s->codings > 1 || !weir_span_ieq(s->coding, WEIR_SPAN_LIT("chunked")))
            return fault(400, "the only Transfer-Encoding understood is chunked");
        f->chunked = true;
    }
    return no_fault;
}

struct weir_http_fault weir_http_request_framing(const struct weir_http_header *headers,
                                                 size_t n_headers, bool http10,
                                                 struct weir_http_framing *ret_framing) {
    struct seen s;
    struct weir_http_fault f = read_framing(headers, n_headers, http10, &s, ret_framing);
    if (f.status != 0)
        return f;
    if (s.hosts > 1)
        return fault(400, "Host is given twice");
    if (!http10 && (s.hosts == 0 || s.host.len == 0))
        return fault(400, "Host is missing");
    if (!all(s.host, HOST))
        return fault(400, "Host is malformed");
    if (s.expect.len > 0 && !http10) {
        if (!weir_span_ieq(s.expect, WEIR_SPAN_LIT("100-continue")))
            return fault(417, "the only expectation understood is 100-continue");
        ret_framing->expect_continue = true;
    }
    return no_fault;
}

struct weir_http_fault weir_http_response_framing(const struct weir_http_header *headers,
                                                  size_t n_headers, bool http10,
                                                  struct weir_http_framing *ret_framing) {
    struct seen s;
    return read_framing(headers, n_headers, http10, &s, ret_framing);
}
