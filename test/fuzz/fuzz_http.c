/*
 * The server's side of HTTP. Properties: how bytes are cut makes no difference; every exchange
 * ends; and whatever our parser accepts, llhttp accepts too and understands alike (method, target,
 * fields, length, payload, where the message ends). It is the other way round that they differ.
 */
#include "net/http_parse_priv.h"
#include "test/unit/http/fake_net.h"
#include "test/unit/http/handler.h"

#include <llhttp.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- the server ----------------------------------------------------------------------------- */

/* What it sent, but for interim answers, whose presence depends on when bytes come. */
static void without_100(struct weir_buf *sent) {
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    char *at;
    while (sent->len > 0 && (at = memmem(sent->data, sent->len, text, sizeof(text) - 1)) != NULL) {
        size_t tail = sent->len - (size_t)(at - sent->data) - (sizeof(text) - 1);
        memmove(at, at + sizeof(text) - 1, tail);
        sent->len -= sizeof(text) - 1;
    }
}

static void serve(struct weir_span bytes, uint32_t cuts, struct fake_end *end) {
    struct weir_loop *loop = fake_loop_create();
    struct weir_http_server *server = NULL;
    struct app app = {.body_limit = 300};
    const struct weir_http_server_config config = {
        .limits = {.header_bytes = 2000, .header_count = 10, .target_bytes = 200},
        .handler = &app_handler,
        .arg = &app};
    if (weir_http_server_create(loop, &config, &server, NULL) != WEIR_OK)
        abort();
    fake_accept(loop, end);
    while (bytes.len > 0) {
        size_t n = cuts == 0 ? bytes.len : 1 + (cuts = cuts * 1664525 + 1013904223) % 17;
        if (n > bytes.len)
            n = bytes.len;
        fake_feed(loop, end, bytes.data, n);
        bytes = weir_span(bytes.data + n, bytes.len - n);
        if (app.held != NULL)
            weir_http_respond(app.held, 200, NULL, NULL, 0, WEIR_SPAN_LIT("later"));
        fake_loop_turn(loop);
    }
    while (app.held != NULL) {
        weir_http_respond(app.held, 200, NULL, NULL, 0, WEIR_SPAN_LIT("later"));
        fake_loop_turn(loop);
    }
    if (end->sent.len > 0)
        without_100(&end->sent);
    bool fin = end->fin;
    fake_eof(loop, end);
    weir_http_server_destroy(server);
    fake_loop_turn(loop);
    end->fin = fin;
    if (app.heads != app.sent + app.aborted)
        abort();
    fake_loop_destroy(loop);
}

/* ---- llhttp --------------------------------------------------------------------------------- */

struct other {
    llhttp_t parser;
    char text[8192]; /* "target\n" then "name:value\n" for each field; values trimmed at the end */
    size_t len, colon;
    char body[4096];
    size_t body_len;
    bool head, complete, chunked;
    uint64_t content_length;
};

static int add(struct other *o, const char *data, size_t len) {
    if (o->len + len + 1 < sizeof(o->text)) {
        memcpy(o->text + o->len, data, len);
        o->len += len;
    }
    return 0;
}
static int on_url(llhttp_t *p, const char *at, size_t len) {
    return add(p->data, at, len);
}
static int on_url_complete(llhttp_t *p) {
    return add(p->data, "\n", 1);
}
static int on_field(llhttp_t *p, const char *at, size_t len) {
    return add(p->data, at, len);
}
static int on_field_complete(llhttp_t *p) {
    return add(p->data, ":", 1);
}
static int on_value(llhttp_t *p, const char *at, size_t len) {
    return add(p->data, at, len);
}
static int on_value_complete(llhttp_t *p) {
    struct other *o = p->data;
    while (o->len > 0 && (o->text[o->len - 1] == ' ' || o->text[o->len - 1] == '\t'))
        o->len--;
    return add(o, "\n", 1);
}
static int on_headers_complete(llhttp_t *p) {
    struct other *o = p->data;
    o->head = true;
    o->chunked = (p->flags & F_CHUNKED) != 0;
    o->content_length = p->content_length;
    return 0;
}
static int on_body(llhttp_t *p, const char *at, size_t len) {
    struct other *o = p->data;
    if (o->body_len + len <= sizeof(o->body)) {
        memcpy(o->body + o->body_len, at, len);
        o->body_len += len;
    }
    return 0;
}
static int on_complete(llhttp_t *p) {
    ((struct other *)p->data)->complete = true;
    return HPE_PAUSED;
}

static void require(bool cond) {
    if (!cond)
        abort();
}

static bool known_method(struct weir_span method) {
#define X(num, name, string)                                                                       \
    if (weir_span_eqz(method, #string))                                                            \
        return true;
    HTTP_METHOD_MAP(X)
#undef X
    return false;
}

static void expect_text(const struct weir_http_request_line *line,
                        const struct weir_http_header *headers, size_t n, const struct other *o) {
    struct weir_buf want;
    weir_buf_init(&want, 1 << 16);
    require(weir_buf_append_span(&want, line->target) == WEIR_OK);
    require(weir_buf_append_c(&want, '\n') == WEIR_OK);
    for (size_t i = 0; i < n; i++) {
        require(weir_buf_append_span(&want, headers[i].name) == WEIR_OK);
        require(weir_buf_append_c(&want, ':') == WEIR_OK);
        require(weir_buf_append_span(&want, headers[i].value) == WEIR_OK);
        require(weir_buf_append_c(&want, '\n') == WEIR_OK);
    }
    require(weir_span_eq(weir_buf_span(&want), weir_span(o->text, o->len)));
    weir_buf_fini(&want);
}

/* Payload of a chunked body by our decoder; *ret_used: where it ended. *ret_trailers: it ended with
 * trailers, in which llhttp may find lengths and refuse them. */
static bool decode(struct weir_span bytes, struct weir_buf *out, size_t *ret_used,
                   bool *ret_trailers) {
    struct weir_http_chunks c = {0};
    size_t at = 0;
    for (;;) {
        size_t used;
        struct weir_span data;
        switch (
            weir_http_chunk_step(&c, weir_span(bytes.data + at, bytes.len - at), &used, &data)) {
        case WEIR_HTTP_CHUNK_MORE:
        case WEIR_HTTP_CHUNK_BAD:
            return false;
        case WEIR_HTTP_CHUNK_END:
            *ret_used = at + used;
            *ret_trailers = c.trailer_bytes > 1;
            return true;
        case WEIR_HTTP_CHUNK_DATA:
            require(weir_buf_append_span(out, data) == WEIR_OK);
            break;
        }
        at += used;
    }
}

/* Some versions of llhttp know no tab between the coding and the end of its line, which is optional
 * white space too (RFC 9110 5.6.3), and refuse the request; what we accept they do not misread. */
static bool refuses_tab(const struct weir_http_header *headers, size_t n, const struct other *o) {
    if (llhttp_get_errno(&o->parser) != HPE_INVALID_TRANSFER_ENCODING)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!weir_span_ieq(headers[i].name, WEIR_SPAN_LIT("transfer-encoding")))
            continue;
        const char *end = headers[i].value.data + headers[i].value.len;
        end += strspn(end, " ");
        return *end == '\t';
    }
    return false;
}

static void compare(struct weir_span bytes) {
    const struct weir_http_head_limits limits = {.bytes = 4000, .target_bytes = 2000, .count = 32};
    struct weir_http_finder f = {0};
    struct weir_http_fault fault;
    size_t n = weir_http_head_find(&f, bytes, &limits, &fault);
    if (n == 0)
        return;
    struct weir_span head = weir_span(bytes.data + f.start, n - f.start);
    struct weir_http_header headers[32];
    struct weir_http_request_line line;
    struct weir_http_framing framing;
    size_t skip = f.first_len + 2;
    if (weir_http_request_line(weir_span(head.data, f.first_len), &line).status != 0 ||
        weir_http_fields(weir_span(head.data + skip, head.len - skip), headers, f.n_lines - 1)
                .status != 0 ||
        weir_http_request_framing(headers, f.n_lines - 1, line.http10, &framing).status != 0)
        return;
    if (!known_method(line.method))
        return; /* llhttp has a fixed list */
    struct weir_span rest = weir_span(bytes.data + n, bytes.len - n);
    struct weir_buf body;
    weir_buf_init(&body, 4096);
    size_t used = 0;
    bool trailers = false;
    bool complete = !framing.chunked && framing.content_length <= 0;
    if (framing.chunked) {
        complete = decode(rest, &body, &used, &trailers);
    } else if (framing.content_length > 0 && rest.len >= (uint64_t)framing.content_length) {
        used = (size_t)framing.content_length;
        complete = weir_buf_append(&body, rest.data, used) == WEIR_OK;
    }
    static const llhttp_settings_t settings = {.on_url = on_url,
                                               .on_url_complete = on_url_complete,
                                               .on_header_field = on_field,
                                               .on_header_field_complete = on_field_complete,
                                               .on_header_value = on_value,
                                               .on_header_value_complete = on_value_complete,
                                               .on_headers_complete = on_headers_complete,
                                               .on_body = on_body,
                                               .on_message_complete = on_complete};
    struct other o = {.len = 0};
    llhttp_init(&o.parser, HTTP_REQUEST, &settings);
    o.parser.data = &o;
    llhttp_execute(&o.parser, bytes.data, complete ? n + used : n);
    if (refuses_tab(headers, f.n_lines - 1, &o)) {
        weir_buf_fini(&body);
        return;
    }
    require(o.head);
    require(weir_span_eqz(line.method, llhttp_method_name(llhttp_get_method(&o.parser))));
    require(llhttp_get_http_minor(&o.parser) == (line.http10 ? 0 : 1));
    require(o.chunked == framing.chunked);
    if (framing.content_length >= 0)
        require(o.content_length == (uint64_t)framing.content_length || complete);
    /* Blanks and quoted values of extensions, which RFC 9112 7.1.1 allows, are not known to every
     * version of it. */
    bool refused_extension = framing.chunked && llhttp_get_error_reason(&o.parser) != NULL &&
                             strstr(llhttp_get_error_reason(&o.parser), "in chunk") != NULL;
    if (!o.parser.upgrade && !refused_extension && !trailers) {
        require(o.complete == complete || (complete && used == 0));
        if (o.complete)
            require(weir_span_eq(weir_buf_span(&body), weir_span(o.body, o.body_len)));
    }
    if (!framing.chunked) /* trailers are fields to llhttp */
        expect_text(&line, headers, f.n_lines - 1, &o);
    weir_buf_fini(&body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size > 8000)
        return 0;
    struct weir_span bytes = weir_span((const char *)data, size);
    struct fake_end whole, cut;
    serve(bytes, 0, &whole);
    uint32_t seed = 1 + (uint32_t)size;
    for (size_t i = 0; i < size; i++)
        seed = seed * 31 + data[i];
    serve(bytes, seed | 1, &cut);
    require(whole.fin == cut.fin);
    require(weir_span_eq(weir_buf_span(&whole.sent), weir_buf_span(&cut.sent)));
    fake_end_fini(&whole);
    fake_end_fini(&cut);
    if (size > 0)
        compare(bytes);
    return 0;
}
