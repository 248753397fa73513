/* --router-queue-class: what is taken, and the words for what is not. */
#include "frontend/queue_classes.h"

#include "test/check.h"

static void case_taken(void) {
    static const char *const items[] = {"gold:5", "default:2:10", "batch:1:500:1000000"};
    struct weir_queue_classes c;
    struct weir_err err;
    uint32_t at = 9;
    CHECK(weir_queue_classes_parse(items, 3, &c, &err) == WEIR_OK);
    CHECK(c.n == 3 && c.configured);
    CHECK(weir_queue_classes_find(&c, WEIR_SPAN_LIT("default"), &at) && at == 0);
    CHECK(c.classes[0].weight == 2 && c.classes[0].max_requests == 10);
    CHECK(weir_queue_classes_find(&c, WEIR_SPAN_LIT("gold"), &at) && at == 1);
    CHECK(c.classes[1].weight == 5 && c.classes[1].max_requests == 0);
    CHECK(weir_queue_classes_find(&c, WEIR_SPAN_LIT("batch"), &at) && at == 2);
    CHECK(c.classes[2].max_requests == 500 && c.classes[2].max_tokens == 1000000);
    CHECK(!weir_queue_classes_find(&c, WEIR_SPAN_LIT("Batch"), &at));
    CHECK(weir_queue_classes_parse(NULL, 0, &c, &err) == WEIR_OK);
    CHECK(c.n == 1 && !c.configured && c.classes[0].weight == 1);
}

static void case_refused(void) {
    static const struct {
        const char *item, *why;
    } rows[] = {{"", "it has no name"},
                {":1", "it has no name"},
                {"a", "the weight is no whole number from 1 to 1000000"},
                {"a:", "the weight is no whole number from 1 to 1000000"},
                {"a:0", "the weight is no whole number from 1 to 1000000"},
                {"a:1000001", "the weight is no whole number from 1 to 1000000"},
                {"a:1.5", "the weight is no whole number from 1 to 1000000"},
                {"a:1:x", "a bound is no whole number"},
                {"a:1:", "a bound is no whole number"},
                {"a:1:2:-3", "a bound is no whole number"},
                {"a:1:2:3:4", "it has too many parts"}};
    struct weir_queue_classes c;
    struct weir_err err;
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        char want[256];
        snprintf(want, sizeof(want),
                 "--router-queue-class %s: %s; it is NAME:WEIGHT[:REQUESTS[:TOKENS]], for example "
                 "batch:1:500",
                 rows[i].item, rows[i].why);
        CHECK(weir_queue_classes_parse(&rows[i].item, 1, &c, &err) == WEIR_INVALID);
        CHECK_EQ_STR(err.text, strlen(err.text), want);
    }
    static const char *const twice[] = {"a:1", "a:2"}, *const defaults[] = {"default:1",
                                                                            "default:1"};
    CHECK(weir_queue_classes_parse(twice, 2, &c, &err) == WEIR_INVALID);
    CHECK(strstr(err.text, "twice") != NULL);
    CHECK(weir_queue_classes_parse(defaults, 2, &c, &err) == WEIR_INVALID);
    char names[70][8];
    const char *many[70];
    for (int i = 0; i < 70; i++) {
        snprintf(names[i], sizeof(names[i]), "c%d:1", i);
        many[i] = names[i];
    }
    CHECK(weir_queue_classes_parse(many, 63, &c, &err) == WEIR_OK && c.n == 64);
    CHECK(weir_queue_classes_parse(many, 64, &c, &err) == WEIR_INVALID);
}

int main(void) {
    CHECK_RUN(case_taken);
    CHECK_RUN(case_refused);
    return check_finish();
}
