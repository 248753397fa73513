/*
 * Members of an object that is read by their names, once each: one that stands twice cannot be read
 * in one way (serde, which reads most of what we read, refuses it; two readers of ours might take
 * one each). Pure; no memory. At most 64 names.
 *
 * A reader asks for its names in the same order for each member, up to the one that it is:
 *     struct weir_members m = {0};
 *     while (…next member…) {
 *         weir_members_next(&m);
 *         if (weir_member_is(&m, key, "a")) … else if (weir_member_is(&m, key, "b")) … else …skip
 *     }
 *     m.twice → refuse
 */
#ifndef WEIR_BASE_MEMBER_H
#define WEIR_BASE_MEMBER_H

#include "base/span.h"

struct weir_members {
    uint64_t seen; /* a bit for each name asked for */
    unsigned row;
    bool twice;
};

static inline void weir_members_next(struct weir_members *m) {
    m->row = 0;
}

static inline bool weir_member_is(struct weir_members *m, struct weir_span key, const char *name) {
    unsigned row = m->row++;
    if (!weir_span_eqz(key, name))
        return false;
    m->twice |= (m->seen >> row & 1) != 0;
    m->seen |= (uint64_t)1 << row;
    return true;
}

#endif
