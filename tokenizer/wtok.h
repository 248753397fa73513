/*
 * Text to token ids and back, behind one interface (usable alone: only base/ is needed).
 *
 * First implementation: "bytes" (one id per UTF-8 byte, ids 0 to 255, end of sequence 256) with a
 * built-in chat template, for the demo and tests. Real tokenizers come behind the same functions.
 * A tokenizer is immutable after creation: any thread may use it.
 */
#ifndef WEIR_TOKENIZER_WTOK_H
#define WEIR_TOKENIZER_WTOK_H

#include "base/arena.h"
#include "base/buf.h"

struct wtok;

enum weir_status wtok_create_bytes(struct wtok **ret_tok) WEIR_MUST_CHECK;
void wtok_destroy(struct wtok *tok);
/* "bytes", … for logs and metrics. */
const char *wtok_kind(const struct wtok *tok);
uint32_t wtok_vocab_size(const struct wtok *tok);
/* End-of-sequence ids. */
const uint32_t *wtok_eos_ids(const struct wtok *tok, size_t *ret_n);

/* Upper bound on ids for `bytes` bytes of text, for sizing. */
size_t wtok_encode_bound(const struct wtok *tok, size_t bytes);
/* Writes at most `room` ids; WEIR_TOO_LARGE when they do not fit. Special tokens in the text are
 * recognised when `special` is true (rendered templates), else treated as text. */
enum weir_status wtok_encode(const struct wtok *tok, struct weir_span text, bool special,
                             uint32_t *ids, size_t room, size_t *ret_n) WEIR_MUST_CHECK;

/* Chat template input: the request's own JSON, validated before. */
struct wtok_chat {
    struct weir_span messages;      /* JSON array */
    struct weir_span tools;         /* JSON array or NULL */
    struct weir_span template_args; /* JSON object or NULL */
    bool add_generation_prompt;
    bool continue_final_message;
};
/* Appends the rendered prompt. WEIR_INVALID with words when the template refuses the conversation.
 */
enum weir_status wtok_render_chat(const struct wtok *tok, const struct wtok_chat *chat,
                                  struct weir_buf *out, struct weir_err *err) WEIR_MUST_CHECK;

/* Incremental decoding of one choice: holds back bytes of an unfinished UTF-8 character. */
struct wtok_stream {
    const struct wtok *tok; /* borrowed */
    bool skip_special;
    unsigned char held[8];
    uint8_t n_held;
};
void wtok_stream_init(struct wtok_stream *s, const struct wtok *tok, bool skip_special);
/* Appends the text that id completes (maybe nothing). Invalid sequences become U+FFFD.
 * WEIR_INVALID: id outside the vocabulary. */
enum weir_status wtok_stream_push(struct wtok_stream *s, uint32_t id,
                                  struct weir_buf *out) WEIR_MUST_CHECK;
/* End of the stream: appends U+FFFD for a held incomplete character. */
enum weir_status wtok_stream_finish(struct wtok_stream *s, struct weir_buf *out) WEIR_MUST_CHECK;
/* Text of a single id as logprobs show it (invalid UTF-8 replaced), and its raw bytes. */
enum weir_status wtok_id_bytes(const struct wtok *tok, uint32_t id,
                               struct weir_buf *out) WEIR_MUST_CHECK;

/*
 * Stop strings over a stream of text: withholds exactly the longest suffix that may still become a
 * stop string. The stop whose last byte comes first ends the text (an engine that looks after every
 * byte would stop there); of several that end there the longest counts. So the answer does not
 * depend on how the text was cut into pieces.
 */
struct wtok_stop;
enum weir_status wtok_stop_create(const struct weir_span *stops, size_t n, bool include_in_output,
                                  struct wtok_stop **ret_stop) WEIR_MUST_CHECK;
void wtok_stop_destroy(struct wtok_stop *stop);
/* Feeds text; appends what may be shown. *ret_matched is the index of the stop that ended the text,
 * or -1. After a match nothing more may be fed. */
enum weir_status wtok_stop_push(struct wtok_stop *stop, struct weir_span text, struct weir_buf *out,
                                int *ret_matched) WEIR_MUST_CHECK;
/* No more text: appends what was withheld. */
enum weir_status wtok_stop_finish(struct wtok_stop *stop, struct weir_buf *out) WEIR_MUST_CHECK;

#endif
