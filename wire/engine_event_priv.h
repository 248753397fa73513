/* A removal that is like the last one, for engine_event.c. */
#ifndef WEIR_WIRE_ENGINE_EVENT_PRIV_H
#define WEIR_WIRE_ENGINE_EVENT_PRIV_H

#include "base/msgpack.h"
#include "wire/engine_event.h"

/* The last removal of one name; zero: there was none. */
struct weir_engine_like {
    const unsigned char *bytes; /* borrowed: of the payload that is being read */
    size_t len;
    size_t name_from, name_to; /* what of the bytes tells the name */
    uint64_t hash;
    struct weir_engine_event event; /* its name is `hash` */
};

/* After e was read from bytes `start` to m->pos, its last name from `name_at` on. */
void weir_engine_like_keep(struct weir_engine_like *like, const struct weir_mp *m, size_t start,
                           size_t name_at, const struct weir_engine_event *e);
/* Passes over an event that differs from the last in its name only; like->event is what reading it
 * would have given. */
bool weir_engine_like_next(struct weir_engine_like *like, struct weir_mp *m);

#endif
