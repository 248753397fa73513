/* TOML documents. Beyond crashes: a tree that is handed out keeps the promised bounds. */
#include "runtime/toml.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Depth is bounded by 64 nested values on top of 64 parts of a key each. */
static void walk(const struct weir_toml *v, unsigned depth) {
    if (depth > 64 * 64)
        abort();
    size_t n = 0;
    if (v->type == WEIR_TOML_STRING && v->text.data[v->text.len] != '\0')
        abort();
    if (v->type != WEIR_TOML_ARRAY && v->type != WEIR_TOML_TABLE)
        return;
    for (const struct weir_toml *m = v->first; m != NULL; m = m->next, n++) {
        if (v->type == WEIR_TOML_TABLE && m->key.data == NULL)
            abort();
        walk(m, depth + 1);
    }
    if (n != v->n)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct weir_arena arena;
    struct weir_err err;
    const struct weir_toml *root = NULL;
    weir_arena_init(&arena, (size_t)64 << 20);
    enum weir_status st = weir_toml_parse(weir_span((const char *)data, size), &arena, &root, &err);
    if ((st == WEIR_OK) != (root != NULL))
        abort();
    if (root != NULL)
        walk(root, 0);
    weir_arena_fini(&arena);
    return 0;
}
