/*
 * A grid of options: names with several values each, and every combination of them a
 * configuration. Text: words `name=value,value` or `name=from:to:count` (count values, evenly
 * spaced), separated by blanks or lines; a name is an option's flag without its dashes. Pure.
 */
#ifndef WEIR_BENCH_GRID_H
#define WEIR_BENCH_GRID_H

#include "base/json.h"
#include "runtime/config.h"

enum { WEIR_GRID_AXES = 24, WEIR_GRID_VALUES = 4096, WEIR_GRID_CONFIGS = 262144 };

struct weir_grid_axis {
    const struct weir_option *option;
    const char *name;   /* its flag without dashes */
    const char **texts; /* n, as they were written; in the grid's arena */
    void *values;       /* n members, parsed; in the grid's arena */
    size_t n;
};
struct weir_grid {
    const struct weir_program *program;
    const void *base; /* borrowed: outlives the grid */
    struct weir_grid_axis axes[WEIR_GRID_AXES];
    size_t n_axes;
    size_t n_configs; /* product of the axes; the last one changes fastest */
};

/* `base` is a loaded configuration; `refuses` says why an option may not vary, or NULL. Errors name
 * the word. Strings live in the arena. */
enum weir_status weir_grid_parse(struct weir_span text, const struct weir_program *program,
                                 const void *base,
                                 const char *(*refuses)(const struct weir_option *option),
                                 struct weir_arena *arena, struct weir_grid *ret,
                                 struct weir_err *err) WEIR_MUST_CHECK;
/* One more axis of an option that has none yet. */
enum weir_status weir_grid_add(struct weir_grid *grid, const struct weir_option *option,
                               struct weir_span values, struct weir_arena *arena,
                               struct weir_err *err) WEIR_MUST_CHECK;
/* From a configuration to the one with the next value of an axis and all else equal. */
size_t weir_grid_stride(const struct weir_grid *grid, size_t axis);
/* Which value of an axis configuration `at` has. */
size_t weir_grid_place(const struct weir_grid *grid, size_t at, size_t axis);
/* Copies the base to *ret (program->struct_bytes), sets the values and applies rules and presets.
 * Threads: any. */
enum weir_status weir_grid_config(const struct weir_grid *grid, size_t at, void *ret,
                                  struct weir_err *err) WEIR_MUST_CHECK;
/* "name=value name=value", as on a command line without dashes, of all axes or of those that vary;
 * cut to the room. */
void weir_grid_describe(const struct weir_grid *grid, size_t at, bool varying, char *out,
                        size_t room);
/* The same as a member "options" of an open object. */
void weir_grid_json(struct weir_jsonw *w, const struct weir_grid *grid, size_t at);

#endif
