/*
 * Happy path: start → thread compares the files with the card's checksums, reads and compiles them
 * → posted to the loop → fn → freed. A file that is not the one the worker serves with is an error:
 * its tokens would be others.
 */
#include "frontend/models_load.h"

#include "base/mem.h"
#include "runtime/checksum.h"

#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* A file that the card names. */
struct named_file {
    char *name, *checksum; /* owned; the part behind the last slash. NULL: none */
};
enum { MAX_FILES = 4 };

struct weir_tok_load {
    struct weir_loop *loop; /* borrowed */
    weir_tok_loaded_fn fn;
    void *arg;
    char *dir; /* owned; NULL: no place is known */
    struct wtok_config config;
    struct named_file files[MAX_FILES];
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

static void free_load(struct weir_tok_load *l) {
    for (size_t i = 0; i < MAX_FILES; i++) {
        weir_free(l->files[i].name);
        weir_free(l->files[i].checksum);
    }
    weir_free(l->dir);
    weir_free(l);
}

/* False: out of memory. A file without a checksum is taken as it is. */
static bool name_file(struct named_file *f, const struct weir_file_ref *ref) {
    size_t from = ref->path.len;
    while (from > 0 && ref->path.data[from - 1] != '/')
        from--;
    if (!weir_span_starts(ref->checksum, WEIR_SPAN_LIT("blake3:")) || from == ref->path.len)
        return true;
    f->name = weir_strndup(ref->path.data + from, ref->path.len - from);
    f->checksum = weir_strndup(ref->checksum.data, ref->checksum.len);
    return f->name != NULL && f->checksum != NULL;
}

static enum weir_status check_files(struct weir_tok_load *l) {
    for (size_t i = 0; i < MAX_FILES; i++) {
        const struct named_file *f = &l->files[i];
        char path[PATH_MAX], sum[WEIR_CHECKSUM_BYTES];
        if (f->name == NULL)
            continue;
        int n = snprintf(path, sizeof(path), "%s/%s", l->dir, f->name);
        if (n < 0 || (size_t)n >= sizeof(path) || weir_checksum_file(path, sum) != WEIR_OK)
            return weir_err_set(&l->err, WEIR_NOT_FOUND,
                                "%s/%s, which the card names, is not there", l->dir, f->name);
        if (strcmp(sum, f->checksum) != 0)
            return weir_err_set(&l->err, WEIR_INVALID,
                                "%s/%s is not the file that the worker serves with: %.15s here, "
                                "%.15s in its card",
                                l->dir, f->name, sum, f->checksum);
    }
    return WEIR_OK;
}

static void deliver(void *arg) {
    struct weir_tok_load *l = arg;
    pthread_join(l->thread, NULL);
    l->fn(l->arg, l->tok, &l->err);
    free_load(l);
}

static void *load_thread(void *arg) {
    struct weir_tok_load *l = arg;
    if (check_files(l) != WEIR_OK || wtok_load(l->dir, &l->config, &l->tok, &l->err) != WEIR_OK)
        l->tok = NULL;
    /* A loop that has stopped takes nothing more: then cancel frees it all. */
    if (weir_loop_post(l->loop, deliver, l) != WEIR_OK)
        return l;
    return NULL;
}

enum weir_status weir_tok_load_start(struct weir_loop *loop, const struct weir_card *card,
                                     const char *model_path, size_t cache_bytes,
                                     weir_tok_loaded_fn fn, void *arg,
                                     struct weir_tok_load **ret_load) {
    struct weir_tok_load *l = weir_calloc(1, sizeof(*l));
    if (l == NULL)
        return WEIR_NOMEM;
    l->loop = loop;
    l->config.segment_cache_bytes = cache_bytes;
    l->fn = fn;
    l->arg = arg;
    l->dir = directory_of(card->tokenizer.path);
    if (l->dir == NULL && model_path != NULL)
        l->dir = weir_strdup(model_path);
    if (l->dir == NULL)
        l->dir = directory_of(card->source_path);
    if (l->dir == NULL) {
        free_load(l);
        return WEIR_NOT_FOUND;
    }
    bool named = name_file(&l->files[0], &card->tokenizer) &&
                 name_file(&l->files[1], &card->prompt_formatter) &&
                 name_file(&l->files[2], &card->chat_template) &&
                 name_file(&l->files[3], &card->gen_config);
    if (!named || pthread_create(&l->thread, NULL, load_thread, l) != 0) {
        free_load(l);
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
    free_load(load);
    return true;
}
