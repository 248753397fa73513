/*
 * Units to ids. Nearly all time goes into waiting for memory, so each step first asks for what the
 * next one will read, for all units there are, and only then does the next one read.
 *
 *   1. the memory of words, for 64 units at a time: most are there
 *   2. the others are put aside until there are 512 or the text ends: the vocabulary
 *   3. merging, short units side by side (jobs), long ones one by one
 *   4. their ids go between those of the first step, and are remembered
 */
#include "base/mem.h"
#include "tokenizer/units_priv.h"

typedef unsigned char u8;
enum { AHEAD = 12, COPIED = 16 };

/* ---- memory of words ------------------------------------------------------------------------- */

static inline bool has_key(const struct wtok_memo *memo, uint64_t k0, uint64_t k1) {
    return ((memo->k0 ^ k0) | (memo->k1 ^ k1)) == 0;
}

/* The entry of a unit in its line, waiting or not, or NULL; one that was second comes first from
 * now on. */
static const struct wtok_memo *recall(struct wtok_memo_line *line, uint64_t k0, uint64_t k1) {
    const uint64_t any = WTOK_MEMO_WIDE | WTOK_MEMO_WAITS;
    struct wtok_memo *first = &line->way[0], *second = &line->way[1];
    if (((first->k0 ^ k0) | ((first->k1 & ~any) ^ k1)) == 0)
        return first;
    if ((first->k1 & WTOK_MEMO_WIDE) != 0 || ((second->k0 ^ k0) | ((second->k1 & ~any) ^ k1)) != 0)
        return NULL;
    struct wtok_memo swap = *first;
    *first = *second;
    *second = swap;
    return first;
}

/* An entry for a unit that nothing is known of yet. */
static void reserve(struct wtok_memo_line *line, uint64_t k0, uint64_t k1, uint32_t unit) {
    struct wtok_memo *first = &line->way[0], *second = &line->way[1];
    bool wide = (first->k1 & WTOK_MEMO_WIDE) != 0;
    struct wtok_memo *memo = wide || first->k1 == 0 ? first : second;
    if (wide)
        second->k0 = second->k1 = 0;
    memo->k0 = k0;
    memo->k1 = k1 | WTOK_MEMO_WAITS;
    memo->ids[0] = unit;
}

/* The entry that a unit reserved, unless another unit has taken it since. */
static struct wtok_memo *reserved(const struct wtok_unit *u) {
    uint64_t k1 = u->k1 | WTOK_MEMO_WAITS;
    struct wtok_memo *first = &u->line->way[0];
    if (has_key(first, u->k0, k1))
        return first;
    return (first->k1 & WTOK_MEMO_WIDE) == 0 && has_key(first + 1, u->k0, k1) ? first + 1 : NULL;
}

static void remember(const struct wtok_unit *u) {
    struct wtok_memo *memo = reserved(u);
    if (memo == NULL)
        return;
    if (u->n_ids > WTOK_MEMO_WIDE_IDS) {
        memo->k0 = memo->k1 = 0;
        return;
    }
    bool wide = u->n_ids > WTOK_MEMO_IDS;
    if (wide)
        memo = &u->line->way[0];
    memo->k0 = u->k0;
    memo->k1 = u->k1 | (wide ? WTOK_MEMO_WIDE : 0);
    memo->n_ids = u->n_ids;
    /* Of a wide one they run on over the second entry. All for which there is room are copied,
     * whatever the number that counts. */
    char *to = (char *)u->line + ((const char *)memo->ids - (const char *)u->line);
    if (wide)
        memcpy(to, u->ids, WTOK_MEMO_WIDE_IDS * sizeof(*u->ids));
    else
        memcpy(to, u->ids, WTOK_MEMO_IDS * sizeof(*u->ids));
}

/* Long words only as wholes: the hash of a part was not made. */
static const struct wtok_long *recall_long(struct wtok_context *ctx, uint64_t hash, const u8 *p,
                                           size_t len) {
    struct wtok_long *two = wtok_long_of(ctx, hash);
    for (uint32_t k = 0; k < 2; k++) {
        const struct wtok_long *l = two + k;
        if (l->hash == hash && l->len == len && memcmp(l->text, p, len) == 0) {
            two->last = k;
            return l;
        }
    }
    return NULL;
}

static bool may_keep_long(uint64_t k1, size_t len) {
    return (k1 & WTOK_MEMO_SEGMENT) == 0 && len <= WTOK_LONG_BYTES;
}

static void reserve_long(struct wtok_context *ctx, uint64_t hash, const u8 *p, size_t len,
                         uint32_t unit) {
    struct wtok_long *two = wtok_long_of(ctx, hash);
    uint32_t k = two->len == 0 ? 0 : two[1].len == 0 ? 1 : 1 - two->last;
    struct wtok_long *l = two + k;
    two->last = k;
    l->hash = hash;
    l->len = (uint16_t)len;
    l->n_ids = WTOK_LONG_WAITS;
    l->ids[0] = unit;
    memcpy(l->text, p, len);
}

/* The entry that a long unit reserved, unless another unit has taken it since. */
static struct wtok_long *reserved_long(struct wtok_context *ctx, const struct wtok_unit *u) {
    struct wtok_long *two = wtok_long_of(ctx, u->hash);
    if (may_keep_long(u->k1, u->len))
        for (struct wtok_long *l = two; l < two + 2; l++)
            if (l->n_ids == WTOK_LONG_WAITS && l->ids[0] == (uint32_t)(u - ctx->units))
                return l;
    return NULL;
}

static void remember_long(struct wtok_context *ctx, const struct wtok_unit *u) {
    struct wtok_long *l = reserved_long(ctx, u);
    if (l == NULL)
        return;
    bool fits = u->n_ids <= WTOK_LONG_IDS;
    l->len = (uint16_t)(fits ? u->len : 0);
    l->n_ids = (uint16_t)(fits ? u->n_ids : 0);
    memcpy(l->ids, u->ids, l->n_ids * sizeof(l->ids[0]));
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
    uint32_t *ids = spill(ctx, u->len + (size_t)COPIED);
    if (ids == NULL)
        return WEIR_NOMEM;
    enum weir_status st = wtok_merge(m, &ctx->heap, u->p, u->len, ids, &n);
    u->ids = ids;
    u->n_ids = (uint32_t)n;
    return st;
}

/* ---- the steps ------------------------------------------------------------------------------- */

/* Step 2: the vocabulary; for parts of words only where merging gives the same. */
static bool from_vocabulary(const struct wtok_model *m, struct wtok_unit *u, uint32_t *to) {
    if ((u->k1 & WTOK_MEMO_SEGMENT) != 0)
        return false;
    *to =
        u->line != NULL ? wtok_find_key(m, u->k0, u->k1, u->hash) : wtok_find_word(m, u->p, u->len);
    if (*to == WTOK_NO_ID)
        return false;
    u->ids = to;
    u->n_ids = 1;
    return true;
}

static enum weir_status solve(const struct wtok_model *m, struct wtok_context *ctx) {
    static const unsigned lanes[3] = {WTOK_JOB_SMALL, WTOK_JOB_MIDDLE, WTOK_JOB_LANES};
    size_t n[3] = {0};
    uint32_t *to = ctx->made;
    for (size_t i = 0; i < ctx->n_units; i++) {
        struct wtok_unit *u = &ctx->units[i];
        if (i + AHEAD < ctx->n_units) /* asked for long ago, but maybe pushed out by others */
            __builtin_prefetch(&m->words[wtok_word_line(m, u[AHEAD].hash)]);
        if (from_vocabulary(m, u, to)) {
            to++;
            continue;
        }
        if (u->len > WTOK_JOB_BYTES) {
            enum weir_status st = merge_alone(m, ctx, u);
            if (st != WEIR_OK)
                return st;
            continue;
        }
        size_t size = (u->len > WTOK_JOB_SMALL - 2) + (u->len > WTOK_JOB_MIDDLE - 2);
        ctx->by_size[size][n[size]++] = u;
    }
    for (size_t size = 0; size < 3; size++)
        to = wtok_jobs_run(m, ctx->slots, ctx->by_size[size], n[size], to, lanes[size]);
    return WEIR_OK;
}

/* Copies n ids and maybe up to 15 more, which saves a call and, nearly always, a branch. */
static inline void copy_ids(uint32_t *to, const uint32_t *from, size_t n) {
    size_t i = 0;
    do {
        memcpy(to + i, from + i, COPIED * sizeof(*to));
        i += COPIED;
    } while (__builtin_expect(i < n, 0));
}

/* Step 4: the run and the units in the order of the text. What lies behind those that count is
 * written over by the next. */
static enum weir_status put_ids(struct wtok_context *ctx, struct wtok_out *out) {
    size_t more = ctx->n_run, done = 0;
    for (size_t i = 0; i < ctx->n_places; i++)
        more += ctx->units[ctx->places[i].unit].n_ids;
    if (more > out->room - out->n)
        return WEIR_TOO_LARGE;
    uint32_t *to = out->ids + out->n;
    const uint32_t *roomy = out->ids + out->room;
    for (size_t i = 0; i < ctx->n_places; i++) {
        const struct wtok_place *place = &ctx->places[i];
        const struct wtok_unit *u = &ctx->units[place->unit];
        size_t n = place->at - done;
        if (__builtin_expect((size_t)(roomy - to) >= n + u->n_ids + 2 * COPIED, 1)) {
            copy_ids(to, ctx->run + done, n);
            copy_ids(to + n, u->ids, u->n_ids);
        } else {
            memcpy(to, ctx->run + done, n * sizeof(*to));
            memcpy(to + n, u->ids, u->n_ids * sizeof(*to));
        }
        to += n + u->n_ids;
        done = place->at;
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
    if (st != WEIR_OK) {
        wtok_units_drop(ctx);
        return st;
    }
    for (size_t i = 0; i < ctx->n_units; i++) {
        const struct wtok_unit *u = &ctx->units[i];
        if (i + AHEAD < ctx->n_units)
            __builtin_prefetch(u[AHEAD].line, 1);
        if (u->line != NULL)
            remember(u);
        else
            remember_long(ctx, u);
    }
    spill_reset(ctx);
    ctx->words_new += ctx->n_units;
    ctx->n_units = ctx->n_places = ctx->n_run = 0;
    return WEIR_OK;
}

static void put_place(struct wtok_context *ctx, size_t unit) {
    ctx->places[ctx->n_places++] =
        (struct wtok_place){.at = (uint32_t)ctx->n_run, .unit = (uint32_t)unit};
}

static void put_run(struct wtok_context *ctx, const uint32_t *ids, size_t n) {
    memcpy(ctx->run + ctx->n_run, ids, n * sizeof(*ids));
    ctx->n_run += n;
}

static void look_up_long(const struct wtok_model *m, struct wtok_context *ctx,
                         const struct wtok_pending *u) {
    size_t len = (uint32_t)u->k1;
    if (may_keep_long(u->k1, len)) {
        const struct wtok_long *l = recall_long(ctx, u->k0, u->p, len);
        if (l != NULL && l->n_ids == WTOK_LONG_WAITS) {
            put_place(ctx, l->ids[0]);
            return;
        }
        if (l != NULL) {
            put_run(ctx, l->ids, l->n_ids);
            return;
        }
        reserve_long(ctx, u->k0, u->p, len, (uint32_t)ctx->n_units);
        __builtin_prefetch(&m->long_words[u->k0 & m->long_mask]);
    }
    put_place(ctx, ctx->n_units);
    ctx->units[ctx->n_units++] =
        (struct wtok_unit){.k1 = u->k1, .hash = u->k0, .p = u->p, .len = (uint32_t)len};
}

/* A unit that the first entry of its line does not hold. One that no memory knows waits in the list
 * of units, and its place in the vocabulary is asked for. */
static __attribute__((noinline)) enum weir_status look_up(const struct wtok_model *m,
                                                          struct wtok_context *ctx,
                                                          const struct wtok_pending *u,
                                                          struct wtok_out *out) {
    const struct wtok_memo *memo;
    if ((u->k1 & WTOK_MEMO_LONG) != 0) {
        look_up_long(m, ctx, u);
    } else if ((memo = recall(u->line, u->k0, u->k1)) == NULL) {
        struct wtok_unit *more = &ctx->units[ctx->n_units];
        *more = (struct wtok_unit){.k0 = u->k0,
                                   .k1 = u->k1,
                                   .hash = wtok_key_hash(u->k0, u->k1),
                                   .p = u->p,
                                   .line = u->line,
                                   .len = (uint32_t)(u->k1 >> 56 & 15)};
        __builtin_prefetch(&m->words[wtok_word_line(m, more->hash)]);
        reserve(u->line, u->k0, u->k1, (uint32_t)ctx->n_units);
        put_place(ctx, ctx->n_units++);
    } else if ((memo->k1 & WTOK_MEMO_WAITS) != 0) {
        put_place(ctx, memo->ids[0]);
    } else {
        put_run(ctx, memo->ids, memo->n_ids);
    }
    return ctx->n_units == WTOK_UNITS || ctx->n_places == WTOK_PLACES ? finish(m, ctx, out)
                                                                      : WEIR_OK;
}

enum weir_status wtok_units_settle(const struct wtok_model *m, struct wtok_context *ctx,
                                   struct wtok_out *out) {
    size_t n_pending = ctx->n_pending;
    uint32_t *to = ctx->run + ctx->n_run;
    ctx->n_pending = 0;
    ctx->words += n_pending;
    for (size_t i = 0; i < n_pending; i++) {
        const struct wtok_pending *u = &ctx->pending[i];
        const struct wtok_memo *memo = u->line->way;
        /* Three ids are written, whatever the number that counts. */
        memcpy(to, memo->ids, sizeof(memo->ids));
        if (__builtin_expect(has_key(memo, u->k0, u->k1), 1)) {
            to += memo->n_ids;
            continue;
        }
        ctx->n_run = (size_t)(to - ctx->run);
        enum weir_status st = look_up(m, ctx, u, out);
        if (st != WEIR_OK)
            return st;
        to = ctx->run + ctx->n_run;
    }
    ctx->n_run = (size_t)(to - ctx->run);
    return ctx->n_run > WTOK_RUN - 2 * WTOK_PENDING * WTOK_LONG_IDS ? finish(m, ctx, out) : WEIR_OK;
}

enum weir_status wtok_units_flush(const struct wtok_model *m, struct wtok_context *ctx,
                                  struct wtok_out *out) {
    enum weir_status st = wtok_units_settle(m, ctx, out);
    return st == WEIR_OK ? finish(m, ctx, out) : st;
}

void wtok_units_drop(struct wtok_context *ctx) {
    for (size_t i = 0; i < ctx->n_units; i++) {
        struct wtok_unit *u = &ctx->units[i];
        struct wtok_memo *memo = u->line != NULL ? reserved(u) : NULL;
        struct wtok_long *l = u->line == NULL ? reserved_long(ctx, u) : NULL;
        if (memo != NULL)
            memo->k0 = memo->k1 = 0;
        if (l != NULL)
            l->len = l->n_ids = 0;
    }
    spill_reset(ctx);
    ctx->n_pending = ctx->n_units = ctx->n_places = ctx->n_run = 0;
}
