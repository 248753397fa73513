/*
 * The table of an engine's names against a plain list, in tables so full that many names lie in
 * another line than their own, and in one that grows: after each step every name is found with its
 * facts, alone and among others, and none that has left or never was.
 */
#include "router/engine_names.h"

#include "base/rng.h"
#include "test/check.h"

enum { NAMES_MAX = 6000 };

static struct weir_engine_names table;
static struct weir_rng rng;

/* Name i is hashes[i] and has fact i + 1 while it is held. */
static struct {
    size_t n, n_held;
    uint64_t hashes[NAMES_MAX];
    bool held[NAMES_MAX];
} model;

static void check_look(void) {
    uint64_t asked[WEIR_ENGINE_NAMES_AT_ONCE];
    uint32_t places[WEIR_ENGINE_NAMES_AT_ONCE];
    size_t which[WEIR_ENGINE_NAMES_AT_ONCE], n = weir_rng_u64(&rng) % WEIR_ENGINE_NAMES_AT_ONCE;
    for (size_t i = 0; i < n; i++) {
        which[i] = weir_rng_u64(&rng) % model.n;
        asked[i] = model.hashes[which[i]];
    }
    weir_engine_names_look(&table, asked, n, places);
    for (size_t i = 0; i < n; i++) {
        CHECK((places[i] > 0) == model.held[which[i]]);
        if (places[i] > 0)
            CHECK(table.names[places[i] - 1].hash == asked[i] &&
                  table.names[places[i] - 1].lora == which[i] + 1);
    }
}

static void check_all(void) {
    CHECK_EQ_U64(table.len, model.n_held);
    for (size_t i = 0; i < model.n; i++) {
        struct weir_engine_name *n = weir_engine_names_find(&table, model.hashes[i]);
        CHECK((n != NULL) == model.held[i]);
        if (n != NULL)
            CHECK(n->used && n->hash == model.hashes[i] && n->lora == i + 1);
    }
}

static void step(size_t max) {
    size_t i = weir_rng_u64(&rng) % model.n;
    struct weir_engine_name *n = weir_engine_names_find(&table, model.hashes[i]);
    CHECK((n != NULL) == model.held[i]);
    if (n != NULL) {
        CHECK(n->lora == i + 1);
        weir_engine_names_remove(&table, n);
        model.held[i] = false;
        model.n_held--;
        return;
    }
    n = weir_engine_names_add(&table, model.hashes[i]);
    CHECK((n == NULL) == (model.n_held == max));
    if (n == NULL)
        return;
    CHECK(n->used && n->hash == model.hashes[i] && n->seed == 0 && n->lora == 0 && !n->unusable);
    n->lora = (uint32_t)i + 1;
    model.held[i] = true;
    model.n_held++;
}

/* `spread`: names as hashes are; else numbers, and numbers with a difference in their upper half
 * alone. */
static void run(size_t n, size_t max, unsigned steps, bool spread) {
    memset(&model, 0, sizeof(model));
    weir_engine_names_init(&table, max);
    model.n = n;
    for (size_t i = 0; i < n; i++)
        model.hashes[i] = spread ? weir_rng_u64(&rng) : i % 2 == 0 ? i : (uint64_t)i << 32;
    for (unsigned k = 0; k < steps; k++) {
        step(max);
        if (k % 64 == 0)
            check_look();
        if (k % (steps / 64) == 0)
            check_all();
    }
    /* Emptied it holds nothing and can be used again. */
    for (size_t i = 0; i < n; i++)
        if (model.held[i])
            weir_engine_names_remove(&table, weir_engine_names_find(&table, model.hashes[i]));
    memset(model.held, 0, sizeof(model.held));
    model.n_held = 0;
    check_all();
    for (size_t i = 0; i < n; i++)
        step(max);
    check_all();
    weir_engine_names_fini(&table);
    memset(model.held, 0, sizeof(model.held));
    CHECK(weir_engine_names_find(&table, model.hashes[0]) == NULL);
    check_look();
}

static void case_full(void) {
    for (int i = 0; i < 20; i++)
        run(160, 80, 20000, true);
}

static void case_numbers(void) {
    run(160, 80, 20000, false);
    run(NAMES_MAX, NAMES_MAX, 40000, false);
}

static void case_growing(void) {
    run(NAMES_MAX, NAMES_MAX, 40000, true);
    run(NAMES_MAX, 2000, 40000, true);
}

int main(void) {
    weir_rng_seed(&rng, check_seed());
    CHECK_RUN(case_full);
    CHECK_RUN(case_numbers);
    CHECK_RUN(case_growing);
    return check_finish();
}
