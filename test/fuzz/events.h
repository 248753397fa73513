/* What the drivers of translated answers ask of them: JSON, and typed events of it. */
#ifndef WEIR_FUZZ_EVENTS_H
#define WEIR_FUZZ_EVENTS_H

#include "base/json.h"

#include <stdlib.h>
#include <string.h>

static inline void must(bool ok) {
    if (!ok)
        abort();
}

static inline void must_be_json(struct weir_span text, enum weir_json_type type) {
    struct weir_json j;
    weir_json_init(&j, text, 140); /* the body's members one level or two deeper */
    must(weir_json_peek(&j) == type && weir_json_skip(&j, NULL) && weir_json_finish(&j));
}

/* Each event is two lines and a blank one. Returns how many there are. */
static inline size_t must_be_events(struct weir_span text) {
    size_t n = 0;
    for (; text.len > 0; n++) {
        const char *data = memmem(text.data, text.len, "\ndata: ", 7),
                   *end = memmem(text.data, text.len, "\n\n", 2);
        must(memcmp(text.data, "event: ", 7) == 0 && data != NULL && end != NULL && data < end);
        must_be_json(weir_span(data + 7, (size_t)(end - data - 7)), WEIR_JSON_OBJECT);
        size_t used = (size_t)(end + 2 - text.data);
        text = weir_span(end + 2, text.len - used);
    }
    return n;
}

#endif
