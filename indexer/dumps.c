/*
 * Happy path of a dump: a step's text → the client's queue → it has room again → the next turn's
 * step → … → the end. What one dump holds is a walk, the text of a step and a queue that is full.
 *
 * Failure modes: the client leaves: the dump goes at once. It reads nothing: the server cuts it
 * off. Memory runs out: an answer that has begun is cut, so that its client sees it.
 */
#include "indexer/dumps.h"

#include "base/log.h"
#include "base/mem.h"
#include "indexer/dump.h"
#include "indexer/restore.h"
#include "indexer/service_priv.h"

enum {
    STEP_BYTES = 64 << 20,  /* of its text at most; a block may have many names */
    WHOLE_BYTES = 64 << 10, /* what is told sooner is no stream */
};

struct weir_dumps {
    struct weir_dumps_config config;
    struct weir_list dumps, restores; /* on their way */
    unsigned n_dumps, n_restores;
    struct weir_metric *running, *refused;
};

/* ---- dumps ----------------------------------------------------------------------------------- */

struct dumping {
    struct weir_list node; /* in all.dumps */
    struct weir_dumps *all;
    struct weir_answer answer;
    struct weir_dump *dump;
    struct weir_timer turn;
};

static struct dumping *dumping_of(struct weir_answer *a) {
    return WEIR_CONTAINER_OF(a, struct dumping, answer);
}

static void on_dump_done(struct weir_answer *a) {
    struct dumping *d = dumping_of(a);
    weir_list_remove(&d->node);
    weir_metric_set(d->all->running, --d->all->n_dumps);
    weir_timer_stop(&d->turn);
    weir_dump_close(d->dump);
    weir_answer_fini(a);
    weir_free(d);
}

static void on_turn(void *arg) {
    struct dumping *d = arg;
    bool more;
    if (weir_dump_step(d->dump, &d->answer.out, &more) != WEIR_OK) {
        WEIR_LOG(WEIR_LOG_WARN, "indexer", "out of memory: a dump is cut off");
        weir_http_abort(d->answer.x, "out of memory");
        return;
    }
    weir_answer_part(&d->answer, !more);
}

static void on_sent(struct weir_answer *a) {
    struct dumping *d = dumping_of(a);
    if (weir_timer_start(&d->turn, 0) != WEIR_OK)
        weir_http_abort(a->x, "out of memory");
}

void weir_dumps_answer(struct weir_dumps *all, struct weir_http_exchange *x, bool lines) {
    const char *type = lines ? "application/x-ndjson" : "application/json";
    if (all->n_dumps == all->config.max) {
        weir_metric_inc(all->refused);
        weir_indexer_refuse_for_now(x, "too many dumps at once (--max-dumps): ask again later");
        return;
    }
    struct dumping *d = weir_calloc(1, sizeof(*d));
    if (d == NULL || weir_dump_open(all->config.groups, lines, &d->dump) != WEIR_OK) {
        weir_free(d);
        weir_indexer_refuse_for_now(x, "out of memory");
        return;
    }
    d->all = all;
    weir_list_init(&d->node);
    weir_timer_init(&d->turn, all->config.loop, on_turn, d);
    weir_answer_init(&d->answer, x, STEP_BYTES, on_dump_done);
    weir_list_push_back(&all->dumps, &d->node);
    weir_metric_set(all->running, ++all->n_dumps);
    bool more = true;
    enum weir_status st = WEIR_OK;
    for (int i = 0; i < 4 && more && st == WEIR_OK && d->answer.out.len < WHOLE_BYTES; i++)
        st = weir_dump_step(d->dump, &d->answer.out, &more);
    if (st != WEIR_OK) {
        weir_indexer_refuse_for_now(x, "out of memory");
    } else if (!more) {
        weir_answer_send(&d->answer, 200, type);
    } else {
        d->answer.on_sent = on_sent;
        if (weir_answer_begin(&d->answer, 200, type))
            weir_answer_part(&d->answer, false);
    }
}

/* ---- restores -------------------------------------------------------------------------------- */

struct restoring {
    struct weir_list node; /* in all.restores */
    struct weir_dumps *all;
    struct weir_answer answer;
    struct weir_restore *restore; /* NULL: done */
};

static void on_restore_done(struct weir_answer *a) {
    struct restoring *r = WEIR_CONTAINER_OF(a, struct restoring, answer);
    weir_list_remove(&r->node);
    r->all->n_restores--;
    if (r->restore != NULL)
        weir_restore_tell_left(r->restore);
    weir_restore_close(r->restore);
    weir_answer_fini(a);
    weir_free(r);
}

static void on_restored(void *arg, enum weir_status st, const struct weir_err *err) {
    struct restoring *r = arg;
    char text[WEIR_RESTORE_SAYS];
    weir_restore_say(r->restore, text);
    weir_restore_close(r->restore);
    r->restore = NULL;
    if (st == WEIR_OK)
        weir_indexer_say(r->answer.x, 200, "status", text);
    else
        weir_indexer_refuse(r->answer.x, st == WEIR_INVALID ? 400 : 503, err->text);
}

void weir_dumps_restore(struct weir_dumps *all, struct weir_http_exchange *x) {
    if (all->n_restores == all->config.max) {
        weir_indexer_refuse_for_now(x, "too many restores at once (--max-dumps): ask again later");
        return;
    }
    struct restoring *r = weir_calloc(1, sizeof(*r));
    if (r == NULL || weir_restore_open(all->config.groups, weir_http_exchange_request(x)->body,
                                       &r->restore) != WEIR_OK) {
        weir_free(r);
        weir_indexer_refuse_for_now(x, "out of memory");
        return;
    }
    r->all = all;
    all->n_restores++;
    weir_list_init(&r->node);
    weir_list_push_back(&all->restores, &r->node);
    weir_answer_init(&r->answer, x, 0, on_restore_done);
    weir_restore_run(r->restore, all->config.loop, on_restored, r);
}

/* ---- life ------------------------------------------------------------------------------------ */

enum weir_status weir_dumps_create(const struct weir_dumps_config *config,
                                   struct weir_dumps **ret_dumps) {
    static const struct weir_metric_desc running = {
        .name = "weir_indexer_dumps", .type = WEIR_GAUGE, .help = "Dumps on their way."};
    static const struct weir_metric_desc refused = {
        .name = "weir_indexer_dumps_refused_total",
        .type = WEIR_COUNTER,
        .help = "Dumps answered 503, as too many were on their way."};
    struct weir_dumps *all = weir_calloc(1, sizeof(*all));
    if (all == NULL)
        return WEIR_NOMEM;
    all->config = *config;
    weir_list_init(&all->dumps);
    weir_list_init(&all->restores);
    all->running = weir_metric_get(weir_metrics_family(config->metrics, &running, 0), NULL);
    all->refused = weir_metric_get(weir_metrics_family(config->metrics, &refused, 0), NULL);
    *ret_dumps = all;
    return WEIR_OK;
}

/* The server's connections end later, in the loop's last turns: no step may come before that, and
 * no exchange may find its answer. */
void weir_dumps_destroy(struct weir_dumps *all) {
    if (all == NULL)
        return;
    WEIR_LIST_FOREACH(it, &all->dumps) {
        weir_answer_drop(&WEIR_CONTAINER_OF(it, struct dumping, node)->answer);
    }
    WEIR_LIST_FOREACH(it, &all->restores) {
        weir_answer_drop(&WEIR_CONTAINER_OF(it, struct restoring, node)->answer);
    }
    weir_free(all);
}
