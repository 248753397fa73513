#include "parsers/jscan_priv.h"

enum {
    VALUE,
    STRING,
    ESCAPE,
    HEX1,
    HEX2,
    HEX3,
    HEX4,
    MINUS,
    ZERO,
    DIGITS,
    POINT,
    FRACTION,
    EXP,
    EXP_SIGN,
    EXP_DIGITS,
    WORD,
    AFTER,     /* behind a value inside a container */
    FIRST_KEY, /* behind { */
    KEY,       /* behind , in an object */
    COLON,
    FIRST_ITEM, /* behind [ */
};

void jscan_init(struct jscan *s) {
    s->state = VALUE;
    s->depth = 0;
    s->key = false;
}

static bool is_digit(char ch) {
    return ch >= '0' && ch <= '9';
}
static bool is_hex(char ch) {
    return is_digit(ch) || (ch >= 'a' && ch <= 'f') || (ch >= 'A' && ch <= 'F');
}
static bool is_blank(char ch) {
    return ch == ' ' || ch == '\n' || ch == '\t' || ch == '\r';
}

static bool in_object(const struct jscan *s) {
    unsigned top = s->depth - 1;
    return (s->object[top / 64] >> (top % 64) & 1) != 0;
}

static bool open_container(struct jscan *s, bool object) {
    if (s->depth == JSCAN_DEPTH)
        return false;
    uint64_t bit = (uint64_t)1 << (s->depth % 64);
    if (object)
        s->object[s->depth / 64] |= bit;
    else
        s->object[s->depth / 64] &= ~bit;
    s->depth++;
    s->state = object ? FIRST_KEY : FIRST_ITEM;
    return true;
}

static bool begin_value(struct jscan *s, char ch) {
    switch (ch) {
    case '{':
    case '[':
        return open_container(s, ch == '{');
    case '"':
        s->state = STRING;
        s->key = false;
        return true;
    case '-':
        s->state = MINUS;
        return true;
    case '0':
        s->state = ZERO;
        return true;
    case 't':
        s->rest = "rue";
        break;
    case 'f':
        s->rest = "alse";
        break;
    case 'n':
        s->rest = "ull";
        break;
    default:
        s->state = DIGITS;
        return is_digit(ch);
    }
    s->state = WORD;
    return true;
}

/* Number states: the next one, or AFTER when the byte is none of the number's. */
static int number_step(unsigned state, char ch) {
    switch (state) {
    case MINUS:
        return ch == '0' ? ZERO : is_digit(ch) ? DIGITS : -1;
    case DIGITS:
    case ZERO:
        return state == DIGITS && is_digit(ch) ? DIGITS
               : ch == '.'                     ? POINT
               : ch == 'e' || ch == 'E'        ? EXP
                                               : AFTER;
    case POINT:
        return is_digit(ch) ? FRACTION : -1;
    case FRACTION:
        return is_digit(ch) ? FRACTION : ch == 'e' || ch == 'E' ? EXP : AFTER;
    case EXP:
        return ch == '+' || ch == '-' ? EXP_SIGN : is_digit(ch) ? EXP_DIGITS : -1;
    case EXP_SIGN:
        return is_digit(ch) ? EXP_DIGITS : -1;
    default:
        return is_digit(ch) ? EXP_DIGITS : AFTER;
    }
}

/* Bytes of a string's inside that need no look: all but quote, backslash and controls. */
static size_t plain_run(const char *d, size_t n) {
    size_t i = 0;
    while (i < n && (unsigned char)d[i] >= 0x20 && d[i] != '"' && d[i] != '\\')
        i++;
    return i;
}

static bool structure_step(struct jscan *s, char ch) {
    switch (s->state) {
    case VALUE:
        return begin_value(s, ch);
    case FIRST_ITEM:
        if (ch == ']')
            break;
        return begin_value(s, ch);
    case FIRST_KEY:
    case KEY:
        if (ch == '}' && s->state == FIRST_KEY)
            break;
        s->state = STRING;
        s->key = true;
        return ch == '"';
    case COLON:
        s->state = VALUE;
        return ch == ':';
    default: /* AFTER */
        if (ch == ',') {
            s->state = in_object(s) ? KEY : VALUE;
            return true;
        }
        if (ch != (in_object(s) ? '}' : ']'))
            return false;
        break;
    }
    s->depth--;
    s->state = AFTER;
    return true;
}

static bool string_step(struct jscan *s, char ch) {
    switch (s->state) {
    case STRING:
        if (ch == '"')
            s->state = s->key ? COLON : AFTER;
        else if (ch == '\\')
            s->state = ESCAPE;
        else
            return (unsigned char)ch >= 0x20;
        return true;
    case ESCAPE:
        s->state = ch == 'u' ? HEX1 : STRING;
        return ch == 'u' || ch == '"' || ch == '\\' || ch == '/' || ch == 'b' || ch == 'f' ||
               ch == 'n' || ch == 'r' || ch == 't';
    default:
        s->state = s->state == HEX4 ? STRING : s->state + 1;
        return is_hex(ch);
    }
}

enum jscan_result jscan_feed(struct jscan *s, const char *d, size_t n, size_t *ret_used) {
    size_t i = 0;
    while (i < n) {
        char ch = d[i];
        bool ok;
        if (s->state == STRING) {
            size_t run = plain_run(d + i, n - i);
            i += run;
            if (i == n)
                break;
            ok = string_step(s, d[i]);
        } else if (s->state >= ESCAPE && s->state <= HEX4) {
            ok = string_step(s, ch);
        } else if (s->state >= MINUS && s->state <= EXP_DIGITS) {
            int next = number_step(s->state, ch);
            ok = next >= 0;
            if (next == AFTER) {
                s->state = AFTER;
                if (s->depth == 0) {
                    *ret_used = i;
                    return JSCAN_DONE;
                }
                continue;
            }
            s->state = ok ? (uint8_t)next : s->state;
        } else if (s->state == WORD) {
            ok = ch == *s->rest;
            if (ok && *++s->rest == '\0')
                s->state = AFTER;
        } else {
            ok = is_blank(ch) || structure_step(s, ch);
        }
        if (!ok) {
            *ret_used = i;
            return JSCAN_BAD;
        }
        i++;
        if (s->state == AFTER && s->depth == 0) {
            *ret_used = i;
            return JSCAN_DONE;
        }
    }
    *ret_used = n;
    return JSCAN_MORE;
}

bool jscan_whole(const char *d, size_t n, char first) {
    struct jscan s;
    size_t used = 0;
    while (n > 0 && is_blank(d[0]))
        d++, n--;
    while (n > 0 && is_blank(d[n - 1]))
        n--;
    if (n == 0 || (first != '\0' && d[0] != first))
        return false;
    jscan_init(&s);
    enum jscan_result r = jscan_feed(&s, d, n, &used);
    if (r == JSCAN_MORE) /* a number ends with the text */
        return s.depth == 0 && (s.state == ZERO || s.state == DIGITS || s.state == FRACTION ||
                                s.state == EXP_DIGITS);
    return r == JSCAN_DONE && used == n;
}
