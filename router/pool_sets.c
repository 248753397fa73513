/* What a pool file says, asked and drawn. */
#include "base/utf8.h"
#include "router/pool_config.h"

#include <string.h>

bool weir_pool_set_place(const struct weir_pool_set *set, struct weir_span ns, uint32_t *ret_pool) {
    for (size_t i = 0; i < set->n; i++)
        if (weir_span_eqz(ns, set->namespaces[i])) {
            *ret_pool = (uint32_t)i;
            return true;
        }
    return false;
}

const struct weir_pool_set *weir_pool_config_set(const struct weir_pool_config *c, bool prefill) {
    if (c->mode == WEIR_POOL_AGG)
        return prefill ? NULL : &c->agg;
    return prefill ? &c->prefill : &c->decode;
}

static enum weir_status check_distinct(const struct weir_pool_set *set, struct weir_err *err) {
    uint32_t first = 0;
    for (uint32_t i = 0; i < set->n; i++)
        if (weir_pool_set_place(set, weir_span_z(set->namespaces[i]), &first) && first < i)
            return weir_err_set(err, WEIR_INVALID,
                                "%s pools %u and %u have the same namespace %.*s: a worker can "
                                "be in one only",
                                set->name, first, i,
                                WEIR_SPAN_ARG(weir_utf8_cut_z(set->namespaces[i], 100)));
    return WEIR_OK;
}

enum weir_status weir_pool_config_distinct(const struct weir_pool_config *c, struct weir_err *err) {
    enum weir_status st = check_distinct(weir_pool_config_set(c, false), err);
    return st == WEIR_OK && c->mode == WEIR_POOL_DISAGG ? check_distinct(&c->prefill, err) : st;
}

/* ---- drawing ----------------------------------------------------------------------------------
 */

static enum weir_status draw_plane(const struct weir_pool_grid *g, const uint32_t *cells,
                                   unsigned rows_axis, struct weir_buf *out) {
    const struct weir_pool_axis *r = &g->axes[rows_axis], *c = &g->axes[rows_axis + 1];
    double row_step = (r->max - r->min) / r->resolution;
    double column_step = (c->max - c->min) / c->resolution;
    enum weir_status st = weir_buf_printf(out, "%24s |", "");
    for (uint32_t k = 0; k < c->resolution && st == WEIR_OK; k++)
        st = weir_buf_printf(out, " %s>=%-8.6g", c->name, c->min + k * column_step);
    if (st == WEIR_OK)
        st = weir_buf_append_c(out, '\n');
    for (uint32_t i = 0; i < r->resolution && st == WEIR_OK; i++) {
        st = weir_buf_printf(out, "%14s >= %-6.6g |", r->name, r->min + i * row_step);
        for (uint32_t k = 0; k < c->resolution && st == WEIR_OK; k++)
            st = weir_buf_printf(out, " pool %-*u", (int)strlen(c->name) + 5,
                                 cells[(size_t)i * c->resolution + k]);
        if (st == WEIR_OK)
            st = weir_buf_append_c(out, '\n');
    }
    return st;
}

enum weir_status weir_pool_set_draw(const struct weir_pool_set *set, struct weir_buf *out) {
    const struct weir_pool_grid *g = &set->grid;
    enum weir_status st = weir_buf_printf(out, "%s pools\n", set->name);
    for (size_t i = 0; i < set->n && st == WEIR_OK; i++)
        st = weir_buf_printf(out, "  pool %zu  priority %lld  %s\n", i,
                             (long long)set->priorities[i], set->namespaces[i]);
    /* With three axes one plane for each bucket of the outermost. */
    const struct weir_pool_axis *a = &g->axes[0];
    unsigned rows_axis = g->n_axes - 2;
    size_t plane = (size_t)g->axes[rows_axis].resolution * g->axes[rows_axis + 1].resolution;
    for (uint32_t i = 0; i < (rows_axis == 0 ? 1 : a->resolution) && st == WEIR_OK; i++) {
        if (rows_axis == 1)
            st = weir_buf_printf(out, "%s >= %.6g\n", a->name,
                                 a->min + i * (a->max - a->min) / a->resolution);
        if (st == WEIR_OK)
            st = draw_plane(g, g->mapping + i * plane, rows_axis, out);
    }
    for (size_t i = 0; i < g->n_overrides && st == WEIR_OK; i++)
        st = weir_buf_printf(out, "priority %lld to %lld -> pool %u\n",
                             (long long)g->overrides[i].min_priority,
                             (long long)g->overrides[i].max_priority, g->overrides[i].target);
    return st;
}
