/* Which namespaces a frontend serves, as Dynamo 1.6.1 says by the same settings. */
#include "frontend/models.h"
#include "test/check.h"

static void case_prefixes(void) {
    static const struct {
        const char *ns;
        bool literal, strict;
    } rows[] = {
        {"default-foo", true, true},
        {"default-foo-1a2b3c4d", true, true},
        {"default-foo-legacy", true, true},
        {"default-foo-bar", true, false},
        {"default-foo-bar-1a2b3c4d", true, false},
        {"default-foo-1A2B3C4D", true, false},
        {"default-foo-1a2b3c4", true, false},
        {"default-foo-1a2b3c4d5", true, false},
        {"default-foo1a2b3c4d", true, false},
        {"default-foo-", true, false},
        {"default-fo", false, false},
        {"", false, false},
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++)
        for (int strict = 0; strict < 2; strict++) {
            const struct weir_models_config c = {.ns_prefix = "default-foo", .ns_strict = strict};
            CHECK_MSG(weir_models_wants(&c, weir_span_z(rows[i].ns)) ==
                          (strict ? rows[i].strict : rows[i].literal),
                      "%s", rows[i].ns);
        }
}

static void case_one_and_all(void) {
    const struct weir_models_config one = {.ns = "a", .ns_strict = true}, all = {.ns = NULL};
    CHECK(weir_models_wants(&one, WEIR_SPAN_LIT("a")) &&
          !weir_models_wants(&one, WEIR_SPAN_LIT("a-legacy")));
    CHECK(weir_models_wants(&all, WEIR_SPAN_LIT("a")));
}

int main(void) {
    CHECK_RUN(case_prefixes);
    CHECK_RUN(case_one_and_all);
    return check_finish();
}
