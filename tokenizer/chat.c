/* The chat template of a loaded model: none yet, so its conversations are refused. */
#include "tokenizer/wtok_priv.h"

enum weir_status wtok_chat_attach(struct wtok *tok, struct weir_err *err) {
    (void)tok;
    (void)err;
    return WEIR_OK;
}

void wtok_chat_detach(struct wtok *tok) {
    tok->chat = NULL;
}
