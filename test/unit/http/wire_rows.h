/*
 * What goes over the wire to the server and what must come back: statuses in order, and whether the
 * connection is open afterwards. Sources: RFC 9112 and 9110; the recorded answers of the reference
 * system (area "wire"); known smuggling payloads. Where the reference system is laxer, the row has
 * the strict answer.
 *
 * The handler of the tests answers 200 with method, path, query and body, and knows these paths:
 * /early answers 404 from the head, /small takes bodies of 10 bytes at most, /stream answers in
 * pieces, /none answers 204, /head-stream streams from on_head.
 */
#ifndef WEIR_TEST_WIRE_ROWS_H
#define WEIR_TEST_WIRE_ROWS_H

#include <stdbool.h>
#include <stddef.h>

struct wire_row {
    const char *name;
    const char *input;
    size_t len;
    const char *want; /* "200 400": statuses; a 100 only when it must be there */
    bool open;
    const char *contains; /* in the answers, or NULL */
};

#define G "GET /a HTTP/1.1\r\nHost: h\r\n"
#define P "POST /a HTTP/1.1\r\nHost: h\r\n"
#define CHUNKED P "Transfer-Encoding: chunked\r\n\r\n"
#define ROW(name, input, want, open, contains)                                                     \
    { name, input, sizeof(input) - 1, want, open, contains }

static const struct wire_row wire_rows[] = {
    /* plain requests */
    ROW("get", G "\r\n", "200", true, "GET /a  []"),
    ROW("get-query", "GET /a?x=1&y HTTP/1.1\r\nHost: h\r\n\r\n", "200", true, "GET /a x=1&y []"),
    ROW("host-port", "GET /a HTTP/1.1\r\nHost: h.example:8080\r\n\r\n", "200", true, NULL),
    ROW("host-ipv6", "GET /a HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", "200", true, NULL),
    ROW("names-any-case", "GET /a HTTP/1.1\r\nhOsT:h\r\n\r\n", "200", true, NULL),
    ROW("value-blanks", "GET /a HTTP/1.1\r\nHost: \t h \t\r\n\r\n", "200", true, NULL),
    ROW("value-empty", G "X:\r\n\r\n", "200", true, NULL),
    ROW("value-latin1", G "X: \xe9\xff\r\n\r\n", "200", true, NULL),
    ROW("post", P "Content-Length: 5\r\n\r\nhello", "200", true, "POST /a  [hello]"),
    ROW("post-empty", P "Content-Length: 0\r\n\r\n", "200", true, "POST /a  []"),
    ROW("post-no-length", P "\r\n", "200", true, "POST /a  []"),
    ROW("post-no-length-body", P "\r\nhello", "200", true, NULL),
    ROW("post-no-length-body-line", P "\r\n{\"a\":1}\r\n", "200 400", false, NULL),
    ROW("get-with-body", G "Content-Length: 2\r\n\r\nhi", "200", true, "GET /a  [hi]"),
    ROW("length-zeros", P "Content-Length: 0005\r\n\r\nhello", "200", true, "[hello]"),
    ROW("put", "PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx", "200", true, "[x]"),
    ROW("delete", "DELETE /a HTTP/1.1\r\nHost: h\r\n\r\n", "200", true, "DELETE"),
    ROW("head", "HEAD /a HTTP/1.1\r\nHost: h\r\n\r\n", "200", true, "content-length: 11\r\n"),
    ROW("head-then-get", "HEAD /a HTTP/1.1\r\nHost: h\r\n\r\n" G "\r\n", "200 200", true, NULL),
    ROW("head-stream", "HEAD /stream HTTP/1.1\r\nHost: h\r\n\r\n" G "\r\n", "200 200", true, NULL),
    ROW("options", "OPTIONS /a HTTP/1.1\r\nHost: h\r\n\r\n", "200", true, "OPTIONS /a"),
    ROW("options-star", "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", "200", true, "OPTIONS *"),
    ROW("method-unknown", "FOO /a HTTP/1.1\r\nHost: h\r\n\r\n", "200", true, "FOO /a"),
    ROW("method-lower", "get /a HTTP/1.1\r\nHost: h\r\n\r\n", "200", true, "get /a"),
    ROW("no-content", "GET /none HTTP/1.1\r\nHost: h\r\n\r\n" G "\r\n", "204 200", true, NULL),
    ROW("stream", "GET /stream HTTP/1.1\r\nHost: h\r\n\r\n" G "\r\n", "200 200", true, "pieces"),
    ROW("upgrade-h2c",
        G "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
        "200", true, NULL),
    ROW("upgrade-websocket", G "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n", "200", true,
        NULL),

    /* connection */
    ROW("close", G "Connection: close\r\n\r\n", "200", false, "connection: close\r\n"),
    ROW("close-list", G "Connection: foo, CLOSE\r\n\r\n", "200", false, NULL),
    ROW("close-second-line", G "Connection: x\r\nConnection: close\r\n\r\n", "200", false, NULL),
    ROW("close-wins", G "Connection: keep-alive, close\r\n\r\n", "200", false, NULL),
    ROW("close-no-more", G "Connection: close\r\n\r\n" G "\r\n", "200", false, NULL),
    ROW("http10", "GET /a HTTP/1.0\r\n\r\n", "200", false, "HTTP/1.0 200"),
    ROW("http10-keep", "GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "200", true,
        "connection: keep-alive\r\n"),
    ROW("http10-keep-two",
        "GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /a HTTP/1.0\r\n\r\n", "200 200",
        false, NULL),
    ROW("http10-body", "POST /a HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi", "200", false, "[hi]"),
    ROW("http10-stream", "GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "200", false,
        "pieces"),
    ROW("pipeline-2", G "\r\n" G "\r\n", "200 200", true, NULL),
    ROW("pipeline-4",
        G "\r\n" P "Content-Length: 3\r\n\r\nabc" CHUNKED "1\r\nx\r\n0\r\n\r\n" G "\r\n",
        "200 200 200 200", true, "[abc]"),
    ROW("pipeline-bad-second", G "\r\nGET\r\n\r\n", "200 400", false, NULL),

    /* empty lines before a request */
    ROW("leading-crlf", "\r\n\r\n" G "\r\n", "200", true, NULL),
    ROW("crlf-after-post", P "Content-Length: 2\r\n\r\nhi\r\n" G "\r\n", "200 200", true, NULL),
    ROW("leading-crlf-many", "\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n" G "\r\n", "400", false,
        NULL),
    ROW("leading-lf", "\n" G "\r\n", "400", false, NULL),
    ROW("leading-blank", " " G "\r\n", "400", false, NULL),

    /* request line */
    ROW("http09", "GET /a\r\n", "400", false, NULL),
    ROW("http12", "GET /a HTTP/1.2\r\nHost: h\r\n\r\n", "400", false, NULL),
    ROW("http2-line", "GET /a HTTP/2.0\r\nHost: h\r\n\r\n", "400", false, NULL),
    ROW("http-lower", "GET /a http/1.1\r\nHost: h\r\n\r\n", "400", false, NULL),
    ROW("http-version-blank", "GET /a HTTP/1.1 \r\nHost: h\r\n\r\n", "400", false, NULL),
    ROW("http-version-missing", "GET /a \r\nHost: h\r\n\r\n", "400", false, NULL),
    ROW("http-long-version", "GET /a HTTP/1.10\r\nHost: h\r\n\r\n", "400", false, NULL),
    ROW("http2-preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", "505", false,
        "HTTP/2"),
    ROW("target-empty", "GET  HTTP/1.1\r\nHost: h\r\n\r\n", "400", false, NULL),
    ROW("target-blank", "GET /a b HTTP/1.1\r\nHost: h\r\n\r\n", "400", false, NULL),
    ROW("target-two-blanks", "GET  /a HTTP/1.1\r\nHost: h\r\n\r\n", "400", false, NULL),
    ROW("target-tab", "GET\t/a\tHTTP/1.1\r\nHost: h\r\n\r\n", "400", false, NULL),
    ROW("target-nul", "GET /a\0b HTTP/1.1\r\nHost: h\r\n\r\n", "400", false, NULL),
    ROW("target-no-slash", "GET a HTTP/1.1\r\nHost: h\r\n\r\n", "400", false, NULL),
    ROW("target-star-get", "GET * HTTP/1.1\r\nHost: h\r\n\r\n", "400", false, NULL),
    ROW("target-fragment", "GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n", "400", false, NULL),
    ROW("target-utf8", "GET /\xc3\xa9 HTTP/1.1\r\nHost: h\r\n\r\n", "200", true, NULL),
    ROW("target-percent", "GET /%zz HTTP/1.1\r\nHost: h\r\n\r\n", "200", true, "/%zz"),
    ROW("target-absolute", "GET http://h/a?q HTTP/1.1\r\nHost: h\r\n\r\n", "200", true, "GET /a q"),
    ROW("target-absolute-bare", "GET http://h HTTP/1.1\r\nHost: h\r\n\r\n", "200", true, "GET / "),
    ROW("target-absolute-query", "GET http://h?q HTTP/1.1\r\nHost: h\r\n\r\n", "200", true,
        "GET / q"),
    ROW("target-absolute-user", "GET http://u@h/a HTTP/1.1\r\nHost: h\r\n\r\n", "400", false, NULL),
    ROW("target-absolute-empty", "GET http:///a HTTP/1.1\r\nHost: h\r\n\r\n", "400", false, NULL),
    ROW("target-other-scheme", "GET ftp://h/a HTTP/1.1\r\nHost: h\r\n\r\n", "400", false, NULL),
    ROW("connect", "CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n", "501", false, NULL),
    ROW("method-bad", "G<T /a HTTP/1.1\r\nHost: h\r\n\r\n", "400", false, NULL),
    ROW("method-empty", " /a HTTP/1.1\r\nHost: h\r\n\r\n", "400", false, NULL),
    ROW("method-utf8", "G\xc3\xa9T /a HTTP/1.1\r\nHost: h\r\n\r\n", "400", false, NULL),
    ROW("tls-hello", "\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\n", "400", false, NULL),

    /* lines */
    ROW("bare-lf-first", "GET /a HTTP/1.1\nHost: h\r\n\r\n", "400", false, NULL),
    ROW("bare-lf-field", "GET /a HTTP/1.1\r\nHost: h\n\r\n", "400", false, NULL),
    ROW("bare-lf-all", "GET /a HTTP/1.1\nHost: h\n\n", "400", false, NULL),
    ROW("bare-lf-end", "GET /a HTTP/1.1\r\nHost: h\r\n\n", "400", false, NULL),
    ROW("bare-cr-value", G "X: a\rb\r\n\r\n", "400", false, NULL),
    ROW("bare-cr-name", G "X\r: a\r\n\r\n", "400", false, NULL),
    ROW("bare-cr-target", "GET /a\r HTTP/1.1\r\nHost: h\r\n\r\n", "400", false, NULL),
    ROW("cr-cr-lf", G "X: a\r\r\n\r\n", "400", false, NULL),
    ROW("cr-inside-request",
        G "X: a\r"
          "Y: b\r\n\r\n",
        "400", false, NULL),
    ROW("fold-blank", G "X: a\r\n b\r\n\r\n", "400", false, "folded"),
    ROW("fold-tab", G "X: a\r\n\tb\r\n\r\n", "400", false, NULL),
    ROW("fold-first", "GET /a HTTP/1.1\r\n Host: h\r\n\r\n", "400", false, NULL),
    ROW("blank-before-colon", G "X : a\r\n\r\n", "400", false, NULL),
    ROW("tab-before-colon", G "X\t: a\r\n\r\n", "400", false, NULL),
    ROW("no-colon", G "foo\r\n\r\n", "400", false, NULL),
    ROW("no-name", G ": a\r\n\r\n", "400", false, NULL),
    ROW("name-blank", G "X Y: a\r\n\r\n", "400", false, NULL),
    ROW("name-utf8", G "X\xc3\xa9: a\r\n\r\n", "400", false, NULL),
    ROW("name-bracket", G "X(): a\r\n\r\n", "400", false, NULL),
    ROW("value-nul", G "X: a\0b\r\n\r\n", "400", false, NULL),
    ROW("value-del", G "X: a\x7f\r\n\r\n", "400", false, NULL),
    ROW("value-escape", G "X: a\x1b[0m\r\n\r\n", "400", false, NULL),
    ROW("name-nul", G "X\0: a\r\n\r\n", "400", false, NULL),

    /* host */
    ROW("host-missing", "GET /a HTTP/1.1\r\n\r\n", "400", false, "Host"),
    ROW("host-empty", "GET /a HTTP/1.1\r\nHost:\r\n\r\n", "400", false, NULL),
    ROW("host-two", G "Host: h\r\n\r\n", "400", false, NULL),
    ROW("host-two-http10", "GET /a HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", "400", false, NULL),
    ROW("host-list", "GET /a HTTP/1.1\r\nHost: a b\r\n\r\n", "400", false, NULL),
    ROW("host-slash", "GET /a HTTP/1.1\r\nHost: a/b\r\n\r\n", "400", false, NULL),
    ROW("host-user", "GET /a HTTP/1.1\r\nHost: u@a\r\n\r\n", "400", false, NULL),

    /* length and coding */
    ROW("cl-te", P "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400", false,
        NULL),
    ROW("te-cl", P "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", "400", false,
        NULL),
    ROW("cl-cl-same", P "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", "400", false, NULL),
    ROW("cl-cl-other", P "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", "400", false, NULL),
    ROW("cl-list", P "Content-Length: 5, 5\r\n\r\nhello", "400", false, NULL),
    ROW("cl-plus", P "Content-Length: +5\r\n\r\nhello", "400", false, NULL),
    ROW("cl-minus", P "Content-Length: -5\r\n\r\nhello", "400", false, NULL),
    ROW("cl-hex", P "Content-Length: 0x5\r\n\r\nhello", "400", false, NULL),
    ROW("cl-empty", P "Content-Length:\r\n\r\nhello", "400", false, NULL),
    ROW("cl-blank-inside", P "Content-Length: 1 2\r\n\r\nhello", "400", false, NULL),
    ROW("cl-huge", P "Content-Length: 99999999999999999999\r\n\r\n", "400", false, NULL),
    ROW("cl-overflow", P "Content-Length: 9223372036854775808\r\n\r\n", "400", false, NULL),
    ROW("cl-fraction", P "Content-Length: 5.0\r\n\r\nhello", "400", false, NULL),
    ROW("te-gzip", P "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "400", false, NULL),
    ROW("te-chunked-gzip", P "Transfer-Encoding: chunked, gzip\r\n\r\n", "400", false, NULL),
    ROW("te-identity", P "Transfer-Encoding: identity\r\n\r\n", "400", false, NULL),
    ROW("te-identity-cl", P "Transfer-Encoding: identity\r\nContent-Length: 2\r\n\r\nhi", "400",
        false, NULL),
    ROW("te-two-lines", P "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", "400",
        false, NULL),
    ROW("te-twice", P "Transfer-Encoding: chunked, chunked\r\n\r\n", "400", false, NULL),
    ROW("te-xchunked", P "Transfer-Encoding: xchunked\r\n\r\n", "400", false, NULL),
    ROW("te-quoted", P "Transfer-Encoding: \"chunked\"\r\n\r\n", "400", false, NULL),
    ROW("te-parameter", P "Transfer-Encoding: chunked;q=1\r\n\r\n", "400", false, NULL),
    ROW("te-empty", P "Transfer-Encoding:\r\n\r\n", "400", false, NULL),
    ROW("te-vtab",
        P "Transfer-Encoding: \x0b"
          "chunked\r\n\r\n",
        "400", false, NULL),
    ROW("te-blank-colon", P "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", "400", false, NULL),
    ROW("te-http10", "POST /a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400",
        false, NULL),
    ROW("te-tab", P "Transfer-Encoding:\tchunked\t\r\n\r\n1\r\nx\r\n0\r\n\r\n", "200", true, "[x]"),
    ROW("te-comma", P "Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n", "400", false, NULL),
    ROW("te-fold", P "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", "400", false, NULL),
    ROW("te-underscore", P "Transfer_Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        "200", true, "[0\r\n\r\n]"),
    ROW("te-upper", P "Transfer-Encoding: CHUNKED\r\n\r\n1\r\nx\r\n0\r\n\r\n", "200", true, "[x]"),

    /* chunks */
    ROW("chunked", CHUNKED "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", "200", true, "[hello world]"),
    ROW("chunked-empty", CHUNKED "0\r\n\r\n", "200", true, "[]"),
    ROW("chunked-hex", CHUNKED "A\r\n0123456789\r\n0b\r\n01234567890\r\n00\r\n\r\n", "200", true,
        "[012345678901234567890]"),
    ROW("chunked-extension", CHUNKED "5;a=b;c=\"d\"\r\nhello\r\n0;x\r\n\r\n", "200", true,
        "[hello]"),
    ROW("chunked-extension-blank", CHUNKED "5 ;a\r\nhello\r\n0\r\n\r\n", "200", true, "[hello]"),
    ROW("chunked-trailer", CHUNKED "1\r\nx\r\n0\r\nX-T: 1\r\nY: 2\r\n\r\n" G "\r\n", "200 200",
        true, "[x]"),
    ROW("chunked-trailer-length", CHUNKED "1\r\nx\r\n0\r\nContent-Length: 99\r\n\r\n" G "\r\n",
        "200 200", true, NULL),
    ROW("chunked-underscore", CHUNKED "1_0\r\n0123456789abcdef\r\n0\r\n\r\n", "400", false, NULL),
    ROW("chunked-cr-cr", CHUNKED "1\r\r\nx\r\n0\r\n\r\n", "400", false, NULL),
    ROW("chunked-data-cr-cr", CHUNKED "1\r\nx\r\r\n0\r\n\r\n", "400", false, NULL),
    ROW("chunked-hidden-request", CHUNKED "0\r\n\r\nGET /b HTTP/1.1\r\nHost: h\r\n\r\n", "200 200",
        true, "GET /b"),
    ROW("chunked-no-size", CHUNKED "\r\n", "400", false, NULL),
    ROW("chunked-bad-size", CHUNKED "zz\r\n", "400", false, NULL),
    ROW("chunked-0x", CHUNKED "0x5\r\nhello\r\n0\r\n\r\n", "400", false, NULL),
    ROW("chunked-plus", CHUNKED "+5\r\nhello\r\n0\r\n\r\n", "400", false, NULL),
    ROW("chunked-minus", CHUNKED "-5\r\nhello\r\n0\r\n\r\n", "400", false, NULL),
    ROW("chunked-blank-first", CHUNKED " 5\r\nhello\r\n0\r\n\r\n", "400", false, NULL),
    ROW("chunked-blank-last", CHUNKED "5 \r\nhello\r\n0\r\n\r\n", "400", false, NULL),
    ROW("chunked-huge", CHUNKED "fffffffffffffffff\r\n", "400", false, NULL),
    ROW("chunked-zeros", CHUNKED "0000000000000005\r\nhello\r\n", "400", false, NULL),
    ROW("chunked-over-limit", CHUNKED "ffffffffffff\r\n", "", true, NULL),
    ROW("chunked-lf", CHUNKED "5\nhello\n0\n\n", "400", false, NULL),
    ROW("chunked-lf-after-data", CHUNKED "5\r\nhello\n0\r\n\r\n", "400", false, NULL),
    ROW("chunked-cr-only", CHUNKED "5\rhello\r\n0\r\n\r\n", "400", false, NULL),
    ROW("chunked-no-crlf", CHUNKED "5\r\nhello0\r\n\r\n", "400", false, NULL),
    ROW("chunked-longer", CHUNKED "5\r\nhello!\r\n0\r\n\r\n", "400", false, NULL),
    ROW("chunked-extension-lf", CHUNKED "5;a\nhello\r\n0\r\n\r\n", "400", false, NULL),
    ROW("chunked-extension-cr", CHUNKED "5;a\rb\r\nhello\r\n0\r\n\r\n", "400", false, NULL),
    ROW("chunked-extension-nul", CHUNKED "5;\0\r\nhello\r\n0\r\n\r\n", "400", false, NULL),
    ROW("chunked-trailer-fold", CHUNKED "0\r\nX: a\r\n b\r\n\r\n", "400", false, NULL),
    ROW("chunked-trailer-nocolon", CHUNKED "0\r\nfoo\r\n\r\n", "400", false, NULL),
    ROW("chunked-trailer-lf", CHUNKED "0\r\nX: a\n\r\n", "400", false, NULL),
    ROW("chunked-end-lf", CHUNKED "0\r\n\n", "400", false, NULL),

    /* expectations and limits of bodies */
    ROW("expect", P "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n", "100", true, NULL),
    ROW("expect-chunked", P "Expect: 100-Continue\r\nTransfer-Encoding: chunked\r\n\r\n", "100",
        true, NULL),
    ROW("expect-body", P "Expect: 100-continue\r\nContent-Length: 2\r\n\r\nhi", "200", true,
        "[hi]"),
    ROW("expect-no-body", P "Expect: 100-continue\r\n\r\n", "200", true, NULL),
    ROW("expect-other", P "Expect: 200-ok\r\nContent-Length: 2\r\n\r\nhi", "417", false, NULL),
    ROW("expect-twice", P "Expect: 100-continue, 100-continue\r\nContent-Length: 2\r\n\r\nhi",
        "417", false, NULL),
    ROW("expect-http10", "POST /a HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi",
        "200", false, NULL),
    ROW("expect-too-large",
        "POST /small HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 11\r\n\r\n",
        "413", false, NULL),
    ROW("expect-early",
        "POST /early HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
        "404", false, "connection: close"),
    ROW("small-fits", "POST /small HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n0123456789",
        "200", true, NULL),
    ROW("too-large", "POST /small HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\n\r\n01234567890",
        "413", false, "connection: close"),
    ROW("too-large-chunked",
        "POST /small HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        "6\r\n012345\r\n5\r\n67890\r\n0\r\n\r\n",
        "413", false, NULL),
    ROW("early-skips-body",
        "POST /early HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello" G "\r\n", "404 200",
        true, NULL),
    ROW("early-skips-chunks",
        "POST /early HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        "5\r\nhello\r\n0\r\n\r\n" G "\r\n",
        "404 200", true, NULL),
    ROW("early-bad-chunks",
        "POST /early HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "404", false,
        NULL),
    ROW("early-large-body",
        "POST /early HTTP/1.1\r\nHost: h\r\nContent-Length: 999999999\r\n\r\nhello", "404", false,
        "connection: close"),
    ROW("head-stream-body",
        "POST /head-stream HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello" G "\r\n",
        "200 200", true, "streamed early"),
};

#undef ROW

#endif
