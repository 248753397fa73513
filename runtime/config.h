/*
 * Configuration: one table row per option. The row feeds the command-line parser, the environment,
 * runtime.toml, --help, the manual page, docs/OPTIONS.md and the configuration dump.
 *
 * Precedence: flag > environment > etc/runtime.toml > defaults/runtime.toml > default. Only the
 * value that wins is parsed and checked.
 *
 * Each program has a table file runtime/options_<program>.def, from which its struct is generated:
 * the member of `--router-mode` is `router_mode`; of an environment-only setting
 * DYN_HTTP_BODY_LIMIT_MB it is `http_body_limit_mb` (names of another prefix keep it:
 * `weir_http_idle_timeout_ms`). Member types by row type: BOOL → bool, INT → int64_t, FLOAT →
 * double, STR → const char * (NULL = none), CHOICE → int (index into the row's choices, -1 = none),
 * LIST → struct weir_config_list. Rows whose default is "none" have INT = INT64_MIN
 * (WEIR_CONFIG_NONE), FLOAT = NAN, STR = NULL. The first member of every such struct is
 * `struct weir_config_meta *meta`.
 *
 * Threads: loading and dumping on one thread; a loaded struct is read-only for all.
 */
#ifndef WEIR_RUNTIME_CONFIG_H
#define WEIR_RUNTIME_CONFIG_H

#include "base/arena.h"
#include "base/buf.h"

#include <math.h>

#define WEIR_CONFIG_NONE INT64_MIN
/* Room that the arena of weir_config_load needs at most for sane command lines. */
#define WEIR_CONFIG_ARENA_BYTES ((size_t)4 << 20)

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
    WEIR_OPT_ENV_ONLY = 1 << 0,    /* says so in listings; such a row has no flag */
    WEIR_OPT_HIDDEN = 1 << 1,      /* left out of --help, not of the manual */
    WEIR_OPT_SECRET = 1 << 2,      /* redacted in dumps */
    WEIR_OPT_DEPRECATED = 1 << 3,  /* in force, warns */
    WEIR_OPT_REMOVED = 1 << 4,     /* gone from the reference system: warns, has no effect */
    WEIR_OPT_UNSUPPORTED = 1 << 5, /* known in the reference system, refused here unless it is set
                                      to its default */
    WEIR_OPT_IGNORED = 1 << 6,     /* known in the reference system: warns, has no effect here */
    WEIR_OPT_LENIENT = 1 << 7,     /* a bad value warns and leaves the default */
    WEIR_OPT_NONEMPTY = 1 << 8,    /* STR: "" is refused */
    WEIR_OPT_DIRECTORY = 1 << 9,   /* STR: must name a directory that exists */
};

struct weir_option {
    const char *name;     /* of the member, in dumps and as key of runtime.toml's program table */
    const char *flag;     /* "--router-mode" or NULL when environment-only */
    const char *aliases;  /* space-separated other spellings or NULL; '!' before deprecated ones */
    const char *env;      /* or NULL; several separated by a blank: the first that is set wins; '!'
                             before deprecated ones */
    const char *toml_key; /* top-level key of runtime.toml or NULL */
    enum weir_option_type type;
    const char *choices; /* CHOICE: "round-robin|random|kv"; '!' behind one that is refused here */
    const char *def;     /* default as text; NULL = none */
    double min, max;     /* numbers: inclusive range */
    unsigned flags;
    const char *group; /* heading in --help */
    const char *help;  /* sentences for a person */
    size_t offset;     /* of the member in the program's struct */
};

enum weir_config_source {
    WEIR_CONFIG_FROM_DEFAULT,
    WEIR_CONFIG_FROM_DEFAULTS_TOML,
    WEIR_CONFIG_FROM_ETC_TOML,
    WEIR_CONFIG_FROM_ENV,
    WEIR_CONFIG_FROM_FLAG,
};

/* Where the values came from. In the config's arena. */
struct weir_config_meta {
    const unsigned char *sources; /* enum weir_config_source of each option */
    char **environ_like;          /* borrowed: outlives the config */
    int argc;
    char **argv; /* borrowed: outlives the config */
};

struct weir_program {
    const char *name;         /* "frontend" */
    const char *title;        /* one line for --help and the manual */
    const char *description;  /* paragraphs for the manual, separated by an empty line */
    const char *version_text; /* of --version, e.g. "Dynamo Frontend 1.6.1 (weir 0.1.0)" */
    const struct weir_option *options;
    size_t n_options;
    size_t struct_bytes;
    /* Rules across options; pure. May be NULL. */
    enum weir_status (*check)(const void *config, struct weir_err *err);
    /* Applies presets and legacy names after the check; pure. May be NULL. */
    void (*resolve)(void *config);
};

enum weir_config_outcome { WEIR_CONFIG_RUN, WEIR_CONFIG_EXIT_OK, WEIR_CONFIG_EXIT_USAGE };

/* Fills *config (program->struct_bytes bytes; strings live in the arena). Prints --help, --version
 * to stdout and errors or warnings to stderr itself. argv[0] is the program word. environ_like:
 * NULL = the process environment. Exit status: 0 for EXIT_OK, 1 for EXIT_USAGE. */
enum weir_config_outcome weir_config_load(const struct weir_program *program, int argc, char **argv,
                                          char **environ_like, struct weir_arena *arena,
                                          void *config);

/* How far a name is from a known one, in slips of the finger: Damerau-Levenshtein distance (optimal
 * alignment) in bytes, at most `cap`. Pure. */
unsigned weir_config_distance(struct weir_span a, struct weir_span b, unsigned cap);
/* Row of a flag, alias, environment name or member name; NULL when unknown. */
const struct weir_option *weir_config_find(const struct weir_program *program, const char *name);
enum weir_config_source weir_config_source_of(const struct weir_program *program,
                                              const void *config, const struct weir_option *option);

/* Sets one option of a loaded configuration anew, from text as a flag's; strings live in the arena.
 * Rules across options and presets are the caller's (program->check, program->resolve). Refuses
 * lists and what has no effect here. Threads: any, for configurations of their own. */
enum weir_status weir_config_assign(const struct weir_option *option, struct weir_span text,
                                    struct weir_arena *arena, void *config,
                                    struct weir_err *err) WEIR_MUST_CHECK;

/* Resolved configuration and surroundings as one line of canonical JSON (sorted keys; shared spec
 * "deploy" 3): system_info, environment, config, config_sources, runtime_info, …; secrets are
 * redacted. */
enum weir_status weir_config_dump(const struct weir_program *program, const void *config,
                                  struct weir_buf *out) WEIR_MUST_CHECK;
/* Before threads start: sets up the log from DYN_LOG and its companions and writes the dump where
 * --dump-config-to says (or, at debug level, to stderr). Only a wrong log filter is an error; a
 * dump that cannot be written is logged and goes to stderr. */
enum weir_status weir_config_begin(const struct weir_program *program, const void *config,
                                   struct weir_err *err) WEIR_MUST_CHECK;
/* Manual page in roff. */
enum weir_status weir_config_manual(const struct weir_program *program,
                                    struct weir_buf *out) WEIR_MUST_CHECK;
/* The same as a section of docs/OPTIONS.md, which begins with WEIR_CONFIG_MARKDOWN_HEAD. */
#define WEIR_CONFIG_MARKDOWN_HEAD                                                                  \
    "# Options\n\nMade by `weir manual --markdown` from the tables in `runtime/options_*.def`; a " \
    "test holds it to them.\n\nPrecedence: flag, environment, `/opt/dynamo/etc/runtime.toml`, "    \
    "`/opt/dynamo/defaults/runtime.toml`, default. In those files the top-level keys are the "     \
    "ones "                                                                                        \
    "named below, and a table `[frontend]`, `[mocker]` or `[bench]` holds any option of that "     \
    "command, named as its flag with underscores. `WEIR_CONFIG_ROOT` puts a directory before "     \
    "these paths. Booleans take `--x` and `--no-x`; in variables and files `1`, `true`, `yes`, "   \
    "`on` and their opposites. An empty variable counts as unset. Rows without a flag are "        \
    "variables only.\n\nDifferences from Dynamo 1.6.1, on purpose:\n\n"                            \
    "- `--discovery-backend` defaults to `file` instead of `etcd`: Weir promises to need nothing " \
    "else running.\n"                                                                              \
    "- Options of Dynamo that change what is served and that this build lacks are refused when "   \
    "they are set, never dropped in silence; those without effect on answers are accepted with a " \
    "warning. The tables say which.\n"                                                             \
    "- Flags that older releases had are accepted with a warning; Dynamo refuses them.\n"          \
    "- A flag may not be shortened to a unique beginning; the error names the whole one.\n"
enum weir_status weir_config_markdown(const struct weir_program *program,
                                      struct weir_buf *out) WEIR_MUST_CHECK;
/* Text of --help for a terminal of `columns`. */
enum weir_status weir_config_help(const struct weir_program *program, unsigned columns,
                                  struct weir_buf *out) WEIR_MUST_CHECK;

#endif
