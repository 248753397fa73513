/* A server of HTTP/2 over a fake stream, and its client: a session of nghttp2. */
#ifndef WEIR_TEST_HTTP2_RIG_H
#define WEIR_TEST_HTTP2_RIG_H

#include "test/check.h"
#include "test/unit/http/fake_net.h"
#include "test/unit/http/handler.h"

#include <nghttp2/nghttp2.h>

enum { STREAMS = 16384 };

/* What came on a stream of the client's, by its id. */
struct seen {
    int status, interim;
    bool ended, closed;
    uint32_t code;
    struct weir_buf body;
};

struct rig {
    struct weir_loop *loop;
    struct weir_http_server *server;
    struct app app;
    struct fake_end end;
    nghttp2_session *client;
    struct seen *seen;
    size_t read; /* of end.sent */
    size_t cut;  /* bytes at once to the server; 0: all */
    bool goaway;
    uint32_t goaway_code;
};

/* Of a request. */
struct body {
    struct weir_span left;
    bool held; /* no end behind it */
};

/* `window`: of the client's, for each answer. */
void rig_up(struct rig *r, const struct weir_http_limits *limits, uint32_t window);
/* Every exchange has ended. */
void rig_down(struct rig *r);
void to_server(struct rig *r, const void *data, size_t len);
/* Both sides say all that they have to say. */
void talk(struct rig *r);
/* `more`: names and values behind the usual fields, then NULL. Returns the stream's id. */
int32_t ask(struct rig *r, const char *method, const char *path, const char *const *more,
            struct body *body);

#define CHECK_BODY(r, id, text) CHECK_EQ_STR((r)->seen[id].body.data, (r)->seen[id].body.len, text)

#endif
