/* The chat templates of a model that lie in files of their own. */
#include "base/file.h"
#include "tokenizer/chat.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FILE_MAX_BYTES = 4 << 20, PATH_BYTES = 4096 };

static enum weir_status read_file(const char *path, struct weir_arena *arena,
                                  struct weir_span *ret_text, struct weir_err *err) {
    struct weir_buf buf;
    weir_buf_init(&buf, FILE_MAX_BYTES);
    enum weir_status st = weir_file_read(path, WEIR_FILE_PLAIN, &buf, err);
    if (st == WEIR_OK) {
        *ret_text = weir_arena_copy(arena, weir_buf_span(&buf));
        if (ret_text->data == NULL)
            st = weir_err_set(err, WEIR_NOMEM, "out of memory");
    }
    weir_buf_fini(&buf);
    return st;
}

enum weir_status wtok_template_config(const char *dir, struct weir_arena *arena,
                                      struct weir_span *ret_text, struct weir_err *err) {
    char path[PATH_BYTES];
    int n = snprintf(path, sizeof(path), "%s/config.json", dir);
    if (n < 0 || (size_t)n >= sizeof(path))
        return weir_err_set(err, WEIR_TOO_LARGE, "the path of a model's config.json is too long");
    return access(path, F_OK) == 0 ? read_file(path, arena, ret_text, err) : WEIR_OK;
}

/* "NAME.jinja" → its name; len 0: another file. */
static struct weir_span template_name(const char *file) {
    struct weir_span name = weir_span_z(file), ext = WEIR_SPAN_LIT(".jinja");
    if (name.len < ext.len ||
        !weir_span_eq(weir_span(name.data + name.len - ext.len, ext.len), ext))
        return weir_span("", 0);
    return weir_span(name.data, name.len - ext.len);
}

static enum weir_status add(const char *folder, const char *file, struct weir_arena *arena,
                            struct wtok_template_file *ret, struct weir_err *err) {
    char path[PATH_BYTES];
    int n = snprintf(path, sizeof(path), "%s/%s", folder, file);
    if (n < 0 || (size_t)n >= sizeof(path))
        return weir_err_set(err, WEIR_TOO_LARGE, "the path of a chat template is too long");
    ret->name = weir_arena_copy(arena, template_name(file));
    if (ret->name.data == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    return read_file(path, arena, &ret->text, err);
}

enum weir_status wtok_template_files(const char *dir, struct weir_arena *arena,
                                     struct wtok_template_file *ret_files, size_t *ret_n,
                                     struct weir_err *err) {
    char folder[PATH_BYTES];
    int n = snprintf(folder, sizeof(folder), "%s/additional_chat_templates", dir);
    DIR *d = n > 0 && (size_t)n < sizeof(folder) ? opendir(folder) : NULL;
    enum weir_status st = WEIR_OK;
    *ret_n = 0;
    for (struct dirent *e; d != NULL && st == WEIR_OK && (e = readdir(d)) != NULL;) {
        if (template_name(e->d_name).len == 0)
            continue;
        if (*ret_n == WTOK_MAX_ADDITIONAL)
            st = weir_err_set(err, WEIR_LIMIT, "%.180s holds more than %d chat templates", folder,
                              WTOK_MAX_ADDITIONAL);
        else
            st = add(folder, e->d_name, arena, &ret_files[*ret_n], err);
        *ret_n += st == WEIR_OK;
    }
    if (d != NULL)
        closedir(d);
    return st;
}
