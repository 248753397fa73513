/* A generic list of splitters, for tokenizers whose pattern is not scanned by hand. */
#include "tokenizer/encode_priv.h"

enum weir_status wtok_steps_open(struct wtok_model *m, struct weir_err *err) {
    if (m->image->family != WTOK_GENERIC)
        return WEIR_OK;
    return weir_err_set(err, WEIR_UNSUPPORTED,
                        "pre_tokenizer: a list of steps like this one is not understood");
}

void wtok_steps_close(struct wtok_model *m) {
    (void)m;
}

enum weir_status wtok_encode_steps(const struct wtok_model *m, struct wtok_context *ctx,
                                   struct weir_span text, struct wtok_out *out) {
    (void)m, (void)ctx, (void)text, (void)out;
    return WEIR_UNSUPPORTED;
}
