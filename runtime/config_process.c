/* What every program does with its configuration before it starts: set up the log, write the dump.
 */
#include "base/log.h"
#include "base/utf8.h"
#include "runtime/config_priv.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { MAX_DUMP_BYTES = 16 << 20 };

/* Member of an option by name, NULL when the program has no such option. */
static const void *member(const struct weir_program *p, const void *config, const char *name) {
    const struct weir_option *o = weir_config_find(p, name);
    return o != NULL ? (const char *)config + o->offset : NULL;
}

static bool member_bool(const struct weir_program *p, const void *config, const char *name) {
    const bool *m = member(p, config, name);
    return m != NULL && *m;
}

static const char *member_text(const struct weir_program *p, const void *config, const char *name) {
    const char *const *m = member(p, config, name);
    return m != NULL ? *m : NULL;
}

static enum weir_status setup_log(const struct weir_program *p, const void *config,
                                  struct weir_err *err) {
    const int *format = member(p, config, "DYN_LOGGING_CONSOLE_FORMAT");
    bool jsonl = member_bool(p, config, "DYN_LOGGING_JSONL") || (format != NULL && *format == 1);
    struct weir_log_config log = {
        .format = jsonl ? WEIR_LOG_JSONL : WEIR_LOG_TEXT,
        .utc = !member_bool(p, config, "DYN_LOG_USE_LOCAL_TZ"),
        .color = !member_bool(p, config, "DYN_SDK_DISABLE_ANSI_LOGGING"),
    };
    const char *filter = member_text(p, config, "DYN_LOG");
    enum weir_status st = weir_log_setup(&log, filter != NULL ? filter : "info", err);
    return st == WEIR_OK
               ? st
               : weir_err_prefix(err, "DYN_LOG=%.*s", WEIR_SPAN_ARG(weir_utf8_cut_z(filter, 80)));
}

/* mkdir -p of the folders of a path. */
static bool make_parents(const char *path) {
    char part[PATH_MAX];
    size_t len = strlen(path);
    if (len >= sizeof(part))
        return false;
    for (size_t i = 1; i < len; i++) {
        if (path[i] != '/')
            continue;
        memcpy(part, path, i);
        part[i] = '\0';
        if (mkdir(part, 0777) != 0 && errno != EEXIST)
            return false;
    }
    return true;
}

static bool write_file(const char *path, struct weir_span text) {
    if (!make_parents(path))
        return false;
    FILE *f = fopen(path, "we");
    if (f == NULL)
        return false;
    bool ok = fwrite(text.data, 1, text.len, f) == text.len && fputc('\n', f) != EOF;
    return fclose(f) == 0 && ok;
}

static void deliver_dump(const char *path, struct weir_span text) {
    char absolute[PATH_MAX];
    errno = 0;
    if (path != NULL && write_file(path, text)) {
        WEIR_LOG(WEIR_LOG_INFO, "config", "Dumped config to %s",
                 realpath(path, absolute) != NULL ? absolute : path);
        return;
    }
    if (path != NULL)
        WEIR_LOG(WEIR_LOG_ERROR, "config", "cannot write the configuration to %s: %s", path,
                 strerror(errno));
    /* Too long for a log line. */
    fprintf(stderr, "CONFIG_DUMP: %.*s\n", WEIR_SPAN_ARG(text));
}

static void dump(const struct weir_program *p, const void *config) {
    const char *path = member_text(p, config, "--dump-config-to");
    if (path == NULL && !weir_log_on(WEIR_LOG_DEBUG, "config"))
        return;
    struct weir_buf text;
    weir_buf_init(&text, MAX_DUMP_BYTES);
    enum weir_status st = weir_config_dump(p, config, &text);
    if (st == WEIR_OK)
        deliver_dump(path, weir_buf_span(&text));
    else
        WEIR_LOG(WEIR_LOG_ERROR, "config", "no configuration dump: %s", weir_status_text(st));
    weir_buf_fini(&text);
}

enum weir_status weir_config_begin(const struct weir_program *program, const void *config,
                                   struct weir_err *err) {
    enum weir_status st = setup_log(program, config, err);
    if (st == WEIR_OK)
        dump(program, config);
    return st;
}
