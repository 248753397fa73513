/* tiktoken rank files. */
#include "tokenizer/spec_priv.h"

enum weir_status wtok_spec_tiktoken(struct wtok_spec *spec, struct weir_span text,
                                    const char *pattern, struct weir_err *err) {
    (void)spec, (void)text, (void)pattern;
    return weir_err_set(err, WEIR_UNSUPPORTED, "tiktoken files are not understood yet");
}
