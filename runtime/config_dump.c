/*
 * The configuration dump: one line of canonical JSON (keys sorted, no blanks), as shared spec
 * "deploy" 3 describes it. Weir's own: config_sources, weir_version, and more redaction (secret
 * options, user and password inside of URLs, --…-token arguments).
 */
#include "base/mem.h"
#include "base/utf8.h"
#include "runtime/config_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/utsname.h>
#include <unistd.h>

#define REDACTED "<REDACTED>"

static const char *const env_prefixes[] = {
    "DYN_",           "WEIR_",     "CUDA_",
    "NCCL_",          "HF_",       "TRANSFORMERS_",
    "SGLANG_",        "SGL_",      "MC_",
    "VLLM_",          "TENSORRT_", "TORCH_",
    "UCX_",           "NIXL_",     "OMPI_",
    "LLM_",           "TLLM_",     "TRT_LLM_",
    "TRTLLM_",        "NVIDIA_",   "NSYS_",
    "GENERATE_CU_",   "OVERRIDE_", "TOKENIZERS_",
    "DISABLE_TORCH_", "PYTORCH_",  "ENABLE_PERFECT_ROUTER",
    "FLA_",           "NEMOTRON_",
};
static const char *const secret_words[] = {"TOKEN",    "API_KEY",    "ACCESS_KEY", "SECRET",
                                           "PASSWORD", "CREDENTIAL", "AUTH"};

static char upper(char c) {
    return c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c == '-' ? '_' : c;
}

/* The name holds a word that names a secret; case and - or _ do not matter. */
static bool secret_name(struct weir_span name) {
    for (size_t w = 0; w < WEIR_ARRAY_LEN(secret_words); w++) {
        size_t len = strlen(secret_words[w]);
        for (size_t i = 0; i + len <= name.len; i++) {
            size_t k = 0;
            while (k < len && upper(name.data[i + k]) == secret_words[w][k])
                k++;
            if (k == len)
                return true;
        }
    }
    return false;
}

/* scheme://user:password@host → scheme://<REDACTED>@host */
static void put_text(struct weir_jsonw *w, struct weir_span text) {
    char out[1024];
    const char *scheme = text.len > 3 ? memmem(text.data, text.len, "://", 3) : NULL;
    if (scheme != NULL) {
        struct weir_span rest = weir_span(scheme + 3, text.len - (size_t)(scheme + 3 - text.data));
        size_t authority = 0, user = 0;
        while (authority < rest.len && strchr("/?#", rest.data[authority]) == NULL)
            authority++;
        for (size_t i = 0; i < authority; i++)
            user = rest.data[i] == '@' ? i + 1 : user;
        int n = snprintf(out, sizeof(out), "%.*s" REDACTED "@%.*s", (int)(scheme + 3 - text.data),
                         text.data, (int)(rest.len - user), rest.data + user);
        if (user > 0) {
            size_t len = n > 0 && (size_t)n < sizeof(out) ? (size_t)n : 0;
            weir_jsonw_string(w, len > 0 ? weir_span(out, len) : WEIR_SPAN_LIT(REDACTED));
            return;
        }
    }
    weir_jsonw_string(w, text);
}

/* ---- config --------------------------------------------------------------------------------- */

static void put_list(struct weir_jsonw *w, const struct weir_option *o,
                     const struct weir_config_list *list) {
    weir_jsonw_array_begin(w);
    for (size_t i = 0; i < list->n; i++)
        if ((o->flags & WEIR_OPT_SECRET) != 0)
            weir_jsonw_string_z(w, REDACTED);
        else
            put_text(w, weir_span_z(list->items[i]));
    weir_jsonw_array_end(w);
}

static void put_value(struct weir_jsonw *w, const struct weir_option *o, const void *member) {
    int choice = 0;
    int64_t integer = 0;
    const char *text = NULL;
    switch (o->type) {
    case WEIR_OPT_BOOL:
        weir_jsonw_bool(w, *(const bool *)member);
        return;
    case WEIR_OPT_INT:
        integer = *(const int64_t *)member;
        if (integer == WEIR_CONFIG_NONE)
            weir_jsonw_null(w);
        else
            weir_jsonw_i64(w, integer);
        return;
    case WEIR_OPT_FLOAT:
        weir_jsonw_f64(w, *(const double *)member);
        return;
    case WEIR_OPT_CHOICE:
        choice = *(const int *)member;
        if (choice < 0)
            weir_jsonw_null(w);
        else
            weir_jsonw_string(w, config_choice(o->choices, (unsigned)choice, NULL));
        return;
    case WEIR_OPT_LIST:
        put_list(w, o, member);
        return;
    case WEIR_OPT_STR:
        break;
    }
    text = *(const char *const *)member;
    if (text == NULL)
        weir_jsonw_null(w);
    else if ((o->flags & WEIR_OPT_SECRET) != 0)
        weir_jsonw_string_z(w, REDACTED);
    else
        put_text(w, weir_span_z(text));
}

static int by_option_name(const void *a, const void *b) {
    const struct weir_option *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static void put_config(struct weir_jsonw *w, const struct weir_program *p, const void *config,
                       const struct weir_option *const *sorted) {
    weir_jsonw_key(w, "config");
    weir_jsonw_object_begin(w);
    for (size_t i = 0; i < p->n_options; i++) {
        weir_jsonw_key(w, sorted[i]->name);
        put_value(w, sorted[i], (const char *)config + sorted[i]->offset);
    }
    weir_jsonw_object_end(w);
}

/* Only what is not a default. */
static void put_sources(struct weir_jsonw *w, const struct weir_program *p, const void *config,
                        const struct weir_option *const *sorted) {
    static const char *const names[] = {
        [WEIR_CONFIG_FROM_DEFAULT] = "default",
        [WEIR_CONFIG_FROM_DEFAULTS_TOML] = "defaults/runtime.toml",
        [WEIR_CONFIG_FROM_ETC_TOML] = "etc/runtime.toml",
        [WEIR_CONFIG_FROM_ENV] = "environment",
        [WEIR_CONFIG_FROM_FLAG] = "flag",
    };
    weir_jsonw_key(w, "config_sources");
    weir_jsonw_object_begin(w);
    for (size_t i = 0; i < p->n_options; i++) {
        enum weir_config_source source = weir_config_source_of(p, config, sorted[i]);
        if (source == WEIR_CONFIG_FROM_DEFAULT)
            continue;
        weir_jsonw_key(w, sorted[i]->name);
        weir_jsonw_string_z(w, names[source]);
    }
    weir_jsonw_object_end(w);
}

/* ---- surroundings --------------------------------------------------------------------------- */

static bool wanted_variable(struct weir_span name) {
    for (size_t i = 0; i < WEIR_ARRAY_LEN(env_prefixes); i++)
        if (weir_span_starts(name, weir_span_z(env_prefixes[i])))
            return true;
    return false;
}

static struct weir_span variable_name(const char *entry) {
    struct weir_span rest;
    return weir_span_split(weir_span_z(entry), '=', &rest);
}

static int by_variable_name(const void *a, const void *b) {
    const char *const *x = a, *const *y = b;
    struct weir_span nx = variable_name(*x), ny = variable_name(*y);
    size_t n = nx.len < ny.len ? nx.len : ny.len;
    int order = memcmp(nx.data, ny.data, n);
    return order != 0 ? order : (nx.len > ny.len) - (nx.len < ny.len);
}

static void put_environment(struct weir_jsonw *w, char **env) {
    size_t n = 0, n_wanted = 0;
    for (; env != NULL && env[n] != NULL; n++)
        n_wanted += wanted_variable(variable_name(env[n]));
    const char **sorted = weir_calloc(n_wanted + 1, sizeof(*sorted));
    if (sorted == NULL) {
        w->status = w->status == WEIR_OK ? WEIR_NOMEM : w->status;
        return;
    }
    n_wanted = 0;
    for (size_t i = 0; i < n; i++)
        if (wanted_variable(variable_name(env[i])))
            sorted[n_wanted++] = env[i];
    qsort(sorted, n_wanted, sizeof(*sorted), by_variable_name);
    weir_jsonw_key(w, "environment");
    weir_jsonw_object_begin(w);
    for (size_t i = 0; i < n_wanted; i++) {
        struct weir_span value;
        struct weir_span name = weir_span_split(weir_span_z(sorted[i]), '=', &value);
        /* getenv() sees the first of two entries of one name; so does the dump. */
        if (i > 0 && weir_span_eq(name, variable_name(sorted[i - 1])))
            continue;
        weir_jsonw_key_span(w, name);
        if (secret_name(name))
            weir_jsonw_string_z(w, REDACTED);
        else
            put_text(w, value.data != NULL ? value : weir_span("", 0));
    }
    weir_jsonw_object_end(w);
    weir_free(sorted);
}

/* Arguments that carry a secret: secret options, and names that end in a secret word. */
static bool secret_flag(const struct weir_program *p, struct weir_span name) {
    static const char *const tails[] = {"-token", "-password", "-secret", "-key", "-credentials"};
    for (size_t i = 0; i < p->n_options; i++)
        if (p->options[i].flag != NULL && weir_span_eqz(name, p->options[i].flag))
            return (p->options[i].flags & WEIR_OPT_SECRET) != 0;
    for (size_t i = 0; i < WEIR_ARRAY_LEN(tails); i++) {
        struct weir_span tail = weir_span_z(tails[i]);
        if (name.len > tail.len &&
            weir_span_eq(weir_span(name.data + name.len - tail.len, tail.len), tail))
            return true;
    }
    return false;
}

static void put_arguments(struct weir_jsonw *w, const struct weir_program *p,
                          const struct weir_config_meta *meta) {
    bool hide_next = false;
    weir_jsonw_key(w, "command_line_args");
    weir_jsonw_array_begin(w);
    for (int i = 0; meta != NULL && i < meta->argc; i++) {
        struct weir_span value;
        struct weir_span arg = weir_span_z(meta->argv[i]);
        struct weir_span name = weir_span_split(arg, '=', &value);
        bool secret = weir_span_starts(arg, WEIR_SPAN_LIT("--")) && secret_flag(p, name);
        char shown[160];
        if (hide_next) {
            weir_jsonw_string_z(w, REDACTED);
        } else if (secret && value.data != NULL) {
            snprintf(shown, sizeof(shown), "%.*s=" REDACTED,
                     WEIR_SPAN_ARG(weir_utf8_cut(name, 128)));
            weir_jsonw_string_z(w, shown);
        } else {
            put_text(w, arg);
        }
        hide_next = secret && value.data == NULL && !hide_next;
    }
    weir_jsonw_array_end(w);
}

static void put_pair(struct weir_jsonw *w, const char *key, const char *value) {
    weir_jsonw_key(w, key);
    weir_jsonw_string_z(w, value);
}

static void put_runtime_info(struct weir_jsonw *w, const struct weir_program *p,
                             const struct weir_config_meta *meta) {
    char exe[4096];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
    exe[n > 0 ? n : 0] = '\0';
    weir_jsonw_key(w, "runtime_info");
    weir_jsonw_object_begin(w);
    put_arguments(w, p, meta);
    put_pair(w, "compiler", __VERSION__);
    put_pair(w, "executable", n > 0 ? exe : "unknown");
    put_pair(w, "program", p->name);
    weir_jsonw_object_end(w);
}

static void put_system_info(struct weir_jsonw *w) {
    struct utsname u;
    char platform[256];
    bool ok = uname(&u) == 0;
    if (ok)
        snprintf(platform, sizeof(platform), "%.*s-%.*s-%.*s",
                 WEIR_SPAN_ARG(weir_utf8_cut_z(u.sysname, 60)),
                 WEIR_SPAN_ARG(weir_utf8_cut_z(u.release, 60)),
                 WEIR_SPAN_ARG(weir_utf8_cut_z(u.machine, 60)));
    weir_jsonw_key(w, "system_info");
    weir_jsonw_object_begin(w);
    weir_jsonw_key(w, "architecture");
    weir_jsonw_array_begin(w);
    weir_jsonw_string_z(w, sizeof(void *) == 8 ? "64bit" : "32bit");
    weir_jsonw_string_z(w, "ELF");
    weir_jsonw_array_end(w);
    put_pair(w, "hostname", ok ? u.nodename : "unknown");
    put_pair(w, "os_name", ok ? u.sysname : "unknown");
    put_pair(w, "os_release", ok ? u.release : "unknown");
    put_pair(w, "os_version", ok ? u.version : "unknown");
    put_pair(w, "platform", ok ? platform : "unknown");
    put_pair(w, "processor", ok ? u.machine : "unknown");
    weir_jsonw_object_end(w);
}

enum weir_status weir_config_dump(const struct weir_program *program, const void *config,
                                  struct weir_buf *out) {
    struct weir_jsonw w;
    const struct weir_config_meta *meta = NULL;
    memcpy(&meta, config, sizeof(meta));
    const struct weir_option **sorted = weir_calloc(program->n_options + 1, sizeof(*sorted));
    if (sorted == NULL)
        return WEIR_NOMEM;
    for (size_t i = 0; i < program->n_options; i++)
        sorted[i] = &program->options[i];
    qsort(sorted, program->n_options, sizeof(*sorted), by_option_name);
    weir_jsonw_init(&w, out);
    weir_jsonw_object_begin(&w);
    put_config(&w, program, config, sorted);
    put_sources(&w, program, config, sorted);
    put_pair(&w, "dynamo_version", "1.6.1+weir." WEIR_VERSION);
    put_environment(&w, meta != NULL ? meta->environ_like : NULL);
    weir_jsonw_key(&w, "gpu_info");
    config_put_gpu_info(&w);
    weir_jsonw_key(&w, "installed_packages");
    weir_jsonw_object_begin(&w);
    put_pair(&w, "weir", WEIR_VERSION);
    weir_jsonw_object_end(&w);
    put_runtime_info(&w, program, meta);
    put_system_info(&w);
    put_pair(&w, "weir_version", WEIR_VERSION);
    weir_jsonw_object_end(&w);
    weir_free(sorted);
    return w.status;
}
