/* wtok_load(): the files of a model directory, by way of the compiled cache file. */
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "tokenizer/cache_priv.h"
#include "tokenizer/spec_priv.h"
#include "tokenizer/wtok_priv.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { FILE_MAX = 1 << 28 };
enum which { TOKENIZER, TOKENIZER_CONFIG, GENERATION, CONFIG, CHAT, N_FILES };
static const char *const names[N_FILES] = {"tokenizer.json", "tokenizer_config.json",
                                           "generation_config.json", "config.json",
                                           "chat_template.jinja"};

struct files {
    char path[N_FILES][4096];
    bool there[N_FILES];
    bool tiktoken; /* path[TOKENIZER] is a tiktoken file */
    struct weir_buf text[N_FILES];
};

/* ---- which files there are ------------------------------------------------------------------- */

static bool ends_with(const char *name, const char *end) {
    size_t n = strlen(name), m = strlen(end);
    return n >= m && strcmp(name + n - m, end) == 0;
}

/* Without tokenizer.json: the one *.tiktoken file, or tiktoken.model or tokenizer.model (checked
 * when it is read). */
static bool find_tiktoken(const char *dir, char *path, size_t room) {
    struct dirent *e;
    unsigned found = 0;
    DIR *d = opendir(dir);
    if (d == NULL)
        return false;
    while ((e = readdir(d)) != NULL)
        if (ends_with(e->d_name, ".tiktoken") || ((strcmp(e->d_name, "tokenizer.model") == 0 ||
                                                   strcmp(e->d_name, "tiktoken.model") == 0) &&
                                                  found == 0)) {
            snprintf(path, room, "%s/%s", dir, e->d_name);
            found += ends_with(e->d_name, ".tiktoken") ? 1 : 0;
        }
    closedir(d);
    return found <= 1 && path[0] != '\0';
}

static enum weir_status look(const char *dir, struct files *f, uint64_t source[2],
                             struct weir_err *err) {
    struct stat s;
    source[0] = source[1] = 0;
    for (size_t i = 0; i < N_FILES; i++) {
        weir_buf_init(&f->text[i], FILE_MAX);
        int n = snprintf(f->path[i], sizeof(f->path[i]), "%s/%s", dir, names[i]);
        if (n < 0 || (size_t)n >= sizeof(f->path[i]))
            return weir_err_set(err, WEIR_INVALID, "the path of the model directory is too long");
    }
    for (size_t i = 0; i < N_FILES; i++) {
        f->there[i] = stat(f->path[i], &s) == 0 && S_ISREG(s.st_mode);
        if (i == TOKENIZER && !f->there[i]) {
            f->path[i][0] = '\0';
            f->tiktoken = find_tiktoken(dir, f->path[i], sizeof(f->path[i]));
            f->there[i] = f->tiktoken && stat(f->path[i], &s) == 0;
        }
        uint64_t is[] = {i,
                         f->there[i],
                         f->there[i] ? (uint64_t)s.st_size : 0,
                         f->there[i] ? (uint64_t)s.st_mtim.tv_sec : 0,
                         f->there[i] ? (uint64_t)s.st_mtim.tv_nsec : 0,
                         f->there[i] ? (uint64_t)s.st_ino : 0,
                         f->there[i] ? (uint64_t)s.st_dev : 0};
        for (size_t k = 0; k < WEIR_ARRAY_LEN(is); k++) {
            source[0] = wtok_mix(source[0] + 1, is[k]);
            source[1] = wtok_mix(source[1] + 2, is[k] + k);
        }
    }
    if (!f->there[TOKENIZER])
        return weir_err_set(err, WEIR_NOT_FOUND,
                            "%s: there is neither a tokenizer.json nor a tiktoken file", dir);
    return WEIR_OK;
}

bool wtok_is_there(const char *dir) {
    uint64_t source[2];
    struct files *f = weir_calloc(1, sizeof(*f));
    bool there = f == NULL || look(dir, f, source, NULL) != WEIR_NOT_FOUND;
    weir_free(f);
    return there;
}

/* ---- making the image ------------------------------------------------------------------------ */

static struct weir_span file_text(const struct files *f, enum which i) {
    return f->there[i] ? weir_buf_span(&f->text[i]) : weir_span(NULL, 0);
}

/* A tiktoken file does not name its pattern, but the Python class of the model's directory may. */
static const char *tiktoken_pattern(const struct files *f, const struct wtok_config *config) {
    struct weir_span map = wtok_field(file_text(f, TOKENIZER_CONFIG), "auto_map");
    static const char kimi[] = "\"tokenization_kimi.";
    if (config->tiktoken_pattern != NULL)
        return config->tiktoken_pattern;
    return map.data != NULL && memmem(map.data, map.len, kimi, sizeof(kimi) - 1) != NULL ? "kimi"
                                                                                         : NULL;
}

static enum weir_status understand(struct wtok_spec *spec, const struct files *f,
                                   const struct wtok_config *config, struct weir_err *err) {
    struct weir_span none = {NULL, 0};
    const char *pattern = f->tiktoken ? tiktoken_pattern(f, config) : NULL;
    enum weir_status st = f->tiktoken
                              ? wtok_spec_tiktoken(spec, file_text(f, TOKENIZER), pattern, err)
                              : wtok_spec_tokenizer_json(spec, file_text(f, TOKENIZER), err);
    if (st != WEIR_OK)
        return weir_err_prefix(err, "%s", f->path[TOKENIZER]);
    st = wtok_spec_model_config(spec, none, file_text(f, GENERATION), err);
    if (st == WEIR_OK && pattern != NULL && strcmp(pattern, "kimi") == 0)
        st = wtok_spec_kimi_added(spec, file_text(f, TOKENIZER_CONFIG), err);
    if (st == WEIR_OK)
        st = wtok_spec_tokenizer_config(spec, file_text(f, TOKENIZER_CONFIG), err);
    if (st == WEIR_OK)
        st = wtok_spec_model_config(spec, file_text(f, CONFIG), none, err);
    spec->chat_template = file_text(f, CHAT);
    spec->tokenizer_config = file_text(f, TOKENIZER_CONFIG);
    return st;
}

static enum weir_status build(struct files *f, const struct wtok_config *config,
                              const uint64_t source[2], struct wtok_image **ret_image,
                              size_t *ret_bytes, struct weir_err *err) {
    struct wtok_spec spec;
    enum weir_status st = WEIR_OK;
    for (size_t i = 0; i < N_FILES && st == WEIR_OK; i++)
        if (f->there[i])
            st = weir_file_read(f->path[i], WEIR_FILE_PLAIN, &f->text[i], err);
    wtok_spec_init(&spec);
    if (st == WEIR_OK)
        st = understand(&spec, f, config, err);
    if (st == WEIR_OK)
        st = wtok_compile(&spec, source, ret_image, ret_bytes, err);
    wtok_spec_fini(&spec);
    return st;
}

static enum weir_status open_model(struct files *f, const struct wtok_config *config,
                                   const uint64_t source[2], struct wtok_model **ret_model,
                                   struct weir_err *err) {
    const struct wtok_image *image = NULL;
    struct wtok_image *built = NULL;
    size_t bytes = 0;
    char path[4096];
    bool keeps = wtok_cache_path(config->cache_dir, source, path, sizeof(path));
    if (keeps && wtok_cache_map(path, source, &image, &bytes))
        return wtok_model_open(image, bytes, true, config, ret_model, err);
    enum weir_status st = build(f, config, source, &built, &bytes, err);
    if (st != WEIR_OK)
        return st;
    if (keeps) {
        wtok_cache_write(path, built, bytes);
        if (wtok_cache_map(path, source, &image, &bytes)) { /* into better memory */
            weir_free(built);
            return wtok_model_open(image, bytes, true, config, ret_model, err);
        }
    }
    return wtok_model_open(built, bytes, false, config, ret_model, err);
}

/* ---- the tokenizer --------------------------------------------------------------------------- */

static struct weir_span kept_text(const struct wtok_model *m, struct wtok_text t) {
    return t.len > 0 ? wtok_image_text(m, t) : weir_span(NULL, 0);
}

static void fill(struct wtok *tok, struct wtok_model *m) {
    tok->model = m;
    tok->vocab = m->image->n_ids;
    uint64_t padded = m->image->model_vocab;
    tok->model_vocab = padded > tok->vocab && padded <= UINT32_MAX ? (uint32_t)padded : tok->vocab;
    tok->n_eos = m->n_eos < WEIR_ARRAY_LEN(tok->eos) ? m->n_eos : WEIR_ARRAY_LEN(tok->eos);
    memcpy(tok->eos, m->eos, tok->n_eos * sizeof(tok->eos[0]));
    tok->context_length = m->image->context_length;
    tok->files.chat_template_jinja = kept_text(m, m->image->chat_template);
    tok->files.tokenizer_config = kept_text(m, m->image->tokenizer_config);
}

enum weir_status wtok_load(const char *dir, const struct wtok_config *config, struct wtok **ret_tok,
                           struct weir_err *err) {
    static const struct wtok_config defaults;
    struct weir_err own;
    struct wtok_model *model = NULL;
    uint64_t source[2];
    struct files *f = weir_calloc(1, sizeof(*f));
    struct wtok *tok = weir_calloc(1, sizeof(*tok));
    enum weir_status st = f != NULL && tok != NULL ? WEIR_OK : WEIR_NOMEM;
    own.status = WEIR_OK;
    err = err != NULL ? err : &own; /* prefixes keep its status */
    if (st == WEIR_OK)
        st = look(dir, f, source, err);
    else
        (void)weir_err_set(err, st, "out of memory while loading the tokenizer");
    if (st == WEIR_OK)
        st = open_model(f, config != NULL ? config : &defaults, source, &model, err);
    if (st == WEIR_OK) {
        fill(tok, model);
        st = wtok_chat_attach(tok, dir, err);
    }
    for (size_t i = 0; f != NULL && i < N_FILES; i++)
        weir_buf_fini(&f->text[i]);
    weir_free(f);
    if (st != WEIR_OK) {
        wtok_destroy(tok);
        return st;
    }
    *ret_tok = tok;
    return WEIR_OK;
}
