/* YAML documents. Beyond crashes: a tree that is handed out keeps the promised bounds. */
#include "runtime/yaml.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void walk(const struct weir_yaml *v, unsigned depth, unsigned *nodes) {
    size_t n = 0;
    uint64_t whole;
    double number;
    bool flag;
    char text[64];
    if (depth > 32 || ++*nodes > 16384 || v->n > 1024)
        abort();
    if (v->type == WEIR_YAML_SCALAR && v->text.data[v->text.len] != '\0')
        abort();
    if (weir_yaml_u64(v, &whole) && !weir_yaml_f64(v, &number))
        abort();
    if (weir_yaml_bool(v, &flag) && weir_yaml_is_null(v))
        abort();
    weir_yaml_describe(v, text, sizeof(text));
    for (const struct weir_yaml *m = v->first; m != NULL; m = m->next, n++) {
        if ((v->type == WEIR_YAML_MAPPING) != (m->key.data != NULL))
            abort();
        for (const struct weir_yaml *k = v->first; k != m && n < 16; k = k->next)
            if (m->key.data != NULL && weir_span_eq(k->key, m->key))
                abort();
        walk(m, depth + 1, nodes);
    }
    if (n != v->n)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct weir_arena arena;
    struct weir_err err;
    const struct weir_yaml *root = NULL;
    unsigned nodes = 0;
    weir_arena_init(&arena, (size_t)64 << 20);
    enum weir_status st = weir_yaml_parse(weir_span((const char *)data, size), &arena, &root, &err);
    if ((st == WEIR_OK) != (root != NULL))
        abort();
    if (root != NULL)
        walk(root, 0, &nodes);
    weir_arena_fini(&arena);
    return 0;
}
