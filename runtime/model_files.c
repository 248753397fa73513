/*
 * Happy path of files behind URLs: the cache has a directory whose name is a hash of all checksums
 * → each file there that has its checksum is kept, others are fetched → the directory. So a restart
 * fetches nothing, and models that share their files share the directory. The cache keeps the
 * youngest KEPT directories.
 */
#include "runtime/model_files.h"

#include "base/blake3.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "runtime/checksum.h"
#include "runtime/file_fetch.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { KEPT = 32, REVISION_MAX = 128 };
static const uint64_t max_file_bytes = 256u << 20;

/* ---- what a card names -------------------------------------------------------------------- */

void weir_model_files_fini(struct weir_model_files *files) {
    for (size_t i = 0; i < files->n; i++) {
        weir_free(files->files[i].path);
        weir_free(files->files[i].checksum);
    }
    weir_free(files->source_path);
    *files = (struct weir_model_files){.n = 0};
}

static bool add(struct weir_model_files *files, const struct weir_file_ref *ref) {
    if (ref->path.len == 0)
        return true;
    struct weir_model_file *f = &files->files[files->n++];
    f->path = weir_strndup(ref->path.data, ref->path.len);
    if (weir_span_starts(ref->checksum, WEIR_SPAN_LIT("blake3:")))
        f->checksum = weir_strndup(ref->checksum.data, ref->checksum.len);
    return f->path != NULL && (f->checksum != NULL || ref->checksum.len == 0);
}

enum weir_status weir_model_files_copy(const struct weir_card *card,
                                       struct weir_model_files *ret_files) {
    *ret_files = (struct weir_model_files){.n = 0};
    if (card->source_path.len > 0)
        ret_files->source_path = weir_strndup(card->source_path.data, card->source_path.len);
    if ((card->source_path.len > 0 && ret_files->source_path == NULL) ||
        !add(ret_files, &card->tokenizer) || !add(ret_files, &card->prompt_formatter) ||
        !add(ret_files, &card->chat_template) || !add(ret_files, &card->gen_config) ||
        !add(ret_files, &card->model_info)) {
        weir_model_files_fini(ret_files);
        return WEIR_NOMEM;
    }
    return WEIR_OK;
}

static bool starts(const char *text, const char *with) {
    return strncmp(text, with, strlen(with)) == 0;
}

static bool is_url(const char *path) {
    return starts(path, "http://") || starts(path, "https://") || starts(path, "hf://");
}

bool weir_model_files_remote(const struct weir_model_files *files) {
    return files->n > 0 && is_url(files->files[0].path);
}

/* The part behind the last slash, where it can be the name of a file of ours; else NULL. */
static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/'), *name = slash != NULL ? slash + 1 : path;
    if (name[0] == '\0' || name[0] == '.')
        return NULL;
    for (const char *c = name; *c != '\0'; c++) {
        bool plain = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') ||
                     (*c >= '0' && *c <= '9') || strchr("._-+", *c) != NULL;
        if (!plain)
            return NULL;
    }
    return name;
}

/* ---- directories of this machine ---------------------------------------------------------- */

static bool is_directory(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* Directory of a file on this machine: a plain path or a file: URL. */
static bool directory_of(const char *path, char ret_dir[PATH_MAX]) {
    if (starts(path, "file://"))
        path += 7;
    int n = snprintf(ret_dir, PATH_MAX, "%s", path);
    if (path[0] != '/' || n < 0 || n >= PATH_MAX)
        return false;
    char *slash = strrchr(ret_dir, '/');
    slash[slash == ret_dir] = '\0';
    return is_directory(ret_dir);
}

/* WEIR_NOT_FOUND: not there. WEIR_INVALID: another file. */
static enum weir_status check_file(const char *dir, const struct weir_model_file *f,
                                   struct weir_err *err) {
    char path[PATH_MAX], sum[WEIR_CHECKSUM_BYTES];
    const char *name = base_name(f->path);
    int n = snprintf(path, sizeof(path), "%s/%s", dir, name != NULL ? name : "");
    if (name == NULL || n < 0 || (size_t)n >= sizeof(path))
        return weir_err_set(err, WEIR_INVALID, "%.*s is not a name of a model file",
                            WEIR_SPAN_ARG(weir_utf8_cut_z(f->path, 200)));
    if (f->checksum == NULL)
        return WEIR_OK;
    if (weir_checksum_file(path, sum) != WEIR_OK)
        return weir_err_set(err, WEIR_NOT_FOUND, "%.*s, which the card names, is not in %.*s",
                            WEIR_SPAN_ARG(weir_utf8_cut_z(name, 60)),
                            WEIR_SPAN_ARG(weir_utf8_cut_z(dir, 140)));
    if (strcmp(sum, f->checksum) != 0)
        return weir_err_set(err, WEIR_INVALID,
                            "%.*s is not the file that the worker serves with: %.*s in %.*s, "
                            "%.*s in its card",
                            WEIR_SPAN_ARG(weir_utf8_cut_z(name, 60)),
                            WEIR_SPAN_ARG(weir_utf8_cut_z(sum, 15)),
                            WEIR_SPAN_ARG(weir_utf8_cut_z(dir, 80)),
                            WEIR_SPAN_ARG(weir_utf8_cut_z(f->checksum, 15)));
    return WEIR_OK;
}

static enum weir_status check_all(const struct weir_model_files *files, const char *dir,
                                  struct weir_err *err) {
    enum weir_status st = WEIR_OK;
    for (size_t i = 0; i < files->n && st == WEIR_OK; i++)
        st = check_file(dir, &files->files[i], err);
    return st;
}

/* All files are there and have checksums that say so. */
static bool holds_all(const struct weir_model_files *files, const char *dir) {
    struct weir_err ignored;
    for (size_t i = 0; i < files->n; i++) {
        if (files->files[i].checksum == NULL)
            return false;
    }
    return files->n > 0 && is_directory(dir) && check_all(files, dir, &ignored) == WEIR_OK;
}

/* ---- the cache of what was fetched -------------------------------------------------------- */

static bool make_dir(const char *path) {
    return mkdir(path, 0700) == 0 || errno == EEXIST;
}

static bool append(char *path, const char *name) {
    size_t at = strlen(path);
    int n = snprintf(path + at, PATH_MAX - at, "/%s", name);
    return n > 0 && (size_t)n < PATH_MAX - at;
}

static bool cache_root(char ret_dir[PATH_MAX]) {
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    bool in_xdg = xdg != NULL && xdg[0] == '/';
    if (!in_xdg && (home == NULL || home[0] != '/'))
        return false;
    int n = snprintf(ret_dir, PATH_MAX, in_xdg ? "%s" : "%s/.cache", in_xdg ? xdg : home);
    return n > 0 && n < PATH_MAX && make_dir(ret_dir) && append(ret_dir, "weir") &&
           make_dir(ret_dir) && append(ret_dir, "models") && make_dir(ret_dir);
}

static void name_of_all(const struct weir_model_files *files, char ret[2 * WEIR_BLAKE3_BYTES + 1]) {
    struct weir_blake3 h;
    weir_blake3_init(&h);
    for (size_t i = 0; i < files->n; i++) {
        const char *name = base_name(files->files[i].path);
        const char *sum =
            files->files[i].checksum != NULL ? files->files[i].checksum : files->files[i].path;
        weir_blake3_update(&h, weir_span(name, strlen(name) + 1));
        weir_blake3_update(&h, weir_span(sum, strlen(sum) + 1));
    }
    weir_blake3_hex(&h, ret);
    ret[32] = '\0';
}

void weir_model_files_remove(const char *dir) {
    char path[PATH_MAX];
    DIR *d = opendir(dir);
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        int n = snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
        if (n > 0 && (size_t)n < sizeof(path) && e->d_name[0] != '.')
            (void)unlink(path);
    }
    if (d != NULL)
        closedir(d);
    (void)rmdir(dir);
}

/* One directory more than are kept: the oldest goes. */
static void trim_cache(const char *root) {
    char oldest[PATH_MAX], path[PATH_MAX];
    size_t n_dirs = 0;
    time_t age = 0;
    DIR *d = opendir(root);
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        struct stat st;
        int n = snprintf(path, sizeof(path), "%s/%s", root, e->d_name);
        if (n < 0 || (size_t)n >= sizeof(path) || e->d_name[0] == '.' || stat(path, &st) != 0 ||
            !S_ISDIR(st.st_mode))
            continue;
        if (n_dirs++ == 0 || st.st_mtime < age) {
            age = st.st_mtime;
            memcpy(oldest, path, sizeof(oldest));
        }
    }
    if (d != NULL)
        closedir(d);
    if (n_dirs > KEPT)
        weir_model_files_remove(oldest);
}

/* A directory for what is to be fetched; without a home, one for this once. */
static enum weir_status fetch_dir(const struct weir_model_files *files, char ret_dir[PATH_MAX],
                                  bool *ret_scratch, struct weir_err *err) {
    char name[2 * WEIR_BLAKE3_BYTES + 1];
    name_of_all(files, name);
    if (cache_root(ret_dir)) {
        trim_cache(ret_dir);
        if (append(ret_dir, name) && make_dir(ret_dir))
            return WEIR_OK;
    }
    const char *tmp = getenv("TMPDIR");
    int n = snprintf(ret_dir, PATH_MAX, "%s/weir-model.XXXXXX",
                     tmp != NULL && tmp[0] == '/' ? tmp : "/tmp");
    *ret_scratch = n > 0 && n < PATH_MAX && mkdtemp(ret_dir) != NULL;
    return *ret_scratch
               ? WEIR_OK
               : weir_err_set(err, WEIR_IO, "no directory for model files: %s", strerror(errno));
}

/* ---- hf://repository[@revision]/file ------------------------------------------------------ */

struct hub_file {
    char repo[256], revision[REVISION_MAX], name[128];
};

static bool parse_hub(const char *path, struct hub_file *ret) {
    const char *name = base_name(path), *from = path + strlen("hf://");
    if (name == NULL || name <= from)
        return false;
    size_t n = (size_t)(name - 1 - from);
    const char *at = memchr(from, '@', n);
    size_t n_repo = at != NULL ? (size_t)(at - from) : n;
    if (n_repo == 0 || n_repo >= sizeof(ret->repo) || strlen(name) >= sizeof(ret->name) ||
        (at != NULL && n - n_repo > sizeof(ret->revision)))
        return false;
    snprintf(ret->repo, sizeof(ret->repo), "%.*s", (int)n_repo, from);
    snprintf(ret->revision, sizeof(ret->revision), "%.*s", at != NULL ? (int)(n - n_repo - 1) : 4,
             at != NULL ? at + 1 : "main");
    snprintf(ret->name, sizeof(ret->name), "%s", name);
    /* Both become parts of a path and of a URL. */
    return strstr(ret->repo, "..") == NULL && strstr(ret->revision, "..") == NULL &&
           ret->repo[0] != '/' && ret->revision[0] != '\0' &&
           ret->repo[strcspn(ret->repo, " %?#\\")] == '\0' &&
           ret->revision[strcspn(ret->revision, " %?#\\")] == '\0';
}

static bool hub_cache_root(const struct weir_hub_config *hub, char ret[PATH_MAX]) {
    const char *home = getenv("HF_HOME"), *user = getenv("HOME");
    int n = hub->cache != NULL ? snprintf(ret, PATH_MAX, "%s", hub->cache)
            : home != NULL     ? snprintf(ret, PATH_MAX, "%s/hub", home)
            : user != NULL     ? snprintf(ret, PATH_MAX, "%s/.cache/huggingface/hub", user)
                               : -1;
    return n > 0 && n < PATH_MAX;
}

/* The snapshot that Hugging Face's own programs have left on this machine. */
static bool hub_snapshot(const struct weir_model_files *files, const struct weir_hub_config *hub,
                         char ret_dir[PATH_MAX]) {
    struct hub_file f;
    char root[PATH_MAX], folder[sizeof(f.repo) * 2 + 16] = "models--", path[PATH_MAX];
    char commit[REVISION_MAX];
    if (files->n == 0 || !starts(files->files[0].path, "hf://") ||
        !parse_hub(files->files[0].path, &f) || !hub_cache_root(hub, root))
        return false;
    size_t at = strlen(folder);
    for (const char *c = f.repo; *c != '\0'; c++) {
        folder[at++] = *c == '/' ? '-' : *c;
        if (*c == '/')
            folder[at++] = '-';
    }
    folder[at] = '\0';
    snprintf(commit, sizeof(commit), "%s", f.revision);
    int n = snprintf(path, sizeof(path), "%s/%s/refs/%s", root, folder, f.revision);
    FILE *ref = n > 0 && (size_t)n < sizeof(path) ? fopen(path, "re") : NULL;
    if (ref != NULL) {
        if (fgets(commit, sizeof(commit), ref) == NULL)
            commit[0] = '\0';
        commit[strcspn(commit, "\r\n")] = '\0';
        fclose(ref);
    }
    n = snprintf(ret_dir, PATH_MAX, "%s/%s/snapshots/%s", root, folder, commit);
    return n > 0 && n < PATH_MAX && commit[0] != '\0' && strchr(commit, '/') == NULL;
}

/* The URL to ask, in the room given where the path is not one itself. */
static const char *url_of(const char *path, const struct weir_hub_config *hub, char *room,
                          size_t n_room, struct weir_err *err) {
    struct hub_file f;
    if (!starts(path, "hf://"))
        return path;
    if (!parse_hub(path, &f)) {
        (void)weir_err_set(err, WEIR_INVALID, "%.*s is not an address of a file",
                           WEIR_SPAN_ARG(weir_utf8_cut_z(path, 200)));
        return NULL;
    }
    if (hub->offline) {
        (void)weir_err_set(err, WEIR_INVALID,
                           "%.*s is not on this machine and HF_HUB_OFFLINE is set; name the "
                           "model's directory with --model-path",
                           WEIR_SPAN_ARG(weir_utf8_cut_z(path, 140)));
        return NULL;
    }
    size_t n_end = strlen(hub->endpoint);
    while (n_end > 0 && hub->endpoint[n_end - 1] == '/')
        n_end--;
    int n = snprintf(room, n_room, "%.*s/%s/resolve/%s/%s", (int)n_end, hub->endpoint, f.repo,
                     f.revision, f.name);
    if (n < 0 || (size_t)n >= n_room) {
        (void)weir_err_set(err, WEIR_INVALID, "%.*s is too long",
                           WEIR_SPAN_ARG(weir_utf8_cut_z(path, 200)));
        return NULL;
    }
    return room;
}

static enum weir_status fetch_file(const struct weir_model_file *f, const char *dir,
                                   const struct weir_hub_config *hub, const atomic_bool *stop,
                                   struct weir_err *err) {
    char into[PATH_MAX], room[2048];
    const char *name = base_name(f->path);
    struct weir_err ignored;
    if (name == NULL)
        return weir_err_set(err, WEIR_INVALID, "%.*s is not a name of a model file",
                            WEIR_SPAN_ARG(weir_utf8_cut_z(f->path, 200)));
    if (f->checksum != NULL && check_file(dir, f, &ignored) == WEIR_OK)
        return WEIR_OK;
    if (!is_url(f->path))
        return weir_err_set(err, WEIR_NOT_FOUND, "%.*s, which the card names, is not there",
                            WEIR_SPAN_ARG(weir_utf8_cut_z(f->path, 180)));
    int n = snprintf(into, sizeof(into), "%s/%s", dir, name);
    if (n < 0 || (size_t)n >= sizeof(into))
        return weir_err_set(err, WEIR_INVALID, "%.*s is too long",
                            WEIR_SPAN_ARG(weir_utf8_cut_z(f->path, 200)));
    err->status = WEIR_OK;
    const char *url = url_of(f->path, hub, room, sizeof(room), err);
    if (url == NULL)
        return err->status;
    struct weir_file_fetch_config config = {.url = url,
                                            .token = url == room ? hub->token : NULL,
                                            .into = into,
                                            .max_bytes = max_file_bytes,
                                            .stop = stop};
    enum weir_status st = weir_file_fetch(&config, err);
    if (st != WEIR_OK)
        return st == WEIR_NOT_FOUND && url == room ? WEIR_INVALID : st; /* a hub knows its files */
    WEIR_LOG(WEIR_LOG_INFO, "models", "fetched %s", url);
    st = check_file(dir, f, err);
    if (st != WEIR_OK)
        (void)unlink(into);
    return st;
}

static enum weir_status fetch_all(const struct weir_model_files *files,
                                  const struct weir_hub_config *hub, const atomic_bool *stop,
                                  char ret_dir[PATH_MAX], bool *ret_scratch, struct weir_err *err) {
    for (size_t i = 0; i < files->n; i++) {
        if (base_name(files->files[i].path) == NULL)
            return weir_err_set(err, WEIR_INVALID, "%.*s is not a name of a model file",
                                WEIR_SPAN_ARG(weir_utf8_cut_z(files->files[i].path, 200)));
    }
    enum weir_status st = fetch_dir(files, ret_dir, ret_scratch, err);
    for (size_t i = 0; i < files->n && st == WEIR_OK; i++)
        st = fetch_file(&files->files[i], ret_dir, hub, stop, err);
    if (st != WEIR_OK && *ret_scratch) {
        weir_model_files_remove(ret_dir);
        *ret_scratch = false;
    }
    return st;
}

/* ---- in turn ------------------------------------------------------------------------------ */

enum weir_status weir_model_files_find(const struct weir_model_files *files, const char *model_path,
                                       const struct weir_hub_config *hub, const atomic_bool *stop,
                                       char ret_dir[PATH_MAX], bool *ret_scratch,
                                       struct weir_err *err) {
    *ret_scratch = false;
    if (files->n > 0 && directory_of(files->files[0].path, ret_dir))
        return check_all(files, ret_dir, err);
    if (model_path != NULL) {
        int n = snprintf(ret_dir, PATH_MAX, "%s", model_path);
        return n > 0 && n < PATH_MAX ? check_all(files, ret_dir, err)
                                     : weir_err_set(err, WEIR_INVALID, "--model-path is too long");
    }
    if (files->source_path != NULL && files->source_path[0] == '/') {
        int n = snprintf(ret_dir, PATH_MAX, "%s", files->source_path);
        if (n > 0 && n < PATH_MAX && holds_all(files, ret_dir))
            return WEIR_OK;
        if (directory_of(files->source_path, ret_dir) && holds_all(files, ret_dir))
            return WEIR_OK;
    }
    if (hub_snapshot(files, hub, ret_dir) && holds_all(files, ret_dir))
        return WEIR_OK;
    if (!weir_model_files_remote(files))
        return weir_err_set(err, WEIR_NOT_FOUND,
                            "the tokenizer files that its card names are not on this machine; name "
                            "their directory with --model-path");
    return fetch_all(files, hub, stop, ret_dir, ret_scratch, err);
}
