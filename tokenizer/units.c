/*
 * Units to ids. Most are in the memory of words and are written at once (wtok_unit). The others
 * wait until there are a few dozens of them, because nearly all their time goes into waiting for
 * memory: each step first asks for what the next one will read, for all units, and only then does
 * the next one read.
 *
 *   1. the vocabulary (asked for when the unit came)
 *   2. merging, short units side by side (jobs), long ones one by one
 *   3. their ids go between those that were written meanwhile, and are remembered
 */
#include "base/mem.h"
#include "tokenizer/units_priv.h"

typedef unsigned char u8;
enum { KEY_MAX = 16 };

static enum weir_status solve_units(const struct wtok_model *m, struct wtok_context *ctx,
                                    struct wtok_out *out);

/* ---- memory of words ------------------------------------------------------------------------- */

/* The entry of a key in its line, or NULL; one that was second comes first from now on. */
static const struct wtok_memo *recall(struct wtok_memo_line *line, uint64_t k0, uint64_t k1,
                                      uint32_t key_meta) {
    struct wtok_memo *first = &line->way[0], *second = &line->way[1];
    if (wtok_is_memo(first, k0, k1, key_meta) ||
        wtok_is_memo(first, k0, k1, key_meta | WTOK_MEMO_WIDE))
        return first;
    if ((first->meta & WTOK_MEMO_WIDE) != 0 || !wtok_is_memo(second, k0, k1, key_meta))
        return NULL;
    struct wtok_memo swap = *first;
    *first = *second;
    *second = swap;
    return first;
}

static void remember(struct wtok_memo_line *line, const struct wtok_unit *u) {
    struct wtok_memo *first = &line->way[0], *second = &line->way[1];
    const struct wtok_pending *is = &u->is;
    if (u->n_ids > WTOK_MEMO_WIDE_IDS || recall(line, is->k0, is->k1, is->key_meta) != NULL)
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
    return u->len > KEY_MAX && u->len <= WTOK_LONG_BYTES && (u->key_meta & WTOK_MEMO_SEGMENT) == 0;
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

enum weir_status wtok_unit_miss(const struct wtok_model *m, struct wtok_context *ctx,
                                const struct wtok_pending *u, struct wtok_out *out) {
    const uint32_t *ids = NULL;
    size_t known = 0;
    if (u->len <= KEY_MAX) {
        const struct wtok_memo *memo =
            recall(wtok_line_of(ctx, u->hash), u->k0, u->k1, u->key_meta);
        if (memo != NULL) {
            ids = memo->ids;
            known = memo->meta >> 8 & 0xFF;
        } else {
            /* An entry may lie on two lines. */
            const char *slot = (const char *)&m->words[wtok_word_slot(u->hash) & m->word_mask];
            __builtin_prefetch(slot);
            __builtin_prefetch(slot + sizeof(struct wtok_word) - 1);
        }
    } else if (may_keep_long(u)) {
        const struct wtok_long *l = recall_long(ctx, u);
        if (l != NULL) {
            ids = l->ids;
            known = l->n_ids;
        }
    }
    if (ids != NULL) {
        if (out->room - out->n < known)
            return WEIR_TOO_LARGE;
        memcpy(out->ids + out->n, ids, known * sizeof(*ids));
        out->n += known;
        return WEIR_OK;
    }
    ctx->units[ctx->n_units++] = (struct wtok_unit){.is = *u, .at = out->n};
    return ctx->n_units == WTOK_UNITS ? solve_units(m, ctx, out) : WEIR_OK;
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

/* Step 1: the vocabulary; for parts of words only where merging gives the same. */
static bool from_vocabulary(const struct wtok_model *m, struct wtok_unit *u) {
    const struct wtok_pending *is = &u->is;
    if ((is->key_meta & WTOK_MEMO_SEGMENT) != 0)
        return false;
    u->own = is->len <= KEY_MAX ? wtok_find_key(m, is->k0, is->k1, is->hash, is->len)
                                : wtok_find_word(m, is->p, is->len);
    if (u->own == WTOK_NO_ID)
        return false;
    u->ids = &u->own;
    u->n_ids = 1;
    return true;
}

static enum weir_status solve(const struct wtok_model *m, struct wtok_context *ctx) {
    size_t n_jobs = 0;
    for (size_t i = 0; i < ctx->n_units; i++) {
        struct wtok_unit *u = &ctx->units[i];
        if (from_vocabulary(m, u))
            continue;
        if (u->is.len > WTOK_JOB_BYTES) {
            enum weir_status st = merge_alone(m, ctx, u);
            if (st != WEIR_OK)
                return st;
            continue;
        }
        struct wtok_job *j = &ctx->jobs[n_jobs];
        j->ids = spill(ctx, WTOK_JOB_BYTES);
        if (j->ids == NULL)
            return WEIR_NOMEM;
        j->unit = u;
        n_jobs += wtok_job_begin(m, j);
    }
    wtok_jobs_run(m, ctx->jobs, n_jobs);
    return WEIR_OK;
}

/* Step 3: opens the gaps, from the last to the first. */
static enum weir_status insert(struct wtok_context *ctx, struct wtok_out *out) {
    size_t more = 0, end = out->n;
    for (size_t i = 0; i < ctx->n_units; i++)
        more += ctx->units[i].n_ids;
    if (more > out->room - out->n)
        return WEIR_TOO_LARGE;
    uint32_t *to = out->ids + out->n + more;
    for (size_t i = ctx->n_units; i-- > 0;) {
        const struct wtok_unit *u = &ctx->units[i];
        to -= end - u->at;
        memmove(to, out->ids + u->at, (end - u->at) * sizeof(*to));
        to -= u->n_ids;
        memcpy(to, u->ids, u->n_ids * sizeof(*to));
        end = u->at;
    }
    out->n += more;
    return WEIR_OK;
}

static enum weir_status solve_units(const struct wtok_model *m, struct wtok_context *ctx,
                                    struct wtok_out *out) {
    enum weir_status st = solve(m, ctx);
    if (st == WEIR_OK)
        st = insert(ctx, out);
    for (size_t i = 0; i < ctx->n_units && st == WEIR_OK; i++)
        if (ctx->units[i].is.len <= KEY_MAX)
            remember(wtok_line_of(ctx, ctx->units[i].is.hash), &ctx->units[i]);
        else
            remember_long(ctx, &ctx->units[i]);
    spill_reset(ctx);
    ctx->n_units = 0;
    return st;
}

enum weir_status wtok_units_flush(const struct wtok_model *m, struct wtok_context *ctx,
                                  struct wtok_out *out) {
    enum weir_status st = WEIR_OK;
    for (size_t i = 0; i < WTOK_PENDING && st == WEIR_OK; i++) {
        struct wtok_pending *u = &ctx->pending[ctx->n_pending++ % WTOK_PENDING];
        if (u->len != 0)
            st = wtok_unit_settle(m, ctx, u, out);
        u->len = 0;
    }
    return st == WEIR_OK && ctx->n_units > 0 ? solve_units(m, ctx, out) : st;
}

void wtok_units_drop(struct wtok_context *ctx) {
    for (size_t i = 0; i < WTOK_PENDING; i++)
        ctx->pending[i].len = 0;
    spill_reset(ctx);
    ctx->n_units = 0;
}
