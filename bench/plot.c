#include "bench/plot.h"

#include <math.h>
#include <stdio.h>

enum { WIDTH = 640, HEIGHT = 260, LEFT = 58, RIGHT = 14, TOP = 14, BOTTOM = 40, MAX_TICKS = 12 };

void weir_page_raw(struct weir_page *p, const char *html) {
    if (p->status == WEIR_OK)
        p->status = weir_buf_append_z(p->out, html);
}

void weir_page_printf(struct weir_page *p, const char *fmt, ...) {
    char text[1024];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    WEIR_ASSERT(n >= 0 && (size_t)n < sizeof(text));
    weir_page_raw(p, text);
}

void weir_page_text(struct weir_page *p, const char *text) {
    for (; *text != '\0' && p->status == WEIR_OK; text++) {
        switch (*text) {
        case '<':
            weir_page_raw(p, "&lt;");
            break;
        case '>':
            weir_page_raw(p, "&gt;");
            break;
        case '&':
            weir_page_raw(p, "&amp;");
            break;
        case '"':
            weir_page_raw(p, "&quot;");
            break;
        default:
            p->status = weir_buf_append_c(p->out, *text);
        }
    }
}

void weir_plot_number(double value, char *out, size_t room) {
    static const struct {
        double from, unit;
        const char *suffix;
    } scales[] = {{1e10, 1e9, " G"}, {1e7, 1e6, " M"}, {1e4, 1e3, " k"}, {0, 1, ""}};
    double size = fabs(value);
    size_t i = 0;
    while (size < scales[i].from)
        i++;
    double v = value / scales[i].unit, a = fabs(v);
    int digits = a == 0 || a >= 100 ? 0 : a >= 10 ? 1 : a >= 1 ? 2 : a >= 0.1 ? 3 : 4;
    int n = snprintf(out, room, "%.*f", digits, v);
    /* 2.50 → 2.5, 3.00 → 3 */
    if (digits > 0) {
        while (n > 0 && out[n - 1] == '0')
            out[--n] = '\0';
        if (n > 0 && out[n - 1] == '.')
            out[--n] = '\0';
    }
    snprintf(out + n, room - (size_t)n, "%s", scales[i].suffix);
}

struct axes {
    const struct weir_plot *plot;
    double x0, x1, y0, y1; /* what the edges stand for; y in logarithms when log_y */
};

static double px(const struct axes *a, double x) {
    double span = a->x1 > a->x0 ? a->x1 - a->x0 : 1;
    return LEFT + (x - a->x0) / span * (WIDTH - LEFT - RIGHT);
}

static double py(const struct axes *a, double y) {
    double v = a->plot->log_y ? log10(fmax(y, 1e-9)) : y;
    double at = (v - a->y0) / (a->y1 - a->y0);
    return HEIGHT - BOTTOM - fmin(fmax(at, 0), 1) * (HEIGHT - TOP - BOTTOM);
}

/* 1, 2 or 5 times a power of ten, so that about five steps fill the range. */
static double nice_step(double range) {
    double raw = range / 5, base = pow(10, floor(log10(raw))), f = raw / base;
    return base * (f <= 1 ? 1 : f <= 2 ? 2 : f <= 5 ? 5 : 10);
}

static bool range(const struct weir_plot *plot, double *ret_min, double *ret_max) {
    double lo = INFINITY, hi = -INFINITY;
    for (size_t s = 0; s < plot->n_series; s++)
        for (size_t i = 0; i < plot->n_points; i++) {
            double y = plot->series[s].y[i];
            if (!isfinite(y) || (plot->log_y && y <= 0))
                continue;
            lo = fmin(lo, y);
            hi = fmax(hi, y);
        }
    *ret_min = lo;
    *ret_max = hi;
    return lo <= hi;
}

static void grid_line(struct weir_page *p, const struct axes *a, double y) {
    char label[32];
    weir_plot_number(y, label, sizeof(label));
    weir_page_printf(p,
                     "<line class=g x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>"
                     "<text class=t x=\"%d\" y=\"%.1f\" text-anchor=end>%s</text>",
                     LEFT, WIDTH - RIGHT, py(a, y), py(a, y), LEFT - 8, py(a, y) + 4, label);
}

static void grid(struct weir_page *p, const struct axes *a) {
    if (a->plot->log_y) {
        for (double e = ceil(a->y0 - 1e-9); e <= a->y1 + 1e-9; e++)
            grid_line(p, a, pow(10, e));
        return;
    }
    double step = nice_step(a->y1 - a->y0);
    for (int i = 0; i <= MAX_TICKS && i * step <= a->y1 * (1 + 1e-9); i++)
        grid_line(p, a, i * step);
}

static void x_axis(struct weir_page *p, const struct axes *a) {
    const struct weir_plot *plot = a->plot;
    for (size_t i = 0; i < plot->n_ticks; i++) {
        double x = px(a, plot->ticks[i].x);
        weir_page_printf(p,
                         "<line class=k x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/>"
                         "<text class=t x=\"%.1f\" y=\"%d\" text-anchor=middle>%s</text>",
                         x, x, HEIGHT - BOTTOM, HEIGHT - BOTTOM + 4, x, HEIGHT - BOTTOM + 17,
                         plot->ticks[i].label);
    }
    weir_page_printf(p,
                     "<line class=a x1=\"%d\" x2=\"%d\" y1=\"%d\" y2=\"%d\"/>"
                     "<text class=t x=\"%d\" y=\"%d\" text-anchor=middle>",
                     LEFT, WIDTH - RIGHT, HEIGHT - BOTTOM, HEIGHT - BOTTOM,
                     (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6);
    weir_page_text(p, plot->x_title);
    weir_page_raw(p, "</text>");
}

/* Each run of points without a gap is a piece of its own. */
static void line(struct weir_page *p, const struct axes *a, const struct weir_plot_series *s) {
    const struct weir_plot *plot = a->plot;
    for (size_t i = 0; i < plot->n_points;) {
        while (i < plot->n_points && !isfinite(s->y[i]))
            i++;
        size_t from = i;
        while (i < plot->n_points && isfinite(s->y[i]))
            i++;
        if (from == i)
            break;
        if (s->area) {
            weir_page_printf(p, "<path class=\"f s%u\" d=\"M%.1f %d", s->colour,
                             px(a, plot->x[from]), HEIGHT - BOTTOM);
            for (size_t k = from; k < i; k++)
                weir_page_printf(p, "L%.1f %.1f", px(a, plot->x[k]), py(a, s->y[k]));
            weir_page_printf(p, "L%.1f %dZ\"/>", px(a, plot->x[i - 1]), HEIGHT - BOTTOM);
        }
        if (i - from == 1) {
            weir_page_printf(p, "<circle class=\"d s%u\" cx=\"%.1f\" cy=\"%.1f\" r=\"2.5\"/>",
                             s->colour, px(a, plot->x[from]), py(a, s->y[from]));
            continue;
        }
        weir_page_printf(p, "<path class=\"l s%u%s\" d=\"", s->colour, s->dashed ? " h" : "");
        for (size_t k = from; k < i; k++)
            weir_page_printf(p, "%c%.1f %.1f", k == from ? 'M' : 'L', px(a, plot->x[k]),
                             py(a, s->y[k]));
        weir_page_raw(p, "\"/>");
    }
}

/* Invisible bands that show a point's values under the pointer. */
static void bands(struct weir_page *p, const struct axes *a) {
    const struct weir_plot *plot = a->plot;
    for (size_t i = 0; i < plot->n_points && plot->x_text != NULL; i++) {
        double from = i > 0 ? (plot->x[i - 1] + plot->x[i]) / 2 : plot->x[i];
        double to = i + 1 < plot->n_points ? (plot->x[i] + plot->x[i + 1]) / 2 : plot->x[i];
        weir_page_printf(
            p, "<rect class=b x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\"><title>",
            px(a, from), TOP, fmax(px(a, to) - px(a, from), 0.5), HEIGHT - TOP - BOTTOM);
        weir_page_text(p, plot->x_text[i]);
        for (size_t s = 0; s < plot->n_series; s++) {
            char number[32];
            if (!isfinite(plot->series[s].y[i]))
                continue;
            weir_plot_number(plot->series[s].y[i], number, sizeof(number));
            weir_page_raw(p, "\n");
            weir_page_text(p, plot->series[s].name);
            weir_page_printf(p, ": %s ", number);
            weir_page_text(p, plot->unit);
        }
        weir_page_raw(p, "</title></rect>");
    }
}

static void head(struct weir_page *p, const struct weir_plot *plot) {
    weir_page_raw(p, "<figure><figcaption><b>");
    weir_page_text(p, plot->title);
    weir_page_raw(p, "</b>");
    if (plot->note != NULL) {
        weir_page_raw(p, " <small>");
        weir_page_text(p, plot->note);
        weir_page_raw(p, "</small>");
    }
    weir_page_raw(p, "<span class=legend>");
    for (size_t s = 0; s < plot->n_series; s++) {
        weir_page_printf(p, "<span><i class=\"s%u%s\"></i>", plot->series[s].colour,
                         plot->series[s].dashed ? " h" : "");
        weir_page_text(p, plot->series[s].name);
        weir_page_raw(p, "</span>");
    }
    weir_page_raw(p, "</span></figcaption>");
}

void weir_plot_write(struct weir_page *p, const struct weir_plot *plot) {
    double lo, hi;
    if (plot->n_points == 0 || !range(plot, &lo, &hi))
        return;
    struct axes a = {.plot = plot, .x0 = plot->x[0], .x1 = plot->x[plot->n_points - 1]};
    if (plot->n_ticks > 0) {
        a.x0 = fmin(a.x0, plot->ticks[0].x);
        a.x1 = fmax(a.x1, plot->ticks[plot->n_ticks - 1].x);
    }
    if (plot->log_y) {
        a.y0 = floor(log10(lo));
        a.y1 = ceil(log10(hi));
        if (a.y1 <= a.y0)
            a.y1 = a.y0 + 1;
    } else {
        double step = nice_step(hi > 0 ? hi : 1);
        a.y1 = step * ceil((hi > 0 ? hi : 1) / step);
    }
    head(p, plot);
    weir_page_printf(p, "<svg viewBox=\"0 0 %d %d\" role=img aria-label=\"", WIDTH, HEIGHT);
    weir_page_text(p, plot->title);
    weir_page_raw(p, "\">");
    if (isfinite(plot->shade_to) && plot->shade_to > a.x0)
        weir_page_printf(p, "<rect class=w x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\"/>", LEFT,
                         TOP, px(&a, fmin(plot->shade_to, a.x1)) - LEFT, HEIGHT - TOP - BOTTOM);
    grid(p, &a);
    x_axis(p, &a);
    for (size_t s = 0; s < plot->n_series; s++)
        line(p, &a, &plot->series[s]);
    bands(p, &a);
    weir_page_printf(p, "<text class=t x=\"%d\" y=\"%d\">", LEFT + 6, TOP + 12);
    weir_page_text(p, plot->unit);
    weir_page_raw(p, "</text></svg></figure>");
}
