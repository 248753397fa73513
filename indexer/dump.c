#include "indexer/dump.h"

#include "base/json.h"
#include "base/mem.h"
#include "kvindex/kvi_persist.h"

#include <stdio.h>

enum { KEY_MAX = 128 << 20 }; /* its names came in the body of a registration, or of a restore */

struct weir_dump {
    const struct weir_list *groups;
    const struct weir_list *at; /* the group that comes next; groups: none does */
    const struct weir_group *group;
    struct kvi_walk *walk; /* of the group; NULL: between groups */
    uint64_t n_left;       /* the group's when its walk began */
    struct weir_buf key;   /* of the group: "model:routing_group" */
    struct weir_jsonw w;
    struct weir_buf *out;
    uint64_t next_id;
    bool lines, begun;
    enum weir_status status;
};

/* ---- text ------------------------------------------------------------------------------------ */

static enum weir_status make_key(struct weir_dump *d) {
    weir_buf_clear(&d->key);
    return weir_buf_printf(&d->key, "%s:%s", d->group->model, d->group->name);
}

static void begin_group(struct weir_dump *d) {
    if (d->lines)
        return;
    weir_jsonw_key_span(&d->w, weir_buf_span(&d->key));
    weir_jsonw_object_begin(&d->w);
    weir_jsonw_key(&d->w, "block_size");
    weir_jsonw_u64(&d->w, d->group->block_size);
    weir_jsonw_key(&d->w, "events");
    weir_jsonw_array_begin(&d->w);
}

static void end_group(struct weir_dump *d) {
    if (d->lines)
        return;
    weir_jsonw_array_end(&d->w);
    weir_jsonw_object_end(&d->w);
}

static enum weir_status put_event(struct weir_dump *d, const struct kvi_event *event) {
    for (size_t room = 4096;;) {
        enum weir_status st = weir_buf_reserve(d->out, room);
        if (st != WEIR_OK)
            return st;
        size_t n = kvi_event_to_json(event, d->next_id, d->out->data + d->out->len, room);
        if (n <= room) {
            d->out->len += n;
            d->next_id++;
            return WEIR_OK;
        }
        room = n;
    }
}

static bool on_event(void *arg, const struct kvi_event *event) {
    struct weir_dump *d = arg;
    if (d->lines) {
        struct weir_jsonw w;
        weir_jsonw_init(&w, d->out);
        weir_jsonw_object_begin(&w);
        weir_jsonw_key(&w, "key");
        weir_jsonw_string(&w, weir_buf_span(&d->key));
        weir_jsonw_key(&w, "block_size");
        weir_jsonw_u64(&w, d->group->block_size);
        weir_jsonw_key(&w, "event");
        d->status = w.status;
    } else if (d->next_id > 0) {
        d->status = weir_buf_append_c(d->out, ',');
    }
    if (d->status == WEIR_OK)
        d->status = put_event(d, event);
    if (d->status == WEIR_OK && d->lines)
        d->status = weir_buf_append_z(d->out, "}\n");
    return d->status == WEIR_OK;
}

/* ---- steps ----------------------------------------------------------------------------------- */

/* The walk of the next group that is one; none is left: NULL stays. */
static enum weir_status next_group(struct weir_dump *d) {
    for (; d->at != d->groups; d->at = d->at->next) {
        struct weir_group *g = WEIR_CONTAINER_OF(d->at, struct weir_group, node);
        if (g->left)
            continue;
        d->at = d->at->next;
        d->group = g;
        d->n_left = g->n_left;
        d->next_id = 0;
        enum weir_status st = make_key(d);
        if (st != WEIR_OK)
            return st;
        d->walk = kvi_walk_open(g->index);
        if (d->walk != NULL)
            begin_group(d);
        return d->walk != NULL ? WEIR_OK : WEIR_NOMEM;
    }
    return WEIR_OK;
}

static enum weir_status walk(struct weir_dump *d) {
    bool more = false;
    if (d->group->n_left == d->n_left &&
        kvi_walk_step(d->walk, WEIR_DUMP_BLOCKS, on_event, d, &more) != KVI_OK)
        return WEIR_NOMEM;
    if (d->status != WEIR_OK || more)
        return d->status;
    kvi_walk_close(d->walk);
    d->walk = NULL;
    end_group(d);
    return WEIR_OK;
}

enum weir_status weir_dump_step(struct weir_dump *d, struct weir_buf *out, bool *ret_more) {
    enum weir_status st = WEIR_OK;
    d->out = d->w.buf = out;
    if (!d->begun && !d->lines)
        weir_jsonw_object_begin(&d->w);
    d->begun = true;
    st = d->walk != NULL ? walk(d) : next_group(d);
    *ret_more = d->walk != NULL || d->at != d->groups;
    if (!*ret_more && !d->lines)
        weir_jsonw_object_end(&d->w);
    return st == WEIR_OK ? d->w.status : st;
}

enum weir_status weir_dump_open(struct weir_groups *groups, bool lines,
                                struct weir_dump **ret_dump) {
    struct weir_dump *d = weir_calloc(1, sizeof(*d));
    if (d == NULL)
        return WEIR_NOMEM;
    d->groups = weir_groups_list(groups);
    d->at = d->groups->next;
    d->lines = lines;
    weir_buf_init(&d->key, KEY_MAX);
    weir_jsonw_init(&d->w, NULL);
    *ret_dump = d;
    return WEIR_OK;
}

void weir_dump_close(struct weir_dump *d) {
    if (d == NULL)
        return;
    kvi_walk_close(d->walk);
    weir_buf_fini(&d->key);
    weir_free(d);
}
