/*
 * Configuration: one table row per option. The row feeds the command-line parser, the environment,
 * runtime.toml, --help, the manual page and the configuration dump.
 *
 * Precedence: flag > environment > etc/runtime.toml > defaults/runtime.toml > default.
 *
 * Each program has a table file runtime/options_<program>.def, from which its struct is generated:
 * the member of `--router-mode` is `router_mode`; of an environment-only setting
 * DYN_HTTP_BODY_LIMIT_MB it is `http_body_limit_mb`. Member types by row type: BOOL → bool, INT →
 * int64_t, FLOAT → double, STR → const char * (NULL = none), CHOICE → int (index into the row's
 * choices), LIST → struct weir_config_list. Rows whose default is "none" have INT = INT64_MIN
 * (WEIR_CONFIG_NONE), FLOAT = NAN, STR = NULL.
 */
#ifndef WEIR_RUNTIME_CONFIG_H
#define WEIR_RUNTIME_CONFIG_H

#include "base/arena.h"
#include "base/buf.h"

#include <math.h>

#define WEIR_CONFIG_NONE INT64_MIN

struct weir_config_list {
    const char **items; /* owned by the config's arena */
    size_t n;
};

enum weir_option_type {
    WEIR_OPT_BOOL,
    WEIR_OPT_INT,
    WEIR_OPT_FLOAT,
    WEIR_OPT_STR,
    WEIR_OPT_CHOICE,
    WEIR_OPT_LIST,
};
enum weir_option_flags {
    WEIR_OPT_ENV_ONLY = 1 << 0,
    WEIR_OPT_HIDDEN = 1 << 1,
    WEIR_OPT_SECRET = 1 << 2,      /* redacted in dumps */
    WEIR_OPT_DEPRECATED = 1 << 3,  /* accepted, warns */
    WEIR_OPT_REMOVED = 1 << 4,     /* accepted, warns, has no effect */
    WEIR_OPT_UNSUPPORTED = 1 << 5, /* known in the reference system, refused here when it is set */
};

struct weir_option {
    const char *flag;     /* "--router-mode" or NULL when environment-only */
    const char *aliases;  /* space-separated other spellings or NULL */
    const char *env;      /* or NULL; several separated by a blank: the first that is set wins */
    const char *toml_key; /* key of runtime.toml or NULL */
    enum weir_option_type type;
    const char *choices; /* CHOICE: "round-robin|random|kv" */
    const char *def;     /* default as text; NULL = none */
    double min, max;     /* numbers: inclusive range */
    unsigned flags;
    const char *group; /* heading in --help */
    const char *help;  /* sentences for a person */
    size_t offset;     /* of the member in the program's struct */
};

struct weir_program {
    const char *name;         /* "frontend" */
    const char *title;        /* one line for --help and the manual */
    const char *version_text; /* of --version, e.g. "Dynamo Frontend 1.6.1 (weir 0.1.0)" */
    const struct weir_option *options;
    size_t n_options;
    size_t struct_bytes;
};

enum weir_config_outcome { WEIR_CONFIG_RUN, WEIR_CONFIG_EXIT_OK, WEIR_CONFIG_EXIT_USAGE };

/* Fills *config (program->struct_bytes bytes; strings live in the arena). Prints --help, --version
 * to stdout and errors or warnings to stderr itself. argv[0] is the program word. environ_like:
 * NULL = the process environment. */
enum weir_config_outcome weir_config_load(const struct weir_program *program, int argc, char **argv,
                                          char **environ_like, struct weir_arena *arena,
                                          void *config);
/* Resolved configuration as JSON: value and source of each option, secrets redacted. */
enum weir_status weir_config_dump(const struct weir_program *program, const void *config,
                                  struct weir_buf *out) WEIR_MUST_CHECK;
/* Manual page in roff. */
enum weir_status weir_config_manual(const struct weir_program *program,
                                    struct weir_buf *out) WEIR_MUST_CHECK;

#endif
