/*
 * Line plots as inline SVG, coloured by the page's style sheet (classes s0, s1, …), so that they
 * follow a light or dark theme. Pure.
 */
#ifndef WEIR_BENCH_PLOT_H
#define WEIR_BENCH_PLOT_H

#include "base/buf.h"

/* Bytes with the first failure kept: check once at the end. */
struct weir_page {
    struct weir_buf *out; /* borrowed */
    enum weir_status status;
};
void weir_page_raw(struct weir_page *p, const char *html);
void weir_page_printf(struct weir_page *p, const char *fmt, ...) WEIR_PRINTF(2, 3);
/* Everything up to the page's content: style sheet, title, and in bold what it is about, the first
 * words of a line that "</b>…</p>" ends; "</main></body></html>" ends the page. */
void weir_page_begin(struct weir_page *p, const char *title, const char *about);
/* With <, >, & and quotes made harmless. */
void weir_page_text(struct weir_page *p, const char *text);

struct weir_plot_series {
    const char *name;
    unsigned colour; /* class s<colour> */
    const double *y; /* as many as the plot has points; NAN = a gap */
    bool area;       /* filled down to the axis */
    bool dashed;
};

struct weir_plot_tick {
    double x;
    const char *label;
};

struct weir_plot {
    const char *title, *note; /* note: small print beside the title, or NULL */
    const char *unit;         /* of y, e.g. "ms" */
    const char *x_title;
    size_t n_points;
    const double *x;           /* rising */
    const char *const *x_text; /* of each point, for the pointer; or NULL */
    const struct weir_plot_tick *ticks;
    size_t n_ticks;
    const struct weir_plot_series *series;
    size_t n_series;
    bool log_y;
    double shade_to; /* a pale band from the left up to this x (warm-up); NAN = none */
};
void weir_plot_write(struct weir_page *p, const struct weir_plot *plot);

/* A number for people: three significant digits, with k, M, G above 10,000. */
void weir_plot_number(double value, char *out, size_t room);

#endif
