/*
 * Images, videos and sounds among the parts of a chat's messages, for workers of the request plane.
 * Pure.
 */
#ifndef WEIR_WIRE_OPENAI_MEDIA_H
#define WEIR_WIRE_OPENAI_MEDIA_H

#include "wire/openai.h"

enum { WEIR_MEDIA_TEXT = 320 };

struct weir_media_rules {
    size_t max_url_bytes;
    bool allow_internal; /* images at addresses, ports and internal hosts, too */
};

/* Makes req->prep.media of req->messages, in their order; WEIR_INVALID with words for the client in
 * `text` where one of them is not passed on. Addresses are borrowed from the messages wherever they
 * stand there as they are sent. WEIR_NOMEM. */
enum weir_status weir_openai_take_media(struct weir_openai_request *req,
                                        const struct weir_media_rules *rules,
                                        struct weir_arena *arena,
                                        char text[WEIR_MEDIA_TEXT]) WEIR_MUST_CHECK;
/* The messages with the members that the reference system has for them, and data: left out.
 * `mark` not NULL: text parts of it take the place of all media. After weir_openai_take_media(). */
enum weir_status weir_openai_put_messages(const struct weir_openai_request *req,
                                          struct weir_span mark,
                                          struct weir_buf *out) WEIR_MUST_CHECK;

#endif
