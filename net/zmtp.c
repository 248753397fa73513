#include "net/zmtp.h"

#include "base/big_endian.h"

#include <string.h>

enum { MORE = 1, LONG = 2, COMMAND = 4, MAX_CONTEXT = 16, MAX_SHORT = 255, SIGNATURE = 10 };
enum { SHORT_HEAD = 2, LONG_HEAD = 9 };

static const char null_mechanism[20] = "NULL";

/* ---- writing ------------------------------------------------------------------------------ */

static enum weir_status put_head(unsigned flags, size_t len, struct weir_buf *out) {
    char head[9] = {(char)(flags | (len > MAX_SHORT ? LONG : 0)), (char)len};
    if (len <= MAX_SHORT)
        return weir_buf_append(out, head, 2);
    for (unsigned i = 0; i < 8; i++)
        head[1 + i] = (char)((uint64_t)len >> (56 - 8 * i));
    return weir_buf_append(out, head, sizeof(head));
}

static enum weir_status put_command(const char *name, struct weir_span data, struct weir_buf *out) {
    size_t n = strlen(name);
    enum weir_status st = put_head(COMMAND, 1 + n + data.len, out);
    if (st == WEIR_OK)
        st = weir_buf_append_c(out, (char)n);
    if (st == WEIR_OK)
        st = weir_buf_append(out, name, n);
    return st == WEIR_OK ? weir_buf_append_span(out, data) : st;
}

enum weir_status weir_zmtp_hello(struct weir_buf *out) {
    char greeting[WEIR_ZMTP_GREETING] = {'\xff', 0, 0, 0, 0, 0, 0, 0, 0, '\x7f', 3, 1};
    memcpy(greeting + 12, null_mechanism, sizeof(null_mechanism));
    enum weir_status st = weir_buf_append(out, greeting, sizeof(greeting));
    return st == WEIR_OK ? put_command("READY", WEIR_SPAN_LIT("\x0bSocket-Type\0\0\0\x03SUB"), out)
                         : st;
}

enum weir_status weir_zmtp_subscribe(unsigned minor, struct weir_span topic, struct weir_buf *out) {
    if (minor >= 1)
        return put_command("SUBSCRIBE", topic, out);
    enum weir_status st = put_head(0, 1 + topic.len, out);
    if (st == WEIR_OK)
        st = weir_buf_append_c(out, 1);
    return st == WEIR_OK ? weir_buf_append_span(out, topic) : st;
}

enum weir_status weir_zmtp_pong(struct weir_span context, struct weir_buf *out) {
    return put_command("PONG", context, out);
}

/* ---- reading ------------------------------------------------------------------------------ */

enum weir_status weir_zmtp_greeting(struct weir_span bytes, unsigned *ret_minor,
                                    const char **ret_why) {
    const char *p = bytes.data;
    if (bytes.len == 0)
        return WEIR_AGAIN;
    bool signature = p[0] == '\xff' && (bytes.len < SIGNATURE || p[SIGNATURE - 1] == '\x7f');
    if (!signature || (bytes.len > SIGNATURE && (unsigned char)p[SIGNATURE] < 3)) {
        *ret_why = "it does not speak ZMTP 3";
        return WEIR_PROTOCOL;
    }
    if (bytes.len < WEIR_ZMTP_GREETING)
        return WEIR_AGAIN;
    if (memcmp(p + 12, null_mechanism, sizeof(null_mechanism)) != 0) {
        *ret_why = "it wants another security mechanism than NULL";
        return WEIR_PROTOCOL;
    }
    *ret_minor = p[SIGNATURE] > 3 ? 1 : (unsigned char)p[SIGNATURE + 1];
    return WEIR_OK;
}

enum weir_status weir_zmtp_frame_decode(struct weir_span bytes, size_t max,
                                        struct weir_zmtp_frame *ret_frame) {
    const unsigned char *p = (const unsigned char *)bytes.data;
    if (bytes.len == 0)
        return WEIR_AGAIN;
    unsigned flags = p[0];
    size_t head = (flags & LONG) != 0 ? LONG_HEAD : SHORT_HEAD;
    if (flags > (MORE | LONG | COMMAND) || (flags & (MORE | COMMAND)) == (MORE | COMMAND))
        return WEIR_PROTOCOL;
    if (bytes.len < head)
        return WEIR_AGAIN;
    uint64_t len = head == LONG_HEAD ? weir_be64(p + 1) : p[1];
    if (len > max)
        return WEIR_TOO_LARGE;
    if (bytes.len - head < len)
        return WEIR_AGAIN;
    *ret_frame = (struct weir_zmtp_frame){.more = (flags & MORE) != 0,
                                          .command = (flags & COMMAND) != 0,
                                          .body = weir_span(bytes.data + head, (size_t)len),
                                          .size = head + (size_t)len};
    return WEIR_OK;
}

size_t weir_zmtp_frame_size(struct weir_span bytes) {
    const unsigned char *p = (const unsigned char *)bytes.data;
    size_t head = bytes.len > 0 && (p[0] & LONG) != 0 ? LONG_HEAD : SHORT_HEAD;
    if (bytes.len < head)
        return 0;
    uint64_t len = head == LONG_HEAD ? weir_be64(p + 1) : p[1];
    return len < SIZE_MAX - head ? head + (size_t)len : SIZE_MAX;
}

/* Metadata: (name length, name, value length in 4 bytes, value)*. */
static bool ready_of_publisher(struct weir_span data) {
    bool publishes = false;
    while (data.len > 0) {
        size_t n = (unsigned char)data.data[0];
        if (data.len < 1 + n + 4)
            return false;
        struct weir_span name = weir_span(data.data + 1, n);
        uint64_t len = 0;
        for (size_t i = 0; i < 4; i++)
            len = len << 8 | (unsigned char)data.data[1 + n + i];
        data = weir_span(data.data + 5 + n, data.len - 5 - n);
        if (len > data.len)
            return false;
        struct weir_span value = weir_span(data.data, (size_t)len);
        if (weir_span_ieq(name, WEIR_SPAN_LIT("Socket-Type")))
            publishes = weir_span_eqz(value, "PUB") || weir_span_eqz(value, "XPUB");
        data = weir_span(data.data + len, data.len - (size_t)len);
    }
    return publishes;
}

enum weir_zmtp_command weir_zmtp_command_decode(struct weir_span body,
                                                struct weir_span *ret_context) {
    size_t n = body.len > 0 ? (unsigned char)body.data[0] : 0;
    if (n == 0 || body.len < 1 + n)
        return WEIR_ZMTP_BAD;
    struct weir_span name = weir_span(body.data + 1, n);
    struct weir_span data = weir_span(body.data + 1 + n, body.len - 1 - n);
    if (weir_span_eqz(name, "READY"))
        return ready_of_publisher(data) ? WEIR_ZMTP_READY : WEIR_ZMTP_BAD;
    if (weir_span_eqz(name, "ERROR"))
        return WEIR_ZMTP_BAD;
    if (!weir_span_eqz(name, "PING"))
        return WEIR_ZMTP_OTHER;
    if (data.len < 2 || data.len > 2 + MAX_CONTEXT)
        return WEIR_ZMTP_BAD;
    *ret_context = weir_span(data.data + 2, data.len - 2);
    return WEIR_ZMTP_PING;
}

void weir_zmtp_message_init(struct weir_zmtp_message *m) {
    m->n_frames = m->used = 0;
}

/* A message that is here whole, as most are. False with nothing changed but m->frames: it is not,
 * or is none, or ends in so few bytes that a long head would not fit. */
static inline bool whole_message(struct weir_zmtp_message *m, struct weir_span bytes, size_t max) {
    const char *p = bytes.data;
    size_t left = bytes.len < max ? bytes.len : max;
    for (size_t n = 0; n < WEIR_ZMTP_FRAMES && left >= LONG_HEAD; n++) {
        unsigned flags = (unsigned char)p[0];
        bool is_long = (flags & LONG) != 0;
        size_t head = is_long ? LONG_HEAD : SHORT_HEAD;
        uint64_t len = is_long ? weir_be64(p + 1) : (unsigned char)p[1];
        if (flags > (MORE | LONG) || len > left - head)
            return false;
        m->frames[n] = weir_span(p + head, (size_t)len);
        p += head + len;
        left -= head + (size_t)len;
        if ((flags & MORE) == 0) {
            m->n_frames = n + 1;
            m->used = (size_t)(p - bytes.data);
            return true;
        }
    }
    return false;
}

enum weir_status weir_zmtp_message_decode(struct weir_zmtp_message *m, struct weir_span bytes,
                                          size_t max) {
    if (m->used == 0 && whole_message(m, bytes, max))
        return WEIR_OK;
    for (;;) {
        struct weir_span rest = weir_span(bytes.data + m->used, bytes.len - m->used);
        struct weir_zmtp_frame f;
        enum weir_status st = weir_zmtp_frame_decode(rest, max, &f);
        if (st != WEIR_OK)
            return st;
        if (f.command) { /* between messages only */
            if (m->n_frames > 0)
                return WEIR_PROTOCOL;
            m->command = f.body;
            m->used = f.size;
            return WEIR_OK;
        }
        if (m->n_frames < WEIR_ZMTP_FRAMES) {
            m->offsets[m->n_frames] = m->used + f.size - f.body.len;
            m->lengths[m->n_frames] = f.body.len;
        }
        m->n_frames++;
        m->used += f.size;
        if (m->used > max)
            return WEIR_TOO_LARGE;
        if (!f.more)
            break;
    }
    for (size_t i = 0; i < m->n_frames && i < WEIR_ZMTP_FRAMES; i++)
        m->frames[i] = weir_span(bytes.data + m->offsets[i], m->lengths[i]);
    return WEIR_OK;
}
