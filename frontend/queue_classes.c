#include "frontend/queue_classes.h"

static enum weir_status refuse(struct weir_err *err, const char *item, const char *why) {
    return weir_err_set(err, WEIR_INVALID,
                        "--router-queue-class %s: %s; it is NAME:WEIGHT[:REQUESTS[:TOKENS]], for "
                        "example batch:1:500",
                        item, why);
}

/* The next number of the row; a row that has ended leaves *ret. False: not a number. */
static bool next_number(struct weir_span *rest, uint64_t *ret) {
    if (rest->data == NULL)
        return true;
    struct weir_span field = weir_span_split(*rest, ':', rest);
    return weir_span_u64(field, ret);
}

bool weir_queue_classes_find(const struct weir_queue_classes *c, struct weir_span name,
                             uint32_t *ret_index) {
    for (size_t i = 0; i < c->n; i++)
        if (weir_span_eq(c->names[i], name)) {
            *ret_index = (uint32_t)i;
            return true;
        }
    return false;
}

static enum weir_status add(struct weir_queue_classes *c, const char *item, struct weir_err *err) {
    struct weir_span rest, name = weir_span_split(weir_span_z(item), ':', &rest);
    uint64_t weight = 0, requests = 0, tokens = 0;
    uint32_t at = 0;
    if (name.len == 0)
        return refuse(err, item, "it has no name");
    if (rest.data == NULL || !next_number(&rest, &weight) || weight < 1 || weight > 1000000)
        return refuse(err, item, "the weight is no whole number from 1 to 1000000");
    if (!next_number(&rest, &requests) || !next_number(&rest, &tokens))
        return refuse(err, item, "a bound is no whole number");
    if (rest.data != NULL)
        return refuse(err, item, "it has too many parts");
    bool known = weir_queue_classes_find(c, name, &at);
    if (known && (at > 0 || c->classes[0].weight != 0))
        return refuse(err, item, "the class is given twice");
    if (!known && c->n == WEIR_QUEUE_MAX_CLASSES)
        return refuse(err, item, "there are more than 63 classes besides default");
    at = known ? 0 : (uint32_t)c->n++;
    c->names[at] = name;
    c->classes[at] = (struct weir_queue_class){
        .weight = (uint32_t)weight, .max_requests = (size_t)requests, .max_tokens = tokens};
    return WEIR_OK;
}

enum weir_status weir_queue_classes_parse(const char *const *items, size_t n,
                                          struct weir_queue_classes *ret, struct weir_err *err) {
    struct weir_queue_classes c = {.n = 1, .configured = n > 0};
    c.names[0] = WEIR_SPAN_LIT("default");
    for (size_t i = 0; i < n; i++) {
        enum weir_status st = add(&c, items[i], err);
        if (st != WEIR_OK)
            return st;
    }
    if (c.classes[0].weight == 0)
        c.classes[0].weight = 1;
    *ret = c;
    return WEIR_OK;
}
