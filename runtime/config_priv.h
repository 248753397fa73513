/*
 * Inside of the configuration loader. One setting is one value that somebody gave for an option;
 * sources are read from the strongest to the weakest and the first one that names an option wins.
 */
#ifndef WEIR_RUNTIME_CONFIG_PRIV_H
#define WEIR_RUNTIME_CONFIG_PRIV_H

#include "base/json.h"
#include "runtime/config.h"

struct config_setting {
    enum weir_config_source source;
    const char *place;      /* file of a TOML value, else NULL */
    const char *spelling;   /* flag, variable or key as it was written */
    struct weir_span value; /* data NULL: a flag without a value */
    bool negated;           /* --no-x */
    bool deprecated_name;
    struct config_setting *prev; /* LIST: the value before this one, of the same source */
};

struct config_load {
    const struct weir_program *program;
    struct weir_arena *arena;
    char **environ_like;
    struct config_setting **settings; /* n_options, NULL = not set */
    unsigned char *sources;
    char *config;
    unsigned errors;
    bool out_of_memory;
    bool usage_hint; /* an error after which a look at --help is worth it */
};

/* Prints "weir NAME: error: …" and counts it. */
void config_error(struct config_load *load, const char *fmt, ...) WEIR_PRINTF(2, 3);
void config_warn(struct config_load *load, const char *fmt, ...) WEIR_PRINTF(2, 3);
/* Records a value unless a stronger source has set the option. */
void config_set(struct config_load *load, const struct weir_option *option,
                const struct config_setting *setting);
bool config_is_set(const struct config_load *load, const struct weir_option *option);

/* Sources. Each reports its own errors. */
enum config_argv_result { CONFIG_ARGV_VALUES, CONFIG_ARGV_HELP, CONFIG_ARGV_VERSION };
enum config_argv_result config_read_argv(struct config_load *load, int argc, char **argv);
void config_read_environ(struct config_load *load);
void config_read_toml(struct config_load *load);
/* Value of a variable, or NULL when it is unset or empty. */
const char *config_env_get(char **environ_like, struct weir_span name);

/* Words of a space-separated list of names: false at the end. *ret_deprecated: '!' was before it.
 */
bool config_next_name(struct weir_span *rest, struct weir_span *ret_name, bool *ret_deprecated);
/* Name of the i-th choice without its mark, data NULL past the end. *ret_refused (may be NULL): it
 * had the mark '!'. */
struct weir_span config_choice(const char *choices, unsigned index, bool *ret_refused);

/* Parses text for an option other than LIST into `member`; the message says what is wrong and what
 * is allowed. */
enum weir_status config_parse(const struct weir_option *option, struct weir_span text,
                              struct weir_arena *arena, void *member,
                              struct weir_err *err) WEIR_MUST_CHECK;
/* Stores the default. */
enum weir_status config_parse_default(const struct weir_option *option, struct weir_arena *arena,
                                      void *member) WEIR_MUST_CHECK;
/* Whether the member holds its default. */
bool config_is_default(const struct weir_option *option, const void *member);
/* "WORD", "whole number from 0 to 65535", …: what an option takes, for help and messages. */
enum weir_status config_allowed(const struct weir_option *option,
                                struct weir_buf *out) WEIR_MUST_CHECK;

/* A value: {"count":n,"gpus":[…]} or null. */
void config_put_gpu_info(struct weir_jsonw *w);

/* The flag, variable or member name that is nearest to a wrong one; false when nothing is near. */
enum config_name_kind { CONFIG_NAME_FLAG, CONFIG_NAME_ENV, CONFIG_NAME_MEMBER };
bool config_nearest(const struct weir_program *program, enum config_name_kind kind,
                    struct weir_span wrong, char *ret_name, size_t room);

#endif
