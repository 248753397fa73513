/*
 * Jinja2's tests ("x is y").
 */
#include "tokenizer/jinja_priv.h"

#define TEST(name)                                                                                 \
    static struct wj_val name(struct wj_run *x, struct wj_val v, const struct wj_args *a)

static void no_args(struct wj_run *x, const struct wj_args *a) {
    if (a->n > 0 || a->n_named > 0)
        wj_fail(x, WTOK_JINJA_ERR_TYPE, "the test takes 1 positional argument but %u were given",
                a->n + a->n_named + 1);
}

static struct wj_val one_arg(struct wj_run *x, const struct wj_args *a, const char *name) {
    const char *const params[] = {name};
    struct wj_val v = wj_none();
    wj_bind(x, "the test", a, params, 1, 1, &v);
    return v;
}

/* A test that only looks at the kind of the value. */
#define KIND_TEST(name, condition)                                                                 \
    TEST(name) {                                                                                   \
        no_args(x, a);                                                                             \
        return wj_bool(condition);                                                                 \
    }

KIND_TEST(t_defined, v.kind != WJ_UNDEF)
KIND_TEST(t_undefined, v.kind == WJ_UNDEF)
KIND_TEST(t_none, v.kind == WJ_NONE)
KIND_TEST(t_boolean, v.kind == WJ_BOOL)
KIND_TEST(t_false, v.kind == WJ_BOOL && v.sub == 0)
KIND_TEST(t_true, v.kind == WJ_BOOL && v.sub != 0)
KIND_TEST(t_integer, v.kind == WJ_INT || v.kind == WJ_BIG)
KIND_TEST(t_float, v.kind == WJ_FLOAT)
KIND_TEST(t_string, v.kind == WJ_STR)
KIND_TEST(t_mapping, v.kind == WJ_DICT)
KIND_TEST(t_number, wj_is_int(v) || v.kind == WJ_BIG || v.kind == WJ_FLOAT)
KIND_TEST(t_iterable, wj_is_iterable(v))
KIND_TEST(t_escaped, v.kind == WJ_STR && (v.flags & WJ_MARKUP) != 0)
KIND_TEST(t_callable, v.kind == WJ_FUNC || v.kind == WJ_METHOD || v.kind == WJ_MACRO ||
                          v.kind == WJ_LOOP || v.kind == WJ_JOINER || v.kind == WJ_UNDEF)

/* len(value) and value.__getitem__ work. */
TEST(t_sequence) {
    no_args(x, a);
    return wj_bool(v.kind == WJ_STR || wj_is_seq(v) || v.kind == WJ_DICT || v.kind == WJ_RANGE ||
                   v.kind == WJ_UNDEF);
}

static struct wj_val remainder_is(struct wj_run *x, struct wj_val v, struct wj_val by,
                                  int64_t want) {
    return wj_bool(wj_equal(x, wj_binary(x, WJ_OP_MOD, v, by), wj_int(want)));
}
TEST(t_odd) {
    no_args(x, a);
    return remainder_is(x, v, wj_int(2), 1);
}
TEST(t_even) {
    no_args(x, a);
    return remainder_is(x, v, wj_int(2), 0);
}
TEST(t_divisibleby) {
    return remainder_is(x, v, one_arg(x, a, "num"), 0);
}

static struct wj_val str_class(struct wj_run *x, struct wj_val v, const char *method) {
    const struct wj_args none = {.at = wj_nothing};
    struct wj_val s = wj_to_str(x, v);
    return wj_str_method(x, s, wj_attr_number(weir_span_z(method)), &none);
}
TEST(t_lower) {
    no_args(x, a);
    return str_class(x, v, "islower");
}
TEST(t_upper) {
    no_args(x, a);
    return str_class(x, v, "isupper");
}

static struct weir_span need_name(struct wj_run *x, struct wj_val v) {
    wj_need_hashable(x, v);
    return v.kind == WJ_STR ? wj_text(x, v) : weir_span("", 0);
}
TEST(t_filter) {
    no_args(x, a);
    struct weir_span name = need_name(x, v);
    return wj_bool(wj_find_filter(name) != NULL || wj_find_seq_filter(name) != NULL);
}
TEST(t_test) {
    no_args(x, a);
    return wj_bool(wj_find_test(need_name(x, v)) != NULL);
}

TEST(t_sameas) {
    return wj_bool(wj_same(v, one_arg(x, a, "other")));
}
TEST(t_in) {
    return wj_bool(wj_contains(x, one_arg(x, a, "seq"), v));
}

/* operator.eq and its kin take no keywords. */
static struct wj_val other(struct wj_run *x, const struct wj_args *a) {
    wj_positional(x, "the comparison", a, 1, 1);
    return a->at[0];
}
TEST(t_eq) {
    return wj_bool(wj_equal(x, v, other(x, a)));
}
TEST(t_ne) {
    return wj_bool(!wj_equal(x, v, other(x, a)));
}
TEST(t_lt) {
    return wj_bool(wj_order(x, WJ_OP_LT, v, other(x, a)));
}
TEST(t_le) {
    return wj_bool(wj_order(x, WJ_OP_LE, v, other(x, a)));
}
TEST(t_gt) {
    return wj_bool(wj_order(x, WJ_OP_GT, v, other(x, a)));
}
TEST(t_ge) {
    return wj_bool(wj_order(x, WJ_OP_GE, v, other(x, a)));
}

const struct wj_filter_def *wj_find_test(struct weir_span name) {
    static const struct wj_filter_def tests[] = {
        {"!=", t_ne},
        {"<", t_lt},
        {"<=", t_le},
        {"==", t_eq},
        {">", t_gt},
        {">=", t_ge},
        {"boolean", t_boolean},
        {"callable", t_callable},
        {"defined", t_defined},
        {"divisibleby", t_divisibleby},
        {"eq", t_eq},
        {"equalto", t_eq},
        {"escaped", t_escaped},
        {"even", t_even},
        {"false", t_false},
        {"filter", t_filter},
        {"float", t_float},
        {"ge", t_ge},
        {"greaterthan", t_gt},
        {"gt", t_gt},
        {"in", t_in},
        {"integer", t_integer},
        {"iterable", t_iterable},
        {"le", t_le},
        {"lessthan", t_lt},
        {"lower", t_lower},
        {"lt", t_lt},
        {"mapping", t_mapping},
        {"ne", t_ne},
        {"none", t_none},
        {"number", t_number},
        {"odd", t_odd},
        {"sameas", t_sameas},
        {"sequence", t_sequence},
        {"string", t_string},
        {"test", t_test},
        {"true", t_true},
        {"undefined", t_undefined},
        {"upper", t_upper},
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(tests); i++)
        if (weir_span_eqz(name, tests[i].name))
            return &tests[i];
    return NULL;
}
