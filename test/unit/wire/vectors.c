#include "test/unit/wire/vectors.h"

#include "base/json.h"

static int nibble(char c) {
    return c <= '9' ? c - '0' : (c | 32) - 'a' + 10;
}

void vector_unhex(struct weir_span hex, struct weir_buf *out) {
    for (size_t i = 0; i + 1 < hex.len; i += 2)
        if (weir_buf_append_c(out, (char)(nibble(hex.data[i]) << 4 | nibble(hex.data[i + 1]))) !=
            WEIR_OK)
            abort();
}

static struct weir_buf file;

static struct weir_span load(void) {
    if (file.data != NULL)
        return weir_buf_span(&file);
    weir_buf_init(&file, 16 << 20);
    FILE *f = fopen("test/data/wire/vectors.tsv", "rb");
    char room[65536];
    size_t n;
    if (f == NULL)
        abort();
    while ((n = fread(room, 1, sizeof(room), f)) > 0)
        if (weir_buf_append(&file, room, n) != WEIR_OK)
            abort();
    fclose(f);
    return weir_buf_span(&file);
}

unsigned vectors_run(const char *kind, vector_fn fn) {
    struct weir_span rest = load();
    unsigned n = 0;
    while (rest.data != NULL && rest.len > 0) {
        struct weir_span line = weir_span_split(rest, '\n', &rest);
        struct weir_span name = weir_span_split(line, '\t', &line);
        struct weir_span type = weir_span_split(line, '\t', &line);
        struct weir_span codec = weir_span_split(line, '\t', &line);
        struct weir_span hex = weir_span_split(line, '\t', &line);
        if (!weir_span_eqz(type, kind))
            continue;
        struct weir_buf bytes;
        char label[512];
        weir_buf_init(&bytes, 1 << 20);
        snprintf(label, sizeof(label), "%.*s", WEIR_SPAN_ARG(name));
        struct vector v = {.name = label,
                           .codec = weir_span_eqz(codec, "msgpack") ? WEIR_CODEC_MSGPACK
                                                                    : WEIR_CODEC_JSON,
                           .expected = line};
        /* In memory of its own, so that a read behind it is seen. */
        if (weir_span_eqz(hex, "-")) {
            if (weir_buf_append_span(&bytes, line) != WEIR_OK)
                abort();
        } else {
            vector_unhex(hex, &bytes);
        }
        v.bytes = weir_buf_span(&bytes);
        fn(&v);
        weir_buf_fini(&bytes);
        n++;
    }
    return n;
}

struct weir_span vector_member(struct weir_span object, const char *name) {
    struct weir_json j;
    struct weir_json_str key;
    struct weir_span raw;
    weir_json_init(&j, object, 64);
    if (!weir_json_object_enter(&j))
        return weir_span(NULL, 0);
    while (weir_json_object_next(&j, &key)) {
        bool found = weir_json_str_eqz(key, name);
        if (!weir_json_skip(&j, &raw))
            break;
        if (found)
            return weir_span_trim(raw);
    }
    return weir_span(NULL, 0);
}
