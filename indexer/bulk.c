/*
 * Happy path: the loop copies the body → the bulk thread reads it → the loop finds the group → the
 * bulk thread hashes, searches and writes the answer → the loop sends it. A job belongs to the side
 * that works on it; its exchange is the loop's alone, and NULL when the client has left: then the
 * job ends before its next step, a restore also in the middle of one.
 *
 * Searches on the CPU run beside the loop that applies events: each query of a batch is answered as
 * POST /query would at that moment (kvi.h says what is seen of an event that is being applied).
 */
#include "indexer/bulk.h"

#include "base/log.h"
#include "base/mem.h"
#include "indexer/batch.h"
#include "indexer/restore.h"
#include "indexer/service_priv.h"
#include "indexer/tokens.h"

#include <stdatomic.h>
#include <string.h>

enum {
    ANSWER_MAX = 512 << 20,
    FIRST_SCORES = 1024,
};

struct weir_bulk {
    struct weir_bulk_config config;
    struct weir_loop *own;
    struct weir_list jobs; /* the loop's, as n_waiting: those that are not answered */
    unsigned n_waiting;
    struct kvi_score *scores; /* scratch of the bulk thread */
    size_t n_scores;
    struct weir_metric *refused, *queries;
    struct weir_metric_family *batches, *fallbacks, *restores;
};

struct job {
    struct weir_list node;
    struct weir_bulk *bulk; /* NULL: the answer is on its way */
    struct weir_answer answer;
    bool restoring;        /* and not at its end */
    _Atomic bool gone;     /* its client is, and what is left of the work is for nobody */
    struct weir_span body; /* owned */
    struct weir_batch batch;
    struct weir_restore *restore; /* owned; of `answer.out`; NULL: not begun, or done */
    struct weir_group *group;
    uint32_t block_size; /* the group's when it was found */
    int status;          /* of the answer */
    struct weir_err err;
};

static const struct weir_metric_desc batches_desc = {
    .name = "weir_indexer_batches_total",
    .type = WEIR_COUNTER,
    .help = "Bulk queries answered, by what searched: device or cpu.",
    .labels = {"by"}};
static const struct weir_metric_desc fallbacks_desc = {
    .name = "weir_indexer_device_fallbacks_total",
    .type = WEIR_COUNTER,
    .help = "Bulk queries that the CPU answered in the device's place: missing, opening, behind, "
            "busy, memory, lost or error.",
    .labels = {"reason"}};

static const struct weir_metric_desc restores_desc = {
    .name = "weir_indexer_token_restores_total",
    .type = WEIR_COUNTER,
    .help = "Dumps with tokens that were hashed, by what did it: device or cpu.",
    .labels = {"by"}};

/* ---- the answer -------------------------------------------------------------------------------
 */

static void free_job(struct job *j) {
    weir_free((void *)(uintptr_t)j->body.data);
    weir_batch_fini(&j->batch);
    weir_restore_close(j->restore);
    weir_answer_fini(&j->answer);
    weir_free(j);
}

/* On the loop: the job's last step. */
static void finish(void *arg) {
    struct job *j = arg;
    j->bulk->n_waiting--;
    j->restoring = false;
    weir_list_remove(&j->node);
    if (j->answer.x == NULL) {
        free_job(j);
        return;
    }
    j->bulk = NULL; /* on_done frees it */
    if (j->status == 200)
        weir_answer_send(&j->answer, 200, "application/json");
    else
        weir_indexer_refuse(j->answer.x, j->status, j->err.text);
}

/* The client has its answer, or has left, a restore with it that the loop has begun; while the
 * thread is at work finish() frees it. */
static void on_done(struct weir_answer *a) {
    struct job *j = WEIR_CONTAINER_OF(a, struct job, answer);
    bool applying = j->restore != NULL;
    atomic_store_explicit(&j->gone, true, memory_order_relaxed); /* a hint: nothing hangs on it */
    if (j->restoring)
        weir_restore_tell_left(j->restore);
    j->restoring = false; /* said once, also when the process is stopped before the job ends */
    if (j->bulk == NULL)
        free_job(j);
    else if (applying)
        finish(j);
}

/* On the bulk thread: the rest is the loop's. */
static void done(struct job *j, int status) {
    j->status = status;
    if (weir_loop_post_wait(j->bulk->config.loop, finish, j, NULL) != WEIR_OK)
        WEIR_LOG(WEIR_LOG_DEBUG, "indexer", "bulk: the loop has stopped");
}

/* On the bulk thread, before a step: nobody waits for it any more. */
static bool left(struct job *j) {
    if (!atomic_load_explicit(&j->gone, memory_order_relaxed))
        return false;
    done(j, 503);
    return true;
}

/* ---- searching: the bulk thread ---------------------------------------------------------------
 */

/* As POST /query does it; the scratch grows to what there is. */
static bool find(struct weir_bulk *b, struct weir_group *g, const uint64_t *local, size_t n,
                 size_t *ret_n) {
    for (;;) {
        size_t found = kvi_find(g->bulk_reader, local, n, false, b->scores, b->n_scores);
        if (found <= b->n_scores) {
            *ret_n = found;
            return true;
        }
        struct kvi_score *more = weir_realloc(b->scores, found * sizeof(*more));
        if (more == NULL)
            return false;
        b->scores = more;
        b->n_scores = found;
    }
}

static enum weir_status put_results(struct job *j, const struct weir_ask *a, bool by_device) {
    struct weir_jsonw w;
    weir_jsonw_init(&w, &j->answer.out);
    weir_jsonw_object_begin(&w);
    weir_jsonw_key(&w, "results");
    weir_jsonw_array_begin(&w);
    for (size_t i = 0, from = 0, n = 0; i < a->n && w.status == WEIR_OK; i++, from += n) {
        struct kvi_score *scores = a->scores + (by_device ? from : 0);
        if (by_device) {
            n = a->ends[i] - from;
        } else {
            if (!find(j->bulk, j->group, a->local + a->offsets[i],
                      a->offsets[i + 1] - a->offsets[i], &n))
                return WEIR_NOMEM;
            scores = j->bulk->scores;
        }
        weir_indexer_put_scores(&w, scores, n, j->block_size);
    }
    weir_jsonw_array_end(&w);
    weir_jsonw_object_end(&w);
    return w.status;
}

static bool search_on_device(struct job *j, struct weir_ask *a) {
    const char *reason = NULL;
    uint64_t blocks = a->offsets[a->n];
    if (blocks == 0 || blocks < j->bulk->config.device_min_blocks ||
        !weir_mirror_has_device(j->group->mirror))
        return false;
    if (weir_mirror_match(j->group->mirror, a, &reason))
        return true;
    weir_metric_inc(weir_metric_get(j->bulk->fallbacks, &reason));
    return false;
}

static void search(void *arg) {
    struct job *j = arg;
    struct weir_bulk *b = j->bulk;
    uint64_t *local = NULL, *offsets = NULL;
    struct weir_ask *a = NULL;
    if (left(j))
        return;
    if (weir_batch_hash(&j->batch, j->block_size, &local, &offsets) == WEIR_OK)
        a = weir_ask_create(local, offsets, j->batch.n);
    enum weir_status st = WEIR_NOMEM;
    bool by_device = a != NULL && search_on_device(j, a);
    if (a != NULL)
        st = put_results(j, a, by_device);
    weir_ask_release(a);
    if (st != WEIR_OK) {
        weir_err_set(&j->err, st, "the answer is over %d MiB, or memory ran out: ask for less",
                     ANSWER_MAX >> 20);
        done(j, 503);
        return;
    }
    const char *by = by_device ? "device" : "cpu";
    weir_metric_inc(weir_metric_get(b->batches, &by));
    weir_metric_add(b->queries, (double)j->batch.n);
    done(j, 200);
}

/* ---- steps ------------------------------------------------------------------------------------
 */

/* On the loop, which owns the list of groups. */
static void find_group(void *arg) {
    struct job *j = arg;
    if (j->answer.x == NULL) {
        finish(j);
        return;
    }
    j->group = weir_groups_find(j->bulk->config.groups, j->batch.model, j->batch.group);
    if (j->group == NULL) {
        weir_err_set(&j->err, WEIR_NOT_FOUND, "no indexer for this model_name and routing_group");
        j->status = 404;
        finish(j);
        return;
    }
    j->block_size = j->group->block_size;
    weir_mirror_wake(j->group->mirror);
    if (weir_loop_post(j->bulk->own, search, j) != WEIR_OK) {
        weir_err_set(&j->err, WEIR_NOMEM, "out of memory");
        j->status = 503;
        finish(j);
    }
}

static void read_batch(void *arg) {
    struct job *j = arg;
    if (left(j))
        return;
    enum weir_status st = weir_batch_parse(&j->batch, j->body, &j->err);
    if (st != WEIR_OK)
        done(j, st == WEIR_INVALID ? 400 : 503);
    else if (weir_loop_post_wait(j->bulk->config.loop, find_group, j, NULL) != WEIR_OK)
        WEIR_LOG(WEIR_LOG_DEBUG, "indexer", "bulk: the loop has stopped");
}

/* ---- restoring --------------------------------------------------------------------------------
 */

static void on_restored(void *arg, enum weir_status st, const struct weir_err *err) {
    struct job *j = arg;
    char text[WEIR_RESTORE_SAYS];
    weir_restore_say(j->restore, text);
    j->status = st == WEIR_OK ? 200 : st == WEIR_INVALID ? 400 : 503;
    j->err = *err;
    weir_buf_clear(&j->answer.out);
    if (st == WEIR_OK && weir_buf_printf(&j->answer.out, "{\"status\":\"%s\"}", text) != WEIR_OK)
        j->status = 503;
    weir_restore_close(j->restore);
    j->restore = NULL;
    finish(j);
}

/* On the loop, which owns the groups. */
static void apply_dump(void *arg) {
    struct job *j = arg;
    const struct weir_bulk_config *c = &j->bulk->config;
    if (j->answer.x == NULL) {
        finish(j);
        return;
    }
    if (weir_restore_open(c->groups, weir_buf_span(&j->answer.out), &j->restore) == WEIR_OK) {
        weir_restore_run(j->restore, c->loop, on_restored, j);
        return;
    }
    weir_err_set(&j->err, WEIR_NOMEM, "out of memory");
    j->status = 503;
    finish(j);
}

static void hash_dump(void *arg) {
    struct job *j = arg;
    enum weir_hashed_by hashed;
    if (left(j))
        return;
    enum weir_status st = weir_tokens_hash(j->bulk->config.device, j->body, &j->gone,
                                           &j->answer.out, &hashed, &j->err);
    if (st != WEIR_OK) {
        done(j, st == WEIR_INVALID ? 400 : 503);
        return;
    }
    const char *by = hashed == WEIR_HASHED_BY_DEVICE ? "device" : "cpu";
    if (hashed != WEIR_HASHED_NOTHING)
        weir_metric_inc(weir_metric_get(j->bulk->restores, &by));
    if (weir_loop_post_wait(j->bulk->config.loop, apply_dump, j, NULL) != WEIR_OK)
        WEIR_LOG(WEIR_LOG_DEBUG, "indexer", "bulk: the loop has stopped");
}

/* ---- interface --------------------------------------------------------------------------------
 */

static void begin(struct weir_bulk *b, struct weir_http_exchange *x, weir_post_fn first,
                  bool restoring) {
    struct weir_span body = weir_http_exchange_request(x)->body;
    if (b->n_waiting == b->config.max_waiting) {
        weir_metric_inc(b->refused);
        weir_indexer_refuse_for_now(
            x, "too many bulk queries are waiting (--batch-queue): ask again later");
        return;
    }
    struct job *j = weir_calloc(1, sizeof(*j));
    char *copy = j != NULL ? weir_malloc(body.len + 1) : NULL;
    if (copy == NULL) {
        weir_free(j);
        weir_indexer_refuse_for_now(x, "out of memory");
        return;
    }
    if (body.len > 0)
        memcpy(copy, body.data, body.len);
    *j = (struct job){.bulk = b, .body = weir_span(copy, body.len), .restoring = restoring};
    weir_list_init(&j->node);
    weir_answer_init(&j->answer, x, ANSWER_MAX, on_done);
    if (weir_loop_post(b->own, first, j) != WEIR_OK) {
        weir_http_exchange_set_user(x, NULL);
        free_job(j);
        weir_indexer_refuse_for_now(x, "out of memory");
        return;
    }
    weir_list_push_back(&b->jobs, &j->node);
    b->n_waiting++;
}

void weir_bulk_query(struct weir_bulk *b, struct weir_http_exchange *x) {
    begin(b, x, read_batch, false);
}

void weir_bulk_restore(struct weir_bulk *b, struct weir_http_exchange *x) {
    begin(b, x, hash_dump, true);
}

/* ---- life -------------------------------------------------------------------------------------
 */

enum weir_status weir_bulk_start(const struct weir_bulk_config *config,
                                 struct weir_bulk **ret_bulk) {
    static const struct weir_metric_desc refused = {
        .name = "weir_indexer_batches_refused_total",
        .type = WEIR_COUNTER,
        .help = "Bulk queries answered 503, as too many were waiting."};
    static const struct weir_metric_desc queries = {.name = "weir_indexer_batch_queries_total",
                                                    .type = WEIR_COUNTER,
                                                    .help =
                                                        "Queries of the bulk queries answered."};
    struct weir_bulk *b = weir_calloc(1, sizeof(*b));
    if (b == NULL)
        return WEIR_NOMEM;
    b->config = *config;
    weir_list_init(&b->jobs);
    b->n_scores = FIRST_SCORES;
    b->scores = weir_calloc(FIRST_SCORES, sizeof(*b->scores));
    b->refused = weir_metric_get(weir_metrics_family(config->metrics, &refused, 0), NULL);
    b->queries = weir_metric_get(weir_metrics_family(config->metrics, &queries, 0), NULL);
    b->batches = weir_metrics_family(config->metrics, &batches_desc, 0);
    b->fallbacks = weir_metrics_family(config->metrics, &fallbacks_desc, 0);
    b->restores = weir_metrics_family(config->metrics, &restores_desc, 0);
    enum weir_status st = b->scores != NULL ? weir_loop_create(3, &b->own) : WEIR_NOMEM;
    if (st == WEIR_OK)
        st = weir_loop_thread_start(b->own, "bulk");
    if (st != WEIR_OK) {
        weir_bulk_stop(b);
        return st;
    }
    *ret_bulk = b;
    return WEIR_OK;
}

void weir_bulk_stop(struct weir_bulk *b) {
    if (b == NULL)
        return;
    WEIR_LIST_FOREACH(it, &b->jobs) { /* the one at work ends at its next record */
        struct job *j = WEIR_CONTAINER_OF(it, struct job, node);
        atomic_store_explicit(&j->gone, true, memory_order_relaxed);
    }
    if (b->own != NULL) {
        weir_loop_stop(b->own);
        weir_loop_thread_join(b->own);
        weir_loop_destroy(b->own);
    }
    WEIR_LIST_FOREACH(it, &b->jobs) {
        struct job *j = WEIR_CONTAINER_OF(it, struct job, node);
        weir_list_remove(&j->node);
        j->bulk = NULL; /* its exchange, which ends later, does not find it: on_done frees it */
        weir_answer_drop(&j->answer);
    }
    weir_free(b->scores);
    weir_free(b);
}
