#include "parsers/engine_priv.h"
enum step wprs_step_literal(struct wprs *p, struct cursor *c) {
    (void)p;
    (void)c;
    return STEP_BREAK;
}
enum match wprs_bare_python(const char *d, size_t n, bool final) {
    (void)d;
    (void)n;
    (void) final;
    return MATCH_NO;
}
