/* What the readers of the event plane share: kv_event.c, kv_event_usual.c. */
#ifndef WEIR_WIRE_KV_EVENT_PRIV_H
#define WEIR_WIRE_KV_EVENT_PRIV_H

#include "base/msgpack.h"
#include "wire/kv_event.h"

/*
 * Messages as Dynamo's serializer and ours write them: all names, in their order, numbers without a
 * sign. False with nothing read or changed but the arena's room: it is not so, or there is no
 * memory; the general readers say what it is. Where these say true, those read the same.
 */
bool weir_envelope_usual(struct weir_span bytes, struct weir_envelope *ret_env);
bool weir_kv_event_usual(struct weir_mp *m, struct weir_arena *arena, struct weir_kv_event *ret);
bool weir_kv_block_usual(struct weir_mp *m, struct weir_kv_block *ret);

/* The general ones. *event is zeroed; false: malformed, or no memory. */
bool weir_kv_event_read(struct weir_mp *m, struct weir_arena *arena, struct weir_kv_event *event);
enum weir_status weir_envelope_read(struct weir_span bytes, struct weir_arena *arena,
                                    struct weir_envelope *ret_env) WEIR_MUST_CHECK;

#endif
