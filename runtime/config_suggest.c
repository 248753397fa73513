/* The nearest known name to one that was written wrongly. */
#include "runtime/config_priv.h"

#include <stdio.h>

enum { NAME_MAX_BYTES = 96 };

static unsigned min3(unsigned a, unsigned b, unsigned c) {
    unsigned m = a < b ? a : b;
    return m < c ? m : c;
}

/* Three rolling rows of the edit matrix: insert, delete, replace, swap of neighbours. */
unsigned weir_config_distance(struct weir_span a, struct weir_span b, unsigned cap) {
    size_t apart = a.len > b.len ? a.len - b.len : b.len - a.len;
    if (a.len > NAME_MAX_BYTES || b.len > NAME_MAX_BYTES || apart >= cap)
        return cap;
    unsigned rows[3][NAME_MAX_BYTES + 1];
    for (size_t j = 0; j <= b.len; j++)
        rows[0][j] = (unsigned)j;
    for (size_t i = 1; i <= a.len; i++) {
        unsigned *row = rows[i % 3];
        const unsigned *up = rows[(i + 2) % 3], *up2 = rows[(i + 1) % 3];
        unsigned best = (unsigned)i;
        row[0] = best;
        for (size_t j = 1; j <= b.len; j++) {
            bool same = a.data[i - 1] == b.data[j - 1];
            row[j] = min3(up[j] + 1, row[j - 1] + 1, up[j - 1] + !same);
            bool swap =
                i > 1 && j > 1 && a.data[i - 1] == b.data[j - 2] && a.data[i - 2] == b.data[j - 1];
            if (swap && up2[j - 2] + 1 < row[j])
                row[j] = up2[j - 2] + 1;
            best = row[j] < best ? row[j] : best;
        }
        /* What follows is no lower: a swap adds one to a row that is at most one lower. */
        if (best > cap)
            return cap;
    }
    unsigned d = rows[a.len % 3][b.len];
    return d < cap ? d : cap;
}

struct nearest {
    struct weir_span wrong;
    unsigned best;
    char *name;
    size_t room;
};

static void consider(struct nearest *n, struct weir_span name) {
    unsigned d = weir_config_distance(n->wrong, name, n->best);
    /* A beginning of a name is most likely that name. */
    if (n->wrong.len >= 5 && name.len > n->wrong.len && weir_span_starts(name, n->wrong) && d > 1)
        d = 1;
    if (d >= n->best || name.len >= n->room)
        return;
    n->best = d;
    memcpy(n->name, name.data, name.len);
    n->name[name.len] = '\0';
}

static void consider_flags(struct nearest *n, const struct weir_option *o) {
    char negative[NAME_MAX_BYTES];
    consider(n, weir_span_z(o->flag));
    if (o->type == WEIR_OPT_BOOL) {
        int len = snprintf(negative, sizeof(negative), "--no-%s", o->flag + 2);
        if (len > 0 && (size_t)len < sizeof(negative))
            consider(n, weir_span(negative, (size_t)len));
    }
    struct weir_span rest = weir_span_z(o->aliases), name;
    bool deprecated = false;
    while (config_next_name(&rest, &name, &deprecated))
        if (!deprecated && name.len > 2)
            consider(n, name);
}

bool config_nearest(const struct weir_program *program, enum config_name_kind kind,
                    struct weir_span wrong, char *ret_name, size_t room) {
    /* More than half of the name wrong is not a slip of the finger. */
    unsigned limit = (unsigned)(wrong.len / 2 < 1 ? 1 : wrong.len / 2);
    if (kind == CONFIG_NAME_ENV)
        limit = 3;
    struct nearest n = {wrong, limit, ret_name, room};
    for (size_t i = 0; i < program->n_options; i++) {
        const struct weir_option *o = &program->options[i];
        if ((o->flags & WEIR_OPT_REMOVED) != 0)
            continue;
        struct weir_span rest = weir_span_z(o->env), name;
        bool deprecated = false;
        if (kind == CONFIG_NAME_FLAG && o->flag != NULL)
            consider_flags(&n, o);
        else if (kind == CONFIG_NAME_MEMBER)
            consider(&n, weir_span_z(o->name));
        while (kind == CONFIG_NAME_ENV && config_next_name(&rest, &name, &deprecated))
            consider(&n, name);
    }
    if (kind == CONFIG_NAME_FLAG) {
        consider(&n, WEIR_SPAN_LIT("--help"));
        consider(&n, WEIR_SPAN_LIT("--version"));
    }
    return n.best < limit;
}
