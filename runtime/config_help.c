/* The option table as text for people: --help, roff manual page, Markdown section. */
#include "runtime/config_priv.h"

/* One text under construction; the first failure sticks. */
struct page {
    struct weir_buf *out;
    unsigned columns;
    bool with_hidden;
    enum weir_status status;
    void (*heading)(struct page *page, const char *group);
    void (*row)(struct page *page, const struct weir_option *o);
};

static void put_span(struct page *page, struct weir_span text) {
    if (page->status == WEIR_OK)
        page->status = weir_buf_append_span(page->out, text);
}

static void put(struct page *page, const char *text) {
    put_span(page, weir_span_z(text));
}

static bool shown(const struct page *page, const struct weir_option *o) {
    return page->with_hidden || (o->flags & (WEIR_OPT_HIDDEN | WEIR_OPT_REMOVED)) == 0;
}

/* Rows of one group may stand apart in the table; groups come in the order of their first row. */
static void walk(struct page *page, const struct weir_program *p) {
    for (size_t i = 0; i < p->n_options; i++) {
        const char *group = p->options[i].group;
        bool seen = false, any = false;
        for (size_t k = 0; k < i && !seen; k++)
            seen = strcmp(p->options[k].group, group) == 0;
        for (size_t k = i; k < p->n_options && !seen; k++) {
            const struct weir_option *o = &p->options[k];
            if (strcmp(o->group, group) != 0 || !shown(page, o))
                continue;
            if (!any)
                page->heading(page, group);
            any = true;
            page->row(page, o);
        }
    }
}

/* ---- what a row says, common to all forms -------------------------------------------------- */

static const char *placeholder(const struct weir_option *o) {
    static const char *const words[] = {
        [WEIR_OPT_BOOL] = "",     [WEIR_OPT_INT] = " N",       [WEIR_OPT_FLOAT] = " X",
        [WEIR_OPT_STR] = " TEXT", [WEIR_OPT_CHOICE] = " WORD", [WEIR_OPT_LIST] = " TEXT …",
    };
    return words[o->type];
}

/* "-i, --interactive, --no-interactive" without deprecated names. */
static void part_names(struct page *page, const struct weir_option *o) {
    struct weir_span rest = weir_span_z(o->aliases), name;
    bool deprecated = false;
    if (o->flag == NULL) {
        struct weir_span env = weir_span_z(o->env);
        if (config_next_name(&env, &name, &deprecated))
            put_span(page, name);
        return;
    }
    while (config_next_name(&rest, &name, &deprecated)) {
        if (deprecated)
            continue;
        put_span(page, name);
        put(page, ", ");
    }
    put(page, o->flag);
    if (o->type == WEIR_OPT_BOOL && strncmp(o->flag, "--no-", 5) != 0) {
        put(page, ", --no-");
        put(page, o->flag + 2);
    }
    put(page, placeholder(o));
}

static void put_list(struct page *page, const char *names, bool want_deprecated) {
    struct weir_span rest = weir_span_z(names), name;
    bool deprecated = false, first = true;
    while (config_next_name(&rest, &name, &deprecated)) {
        if (deprecated != want_deprecated)
            continue;
        put(page, first ? "" : ", ");
        put_span(page, name);
        first = false;
    }
}

static bool has_deprecated(const char *names) {
    return names != NULL && strchr(names, '!') != NULL;
}

static const char *state_of(const struct weir_option *o) {
    if ((o->flags & WEIR_OPT_REMOVED) != 0)
        return "removed: accepted with a warning, no effect";
    if ((o->flags & WEIR_OPT_UNSUPPORTED) != 0)
        return "Dynamo only: refused by this build unless it is the default";
    if ((o->flags & WEIR_OPT_IGNORED) != 0)
        return "accepted with a warning, no effect";
    if ((o->flags & WEIR_OPT_DEPRECATED) != 0)
        return "deprecated in Dynamo, honoured with a warning";
    return NULL;
}

/* Older names and what becomes of the option. */
static void put_history(struct page *page, const struct weir_option *o) {
    if (has_deprecated(o->aliases) || has_deprecated(o->env)) {
        put(page, " Older names: ");
        put_list(page, o->aliases, true);
        put(page, has_deprecated(o->aliases) && has_deprecated(o->env) ? ", " : "");
        put_list(page, o->env, true);
        put(page, ".");
    }
    if (state_of(o) != NULL) {
        put(page, " (");
        put(page, state_of(o));
        put(page, ")");
    }
}

/* "Values: …. Default: …. Environment: …." */
static void put_facts(struct page *page, const struct weir_option *o) {
    if (o->type != WEIR_OPT_BOOL && o->type != WEIR_OPT_STR && page->status == WEIR_OK) {
        put(page, "Values: ");
        if (page->status == WEIR_OK)
            page->status = config_allowed(o, page->out);
        put(page, ". ");
    }
    put(page, "Default: ");
    put(page, o->type == WEIR_OPT_LIST ? "empty" : o->def != NULL ? o->def : "none");
    put(page, ".");
    if (o->flag == NULL) {
        put(page, " Environment only.");
    } else if (o->env != NULL) {
        put(page, " Environment: ");
        put_list(page, o->env, false);
        put(page, ".");
    }
    if (o->toml_key != NULL) {
        put(page, " runtime.toml: ");
        put(page, o->toml_key);
        put(page, ".");
    }
    put_history(page, o);
}

typedef void (*part_fn)(struct page *page, const struct weir_option *o);
typedef void (*finish_fn)(struct page *page, struct weir_span text);

/* Builds a part in a scratch buffer, because wrapping needs whole words and escaping whole texts,
 * and hands it to `finish`. */
static void put_part(struct page *page, const struct weir_option *o, part_fn part,
                     finish_fn finish) {
    struct weir_buf scratch, *out = page->out;
    weir_buf_init(&scratch, 16384);
    page->out = &scratch;
    part(page, o);
    page->out = out;
    finish(page, weir_buf_span(&scratch));
    weir_buf_fini(&scratch);
}

/* ---- --help ------------------------------------------------------------------------------- */

/* Bytes that are not continuation bytes of UTF-8: columns, for the texts of our tables. */
static unsigned columns_of(struct weir_span s) {
    unsigned n = 0;
    for (size_t i = 0; i < s.len; i++)
        n += ((unsigned char)s.data[i] & 0xc0) != 0x80;
    return n;
}

static void put_indent(struct page *page, unsigned n) {
    for (unsigned i = 0; i < n; i++)
        put(page, " ");
}

/* Words of `text`, wrapped at page->columns; each line begins with `indent` blanks. */
static void put_wrapped(struct page *page, struct weir_span text, unsigned indent) {
    unsigned at = 0;
    while (text.data != NULL) {
        struct weir_span word = weir_span_split(text, ' ', &text);
        unsigned width = columns_of(word);
        if (word.len == 0)
            continue;
        if (at > 0 && at + 1 + width > page->columns) {
            put(page, "\n");
            at = 0;
        }
        if (at == 0) {
            put_indent(page, indent);
            at = indent;
        } else {
            put(page, " ");
            at++;
        }
        put_span(page, word);
        at += width;
    }
    put(page, "\n");
}

static void help_heading(struct page *page, const char *group) {
    put(page, "\n");
    put(page, group);
    put(page, ":\n");
}

static void part_text(struct page *page, const struct weir_option *o) {
    put(page, o->help);
    put(page, " ");
    put_facts(page, o);
}

static void wrap_2(struct page *page, struct weir_span text) {
    put_wrapped(page, text, 2);
}

static void wrap_8(struct page *page, struct weir_span text) {
    put_wrapped(page, text, 8);
}

static void help_row(struct page *page, const struct weir_option *o) {
    put_part(page, o, part_names, wrap_2);
    put_part(page, o, part_text, wrap_8);
}

enum weir_status weir_config_help(const struct weir_program *program, unsigned columns,
                                  struct weir_buf *out) {
    struct page page = {.out = out, .columns = columns, .heading = help_heading, .row = help_row};
    put(&page, "Usage: weir ");
    put(&page, program->name);
    put(&page, " [options]\n\n");
    put_wrapped(&page, weir_span_z(program->title), 0);
    put(&page, "\n");
    put_wrapped(&page,
                WEIR_SPAN_LIT("A flag wins over its variable, a variable over runtime.toml. "
                              "Booleans are --x or --no-x; values are --x V or --x=V."),
                0);
    walk(&page, program);
    put(&page, "\nHelp:\n  -h, --help\n        Print this text.\n"
               "  --version\n        Print the version.\n\n");
    put_wrapped(&page,
                WEIR_SPAN_LIT("All settings, hidden and older ones included, are in the manual: "
                              "`weir manual NAME`, docs/OPTIONS.md."),
                0);
    return page.status;
}

/* ---- roff --------------------------------------------------------------------------------- */

/* Backslashes, dashes, and dots or quotes at the begin of a line mean something to roff. */
static void put_roff(struct page *page, struct weir_span text) {
    for (size_t i = 0; i < text.len && page->status == WEIR_OK; i++) {
        char c = text.data[i];
        bool line_start = i == 0 || text.data[i - 1] == '\n';
        if (c == '\\')
            put(page, "\\e");
        else if (c == '-')
            put(page, "\\-");
        else if (line_start && (c == '.' || c == '\''))
            put_span(page, weir_span((const char[]){'\\', '&', c}, 3));
        else
            put_span(page, weir_span(&c, 1));
    }
}

static void roff_heading(struct page *page, const char *group) {
    put(page, ".SS \"");
    put(page, group);
    put(page, "\"\n");
}

static void roff_row(struct page *page, const struct weir_option *o) {
    put(page, ".TP\n.B ");
    put_part(page, o, part_names, put_roff);
    put(page, "\n");
    put_part(page, o, part_text, put_roff);
    put(page, "\n");
}

static const char roff_files[] =
    ".SH FILES\n"
    ".TP\n.I /opt/dynamo/etc/runtime.toml\n.TQ\n.I /opt/dynamo/defaults/runtime.toml\n"
    "Settings below the environment in precedence; missing files are fine. Top\\-level keys are "
    "those named above; a table with the name of the command holds any of its options, named as "
    "the flag with underscores. The variable WEIR_CONFIG_ROOT puts another directory before these "
    "paths.\n"
    ".SH EXIT STATUS\n0 after \\-\\-help, \\-\\-version or an orderly end; 1 for a wrong "
    "command line, variable or file, or a failure.\n"
    ".SH SEE ALSO\n";

enum weir_status weir_config_manual(const struct weir_program *program, struct weir_buf *out) {
    struct page page = {.out = out, .with_hidden = true, .heading = roff_heading, .row = roff_row};
    put(&page, ".TH WEIR\\-");
    for (const char *c = program->name; *c != '\0'; c++)
        put_span(&page, weir_span((const char[]){(char)(*c - 'a' + 'A')}, 1));
    put(&page, " 1 \"\" \"weir " WEIR_VERSION "\"\n.SH NAME\nweir\\-");
    put(&page, program->name);
    put(&page, " \\- ");
    put_roff(&page, weir_span_z(program->title));
    put(&page, "\n.SH SYNOPSIS\n.B weir ");
    put(&page, program->name);
    put(&page, "\n[\\fIoptions\\fR]\n.SH DESCRIPTION\n");
    put_roff(&page, weir_span_z(program->description));
    put(&page, "\n.PP\nA flag wins over its variable, a variable over runtime.toml. Booleans are "
               "\\-\\-x or \\-\\-no\\-x; values are \\-\\-x V or \\-\\-x=V. An empty variable "
               "counts as unset.\n.SH OPTIONS\n.TP\n.B \\-h, \\-\\-help\nPrint a short list of "
               "options.\n.TP\n.B \\-\\-version\nPrint the version.\n");
    walk(&page, program);
    put(&page, roff_files);
    put(&page, strcmp(program->name, "frontend") == 0
                   ? ".BR weir (1),\n.BR weir\\-mocker (1),\n.BR weir\\-bench (1)\n"
                   : ".BR weir (1),\n.BR weir\\-frontend (1)\n");
    return page.status;
}

/* ---- Markdown ----------------------------------------------------------------------------- */

/* In a table cell '|' ends the cell and '<' begins a tag. */
static void put_cell(struct page *page, struct weir_span text) {
    for (size_t i = 0; i < text.len && page->status == WEIR_OK; i++) {
        if (text.data[i] == '|')
            put(page, "\\|");
        else if (text.data[i] == '<')
            put(page, "&lt;");
        else
            put_span(page, weir_span(text.data + i, 1));
    }
}

static void part_env(struct page *page, const struct weir_option *o) {
    if (o->flag != NULL)
        put_list(page, o->env, false);
}

static void part_values(struct page *page, const struct weir_option *o) {
    if (page->status == WEIR_OK)
        page->status = config_allowed(o, page->out);
}

static void part_help(struct page *page, const struct weir_option *o) {
    put(page, o->help);
    if (o->toml_key != NULL) {
        put(page, " Key of runtime.toml: ");
        put(page, o->toml_key);
        put(page, ".");
    }
    put_history(page, o);
}

static void markdown_heading(struct page *page, const char *group) {
    put(page, "\n### ");
    put(page, group);
    put(page, "\n\n| option | environment | values | default | meaning |\n"
              "|---|---|---|---|---|\n");
}

static void markdown_row(struct page *page, const struct weir_option *o) {
    put(page, "| `");
    put_part(page, o, part_names, put_cell);
    put(page, "` | ");
    put_part(page, o, part_env, put_cell);
    put(page, " | ");
    put_part(page, o, part_values, put_cell);
    put(page, " | ");
    put_cell(page, weir_span_z(o->type == WEIR_OPT_LIST ? "empty"
                               : o->def != NULL         ? o->def
                                                        : "none"));
    put(page, " | ");
    put_part(page, o, part_help, put_cell);
    put(page, " |\n");
}

enum weir_status weir_config_markdown(const struct weir_program *program, struct weir_buf *out) {
    struct page page = {
        .out = out, .with_hidden = true, .heading = markdown_heading, .row = markdown_row};
    put(&page, "\n## weir ");
    put(&page, program->name);
    put(&page, "\n\n");
    put(&page, program->description);
    put(&page, "\n");
    walk(&page, program);
    return page.status;
}
