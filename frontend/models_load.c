/*
 * Happy path: start → thread finds the files of the card (runtime/model_files.h), reads and
 * compiles them → posted to the loop → fn → freed. Files behind URLs that cannot be had yet: the
 * thread waits and asks the next worker of the model.
 */
#include "frontend/models_load.h"

#include "base/log.h"
#include "base/mem.h"

#include <pthread.h>

enum { MAX_SOURCES = 8, FIRST_WAIT_MS = 500, LONGEST_WAIT_MS = 30000 };

struct weir_tok_load {
    struct weir_loop *loop; /* borrowed */
    weir_tok_loaded_fn fn;
    void *arg;
    struct weir_tok_load_config config;
    struct wtok_config tokenizer;
    pthread_t thread;
    bool joined;               /* the loop's */
    atomic_bool stop, dropped; /* nobody needs it; nobody takes it any more */
    pthread_mutex_t lock;      /* guards `sources` and `n_sources`, which only grow */
    pthread_cond_t changed;
    struct weir_model_files sources[MAX_SOURCES]; /* owned: what cards of the model name */
    size_t n_sources;
    struct wtok *tok; /* the result, owned until handed over */
    struct weir_image_rules images;
    struct weir_err err;
};

static void free_load(struct weir_tok_load *l) {
    for (size_t i = 0; i < l->n_sources; i++)
        weir_model_files_fini(&l->sources[i]);
    pthread_cond_destroy(&l->changed);
    pthread_mutex_destroy(&l->lock);
    weir_free(l);
}

static void join(struct weir_tok_load *l) {
    if (!l->joined)
        pthread_join(l->thread, NULL);
    l->joined = true;
}

static void deliver(void *arg) {
    struct weir_tok_load *l = arg;
    join(l);
    l->fn(l->arg, l->tok, &l->images, &l->err);
    free_load(l);
}

/* True when the same question may be answered later. */
static bool may_pass(enum weir_status st) {
    return st != WEIR_OK && st != WEIR_INVALID && st != WEIR_CANCELLED && st != WEIR_NOMEM &&
           st != WEIR_IO;
}

static enum weir_status load_from(struct weir_tok_load *l, const struct weir_model_files *files) {
    char dir[PATH_MAX];
    bool scratch;
    enum weir_status st = weir_model_files_find(files, l->config.model_path, &l->config.hub,
                                                &l->stop, dir, &scratch, &l->err);
    if (st != WEIR_OK)
        return weir_model_files_remote(files) && may_pass(st) ? WEIR_AGAIN : st;
    st = wtok_load(dir, &l->tokenizer, &l->tok, &l->err);
    if (st != WEIR_OK)
        l->tok = NULL;
    else
        weir_image_rules_load(dir, files->source_path, l->tok, &l->images);
    if (scratch)
        weir_model_files_remove(dir);
    return st;
}

/* Until the time is over, another worker comes, or the load is given up. */
static void wait_for(struct weir_tok_load *l, unsigned ms, size_t n_known) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    uint64_t ns = (uint64_t)until.tv_nsec + (uint64_t)ms * 1000000;
    until.tv_sec += (time_t)(ns / 1000000000);
    until.tv_nsec = (long)(ns % 1000000000);
    pthread_mutex_lock(&l->lock);
    int timed_out = 0;
    while (timed_out == 0 && l->n_sources == n_known && !atomic_load(&l->stop))
        timed_out = pthread_cond_timedwait(&l->changed, &l->lock, &until);
    pthread_mutex_unlock(&l->lock);
}

static size_t n_sources(struct weir_tok_load *l) {
    pthread_mutex_lock(&l->lock);
    size_t n = l->n_sources;
    pthread_mutex_unlock(&l->lock);
    return n;
}

static void *load_thread(void *arg) {
    struct weir_tok_load *l = arg;
    unsigned wait_ms = FIRST_WAIT_MS;
    for (size_t turn = 0;; turn++) {
        size_t n = n_sources(l);
        enum weir_status st = load_from(l, &l->sources[turn % n]);
        if (st != WEIR_AGAIN || atomic_load(&l->stop))
            break;
        WEIR_LOG(WEIR_LOG_WARN, "models", "files of model %s cannot be had yet: %s; asked again",
                 l->config.model, l->err.text);
        wait_for(l, wait_ms, n);
        wait_ms = wait_ms * 2 < LONGEST_WAIT_MS ? wait_ms * 2 : LONGEST_WAIT_MS;
    }
    /* A loop that has stopped takes nothing more: then cancel frees it all. */
    if (weir_loop_post_wait(l->loop, deliver, l, &l->dropped) != WEIR_OK)
        return l;
    return NULL;
}

static enum weir_status init_waiting(struct weir_tok_load *l) {
    pthread_condattr_t attr;
    if (pthread_condattr_init(&attr) != 0)
        return WEIR_NOMEM;
    bool ok = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) == 0 &&
              pthread_cond_init(&l->changed, &attr) == 0;
    pthread_condattr_destroy(&attr);
    return ok ? WEIR_OK : WEIR_NOMEM;
}

enum weir_status weir_tok_load_start(struct weir_loop *loop, const struct weir_card *card,
                                     const struct weir_tok_load_config *config,
                                     weir_tok_loaded_fn fn, void *arg,
                                     struct weir_tok_load **ret_load) {
    struct weir_tok_load *l = weir_calloc(1, sizeof(*l));
    if (l == NULL)
        return WEIR_NOMEM;
    l->loop = loop;
    l->config = *config;
    l->tokenizer.segment_cache_bytes = config->cache_bytes;
    l->fn = fn;
    l->arg = arg;
    atomic_init(&l->stop, false);
    atomic_init(&l->dropped, false);
    if (init_waiting(l) != WEIR_OK) {
        weir_free(l);
        return WEIR_NOMEM;
    }
    pthread_mutex_init(&l->lock, NULL);
    enum weir_status st = weir_model_files_copy(card, &l->sources[0]);
    if (st == WEIR_OK) {
        l->n_sources = 1;
        st = pthread_create(&l->thread, NULL, load_thread, l) == 0 ? WEIR_OK : WEIR_NOMEM;
    }
    if (st != WEIR_OK) {
        free_load(l);
        return st;
    }
    *ret_load = l;
    return WEIR_OK;
}

void weir_tok_load_also(struct weir_tok_load *load, const struct weir_card *card) {
    struct weir_model_files files;
    if (load->n_sources == MAX_SOURCES || weir_model_files_copy(card, &files) != WEIR_OK)
        return;
    pthread_mutex_lock(&load->lock);
    load->sources[load->n_sources++] = files;
    pthread_cond_signal(&load->changed);
    pthread_mutex_unlock(&load->lock);
}

void weir_tok_load_give_up(struct weir_tok_load *load) {
    pthread_mutex_lock(&load->lock);
    atomic_store(&load->stop, true);
    pthread_cond_signal(&load->changed);
    pthread_mutex_unlock(&load->lock);
}

void weir_tok_load_end(struct weir_tok_load *load) {
    atomic_store(&load->dropped, true);
    weir_tok_load_give_up(load);
    join(load);
}

void weir_tok_load_cancel(struct weir_tok_load *load) {
    weir_tok_load_end(load);
    wtok_destroy(load->tok);
    free_load(load);
}
