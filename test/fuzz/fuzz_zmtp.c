/* Properties: however the bytes are cut, the same messages come out; no span leaves the input; a
 * frame that is not whole is as long as it says. */
#include "net/zmtp.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_MESSAGE = 4096 };

static uint64_t mix(uint64_t h, uint64_t v) {
    return (h ^ v) * 0x9E3779B97F4A7C15u;
}

static uint64_t mix_span(uint64_t h, struct weir_span all, struct weir_span s) {
    if (s.len > 0 && (s.data < all.data || s.data + s.len > all.data + all.len))
        abort();
    for (size_t i = 0; i < s.len; i++)
        h = mix(h, (unsigned char)s.data[i]);
    return mix(h, s.len);
}

/* A sum over all that is read when `step` more bytes come each time. */
static uint64_t read_all(struct weir_span all, size_t step) {
    struct weir_zmtp_message m;
    uint64_t h = 0;
    size_t from = 0, have = 0;
    weir_zmtp_message_init(&m);
    for (;;) {
        enum weir_status st =
            weir_zmtp_message_decode(&m, weir_span(all.data + from, have - from), MAX_MESSAGE);
        if (st == WEIR_AGAIN) {
            struct weir_span rest = weir_span(all.data + from + m.used, have - from - m.used);
            struct weir_zmtp_frame f;
            size_t size = weir_zmtp_frame_size(rest), left = all.len - from - m.used;
            if (size > 0 &&
                (rest.len >= size ||
                 (left >= size &&
                  weir_zmtp_frame_decode(weir_span(rest.data, left), MAX_MESSAGE, &f) == WEIR_OK &&
                  f.size != size)))
                abort();
            if (have == all.len)
                return mix(h, from);
            have = all.len - have < step ? all.len : have + step;
            continue;
        }
        if (st != WEIR_OK)
            return mix(mix(h, from), (uint64_t)st);
        struct weir_span context = {NULL, 0};
        if (m.n_frames == 0) {
            h = mix_span(h, all, m.command);
            h = mix(h, weir_zmtp_command_decode(m.command, &context));
            h = mix_span(h, all, context);
        }
        for (size_t i = 0; i < m.n_frames && i < WEIR_ZMTP_FRAMES; i++)
            h = mix_span(h, all, m.frames[i]);
        h = mix(h, m.n_frames);
        from += m.used;
        if (from > have)
            abort();
        weir_zmtp_message_init(&m);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct weir_span bytes = weir_span((const char *)data, size);
    unsigned minor = 0;
    const char *why = "";
    if (weir_zmtp_greeting(bytes, &minor, &why) == WEIR_OK)
        bytes = weir_span(bytes.data + WEIR_ZMTP_GREETING, bytes.len - WEIR_ZMTP_GREETING);
    uint64_t whole = read_all(bytes, bytes.len);
    if (read_all(bytes, 1) != whole || read_all(bytes, 7) != whole)
        abort();
    return 0;
}
