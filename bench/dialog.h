/*
 * The body of a request, kept open between the turns of a conversation: each turn appends to the
 * JSON that the turns before have left, so a long history is never copied. Pure.
 *
 *     weir_dialog_begin(&d, &form)
 *     weir_dialog_user(&d, plan, &turn)      what the user says
 *     weir_dialog_body(&d, max_tokens, &span)  the whole body, valid until the next call
 *     weir_dialog_answer(&d, text)           what the server said; then the next user turn
 */
#ifndef WEIR_BENCH_DIALOG_H
#define WEIR_BENCH_DIALOG_H

#include "bench/plan.h"

struct weir_dialog_form {
    const char *model;
    bool chat; /* messages; otherwise one prompt of all that was said */
    bool stream;
    bool ignore_eos;
};

struct weir_dialog {
    const struct weir_dialog_form *form; /* borrowed: outlives the dialog */
    struct weir_buf body;
    size_t open_len; /* bytes without the closing part */
    bool has_message;
};

/* `max_bytes` bounds the body. */
void weir_dialog_init(struct weir_dialog *d, size_t max_bytes);
/* Accepts NULL. */
void weir_dialog_fini(struct weir_dialog *d);
/* Forgets what was said, keeps the memory. */
enum weir_status weir_dialog_begin(struct weir_dialog *d,
                                   const struct weir_dialog_form *form) WEIR_MUST_CHECK;
enum weir_status weir_dialog_user(struct weir_dialog *d, const struct weir_plan *plan,
                                  const struct weir_turn *turn) WEIR_MUST_CHECK;
/* `escaped`: as it stood between the quotes of a JSON string. */
enum weir_status weir_dialog_answer(struct weir_dialog *d,
                                    struct weir_span escaped) WEIR_MUST_CHECK;
enum weir_status weir_dialog_body(struct weir_dialog *d, uint32_t max_tokens,
                                  struct weir_span *ret_body) WEIR_MUST_CHECK;

#endif
