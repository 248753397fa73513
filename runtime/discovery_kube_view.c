#include "runtime/discovery_kube_view.h"

#include "base/hash.h"
#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"

#include <stdlib.h>

enum {
    ARENA = 4 << 20, /* one object as it is read; etcd holds none above 1.5 MiB */
    MAX_RECORDS = 16384,
    MAX_READY = 16384, /* in one object */
};

/* An object of either side, by its name. */
struct object {
    struct weir_list node; /* in view->objects of its side */
    struct object *chain;  /* the next with the same hash */
    uint64_t hash;
    char *name; /* owned */
    unsigned mark;
    struct weir_list claims;   /* slices, pods: what it says to be ready */
    struct worker *worker;     /* CRs */
    struct weir_span uid, pod; /* CRs: its own, its owner's; in the arena */
    struct set *set;           /* CRs: shared with who shows it */
    struct weir_arena arena;
};

/* "The pod `uid` of that worker is ready." */
struct claim {
    struct weir_list of_object, of_worker;
    struct worker *worker;
    char uid[];
};

/* The records of a CR, in order. */
struct set {
    unsigned refs;
    struct weir_arena arena;
    struct weir_kube_record *items;
    size_t n;
};

/* Whoever is named on either side, by the name of its CR. */
struct worker {
    struct weir_list node; /* in view->workers */
    struct weir_list due;  /* in view->now or view->later, or in neither */
    struct worker *chain;
    uint64_t hash;
    char *name; /* owned */
    struct weir_list claims;
    struct object *cr; /* NULL: none */
    struct set *shown; /* NULL: it is not visible */
};

struct weir_kube_view {
    weir_kube_view_fn fn;
    void *arg;
    unsigned max;
    struct weir_list objects[3], workers;
    struct weir_list now, later; /* workers to look at again; later: when the list is whole */
    struct weir_map object_of[3], worker_of, holders; /* holders: of a record's key, how many */
    unsigned n_objects[3], mark[3];
    bool listing[3];
};

static uint64_t hash_of(uint64_t seed, struct weir_span s) {
    return weir_hash_bytes(weir_hash_word(WEIR_HASH_BEGIN, seed), s.data, s.len);
}

/* ---- record sets -------------------------------------------------------------------------- */

static void set_unref(struct set *s) {
    if (s == NULL || --s->refs > 0)
        return;
    weir_arena_fini(&s->arena);
    weir_free(s);
}

static int compare(const void *a, const void *b) {
    const struct weir_kube_record *x = a, *y = b;
    return x->kind != y->kind ? (x->kind > y->kind) - (x->kind < y->kind)
                              : weir_span_compare(x->key, y->key);
}

struct reading {
    struct weir_kube_record *items;
    size_t n, cap, bytes;
    enum weir_status status;
};

static void on_record(void *arg, const struct weir_kube_record *record) {
    struct reading *r = arg;
    if (r->n == MAX_RECORDS)
        r->status = WEIR_LIMIT;
    else if (!weir_grow(&r->items, &r->cap, r->n + 1, sizeof(*r->items)))
        r->status = WEIR_NOMEM;
    else
        r->items[r->n++] = *record;
}

/* Sorted, each key once, in memory of its own. */
static struct set *make_set(struct reading *r) {
    struct set *s = weir_calloc(1, sizeof(*s));
    if (s == NULL)
        return NULL;
    s->refs = 1;
    weir_arena_init(&s->arena, 2 * (size_t)ARENA);
    s->items = weir_arena_alloc(&s->arena, (r->n + 1) * sizeof(*s->items));
    if (r->n > 1)
        qsort(r->items, r->n, sizeof(*r->items), compare);
    for (size_t i = 0; i < r->n && s->items != NULL; i++) {
        if (i > 0 && compare(&r->items[i - 1], &r->items[i]) == 0)
            continue;
        struct weir_kube_record copy = {.kind = r->items[i].kind,
                                        .key = weir_arena_copy(&s->arena, r->items[i].key),
                                        .json = weir_arena_copy(&s->arena, r->items[i].json)};
        if (copy.key.data == NULL || copy.json.data == NULL)
            s->items = NULL;
        else
            s->items[s->n++] = copy;
    }
    if (s->items == NULL) {
        set_unref(s);
        return NULL;
    }
    return s;
}

/* ---- workers ------------------------------------------------------------------------------ */

static struct worker *find_worker(struct weir_kube_view *v, uint64_t hash, struct weir_span name) {
    uint64_t value = 0;
    if (!weir_map_get(&v->worker_of, hash, &value))
        return NULL;
    struct worker *w = (struct worker *)(uintptr_t)value;
    while (w != NULL && !weir_span_eqz(name, w->name))
        w = w->chain;
    return w;
}

static struct worker *worker_named(struct weir_kube_view *v, struct weir_span name) {
    uint64_t hash = hash_of(0, name), first = 0;
    struct worker *w = find_worker(v, hash, name);
    if (w != NULL)
        return w;
    w = weir_calloc(1, sizeof(*w));
    if (w == NULL)
        return NULL;
    w->name = weir_strndup(name.data, name.len);
    w->hash = hash;
    if (weir_map_get(&v->worker_of, hash, &first))
        w->chain = (struct worker *)(uintptr_t)first;
    if (w->name == NULL || weir_map_put(&v->worker_of, hash, (uintptr_t)w) != WEIR_OK) {
        weir_free(w->name);
        weir_free(w);
        return NULL;
    }
    weir_list_init(&w->node);
    weir_list_init(&w->due);
    weir_list_init(&w->claims);
    weir_list_push_back(&v->workers, &w->node);
    return w;
}

static void free_worker(struct weir_kube_view *v, struct worker *w) {
    uint64_t *first = weir_map_at(&v->worker_of, w->hash);
    if (first != NULL && (struct worker *)(uintptr_t)*first == w) {
        if (w->chain != NULL)
            *first = (uintptr_t)w->chain;
        else
            weir_map_remove(&v->worker_of, w->hash);
    } else if (first != NULL) {
        struct worker *x = (struct worker *)(uintptr_t)*first;
        while (x->chain != w)
            x = x->chain;
        x->chain = w->chain;
    }
    weir_list_remove(&w->node);
    weir_list_remove(&w->due);
    set_unref(w->shown);
    weir_free(w->name);
    weir_free(w);
}

static void touch(struct weir_kube_view *v, enum weir_kube_side side, struct worker *w) {
    /* One that a list has touched waits for the list's end, whoever touches it then. */
    if (!weir_list_empty(&w->due))
        return;
    weir_list_push_back(v->listing[side] ? &v->later : &v->now, &w->due);
}

/* The one pod that is ready under this name; NULL when there is none, or more than one. */
static const char *ready_pod(const struct worker *w) {
    const char *uid = NULL;
    WEIR_LIST_FOREACH(it, (struct weir_list *)&w->claims) {
        const struct claim *c = WEIR_CONTAINER_OF(it, struct claim, of_worker);
        if (uid != NULL && strcmp(uid, c->uid) != 0)
            return NULL;
        uid = c->uid;
    }
    return uid;
}

/* ---- what is told ------------------------------------------------------------------------- */

static const struct weir_kube_record *held_by_other(struct weir_kube_view *v,
                                                    const struct worker *not_this,
                                                    const struct weir_kube_record *r) {
    WEIR_LIST_FOREACH(it, &v->workers) {
        struct worker *w = WEIR_CONTAINER_OF(it, struct worker, node);
        if (w == not_this || w->shown == NULL || w->shown->n == 0)
            continue;
        const struct weir_kube_record *found =
            bsearch(r, w->shown->items, w->shown->n, sizeof(*r), compare);
        if (found != NULL)
            return found;
    }
    return NULL;
}

static void hide(struct weir_kube_view *v, const struct worker *w,
                 const struct weir_kube_record *r) {
    uint64_t key = hash_of((uint64_t)r->kind + 1, r->key);
    uint64_t *n = weir_map_at(&v->holders, key);
    const struct weir_kube_record *other = NULL;
    if (n != NULL && *n > 1) {
        --*n;
        other = held_by_other(v, w, r);
    } else {
        weir_map_remove(&v->holders, key);
    }
    v->fn(v->arg, r->kind, r->key, other != NULL ? other->json : weir_span(NULL, 0));
}

static void show(struct weir_kube_view *v, const struct weir_kube_record *r, bool is_new) {
    uint64_t key = hash_of((uint64_t)r->kind + 1, r->key);
    if (is_new) {
        uint64_t *at = weir_map_at(&v->holders, key);
        if (at != NULL)
            ++*at;
        else if (weir_map_put(&v->holders, key, 1) != WEIR_OK)
            at = NULL; /* without memory a key that two hold goes with the first */
    }
    v->fn(v->arg, r->kind, r->key, r->json);
}

/* Tells the way from what is shown to `want`; both are sorted. */
static void change_to(struct weir_kube_view *v, struct worker *w, struct set *want) {
    struct set *old = w->shown;
    size_t n_old = old != NULL ? old->n : 0, n_want = want != NULL ? want->n : 0;
    w->shown = want;
    if (want != NULL)
        want->refs++;
    for (size_t i = 0, j = 0; i < n_old || j < n_want;) {
        int order = i == n_old ? 1 : j == n_want ? -1 : compare(&old->items[i], &want->items[j]);
        if (order < 0) {
            hide(v, w, &old->items[i++]);
        } else {
            if (order > 0 || !weir_span_eq(old->items[i].json, want->items[j].json))
                show(v, &want->items[j], order > 0);
            i += order == 0;
            j++;
        }
    }
    set_unref(old);
}

static void look_again(struct weir_kube_view *v, struct worker *w) {
    const char *uid = ready_pod(w);
    struct set *want =
        w->cr != NULL && uid != NULL && weir_span_eqz(w->cr->pod, uid) ? w->cr->set : NULL;
    weir_list_remove(&w->due);
    if (want != w->shown)
        change_to(v, w, want);
    if (w->cr == NULL && weir_list_empty(&w->claims))
        free_worker(v, w);
}

static void settle(struct weir_kube_view *v, struct weir_list *due) {
    while (!weir_list_empty(due))
        look_again(v, WEIR_CONTAINER_OF(due->next, struct worker, due));
}

void weir_kube_view_settle(struct weir_kube_view *view) {
    settle(view, &view->now);
}

/* ---- objects ------------------------------------------------------------------------------ */

static struct object *find_object(struct weir_kube_view *v, enum weir_kube_side side, uint64_t hash,
                                  struct weir_span name) {
    uint64_t value = 0;
    if (!weir_map_get(&v->object_of[side], hash, &value))
        return NULL;
    struct object *o = (struct object *)(uintptr_t)value;
    while (o != NULL && !weir_span_eqz(name, o->name))
        o = o->chain;
    return o;
}

static enum weir_status object_named(struct weir_kube_view *v, enum weir_kube_side side,
                                     struct weir_span name, struct object **ret) {
    uint64_t hash = hash_of(0, name), first = 0;
    struct object *o = find_object(v, side, hash, name);
    if (o == NULL) {
        if (v->n_objects[side] >= v->max)
            return WEIR_LIMIT;
        o = weir_calloc(1, sizeof(*o));
        if (o == NULL)
            return WEIR_NOMEM;
        o->name = weir_strndup(name.data, name.len);
        o->hash = hash;
        if (weir_map_get(&v->object_of[side], hash, &first))
            o->chain = (struct object *)(uintptr_t)first;
        if (o->name == NULL || weir_map_put(&v->object_of[side], hash, (uintptr_t)o) != WEIR_OK) {
            weir_free(o->name);
            weir_free(o);
            return WEIR_NOMEM;
        }
        weir_list_init(&o->node);
        weir_list_init(&o->claims);
        weir_arena_init(&o->arena, ARENA);
        weir_list_push_back(&v->objects[side], &o->node);
        v->n_objects[side]++;
    }
    o->mark = v->mark[side];
    *ret = o;
    return WEIR_OK;
}

static void drop_claims(struct weir_kube_view *v, enum weir_kube_side side, struct object *o) {
    WEIR_LIST_FOREACH(it, &o->claims) {
        struct claim *c = WEIR_CONTAINER_OF(it, struct claim, of_object);
        weir_list_remove(&c->of_object);
        weir_list_remove(&c->of_worker);
        touch(v, side, c->worker);
        weir_free(c);
    }
}

static void free_object(struct weir_kube_view *v, enum weir_kube_side side, struct object *o) {
    uint64_t *first = weir_map_at(&v->object_of[side], o->hash);
    if (first != NULL && (struct object *)(uintptr_t)*first == o) {
        if (o->chain != NULL)
            *first = (uintptr_t)o->chain;
        else
            weir_map_remove(&v->object_of[side], o->hash);
    } else if (first != NULL) {
        struct object *x = (struct object *)(uintptr_t)*first;
        while (x->chain != o)
            x = x->chain;
        x->chain = o->chain;
    }
    drop_claims(v, side, o);
    if (o->worker != NULL) {
        o->worker->cr = NULL;
        touch(v, side, o->worker);
    }
    set_unref(o->set);
    weir_list_remove(&o->node);
    v->n_objects[side]--;
    weir_arena_fini(&o->arena);
    weir_free(o->name);
    weir_free(o);
}

/* Ready ones while an object is read: its name comes last. */
struct claims {
    struct {
        struct weir_span cr_name, uid;
    } * items;
    size_t n, cap;
    enum weir_status status;
};

static void on_ready(void *arg, struct weir_span cr_name, struct weir_span pod_uid) {
    struct claims *c = arg;
    if (c->n == MAX_READY) {
        c->status = WEIR_LIMIT;
    } else if (!weir_grow(&c->items, &c->cap, c->n + 1, sizeof(*c->items))) {
        c->status = WEIR_NOMEM;
    } else {
        c->items[c->n].cr_name = cr_name;
        c->items[c->n++].uid = pod_uid;
    }
}

static enum weir_status add_claim(struct weir_kube_view *v, enum weir_kube_side side,
                                  struct object *o, struct weir_span cr_name,
                                  struct weir_span uid) {
    struct worker *w = worker_named(v, cr_name);
    struct claim *c = w != NULL ? weir_malloc(sizeof(*c) + uid.len + 1) : NULL;
    if (c == NULL) {
        if (w != NULL)
            touch(v, side, w);
        return WEIR_NOMEM;
    }
    memcpy(c->uid, uid.data, uid.len);
    c->uid[uid.len] = '\0';
    c->worker = w;
    weir_list_init(&c->of_object);
    weir_list_init(&c->of_worker);
    weir_list_push_back(&o->claims, &c->of_object);
    weir_list_push_back(&w->claims, &c->of_worker);
    touch(v, side, w);
    return WEIR_OK;
}

static enum weir_status put_ready(struct weir_kube_view *v, enum weir_kube_side side,
                                  struct weir_span json, struct weir_arena *arena) {
    struct claims claims = {0};
    struct weir_kube_meta meta;
    struct object *o;
    enum weir_status st = side == WEIR_KUBE_PODS
                              ? weir_kube_decode_pod(json, arena, on_ready, &claims, &meta)
                              : weir_kube_decode_slice(json, arena, on_ready, &claims, &meta);
    if (st == WEIR_OK)
        st = claims.status;
    if (st == WEIR_OK)
        st = object_named(v, side, meta.name, &o);
    if (st == WEIR_OK)
        drop_claims(v, side, o);
    for (size_t i = 0; i < claims.n && st == WEIR_OK; i++)
        st = add_claim(v, side, o, claims.items[i].cr_name, claims.items[i].uid);
    weir_free(claims.items);
    return st;
}

static enum weir_status fill_cr(struct weir_kube_view *v, struct object *o,
                                const struct weir_kube_meta *meta, struct reading *r,
                                bool has_data) {
    bool same = o->set != NULL && weir_span_eq(o->uid, meta->uid) &&
                weir_span_eq(o->pod, meta->owner_pod_uid);
    if (o->worker == NULL) {
        o->worker = worker_named(v, meta->name);
        if (o->worker == NULL)
            return WEIR_NOMEM;
        o->worker->cr = o;
    }
    touch(v, WEIR_KUBE_CRS, o->worker);
    if (!has_data && same)
        return WEIR_OK; /* the records are not there for the moment: those that were stay */
    struct set *set = make_set(r);
    if (set == NULL)
        return WEIR_NOMEM;
    set_unref(o->set);
    o->set = set;
    struct weir_arena fresh;
    weir_arena_init(&fresh, ARENA); /* the owner's uid has any length */
    o->uid = weir_arena_copy(&fresh, meta->uid);
    o->pod = weir_arena_copy(&fresh, meta->owner_pod_uid);
    weir_arena_fini(&o->arena);
    o->arena = fresh;
    return o->uid.data != NULL && o->pod.data != NULL ? WEIR_OK : WEIR_NOMEM;
}

static enum weir_status put_cr(struct weir_kube_view *v, struct weir_span json,
                               struct weir_arena *arena) {
    struct reading r = {0};
    struct weir_kube_meta meta;
    struct object *o;
    bool has_data = false;
    enum weir_status st = weir_kube_decode_metadata(json, arena, on_record, &r, &meta, &has_data);
    if (st == WEIR_OK)
        st = r.status;
    if (st == WEIR_OK)
        st = object_named(v, WEIR_KUBE_CRS, meta.name, &o);
    if (st == WEIR_OK)
        st = fill_cr(v, o, &meta, &r, has_data);
    weir_free(r.items);
    return st;
}

/* What cannot be read is there nevertheless: a list that names it does not end it. */
static void keep(struct weir_kube_view *v, enum weir_kube_side side, struct weir_span json,
                 struct weir_arena *arena) {
    struct weir_kube_meta meta;
    struct object *o = NULL;
    if (weir_kube_decode_meta(json, arena, &meta) == WEIR_OK)
        o = find_object(v, side, hash_of(0, meta.name), meta.name);
    if (o != NULL)
        o->mark = v->mark[side];
}

enum weir_status weir_kube_view_put(struct weir_kube_view *view, enum weir_kube_side side,
                                    struct weir_span json) {
    struct weir_arena arena;
    weir_arena_init(&arena, ARENA);
    enum weir_status st =
        side == WEIR_KUBE_CRS ? put_cr(view, json, &arena) : put_ready(view, side, json, &arena);
    if (st != WEIR_OK)
        keep(view, side, json, &arena);
    weir_arena_fini(&arena);
    return st;
}

enum weir_status weir_kube_view_remove(struct weir_kube_view *view, enum weir_kube_side side,
                                       struct weir_span json) {
    struct weir_arena arena;
    struct weir_kube_meta meta;
    struct object *o = NULL;
    weir_arena_init(&arena, ARENA);
    enum weir_status st = weir_kube_decode_meta(json, &arena, &meta);
    if (st == WEIR_OK)
        o = find_object(view, side, hash_of(0, meta.name), meta.name);
    if (o != NULL)
        free_object(view, side, o);
    weir_arena_fini(&arena);
    return st;
}

/* ---- lists -------------------------------------------------------------------------------- */

void weir_kube_view_list_begin(struct weir_kube_view *view, enum weir_kube_side side) {
    view->mark[side]++;
    view->listing[side] = true;
}

void weir_kube_view_list_end(struct weir_kube_view *view, enum weir_kube_side side) {
    WEIR_LIST_FOREACH(it, &view->objects[side]) {
        struct object *o = WEIR_CONTAINER_OF(it, struct object, node);
        if (o->mark != view->mark[side])
            free_object(view, side, o);
    }
    view->listing[side] = false;
    settle(view, &view->later);
    settle(view, &view->now);
}

/* ---- life --------------------------------------------------------------------------------- */

struct weir_kube_view *weir_kube_view_create(unsigned max_objects, weir_kube_view_fn fn,
                                             void *arg) {
    struct weir_kube_view *v = weir_calloc(1, sizeof(*v));
    if (v == NULL)
        return NULL;
    v->fn = fn;
    v->arg = arg;
    v->max = max_objects;
    for (int side = 0; side < 3; side++) {
        weir_list_init(&v->objects[side]);
        weir_map_init(&v->object_of[side], max_objects);
    }
    weir_list_init(&v->workers);
    weir_list_init(&v->now);
    weir_list_init(&v->later);
    weir_map_init(&v->worker_of, 16 * (size_t)max_objects);
    weir_map_init(&v->holders, 16 * (size_t)max_objects);
    return v;
}

void weir_kube_view_destroy(struct weir_kube_view *view) {
    if (view == NULL)
        return;
    for (int side = 0; side < 3; side++) {
        WEIR_LIST_FOREACH(it, &view->objects[side]) {
            free_object(view, (enum weir_kube_side)side,
                        WEIR_CONTAINER_OF(it, struct object, node));
        }
        weir_map_fini(&view->object_of[side]);
    }
    WEIR_LIST_FOREACH(it, &view->workers) {
        free_worker(view, WEIR_CONTAINER_OF(it, struct worker, node));
    }
    weir_map_fini(&view->worker_of);
    weir_map_fini(&view->holders);
    weir_free(view);
}

struct weir_kube_counts weir_kube_view_counts(const struct weir_kube_view *view) {
    struct weir_kube_counts c = {.crs = view->n_objects[WEIR_KUBE_CRS]};
    WEIR_LIST_FOREACH(it, (struct weir_list *)&view->workers) {
        const struct worker *w = WEIR_CONTAINER_OF(it, struct worker, node);
        c.visible += w->shown != NULL;
        c.ready += ready_pod(w) != NULL;
    }
    return c;
}
