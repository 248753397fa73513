/* Happy path: start → thread reads and compiles the files → posted to the loop → fn → freed. */
#include "frontend/models_load.h"

#include "base/mem.h"

#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

struct weir_tok_load {
    struct weir_loop *loop; /* borrowed */
    weir_tok_loaded_fn fn;
    void *arg;
    char *dir; /* owned; NULL: no place is known */
    pthread_t thread;
    struct wtok *tok; /* the result, owned until handed over */
    struct weir_err err;
};

static bool is_directory(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* Directory of a local file named by the card: a plain path or a file: URL. */
static char *directory_of(struct weir_span path) {
    char text[PATH_MAX];
    if (weir_span_starts(path, WEIR_SPAN_LIT("file://")))
        path = weir_span(path.data + 7, path.len - 7);
    if (path.len == 0 || path.data[0] != '/' || path.len >= sizeof(text))
        return NULL;
    memcpy(text, path.data, path.len);
    text[path.len] = '\0';
    char *slash = strrchr(text, '/');
    slash[slash == text] = '\0';
    return is_directory(text) ? weir_strdup(text) : NULL;
}

static void deliver(void *arg) {
    struct weir_tok_load *l = arg;
    pthread_join(l->thread, NULL);
    l->fn(l->arg, l->tok, &l->err);
    weir_free(l->dir);
    weir_free(l);
}

static void *load_thread(void *arg) {
    struct weir_tok_load *l = arg;
    if (wtok_load(l->dir, NULL, &l->tok, &l->err) != WEIR_OK)
        l->tok = NULL;
    /* A loop that has stopped takes nothing more: then cancel frees it all. */
    if (weir_loop_post(l->loop, deliver, l) != WEIR_OK)
        return l;
    return NULL;
}

enum weir_status weir_tok_load_start(struct weir_loop *loop, const struct weir_card *card,
                                     const char *model_path, weir_tok_loaded_fn fn, void *arg,
                                     struct weir_tok_load **ret_load) {
    struct weir_tok_load *l = weir_calloc(1, sizeof(*l));
    if (l == NULL)
        return WEIR_NOMEM;
    l->loop = loop;
    l->fn = fn;
    l->arg = arg;
    l->dir = directory_of(card->tokenizer.path);
    if (l->dir == NULL && model_path != NULL)
        l->dir = weir_strdup(model_path);
    if (l->dir == NULL)
        l->dir = directory_of(card->source_path);
    if (l->dir == NULL) {
        weir_free(l);
        return WEIR_NOT_FOUND;
    }
    if (pthread_create(&l->thread, NULL, load_thread, l) != 0) {
        weir_free(l->dir);
        weir_free(l);
        return WEIR_NOMEM;
    }
    *ret_load = l;
    return WEIR_OK;
}

bool weir_tok_load_cancel(struct weir_tok_load *load) {
    if (load == NULL)
        return false;
    pthread_join(load->thread, NULL);
    wtok_destroy(load->tok);
    weir_free(load->dir);
    weir_free(load);
    return true;
}
