#include "frontend/card_sets.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "wire/card_sum.h"
#include "wire/record.h"

#include <string.h>

enum { RECORD_BYTES = 1 << 20 };

struct card {
    struct weir_list node;
    char *key, *set; /* owned */
    char sum[WEIR_CARD_SUM_BYTES];
    bool served, asked;     /* asked: in this round of offers */
    struct weir_buf record; /* as JSON, of one that is left out */
};
#define CARD(n) WEIR_CONTAINER_OF(n, struct card, node)

void weir_card_sets_init(struct weir_card_sets *sets) {
    weir_list_init(&sets->cards);
}

static void free_card(struct card *c) {
    weir_list_remove(&c->node);
    weir_free(c->key);
    weir_free(c->set);
    weir_buf_fini(&c->record);
    weir_free(c);
}

void weir_card_sets_fini(struct weir_card_sets *sets) {
    WEIR_LIST_FOREACH(it, &sets->cards) {
        free_card(CARD(it));
    }
}

static struct card *find(const struct weir_card_sets *sets, struct weir_span key) {
    WEIR_LIST_FOREACH(it, &sets->cards) {
        if (weir_span_eqz(key, CARD(it)->key))
            return CARD(it);
    }
    return NULL;
}

/* One of the set that is served; NULL: none. */
static const struct card *served(const struct weir_card_sets *sets, const char *set) {
    WEIR_LIST_FOREACH(it, &sets->cards) {
        if (CARD(it)->served && strcmp(CARD(it)->set, set) == 0)
            return CARD(it);
    }
    return NULL;
}

/* The names cannot hold line ends: discovery's keys would not be theirs. */
static char *set_of(const struct weir_record *r) {
    const struct weir_card *c = &r->card;
    struct weir_buf text;
    weir_buf_init(&text, 1 << 16);
    enum weir_status st = weir_buf_printf(
        &text, "%.*s\n%.*s\n%.*s\n%.*s\n%.*s\n%d", WEIR_SPAN_ARG(r->endpoint.ns),
        WEIR_SPAN_ARG(r->endpoint.component), WEIR_SPAN_ARG(r->endpoint.name),
        WEIR_SPAN_ARG(c->display_name), WEIR_SPAN_ARG(c->model_type),
        c->worker_type == WEIR_WORKER_UNSET ? WEIR_WORKER_AGGREGATED : c->worker_type);
    char *set = st == WEIR_OK ? weir_strndup(text.data, text.len) : NULL;
    weir_buf_fini(&text);
    return set;
}

static bool sum_of(const struct weir_card *card, char ret[WEIR_CARD_SUM_BYTES]) {
    enum weir_status st = weir_card_sum_of(card, false, ret);
    if (st != WEIR_OK)
        WEIR_LOG(WEIR_LOG_WARN, "models", "a card of model %.*s has no checksum: %s",
                 WEIR_SPAN_ARG(card->display_name), weir_status_text(st));
    return st == WEIR_OK;
}

static struct card *add(struct weir_card_sets *sets, struct weir_span key,
                        const struct weir_record *r) {
    struct card *c = weir_calloc(1, sizeof(*c));
    if (c == NULL)
        return NULL;
    weir_list_init(&c->node);
    weir_buf_init(&c->record, RECORD_BYTES);
    c->key = weir_strndup(key.data, key.len);
    c->set = set_of(r);
    if (c->key == NULL || c->set == NULL || !sum_of(&r->card, c->sum)) {
        free_card(c);
        return NULL;
    }
    weir_list_push_back(&sets->cards, &c->node);
    return c;
}

/* Until it can be served. */
static void keep(struct card *c, const struct weir_record *r) {
    c->served = false;
    weir_buf_clear(&c->record);
    if (weir_record_encode(r, &c->record) != WEIR_OK)
        free_card(c);
}

bool weir_card_sets_put(struct weir_card_sets *sets, struct weir_span key,
                        const struct weir_record *r) {
    struct card *c = find(sets, key);
    if (c != NULL && c->served)
        return true; /* what a card says is settled when it comes */
    if (c != NULL)
        free_card(c);
    c = add(sets, key, r);
    if (c == NULL)
        return false;
    const struct card *first = served(sets, c->set);
    if (first == NULL || strcmp(first->sum, c->sum) == 0) {
        c->served = true;
        return true;
    }
    WEIR_LOG(WEIR_LOG_ERROR, "models",
             "worker %s of model %.*s is left out: its card (checksum %.*s…) is not that "
             "of the workers that came before it (%.*s…)",
             weir_worker_text(r->instance_id).s, WEIR_SPAN_ARG(r->card.display_name),
             WEIR_SPAN_ARG(weir_utf8_cut_z(c->sum, 16)),
             WEIR_SPAN_ARG(weir_utf8_cut_z(first->sum, 16)));
    keep(c, r);
    return false;
}

void weir_card_sets_wait(struct weir_card_sets *sets, struct weir_span key,
                         const struct weir_record *r) {
    struct card *c = find(sets, key);
    if (c != NULL && c->served)
        keep(c, r);
}

static void serve(struct weir_card_sets *sets, struct card *c, weir_card_sets_fn fn, void *arg) {
    struct weir_record record;
    struct weir_arena arena;
    struct weir_err err;
    weir_arena_init(&arena, (size_t)4 * RECORD_BYTES);
    struct weir_buf text = c->record; /* fn may forget the card, and its key */
    struct weir_span key = weir_arena_copy(&arena, weir_span_z(c->key));
    weir_buf_init(&c->record, RECORD_BYTES);
    c->served = true;
    if (key.data != NULL &&
        weir_record_decode(weir_buf_span(&text), &arena, &record, &err) == WEIR_OK) {
        fn(arg, key, &record);
        c = find(sets, key);
        if (c != NULL && c->served)
            WEIR_LOG(WEIR_LOG_INFO, "models", "worker %s of model %.*s is left out no longer",
                     weir_worker_text(record.instance_id).s,
                     WEIR_SPAN_ARG(record.card.display_name));
    }
    weir_arena_fini(&arena);
    weir_buf_fini(&text);
}

/* The next one, in the order in which they came, that nothing of its set stands against; NULL. */
static struct card *next_free(const struct weir_card_sets *sets, const char *set) {
    WEIR_LIST_FOREACH(it, &sets->cards) {
        struct card *c = CARD(it);
        if (c->served || c->asked || (set != NULL && strcmp(c->set, set) != 0))
            continue;
        const struct card *first = served(sets, c->set);
        if (first == NULL || strcmp(first->sum, c->sum) == 0)
            return c;
    }
    return NULL;
}

/* set: of this one only, or NULL. What fn does may forget a card or let it wait, but adds none: the
 * list is gone through anew each time. */
static void offer(struct weir_card_sets *sets, const char *set, weir_card_sets_fn fn, void *arg) {
    WEIR_LIST_FOREACH(it, &sets->cards) {
        CARD(it)->asked = false;
    }
    for (struct card *c; (c = next_free(sets, set)) != NULL;) {
        c->asked = true;
        serve(sets, c, fn, arg);
    }
}

void weir_card_sets_gone(struct weir_card_sets *sets, struct weir_span key, weir_card_sets_fn fn,
                         void *arg) {
    struct card *c = find(sets, key);
    if (c == NULL)
        return;
    char *set = c->set;
    c->set = NULL;
    free_card(c);
    if (served(sets, set) == NULL)
        offer(sets, set, fn, arg);
    weir_free(set);
}

void weir_card_sets_again(struct weir_card_sets *sets, weir_card_sets_fn fn, void *arg) {
    offer(sets, NULL, fn, arg);
}

void weir_card_sets_forget(struct weir_card_sets *sets, struct weir_span key) {
    struct card *c = find(sets, key);
    if (c != NULL)
        free_card(c);
}
