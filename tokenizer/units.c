/*
 * Units to ids. Nearly all time goes into waiting for memory, so each step first asks for what the
 * next one will read, for all units there are, and only then does the next one read.
 *
 *   1. the vocabulary, for 64 units at a time: most are one id (singles)
 *   2. the others are put aside until there are 64: the memory of words
 *   3. merging, short units side by side (jobs), long ones one by one
 *   4. their ids go between the singles, and are remembered
 */
#include "base/mem.h"
#include "tokenizer/units_priv.h"

typedef unsigned char u8;
enum { AHEAD = 12 };

/* ---- memory of words ------------------------------------------------------------------------- */

static inline bool is_memo(const struct wtok_memo *memo, const struct wtok_pending *u,
                           uint32_t wide) {
    return ((memo->k0 ^ u->k0) | (memo->k1 ^ u->k1) |
            ((memo->meta & ~0xFF00u) ^ (u->key_meta | wide))) == 0;
}

static inline uint32_t ids_of(const struct wtok_memo *memo) {
    return memo->meta >> 8 & 0xFF;
}

/* The entry of a unit in its line, or NULL; one that was second comes first from now on. */
static const struct wtok_memo *recall(struct wtok_memo_line *line, const struct wtok_pending *u) {
    struct wtok_memo *first = &line->way[0], *second = &line->way[1];
    if (is_memo(first, u, 0) || is_memo(first, u, WTOK_MEMO_WIDE))
        return first;
    if ((first->meta & WTOK_MEMO_WIDE) != 0 || !is_memo(second, u, 0))
        return NULL;
    struct wtok_memo swap = *first;
    *first = *second;
    *second = swap;
    return first;
}

static void remember(struct wtok_memo_line *line, const struct wtok_unit *u) {
    struct wtok_memo *first = &line->way[0], *second = &line->way[1];
    const struct wtok_pending *is = &u->is;
    if (u->n_ids > WTOK_MEMO_WIDE_IDS || recall(line, is) != NULL)
        return;
    bool wide = u->n_ids > WTOK_MEMO_IDS, was_wide = (first->meta & WTOK_MEMO_WIDE) != 0;
    struct wtok_memo *memo = wide || was_wide || first->meta == 0 ? first : second;
    if (was_wide)
        second->meta = 0;
    memo->k0 = is->k0;
    memo->k1 = is->k1;
    memo->meta = is->key_meta | (uint32_t)u->n_ids << 8 | (wide ? WTOK_MEMO_WIDE : 0);
    /* Of a wide one they run on over the second entry. */
    size_t at = (size_t)((const char *)memo->ids - (const char *)line);
    memcpy((char *)line + at, u->ids, u->n_ids * sizeof(*u->ids));
}

/* Long words only as wholes: the hash of a part was not made. */
static bool may_keep_long(const struct wtok_pending *u) {
    return u->len > WTOK_KEY_MAX && u->len <= WTOK_LONG_BYTES &&
           (u->key_meta & WTOK_MEMO_SEGMENT) == 0;
}

static const struct wtok_long *recall_long(struct wtok_context *ctx, const struct wtok_pending *u) {
    const struct wtok_long *l = wtok_long_of(ctx, u->hash);
    return l->hash == u->hash && l->len == u->len && memcmp(l->text, u->p, u->len) == 0 ? l : NULL;
}

static void remember_long(struct wtok_context *ctx, const struct wtok_unit *u) {
    struct wtok_long *l = wtok_long_of(ctx, u->is.hash);
    if (u->n_ids > WTOK_LONG_IDS || !may_keep_long(&u->is))
        return;
    l->hash = u->is.hash;
    l->len = u->is.len;
    l->n_ids = u->n_ids;
    memcpy(l->ids, u->ids, u->n_ids * sizeof(l->ids[0]));
    memcpy(l->text, u->is.p, u->is.len);
}

/* Writes the ids of a unit that the first entry of its line does not hold, when they are remembered
 * somewhere else. */
static bool recall_ids(struct wtok_context *ctx, const struct wtok_pending *u) {
    const uint32_t *ids;
    size_t n;
    if (u->len <= WTOK_KEY_MAX) {
        const struct wtok_memo *memo = recall(wtok_line_of(ctx, u->hash), u);
        if (memo == NULL)
            return false;
        ids = memo->ids;
        n = ids_of(memo);
    } else {
        const struct wtok_long *l = may_keep_long(u) ? recall_long(ctx, u) : NULL;
        if (l == NULL)
            return false;
        ids = l->ids;
        n = l->n_ids;
    }
    memcpy(ctx->run + ctx->n_run, ids, n * sizeof(*ids));
    ctx->n_run += n;
    return true;
}

/* ---- long units ------------------------------------------------------------------------------ */

/* Room for n more ids in the spill, whose earlier content stays where it is: it is a list of
 * blocks, freed at the end of the flush. */
static uint32_t *spill(struct wtok_context *ctx, size_t n) {
    struct wtok_spill *s = ctx->spill;
    if (s == NULL || s->room - s->n < n) {
        size_t room = n < 4096 ? 4096 : n;
        s = weir_malloc(sizeof(*s) + room * sizeof(uint32_t));
        if (s == NULL)
            return NULL;
        *s = (struct wtok_spill){.next = ctx->spill, .room = room};
        ctx->spill = s;
    }
    s->n += n;
    return s->ids + (s->n - n);
}

/* Keeps one block of the usual size. */
static void spill_reset(struct wtok_context *ctx) {
    while (ctx->spill != NULL && (ctx->spill->next != NULL || ctx->spill->room > 4096)) {
        struct wtok_spill *next = ctx->spill->next;
        weir_free(ctx->spill);
        ctx->spill = next;
    }
    if (ctx->spill != NULL)
        ctx->spill->n = 0;
}

static enum weir_status merge_alone(const struct wtok_model *m, struct wtok_context *ctx,
                                    struct wtok_unit *u) {
    size_t n = 0;
    uint32_t *ids = spill(ctx, u->is.len);
    if (ids == NULL)
        return WEIR_NOMEM;
    enum weir_status st = wtok_merge(m, &ctx->heap, u->is.p, u->is.len, ids, &n);
    u->ids = ids;
    u->n_ids = (uint32_t)n;
    return st;
}

/* ---- the steps ------------------------------------------------------------------------------- */

/* Step 2: the vocabulary; for parts of words only where merging gives the same. */
static bool from_vocabulary(const struct wtok_model *m, struct wtok_unit *u) {
    const struct wtok_pending *is = &u->is;
    if ((is->key_meta & WTOK_MEMO_SEGMENT) != 0)
        return false;
    u->own = is->len <= WTOK_KEY_MAX ? wtok_find_key(m, is->k0, is->k1, is->hash, is->len)
                                     : wtok_find_word(m, is->p, is->len);
    if (u->own == WTOK_NO_ID)
        return false;
    u->ids = &u->own;
    u->n_ids = 1;
    return true;
}

static enum weir_status solve(const struct wtok_model *m, struct wtok_context *ctx) {
    static const unsigned lanes[3] = {WTOK_JOB_SMALL, WTOK_JOB_MIDDLE, WTOK_JOB_LANES};
    size_t n[3] = {0};
    for (size_t i = 0; i < ctx->n_units; i++) {
        struct wtok_unit *u = &ctx->units[i];
        if (i + AHEAD < ctx->n_units) /* asked for long ago, but maybe pushed out by others */
            __builtin_prefetch(&m->words[u[AHEAD].is.hash & m->word_mask]);
        if (from_vocabulary(m, u))
            continue;
        if (u->is.len > WTOK_JOB_BYTES) {
            enum weir_status st = merge_alone(m, ctx, u);
            if (st != WEIR_OK)
                return st;
            continue;
        }
        size_t size = (u->is.len > WTOK_JOB_SMALL - 2) + (u->is.len > WTOK_JOB_MIDDLE - 2);
        ctx->by_size[size][n[size]++] = u;
    }
    uint32_t *to = ctx->made;
    for (size_t size = 0; size < 3; size++)
        to = wtok_jobs_run(m, ctx->slots, ctx->by_size[size], n[size], to, lanes[size]);
    return WEIR_OK;
}

/* Copies n ids and maybe up to 7 more, which saves a call. */
static inline void copy_ids(uint32_t *to, const uint32_t *from, size_t n) {
    for (size_t i = 0; i < n; i += 8)
        memcpy(to + i, from + i, 8 * sizeof(*to));
}

/* Step 4: the run and the units in the order of the text. */
static enum weir_status put_ids(struct wtok_context *ctx, struct wtok_out *out) {
    size_t more = ctx->n_run, done = 0;
    for (size_t i = 0; i < ctx->n_units; i++)
        more += ctx->units[i].n_ids;
    if (more > out->room - out->n)
        return WEIR_TOO_LARGE;
    uint32_t *to = out->ids + out->n;
    bool roomy = out->room - out->n - more >= 8;
    for (size_t i = 0; i < ctx->n_units; i++) {
        const struct wtok_unit *u = &ctx->units[i];
        if (roomy)
            copy_ids(to, ctx->run + done, u->at - done);
        else
            memcpy(to, ctx->run + done, (u->at - done) * sizeof(*to));
        to += u->at - done;
        done = u->at;
        if (u->n_ids == 1)
            to[0] = u->ids[0];
        else
            memcpy(to, u->ids, u->n_ids * sizeof(*to));
        to += u->n_ids;
    }
    memcpy(to, ctx->run + done, (ctx->n_run - done) * sizeof(*to));
    out->n += more;
    return WEIR_OK;
}

static enum weir_status finish(const struct wtok_model *m, struct wtok_context *ctx,
                               struct wtok_out *out) {
    enum weir_status st = solve(m, ctx);
    if (st == WEIR_OK)
        st = put_ids(ctx, out);
    for (size_t i = 0; i < ctx->n_units && st == WEIR_OK; i++) {
        const struct wtok_unit *u = &ctx->units[i];
        if (i + AHEAD < ctx->n_units)
            __builtin_prefetch(wtok_line_of(ctx, u[AHEAD].is.hash), 1);
        if (u->is.len <= WTOK_KEY_MAX)
            remember(wtok_line_of(ctx, u->is.hash), u);
        else
            remember_long(ctx, u);
    }
    spill_reset(ctx);
    ctx->words_new += ctx->n_units;
    ctx->n_units = ctx->n_run = 0;
    return st;
}

/* A unit that no memory knows waits in the list of units, and its place in the vocabulary is asked
 * for. */
static void put_aside(const struct wtok_model *m, struct wtok_context *ctx,
                      const struct wtok_pending *u) {
    struct wtok_unit *more = &ctx->units[ctx->n_units++];
    more->is = *u;
    more->at = (uint32_t)ctx->n_run;
    __builtin_prefetch(&m->words[u->hash & m->word_mask]);
}

enum weir_status wtok_units_settle(const struct wtok_model *m, struct wtok_context *ctx,
                                   struct wtok_out *out) {
    size_t n = ctx->n_run, n_pending = ctx->n_pending;
    ctx->n_pending = 0;
    ctx->words += n_pending;
    for (size_t i = 0; i < n_pending; i++) {
        const struct wtok_pending *u = &ctx->pending[i];
        const struct wtok_memo *memo = wtok_line_of(ctx, u->hash)->way;
        /* Three ids are written, whatever the number that counts. */
        memcpy(ctx->run + n, memo->ids, sizeof(memo->ids));
        if (__builtin_expect(is_memo(memo, u, 0), 1)) {
            n += ids_of(memo);
            continue;
        }
        ctx->n_run = n;
        if (!recall_ids(ctx, u))
            put_aside(m, ctx, u);
        if (ctx->n_units == WTOK_UNITS) {
            enum weir_status st = finish(m, ctx, out);
            if (st != WEIR_OK)
                return st;
        }
        n = ctx->n_run;
    }
    ctx->n_run = n;
    return n > WTOK_RUN - 2 * WTOK_PENDING * WTOK_LONG_IDS ? finish(m, ctx, out) : WEIR_OK;
}

enum weir_status wtok_units_flush(const struct wtok_model *m, struct wtok_context *ctx,
                                  struct wtok_out *out) {
    enum weir_status st = wtok_units_settle(m, ctx, out);
    return st == WEIR_OK ? finish(m, ctx, out) : st;
}

void wtok_units_drop(struct wtok_context *ctx) {
    spill_reset(ctx);
    ctx->n_pending = ctx->n_units = ctx->n_run = 0;
}
