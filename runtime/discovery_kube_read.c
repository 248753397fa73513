/*
 * List and watch, of those who are ready and of their CRs, each for itself. Happy path: the objects
 * are listed page by page → what was not among them is gone → they are watched from the list's
 * version on; bookmarks and changes move that version; the server ends a watch after some minutes,
 * and the next one goes on from there, as one does after a broken connection.
 *
 * Failure modes: a version that is gone (410) is listed anew, and the table tells watchers the
 * differences only; so is one from which the server does not let us watch for another reason. As
 * often as that happens without a change, a bookmark or a watch that lasts, it is asked less and
 * less. An object that cannot be read is left out alone.
 */
#include "base/log.h"
#include "base/utf8.h"
#include "runtime/discovery_kube_priv.h"

#include <inttypes.h>
#include <stdio.h>

enum {
    WATCH_S = 300, /* and a random part of it more, so that a fleet's watches do not end together */
    WATCH_LATE_MS = 30000,
    SHORT_WATCH_MS = 1000,
    WATCH_FAILURES = 3, /* of the server in a row: then what is watched from is not trusted */
    CAN_LIST = 1,
    CAN_WATCH = 2,
};

static void start_list(struct kube_read *r);

static struct kube_read *read_of(struct kube_call *call) {
    return call->arg;
}

void weir_kube_on_visible(void *arg, enum weir_record_kind kind, struct weir_span key,
                          struct weir_span json) {
    struct kube *k = arg;
    static struct weir_log_limit limit;
    uint32_t dropped;
    if (k->disc == NULL)
        return;
    if (json.data == NULL)
        weir_discovery_delete(k->disc, kind, key);
    else if (json.len <= WEIR_RECORD_MAX_BYTES)
        weir_discovery_put(k->disc, kind, key, json);
    else if (weir_log_limit_ok(&limit, 5, &dropped))
        WEIR_LOG(WEIR_LOG_WARN, "kube", "record %.*s is left out: more than %d bytes",
                 WEIR_SPAN_ARG(key), WEIR_RECORD_MAX_BYTES);
}

static void tell_left_out(const struct kube_read *r, struct weir_span object, const char *why) {
    static struct weir_log_limit limit;
    struct weir_kube_meta meta = {.name = WEIR_SPAN_LIT("without a name")};
    struct weir_arena arena;
    uint32_t dropped;
    if (!weir_log_limit_ok(&limit, 5, &dropped))
        return;
    weir_arena_init(&arena, KUBE_LINE_MAX);
    if (weir_kube_decode_meta(object, &arena, &meta) != WEIR_OK)
        meta.name = WEIR_SPAN_LIT("without a name");
    WEIR_LOG(WEIR_LOG_WARN, "kube", "of the %s %.*s is left out: %s", r->call.resource,
             WEIR_SPAN_ARG(weir_utf8_cut(meta.name, 100)), why);
    weir_arena_fini(&arena);
}

/* False: there was no memory for it, so it is listed anew later. */
static bool take(struct kube_read *r, struct weir_span object, bool deleted) {
    struct kube *k = r->call.kube;
    enum weir_status st = deleted ? weir_kube_view_remove(k->view, r->side, object)
                                  : weir_kube_view_put(k->view, r->side, object);
    if (st == WEIR_NOMEM)
        return false;
    if (st != WEIR_OK)
        tell_left_out(r, object, st == WEIR_LIMIT ? "there are too many" : "it cannot be read");
    return true;
}

/* The path of the objects of this kind, with the label where one is asked for. */
static enum weir_status put_path(const struct kube_read *r, struct weir_buf *out) {
    enum weir_status st = r->side == WEIR_KUBE_PODS
                              ? weir_buf_append_z(out, "/api/v1/namespaces/")
                              : weir_buf_printf(out, "/apis/%s/%s/namespaces/", r->call.group,
                                                r->side == WEIR_KUBE_CRS ? "v1alpha1"
                                                : r->beta                ? "v1beta1"
                                                                         : "v1");
    if (st == WEIR_OK)
        st = weir_kube_encode_query(weir_span_z(r->call.kube->target.ns), out);
    if (st == WEIR_OK)
        st = weir_buf_printf(out, "/%s?", r->call.resource);
    if (st != WEIR_OK || r->side == WEIR_KUBE_CRS)
        return st;
    st = weir_buf_append_z(out, "labelSelector=");
    if (st == WEIR_OK)
        st = weir_kube_encode_query(WEIR_SPAN_LIT(WEIR_KUBE_LABEL), out);
    return st == WEIR_OK ? weir_buf_append_c(out, '&') : st;
}

struct question {
    const char *verb; /* static */
    unsigned bit;     /* of the verb */
    uint64_t total_ms;
    kube_line_fn line; /* a watch; NULL otherwise */
    kube_done_fn done;
};

static void ask(struct kube_read *r, enum weir_status encoded, const struct weir_buf *target,
                const struct question *q) {
    r->call.verb = q->verb;
    r->call.verb_bit = q->bit;
    if (encoded == WEIR_OK)
        weir_kube_call(&r->call,
                       &(struct kube_request){.method = "GET",
                                              .target = weir_buf_span(target),
                                              .total_ms = q->total_ms},
                       q->line, q->done);
    else
        weir_kube_lost(r->call.kube, false, "cannot %s %s: %s", q->verb, r->call.resource,
                       weir_status_text(encoded));
}

static void keep_version(struct kube_read *r, struct weir_span version) {
    if (version.len > 0 && version.len < sizeof(r->version))
        snprintf(r->version, sizeof(r->version), "%.*s", WEIR_SPAN_ARG(version));
}

static void list_again(struct kube_read *r) {
    weir_buf_clear(&r->next);
    r->need_list = true;
}

/* A version, or the token of a page, is gone: at once the first time. */
static void gone(struct kube_read *r) {
    WEIR_LOG(WEIR_LOG_INFO, "kube", "what the %s were read from is gone: listing them again",
             r->call.resource);
    list_again(r);
    if (r->call.failures > 0) {
        weir_kube_pause(&r->call, 0);
        return;
    }
    r->call.failures = 1;
    weir_kube_read_pump(r->call.kube);
}

/* ---- watch -------------------------------------------------------------------------------- */

static void on_error_event(struct kube_read *r, struct weir_span object) {
    struct weir_kube_status status;
    weir_kube_decode_status(object, &status);
    weir_kube_cancel(&r->call);
    list_again(r);
    if (status.code == 410)
        gone(r);
    else
        (void)weir_kube_failed(&r->call, status.code > 299 ? (int)status.code : 500, &status);
}

static void on_line(struct kube_call *call, struct weir_span line) {
    struct kube_read *r = read_of(call);
    struct kube *k = call->kube;
    enum weir_kube_change change;
    struct weir_span object;
    struct weir_kube_meta meta;
    struct weir_arena arena;
    if (weir_kube_decode_event(line, &change, &object) != WEIR_OK) {
        list_again(r);
        weir_kube_lost(k, false, "cannot watch %s: what it sends is no event of a watch",
                       call->resource);
        return;
    }
    r->watched = true;
    if (change == WEIR_KUBE_ERROR) {
        on_error_event(r, object);
        return;
    }
    call->failures = 0;
    if (change != WEIR_KUBE_BOOKMARK && !take(r, object, change == WEIR_KUBE_DELETED)) {
        list_again(r);
        weir_kube_lost(k, false, "out of memory");
        return;
    }
    weir_arena_init(&arena, KUBE_LINE_MAX);
    if (weir_kube_decode_meta(object, &arena, &meta) == WEIR_OK) {
        keep_version(r, meta.resource_version);
        if (change == WEIR_KUBE_DELETED && r->side == WEIR_KUBE_CRS)
            weir_kube_own_deleted(k, meta.name);
    }
    weir_arena_fini(&arena);
    weir_kube_view_settle(k->view);
    weir_kube_metrics_count(k);
}

/* A watch that is refused may be so for what it should go on from: a server that was restored, or
 * is another one behind the same address, need not say 410. */
static bool is_about_version(const struct kube_call *call) {
    bool ours = call->status == 401 || call->status == 403 || call->status == 429;
    return !ours && (call->status < 500 || call->failures >= WATCH_FAILURES);
}

static void on_watch_end(struct kube_call *call) {
    struct kube_read *r = read_of(call);
    struct kube *k = call->kube;
    struct weir_kube_status status;
    if (call->status == 200) {
        bool brief = !r->watched && weir_loop_now_ms(k->loop) < call->started_ms + SHORT_WATCH_MS;
        weir_buf_fini(&call->body);
        if (!brief) {
            call->failures = 0;
            weir_kube_read_pump(k);
        } else {
            weir_kube_pause(call, 0);
        }
        return;
    }
    weir_kube_decode_status(weir_buf_span(&call->body), &status);
    weir_buf_fini(&call->body);
    if (call->status == 410) {
        gone(r);
        return;
    }
    if (is_about_version(call))
        list_again(r);
    if (!weir_kube_failed(call, call->status, &status))
        weir_kube_lost(k, false, "cannot watch %s: HTTP %d", call->resource, call->status);
}

static void start_watch(struct kube_read *r) {
    struct kube *k = r->call.kube;
    struct weir_buf target;
    uint64_t s = WATCH_S + weir_rng_below(weir_loop_rng(k->loop), WATCH_S);
    weir_buf_init(&target, 64 << 10);
    enum weir_status st = put_path(r, &target);
    if (st == WEIR_OK)
        st = weir_buf_printf(
            &target,
            "watch=true&allowWatchBookmarks=true&timeoutSeconds=%" PRIu64 "&resourceVersion=", s);
    if (st == WEIR_OK)
        st = weir_kube_encode_query(weir_span_z(r->version), &target);
    r->watched = false;
    weir_metric_inc(k->figures[KUBE_WATCHES]);
    ask(r, st, &target,
        &(struct question){"watch", CAN_WATCH, 1000 * s + WATCH_LATE_MS, on_line, on_watch_end});
    weir_buf_fini(&target);
}

/* ---- list --------------------------------------------------------------------------------- */

struct listing {
    struct kube_read *read;
    bool short_of_memory;
};

static void on_item(void *arg, struct weir_span item) {
    struct listing *l = arg;
    l->short_of_memory |= !take(l->read, item, false);
}

static void finish_list(struct kube_read *r, const struct weir_kube_list *list) {
    struct kube *k = r->call.kube;
    keep_version(r, list->resource_version);
    r->need_list = false;
    r->listed = true;
    weir_kube_view_list_end(k->view, r->side);
    weir_kube_metrics_count(k);
    struct weir_kube_counts n = weir_kube_view_counts(k->view);
    WEIR_LOG(WEIR_LOG_DEBUG, "kube", "%s listed at version %s: %u ready, %u registered, %u both",
             r->call.resource, r->version, n.ready, n.crs, n.visible);
}

static void on_listed(struct kube_call *call) {
    struct kube_read *r = read_of(call);
    struct kube *k = call->kube;
    struct weir_buf body;
    struct weir_arena arena;
    struct weir_kube_status status;
    struct weir_kube_list list;
    struct listing listing = {.read = r};
    weir_buf_init(&body, call->body.max);
    weir_buf_move(&body, &call->body);
    weir_arena_init(&arena, KUBE_TOKEN_MAX);
    if (call->status == 410) { /* between two pages */
        gone(r);
    } else if (call->status == 404 && r->side == WEIR_KUBE_SLICES && !r->beta && !r->listed) {
        r->beta = true;
        weir_kube_read_pump(k);
    } else if (call->status != 200) {
        weir_kube_decode_status(weir_buf_span(&body), &status);
        list_again(r);
        r->beta &= call->status != 404; /* neither is there: both are asked for again */
        if (!weir_kube_failed(call, call->status, &status))
            weir_kube_lost(k, false, "cannot list %s: HTTP %d", call->resource, call->status);
    } else if (weir_kube_decode_list(weir_buf_span(&body), &arena, on_item, &listing, &list) !=
               WEIR_OK) {
        list_again(r);
        weir_kube_lost(k, false, "cannot list %s: its answer is no list", call->resource);
    } else if (listing.short_of_memory) {
        list_again(r);
        weir_kube_lost(k, false, "cannot list %s: out of memory", call->resource);
    } else {
        weir_kube_prove(call);
        weir_buf_clear(&r->next);
        if (list.next.len == 0)
            finish_list(r, &list);
        else if (weir_buf_append_span(&r->next, list.next) != WEIR_OK)
            weir_buf_clear(&r->next); /* from the start */
        weir_kube_read_pump(k);
    }
    weir_arena_fini(&arena);
    weir_buf_fini(&body);
}

static void start_list(struct kube_read *r) {
    struct kube *k = r->call.kube;
    struct weir_buf target;
    weir_buf_init(&target, 64 << 10);
    if (r->next.len == 0) {
        weir_kube_view_list_begin(k->view, r->side);
        weir_metric_inc(k->figures[KUBE_LISTS]);
    }
    enum weir_status st = put_path(r, &target);
    if (st == WEIR_OK)
        st = weir_buf_printf(&target, "limit=%u", r->page);
    if (st == WEIR_OK && r->next.len > 0) {
        st = weir_buf_append_z(&target, "&continue=");
        if (st == WEIR_OK)
            st = weir_kube_encode_query(weir_buf_span(&r->next), &target);
    }
    ask(r, st, &target, &(struct question){"list", CAN_LIST, KUBE_CALL_MS, NULL, on_listed});
    weir_buf_fini(&target);
}

/* ---- both --------------------------------------------------------------------------------- */

void weir_kube_read_init(struct kube *k) {
    bool pods = k->target.by_container;
    k->reads[0].side = pods ? WEIR_KUBE_PODS : WEIR_KUBE_SLICES;
    k->reads[0].call.resource = pods ? "pods" : "endpointslices";
    k->reads[0].call.group = pods ? "core" : "discovery.k8s.io";
    k->reads[1].side = WEIR_KUBE_CRS;
    k->reads[1].call.resource = "dynamoworkermetadatas";
    k->reads[1].call.group = "nvidia.com";
    for (int i = 0; i < 2; i++) {
        k->reads[i].call.arg = &k->reads[i];
        k->reads[i].page = KUBE_PAGE;
        k->reads[i].need_list = true;
        weir_buf_init(&k->reads[i].next, 16 << 10);
    }
}

void weir_kube_read_fini(struct kube *k) {
    weir_buf_fini(&k->reads[0].next);
    weir_buf_fini(&k->reads[1].next);
    weir_kube_view_destroy(k->view);
}

void weir_kube_read_pump(struct kube *k) {
    for (int i = 0; i < 2; i++) {
        struct kube_read *r = &k->reads[i];
        if (k->state != KUBE_UP || k->disc == NULL || k->disc->n_watches == 0)
            return;
        if (r->call.http != NULL || weir_timer_active(&r->call.again))
            continue;
        if (r->need_list)
            start_list(r);
        else
            start_watch(r);
    }
}
