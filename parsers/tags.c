#include "parsers/engine_priv.h"
enum step wprs_step_tags(struct wprs *p, struct cursor *c) {
    (void)p;
    (void)c;
    return STEP_BREAK;
}
enum step wprs_step_tree(struct wprs *p, struct cursor *c) {
    (void)p;
    (void)c;
    return STEP_BREAK;
}
