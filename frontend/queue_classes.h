/*
 * Policy classes of the admission queue as options give them: NAME:WEIGHT[:REQUESTS[:TOKENS]] each.
 * The class `default` is always there, is the first, and takes requests that name none.
 */
#ifndef WEIR_FRONTEND_QUEUE_CLASSES_H
#define WEIR_FRONTEND_QUEUE_CLASSES_H

#include "base/arena.h"
#include "router/queue.h"

enum { WEIR_QUEUE_MAX_CLASSES = 64 };

struct weir_queue_classes {
    struct weir_span names[WEIR_QUEUE_MAX_CLASSES]; /* borrowed from the items */
    struct weir_queue_class classes[WEIR_QUEUE_MAX_CLASSES];
    size_t n;
    bool configured; /* false: nobody has named any, and names of requests are not looked at */
};

enum weir_status weir_queue_classes_parse(const char *const *items, size_t n,
                                          struct weir_queue_classes *ret,
                                          struct weir_err *err) WEIR_MUST_CHECK;
bool weir_queue_classes_find(const struct weir_queue_classes *classes, struct weir_span name,
                             uint32_t *ret_index);

#endif
