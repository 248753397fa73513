/*
 * HTTP/1.x messages as bytes: heads and chunked bodies, for server and client. Pure: no I/O, no
 * clock, no allocation. RFC 9112, read strictly: whatever two implementations might understand
 * differently (line ends, blanks, lengths) is refused, never mended.
 */
#ifndef WEIR_NET_HTTP_PARSE_PRIV_H
#define WEIR_NET_HTTP_PARSE_PRIV_H

#include "net/http_server.h"

/* ---- heads ---------------------------------------------------------------------------------- */

enum {
    /* Empty lines before a request line that are skipped (RFC 9112 2.2 asks for at least one). */
    WEIR_HTTP_LEADING_LINES = 8,
    WEIR_HTTP_METHOD_BYTES = 64,
};

/* Why a head is refused; `status` 0 means it is not. The text is static and fit for a client. */
struct weir_http_fault {
    int status;
    const char *text;
};

/*
 * Looks for the end of a head whose bytes come piece by piece. The caller hands the same bytes
 * again, and more; each byte is looked at once. Zeroed = start.
 */
struct weir_http_finder {
    size_t line;      /* where the line begins that is not complete */
    size_t seen;      /* no LF from `line` to here */
    size_t start;     /* of the first line, after skipped empty ones */
    unsigned n_lines; /* complete lines after the skipped ones, without the empty last one */
    unsigned n_blank; /* skipped lines */
    size_t first_len; /* of the first line, without its end */
};

struct weir_http_head_limits {
    size_t bytes, target_bytes;
    unsigned count;
    bool response;
};

/* Bytes of the head with its empty last line; 0: more is needed, or *ret_fault says what is wrong
 * (a limit, a bare LF, a first line that is no request line). */
size_t weir_http_head_find(struct weir_http_finder *f, struct weir_span bytes,
                           const struct weir_http_head_limits *limits,
                           struct weir_http_fault *ret_fault);

struct weir_http_request_line {
    struct weir_span method, target, path, query;
    bool http10;
};
struct weir_http_fault weir_http_request_line(struct weir_span line,
                                              struct weir_http_request_line *ret_line);
/* Method and target as they came → path and query. */
struct weir_http_fault weir_http_request_target(struct weir_http_request_line *line);
struct weir_http_fault weir_http_status_line(struct weir_span line, int *ret_status,
                                             bool *ret_http10);
/* The field lines of a head (after the first line, up to and with the empty line) into an array of
 * the finder's n_lines - 1. */
struct weir_http_fault weir_http_fields(struct weir_span lines, struct weir_http_header *headers,
                                        size_t n_headers);

/* What the fields say about the body and the connection. */
struct weir_http_framing {
    bool chunked;
    bool keep_alive;
    bool expect_continue;
    int64_t content_length; /* -1 = not declared */
};
struct weir_http_fault weir_http_request_framing(const struct weir_http_header *headers,
                                                 size_t n_headers, bool http10,
                                                 struct weir_http_framing *ret_framing);
/* A response may have neither length nor chunks: its body then ends with the connection. */
struct weir_http_fault weir_http_response_framing(const struct weir_http_header *headers,
                                                  size_t n_headers, bool http10,
                                                  struct weir_http_framing *ret_framing);
/* Bytes that may stand in a field we send: no control characters, so nothing that ends a line. */
bool weir_http_value_ok(struct weir_span value);
bool weir_http_token_ok(struct weir_span name);

/* ---- chunked bodies ------------------------------------------------------------------------- */

enum {
    WEIR_HTTP_EXTENSION_BYTES = 16 * 1024, /* chunk extensions of one body, together */
    WEIR_HTTP_TRAILER_BYTES = 16 * 1024,
};

/* Zeroed = before the first size line. */
struct weir_http_chunks {
    uint8_t state;
    uint8_t digits; /* of the size line */
    uint64_t left;  /* of the chunk */
    size_t extension_bytes, trailer_bytes;
};

enum weir_http_chunk_step {
    WEIR_HTTP_CHUNK_MORE, /* all bytes used; more are needed */
    WEIR_HTTP_CHUNK_DATA, /* *ret_data holds payload */
    WEIR_HTTP_CHUNK_END,  /* the body is complete */
    WEIR_HTTP_CHUNK_BAD,
};
/* One step over `bytes`; *ret_used says how many were taken. Trailers are checked and dropped. */
enum weir_http_chunk_step weir_http_chunk_step(struct weir_http_chunks *c, struct weir_span bytes,
                                               size_t *ret_used, struct weir_span *ret_data);

#endif
