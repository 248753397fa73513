/*
 * Sets of ranks, each once. A fleet's blocks are held by few different groups of workers (one
 * worker, or those that share a prefix), so a number a block is enough and equal neighbours are
 * seen at once. The sum of a mix of the members is what a set is found by: it follows from the
 * neighbour's sum when a rank comes or goes.
 */
#include "cuda/kvc_priv.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_SETS = 64, FIRST_MEMBERS = 1024, STEPS = 1 << 14, SETS_MAX = 1 << 30 };

/* What adding or taking out a rank led to; both sets' versions tell whether it still holds. */
struct kvc_step {
    uint32_t from, from_version, to, to_version, rank;
    bool add, used;
};

static uint64_t mix(uint32_t rank) {
    return kvc_avalanche((rank + 1) * KVC_PRIME64_2);
}

static unsigned room_class(uint32_t n) {
    unsigned c = 1; /* two members at least: a free room holds the number of the next */
    while (1u << c < n)
        c++;
    return c;
}

bool kvc_sets_init(struct kvc_sets *s) {
    *s = (struct kvc_sets){.n = 1, .cap = FIRST_SETS, .free_first = KVC_NONE};
    for (size_t i = 0; i < 17; i++)
        s->free_room[i] = KVC_NONE;
    s->cap_members = FIRST_MEMBERS;
    s->sets = calloc(s->cap, sizeof(*s->sets));
    s->refs = calloc(s->cap, sizeof(*s->refs));
    s->versions = calloc(s->cap, sizeof(*s->versions));
    s->sums = calloc(s->cap, sizeof(*s->sums));
    s->members = calloc(s->cap_members, sizeof(*s->members));
    s->steps = calloc(STEPS, sizeof(*s->steps));
    return s->sets != NULL && s->refs != NULL && s->versions != NULL && s->sums != NULL &&
           s->members != NULL && s->steps != NULL;
}

void kvc_sets_fini(struct kvc_sets *s) {
    free(s->sets);
    free(s->refs);
    free(s->versions);
    free(s->sums);
    free(s->members);
    free(s->steps);
    free(s->dirty);
    kvc_map_fini(&s->index);
}

/* ---- room ----------------------------------------------------------------------------------- */

static bool grow_one(void *array, size_t old_cap, size_t cap, size_t size) {
    void **p = array;
    char *bigger = realloc(*p, cap * size);
    if (bigger == NULL)
        return false;
    memset(bigger + old_cap * size, 0, (cap - old_cap) * size);
    *p = bigger;
    return true;
}

static uint32_t new_number(struct kvc_sets *s) {
    uint32_t id = s->free_first;
    if (id != KVC_NONE) {
        s->free_first = s->sets[id].at;
        return id;
    }
    if (s->n == s->cap) {
        size_t cap = (size_t)s->cap * 2;
        if (cap > SETS_MAX || !grow_one(&s->sets, s->cap, cap, sizeof(*s->sets)) ||
            !grow_one(&s->refs, s->cap, cap, sizeof(*s->refs)) ||
            !grow_one(&s->versions, s->cap, cap, sizeof(*s->versions)) ||
            !grow_one(&s->sums, s->cap, cap, sizeof(*s->sums)))
            return KVC_NONE;
        s->cap = (uint32_t)cap;
    }
    return s->n++;
}

static void free_number(struct kvc_sets *s, uint32_t id) {
    s->sets[id] = (struct kvc_set){.at = s->free_first};
    s->free_first = id;
    s->versions[id]++;
}

static uint32_t new_room(struct kvc_sets *s, unsigned c) {
    uint32_t at = s->free_room[c], size = 1u << c;
    if (at != KVC_NONE) {
        memcpy(&s->free_room[c], &s->members[at], sizeof(at));
        return at;
    }
    if (s->cap_members - s->n_members < size) {
        size_t cap = (size_t)s->cap_members * 2;
        while (cap - s->n_members < size)
            cap *= 2;
        if (cap > UINT32_MAX / 2 ||
            !grow_one(&s->members, s->cap_members, cap, sizeof(*s->members)))
            return KVC_NONE;
        s->cap_members = (uint32_t)cap;
    }
    at = s->n_members;
    s->n_members += size;
    return at;
}

static void free_room(struct kvc_sets *s, uint32_t at, unsigned c) {
    memcpy(&s->members[at], &s->free_room[c], sizeof(at));
    s->free_room[c] = at;
}

/* ---- contents ------------------------------------------------------------------------------- */

/* Place of the first member not below the rank. */
static uint32_t lower_bound(const struct kvc_sets *s, uint32_t set, uint32_t rank) {
    const uint16_t *m = s->members + s->sets[set].at;
    uint32_t low = 0, high = s->sets[set].n;
    while (low < high) {
        uint32_t mid = (low + high) / 2;
        if (m[mid] < rank)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

bool kvc_sets_has(const struct kvc_sets *s, uint32_t set, uint32_t rank) {
    uint32_t i = lower_bound(s, set, rank);
    return i < s->sets[set].n && s->members[s->sets[set].at + i] == rank;
}

/* Whether `other` is `set` with the rank at place i added or taken out. */
static bool is_step(const struct kvc_sets *s, uint32_t other, uint32_t set, uint32_t rank,
                    uint32_t i, bool add) {
    const uint16_t *a = s->members + s->sets[set].at, *b = s->members + s->sets[other].at;
    uint32_t n = s->sets[set].n;
    if (s->sets[other].n != (add ? n + 1 : n - 1) || memcmp(a, b, i * sizeof(*a)) != 0)
        return false;
    if (add)
        return b[i] == rank && memcmp(a + i, b + i + 1, (n - i) * sizeof(*a)) == 0;
    return memcmp(a + i + 1, b + i, (n - i - 1) * sizeof(*a)) == 0;
}

static bool note_dirty(struct kvc_sets *s, uint32_t id) {
    if (s->n_dirty == s->cap_dirty) {
        size_t cap = s->cap_dirty == 0 ? 256 : (size_t)s->cap_dirty * 2;
        uint32_t *bigger = realloc(s->dirty, cap * sizeof(*bigger));
        if (bigger == NULL)
            return false;
        s->dirty = bigger;
        s->cap_dirty = (uint32_t)cap;
    }
    s->dirty[s->n_dirty++] = id;
    return true;
}

static uint32_t make(struct kvc_sets *s, uint32_t set, uint32_t rank, uint32_t i, bool add,
                     uint64_t sum) {
    uint32_t n = s->sets[set].n, n_new = add ? n + 1 : n - 1;
    uint32_t id = new_number(s);
    if (id == KVC_NONE)
        return KVC_NONE;
    uint32_t at = new_room(s, room_class(n_new));
    if (at == KVC_NONE || !note_dirty(s, id) || !kvc_map_put(&s->index, sum, id)) {
        if (at != KVC_NONE)
            free_room(s, at, room_class(n_new));
        free_number(s, id);
        return KVC_NONE;
    }
    const uint16_t *from = s->members + s->sets[set].at;
    uint16_t *to = s->members + at;
    memcpy(to, from, i * sizeof(*to));
    if (add)
        to[i] = (uint16_t)rank;
    memcpy(to + i + add, from + i + !add, (n - i - !add) * sizeof(*to));
    s->sets[id] = (struct kvc_set){at, n_new};
    s->sums[id] = sum;
    s->refs[id] = 0;
    s->live++;
    return id;
}

static struct kvc_step *step_at(struct kvc_sets *s, uint32_t set, uint32_t rank, bool add) {
    uint64_t h = kvc_avalanche(((uint64_t)set << 32 | rank << 1 | add) * KVC_PRIME64_1);
    return &s->steps[h % STEPS];
}

uint32_t kvc_sets_step(struct kvc_sets *s, uint32_t set, uint32_t rank, bool add) {
    struct kvc_step *step = step_at(s, set, rank, add);
    if (step->used && step->from == set && step->rank == rank && step->add == add &&
        step->from_version == s->versions[set] && step->to_version == s->versions[step->to])
        return step->to;
    if (!add && s->sets[set].n == 1)
        return 0;
    uint32_t i = lower_bound(s, set, rank), to = KVC_NONE;
    uint64_t sum = s->sums[set] + (add ? mix(rank) : 0 - mix(rank));
    for (const uint32_t *id; (id = kvc_map_at(&s->index, sum)) != NULL; sum++)
        if (is_step(s, *id, set, rank, i, add)) {
            to = *id;
            break;
        }
    if (to == KVC_NONE)
        to = make(s, set, rank, i, add, sum);
    if (to != KVC_NONE)
        *step = (struct kvc_step){set, s->versions[set], to, s->versions[to], rank, add, true};
    return to;
}

void kvc_sets_ref(struct kvc_sets *s, uint32_t set) {
    if (set != 0)
        s->refs[set]++;
}

void kvc_sets_unref(struct kvc_sets *s, uint32_t set) {
    if (set == 0 || --s->refs[set] > 0)
        return;
    kvc_map_remove(&s->index, s->sums[set]);
    free_room(s, s->sets[set].at, room_class(s->sets[set].n));
    free_number(s, set);
    s->live--;
}
