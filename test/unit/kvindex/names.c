/* The size of the name table: whatever the number of names, coming and going of a few rewrites
 * nothing. Looks into one segment, which kvi.h does not show. */
#include "kvindex/kvi_priv.h"

#include "base/rng.h"
#include "test/check.h"

enum { NAMES = 6000 };
static struct weir_rng rng;
static const struct kvi_worker worker = {1, 0};
static uint64_t names[NAMES];
static unsigned n_rewritten;

/* Names of one segment. */
static void draw_names(uint32_t segment) {
    for (size_t n = 0; n < NAMES;) {
        names[n] = weir_rng_u64(&rng);
        n += kvi_segment(kvi_mix(names[n])) == segment;
    }
}

static void change(struct kvi_index *x, size_t k, bool store) {
    const struct kvi_names *s = &x->names[kvi_segment(kvi_mix(names[k]))];
    uint32_t before = s->n_lines;
    struct kvi_block b = {names[k], names[k]};
    CHECK((store ? kvi_store(x, worker, KVI_DEVICE, false, 0, &b, 1, NULL)
                 : kvi_remove(x, worker, KVI_DEVICE, &names[k], 1)) == KVI_OK);
    n_rewritten += s->n_lines != before;
}

/* A sixth of the names goes and comes again, at each size on the way up and on the way down. */
static void swing(struct kvi_index *x, size_t n) {
    size_t low = n - n / 6 - 1;
    for (int turn = 0; turn < 3; turn++) {
        n_rewritten = 0;
        for (size_t k = n; k-- > low;)
            change(x, k, false);
        for (size_t k = low; k < n; k++)
            change(x, k, true);
        /* The first turn may still find the size that the way here has left. */
        CHECK_MSG(n_rewritten <= (turn == 0), "%zu names, turn %d: rewritten %u times", n, turn,
                  n_rewritten);
    }
}

static void case_swing(void) {
    struct kvi_index *x = kvi_create(NULL);
    CHECK(x != NULL);
    draw_names((uint32_t)weir_rng_below(&rng, KVI_SEGMENTS));
    size_t n = 0;
    for (size_t want = 1; want < NAMES; want += want / 16 + 1) {
        for (; n < want; n++)
            change(x, n, true);
        swing(x, n);
    }
    unsigned larger = x->names[kvi_segment(kvi_mix(names[0]))].n_lines;
    for (size_t want = n; want > 0; want -= want / 16 + 1) {
        for (; n > want; n--)
            change(x, n - 1, false);
        swing(x, n);
    }
    CHECK(x->names[kvi_segment(kvi_mix(names[0]))].n_lines * 8 < larger);
    kvi_destroy(x);
}

int main(void) {
    weir_rng_seed(&rng, check_seed());
    CHECK_RUN(case_swing);
    return check_finish();
}
