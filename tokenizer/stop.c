/*
 * Stop strings: an Aho-Corasick automaton. The depth of its state is the length of the longest
 * suffix of the text that is a prefix of some stop string: exactly what must be withheld.
 */
#include "base/mem.h"
#include "tokenizer/wtok.h"

enum { MAX_STOP_BYTES = 64 * 1024, NONE = -1 };

/* Children of a node are a sibling list; stop strings are few and short. */
struct node {
    int32_t first_child, next_sibling, fail;
    uint32_t depth;
    int32_t match;  /* index of the stop string that ends here, or NONE */
    int32_t suffix; /* nearest node on the fail chain that ends a stop string, or NONE */
    unsigned char c;
};

struct wtok_stop {
    struct node *nodes; /* owned; nodes[0] is the root */
    size_t n_nodes;
    int32_t state;
    bool include;
    bool first[256]; /* some stop string begins with this byte */
    /* The withheld bytes are the path from the root to `state`, kept here to be given out again. */
    struct weir_buf held;
};

static int32_t child_of(const struct wtok_stop *s, int32_t at, unsigned char c) {
    for (int32_t k = s->nodes[at].first_child; k != NONE; k = s->nodes[k].next_sibling)
        if (s->nodes[k].c == c)
            return k;
    return NONE;
}

static void insert(struct wtok_stop *s, struct weir_span text, int32_t index) {
    int32_t at = 0;
    s->first[(unsigned char)text.data[0]] = true;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        int32_t next = child_of(s, at, c);
        if (next == NONE) {
            next = (int32_t)s->n_nodes++;
            s->nodes[next] = (struct node){.first_child = NONE,
                                           .next_sibling = s->nodes[at].first_child,
                                           .depth = s->nodes[at].depth + 1,
                                           .match = NONE,
                                           .suffix = NONE,
                                           .c = c};
            s->nodes[at].first_child = next;
        }
        at = next;
    }
    if (s->nodes[at].match == NONE)
        s->nodes[at].match = index;
}

static int32_t step(const struct wtok_stop *s, int32_t state, unsigned char c) {
    for (;;) {
        int32_t next = child_of(s, state, c);
        if (next != NONE)
            return next;
        if (state == 0)
            return 0;
        state = s->nodes[state].fail;
    }
}

/* Fail links in breadth-first order, so that a shorter suffix is ready before a longer one asks. */
static enum weir_status link_failures(struct wtok_stop *s) {
    int32_t *queue = weir_malloc(s->n_nodes * sizeof(*queue));
    if (queue == NULL)
        return WEIR_NOMEM;
    size_t head = 0, tail = 0;
    queue[tail++] = 0;
    while (head < tail) {
        int32_t at = queue[head++];
        for (int32_t k = s->nodes[at].first_child; k != NONE; k = s->nodes[k].next_sibling) {
            s->nodes[k].fail = at == 0 ? 0 : step(s, s->nodes[at].fail, s->nodes[k].c);
            const struct node *f = &s->nodes[s->nodes[k].fail];
            s->nodes[k].suffix = f->match != NONE ? s->nodes[k].fail : f->suffix;
            queue[tail++] = k;
        }
    }
    weir_free(queue);
    return WEIR_OK;
}

enum weir_status wtok_stop_create(const struct weir_span *stops, size_t n, bool include_in_output,
                                  struct wtok_stop **ret_stop) {
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++) {
        if (stops[i].len == 0)
            return WEIR_INVALID;
        if (stops[i].len > MAX_STOP_BYTES - bytes)
            return WEIR_TOO_LARGE;
        bytes += stops[i].len;
    }
    struct wtok_stop *s = weir_calloc(1, sizeof(*s));
    if (s == NULL)
        return WEIR_NOMEM;
    weir_buf_init(&s->held, MAX_STOP_BYTES);
    s->include = include_in_output;
    s->nodes = weir_malloc((bytes + 1) * sizeof(*s->nodes));
    if (s->nodes == NULL) {
        wtok_stop_destroy(s);
        return WEIR_NOMEM;
    }
    s->nodes[0] =
        (struct node){.first_child = NONE, .next_sibling = NONE, .match = NONE, .suffix = NONE};
    s->n_nodes = 1;
    for (size_t i = 0; i < n; i++)
        insert(s, stops[i], (int32_t)i);
    enum weir_status st = link_failures(s);
    if (st != WEIR_OK) {
        wtok_stop_destroy(s);
        return st;
    }
    *ret_stop = s;
    return WEIR_OK;
}

void wtok_stop_destroy(struct wtok_stop *stop) {
    if (stop == NULL)
        return;
    weir_buf_fini(&stop->held);
    weir_free(stop->nodes);
    weir_free(stop);
}

/* Gives out all withheld bytes but the last `keep`. */
static enum weir_status release(struct wtok_stop *s, size_t keep, struct weir_buf *out) {
    size_t n = s->held.len - keep;
    enum weir_status st = weir_buf_append(out, s->held.data, n);
    if (st == WEIR_OK)
        weir_buf_consume(&s->held, n);
    return st;
}

/* The longest stop string that ends at the current state, or NONE. */
static int32_t ending_at(const struct wtok_stop *s) {
    const struct node *at = &s->nodes[s->state];
    return at->match != NONE ? s->state : at->suffix;
}

/* End of the run from i on in which certainly no stop string begins. Needs the state at the root.
 */
static size_t plain_run(const struct wtok_stop *s, struct weir_span text, size_t i) {
    for (; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (!s->first[c])
            continue;
        /* One byte further on most beginnings are over. */
        int32_t at = child_of(s, 0, c);
        if (i + 1 == text.len || s->nodes[at].match != NONE ||
            child_of(s, at, (unsigned char)text.data[i + 1]) != NONE)
            break;
    }
    return i;
}

enum weir_status wtok_stop_push(struct wtok_stop *s, struct weir_span text, struct weir_buf *out,
                                int *ret_matched) {
    int matched = NONE;
    for (size_t i = 0; i < text.len && matched == NONE;) {
        if (s->state == 0) { /* nothing is withheld: pass over bytes that begin no stop string */
            size_t from = i;
            i = plain_run(s, text, i);
            enum weir_status st =
                i > from ? weir_buf_append(out, text.data + from, i - from) : WEIR_OK;
            if (st != WEIR_OK)
                return st;
            if (i == text.len)
                break;
        }
        enum weir_status st = weir_buf_append_c(&s->held, text.data[i]);
        if (st != WEIR_OK)
            return st;
        s->state = step(s, s->state, (unsigned char)text.data[i++]);
        int32_t end = ending_at(s);
        size_t keep = end != NONE && s->include ? 0 : s->nodes[end != NONE ? end : s->state].depth;
        st = s->held.len > keep ? release(s, keep, out) : WEIR_OK;
        if (st != WEIR_OK)
            return st;
        if (end != NONE) {
            matched = s->nodes[end].match;
            weir_buf_clear(&s->held);
            s->state = 0;
        }
    }
    *ret_matched = matched;
    return WEIR_OK;
}

enum weir_status wtok_stop_finish(struct wtok_stop *stop, struct weir_buf *out) {
    stop->state = 0;
    return release(stop, 0, out);
}
