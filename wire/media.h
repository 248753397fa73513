/*
 * Images, videos and sounds of a chat as a worker is sent them: `multi_modal_data` {kind: [{"Url":
 * text} or {"UuidOnly": text}, …]} and, where one of them has a name for the worker's cache,
 * `multi_modal_uuids` {kind: [text or null, …]}. Captured of Dynamo 1.6.1. Pure.
 */
#ifndef WEIR_WIRE_MEDIA_H
#define WEIR_WIRE_MEDIA_H

#include "base/arena.h"
#include "base/span.h"
#include "base/status.h"

enum { WEIR_MEDIA_MAX = 1024 /* of a request */, WEIR_MEDIA_MAX_KINDS = 8 };

enum weir_media_form {
    WEIR_MEDIA_URL,   /* value: the address */
    WEIR_MEDIA_UUID,  /* value: what the worker's cache calls it; there is no address */
    WEIR_MEDIA_OTHER, /* value: JSON, passed on as it came (a frontend that decodes media) */
};

struct weir_medium {
    struct weir_span kind; /* "image_url", "video_url", "audio_url" */
    enum weir_media_form form;
    struct weir_span value;
    struct weir_span uuid; /* data NULL: none */
};

struct weir_media {
    const struct weir_medium *items; /* of one kind in the order of the request; borrowed */
    size_t n;
};

/*
 * The URL as the WHATWG standard writes it, which is what the reference system passes on: `text`
 * itself, or a copy in the arena where something changes. *ret_why, for a client, says what is
 * wrong where the result is WEIR_INVALID; WEIR_NOMEM. Host names beyond ASCII are refused.
 */
enum weir_status weir_media_url(struct weir_span text, struct weir_arena *arena,
                                struct weir_span *ret_url, const char **ret_why) WEIR_MUST_CHECK;
/* Why a frontend does not pass on the image at this URL, in the form that weir_media_url() gives:
 * one of http or https that names an address instead of a host, a port, or a host that means this
 * machine or its cluster. NULL: it may. */
const char *weir_media_url_refused(struct weir_span url);
/* A data: URL. */
bool weir_media_url_holds_data(struct weir_span url);

#endif
