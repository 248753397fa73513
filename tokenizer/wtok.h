/*
 * Text to token ids and back, behind one interface (usable alone: only base/ is needed).
 *
 * Two makers: wtok_load() reads a model directory (tokenizer.json as the Hugging Face "tokenizers"
 * library writes it, or a tiktoken file); wtok_create_bytes() needs no files (one id per UTF-8
 * byte, ids 0 to 255, end of sequence 256) and serves demo and tests.
 *
 * A tokenizer does not change after creation: any thread may use it, many at once. The caches
 * inside are an implementation matter and never change an answer.
 */
#ifndef WEIR_TOKENIZER_WTOK_H
#define WEIR_TOKENIZER_WTOK_H

#include "base/arena.h"
#include "base/buf.h"

struct wtok;

enum weir_status wtok_create_bytes(struct wtok **ret_tok) WEIR_MUST_CHECK;

/* Zeroed = the defaults. Strings are read during wtok_load() only. */
struct wtok_config {
    /* Where compiled tokenizers are kept. NULL: $XDG_CACHE_HOME/weir, else ~/.cache/weir; "": none
     * is kept. A directory that cannot be used costs start-up time, never the start. */
    const char *cache_dir;
    /* Memory for ids of texts between special tokens, kept from one call to the next; 0: none. */
    size_t segment_cache_bytes;
    /* Splitting pattern for a directory with a tiktoken file only, which does not name it: "gpt2",
     * "cl100k", "qwen2", "o200k", "tekken" or "kimi". NULL: such a directory is refused, unless its
     * tokenizer_config.json shows that it is Kimi's. */
    const char *tiktoken_pattern;
};
/*
 * Loads the tokenizer of a model directory: tokenizer.json (or one *.tiktoken file, or a
 * tokenizer.model in that form), and where they exist tokenizer_config.json,
 * generation_config.json, config.json, chat_template.jinja and
 * additional_chat_templates/NAME.jinja. `config` may be NULL.
 *
 * The answer is exact or refused: whatever a file asks for that is not known here ends in
 * WEIR_UNSUPPORTED, and *err (may be NULL) names the file and the field. WEIR_NOT_FOUND: no
 * tokenizer in the directory; WEIR_INVALID: a file is broken; WEIR_IO, WEIR_NOMEM. Blocking; 5 ms
 * from a compiled file, about a second without it.
 */
enum weir_status wtok_load(const char *dir, const struct wtok_config *config, struct wtok **ret_tok,
                           struct weir_err *err) WEIR_MUST_CHECK;
/* False: wtok_load() of this directory will find no tokenizer. Reads no file. Blocking. */
bool wtok_is_there(const char *dir);
/* Accepts NULL. No call may be in work. */
void wtok_destroy(struct wtok *tok);

/* "bytes", "gpt2", "cl100k", "qwen2", "o200k", "tekken", "deepseek", "sentencepiece", "generic",
 * "wordpiece": for logs and metrics. */
const char *wtok_kind(const struct wtok *tok);
/* Ids are below this. */
uint32_t wtok_vocab_size(const struct wtok *tok);
/* The same of ids that the model takes: its vocabulary may be padded (vocab_size of config.json).
 */
uint32_t wtok_model_vocab_size(const struct wtok *tok);
/* End-of-sequence ids: those of generation_config.json, then the eos_token of
 * tokenizer_config.json; without any those of config.json. */
const uint32_t *wtok_eos_ids(const struct wtok *tok, size_t *ret_n);
/* Longest sequence in tokens: config.json, else tokenizer_config.json; 0 when neither says. */
uint64_t wtok_context_length(const struct wtok *tok);

/* Raw material of the chat template: the files as they are; data is NULL where one is missing.
 * Borrowed from the tokenizer. */
struct wtok_chat_files {
    struct weir_span chat_template_jinja;
    struct weir_span tokenizer_config;
};
struct wtok_chat_files wtok_chat_files(const struct wtok *tok);

/* ---- text to ids ----------------------------------------------------------------------------- */

/* Numbers of the flags: a bool stands for WTOK_SPECIAL. */
enum wtok_encode_flags {
    /* Special tokens written in the text become their ids (rendered templates, and what engines do
     * with a plain prompt too); without it they are text. Added tokens that are not special are
     * recognised always. */
    WTOK_SPECIAL = 1,
    /* Add what the post-processor adds to a plain prompt, such as a begin-of-sequence token. */
    WTOK_ADD_SPECIAL = 2,
    /* The text is a part that follows another one (wtok_encode_parts): no begin of text. */
    WTOK_CONTINUES = 4,
    /* Do not keep ids of this text in the segment cache. */
    WTOK_NO_CACHE = 8,
};

/* Upper bound on ids for `bytes` bytes of text, for sizing. */
size_t wtok_encode_bound(const struct wtok *tok, size_t bytes);
/* Writes at most `room` ids; WEIR_TOO_LARGE when they do not fit. The text must be valid UTF-8:
 * what is not is WEIR_INVALID. */
enum weir_status wtok_encode(const struct wtok *tok, struct weir_span text, unsigned flags,
                             uint32_t *ids, size_t room, size_t *ret_n) WEIR_MUST_CHECK;
/*
 * Cuts a long text into at most `want` parts of similar length such that the ids of the parts, one
 * after the other, are the ids of the whole; a pool may then encode them at the same time. Encode
 * part 0 with the flags of the whole less WTOK_ADD_SPECIAL, the others also with WTOK_CONTINUES,
 * and put wtok_prefix_ids()/wtok_suffix_ids() around them yourself where wanted. Returns the number
 * of parts, 1 when no place is known to be safe. `want` >= 1.
 */
size_t wtok_encode_parts(const struct wtok *tok, struct weir_span text, size_t want,
                         struct weir_span *ret_parts);
/* What WTOK_ADD_SPECIAL puts before and behind the text. */
const uint32_t *wtok_prefix_ids(const struct wtok *tok, size_t *ret_n);
const uint32_t *wtok_suffix_ids(const struct wtok *tok, size_t *ret_n);

/* Counters since creation, for metrics. */
struct wtok_stats {
    uint64_t segment_hits, segment_misses, segment_evictions;
    uint64_t segment_bytes; /* held now */
    /* Words, or parts of long ones, that had to be encoded, and those that no memory of words had.
     * Of texts under way nothing is counted yet. */
    uint64_t words, words_new;
};
void wtok_stats(const struct wtok *tok, struct wtok_stats *ret_stats);

/* ---- chat ------------------------------------------------------------------------------------ */

/* Who will read the prompt: what an engine makes of a request before its template sees it. */
enum wtok_flavour {
    WTOK_FLAVOUR_VLLM,
    WTOK_FLAVOUR_SGLANG,
    WTOK_FLAVOUR_PLAIN, /* everything as it stands in the request, as transformers does */
};
/* Chat template input: the request's own JSON, validated before. */
struct wtok_chat {
    struct weir_span messages;    /* JSON array */
    struct weir_span tools;       /* JSON array or NULL */
    struct weir_span tool_choice; /* JSON or NULL; SGLang shows only tools that may be called */
    struct weir_span documents;   /* JSON array or NULL */
    /* JSON or NULL: some models of the reference system are told which form an answer must have. */
    struct weir_span response_format;
    struct weir_span template_args; /* JSON object or NULL */
    /* An argument with the name of a member does nothing, as in the reference system and in vLLM;
     * else it stands for the member or is refused, as in transformers. */
    bool members_first;
    /* For workers of the reference system, where it does otherwise than engines: system messages
     * that are not at the front, and messages of the user in a row, are put in an order that the
     * template takes, which else refuses them; a developer's message stays one; the line of one
     * client's bill stays in a system message; a message that is continued need not stand in the
     * prompt as it was written; tools have no member that is null. */
    bool for_dynamo;
    /* What the reference system calls the model; DeepSeek V3.2 whose name holds "exp" gets its
     * template there, else its chats are rendered by code. May be NULL. */
    struct weir_span model_name;
    bool add_generation_prompt;
    bool continue_final_message;
    /* Said to the tokenizer: arguments that are its parameters, special tokens to be added. */
    bool asks_tokenizer;
    bool text_only; /* parts of other kinds are refused, whatever the template does with them */
    enum wtok_flavour flavour;
    int64_t now_us; /* local time of templates that print one: microseconds since 1970, 0 = now */
};
/* Appends the rendered prompt. WEIR_INVALID with words when the template refuses the conversation,
 * there is no template, or one that asks for what is not known here; WEIR_NOMEM. */
enum weir_status wtok_render_chat(const struct wtok *tok, const struct wtok_chat *chat,
                                  struct weir_buf *out, struct weir_err *err) WEIR_MUST_CHECK;

/*
 * A rendered prompt whose longest strings are lent, not copied: `text` is the whole but for the
 * middle of each, of which it has the first and last WTOK_LENT_EDGE bytes. Strings are borrowed
 * from the JSON of the chat, or from `arena`.
 */
enum { WTOK_LENT = 16, WTOK_LENT_MIN = 16 << 10, WTOK_LENT_EDGE = 512 };
struct wtok_lent {
    size_t at;               /* where its middle belongs in `text` */
    struct weir_span string; /* at least WTOK_LENT_MIN bytes */
};
struct wtok_prompt {
    struct weir_buf text;
    struct wtok_lent lent[WTOK_LENT]; /* in the order of the text */
    size_t n_lent, n_middle;          /* n_middle: bytes that are not in `text` */
    /* Text that follows, with ids of its own: no word reaches over the joint (SGLang's way to
     * continue a message). Not part of `text`. */
    struct weir_span tail;
    struct weir_arena arena;
};
/* `max_bytes` bounds the whole. */
void wtok_prompt_init(struct wtok_prompt *p, size_t max_bytes);
void wtok_prompt_fini(struct wtok_prompt *p);
size_t wtok_prompt_bytes(const struct wtok_prompt *p);
/* Makes `text` the whole, with nothing lent. WEIR_NOMEM. */
enum weir_status wtok_prompt_join(struct wtok_prompt *p) WEIR_MUST_CHECK;
/* wtok_render_chat() into an empty prompt. */
enum weir_status wtok_render_prompt(const struct wtok *tok, const struct wtok_chat *chat,
                                    struct wtok_prompt *p, struct weir_err *err) WEIR_MUST_CHECK;
/* wtok_encode() of the whole, then of the tail as a text of its own, but for the begin of text that
 * it gets; flags without WTOK_ADD_SPECIAL while something is lent. Joins the whole where the model
 * leaves no choice. */
enum weir_status wtok_encode_prompt(const struct wtok *tok, struct wtok_prompt *p, unsigned flags,
                                    uint32_t *ids, size_t room, size_t *ret_n) WEIR_MUST_CHECK;

/* ---- ids to text ----------------------------------------------------------------------------- */

/* Text of a whole sequence, as the reference decodes it. WEIR_INVALID: an id outside the
 * vocabulary. */
enum weir_status wtok_decode(const struct wtok *tok, const uint32_t *ids, size_t n,
                             bool skip_special, struct weir_buf *out) WEIR_MUST_CHECK;

/*
 * Incremental decoding of one choice: the chunks are those of the reference's DecodeStream. Text
 * that ends in U+FFFD (an unfinished or broken character) is held back until it is complete or
 * what follows settles it; the reference holds any amount, here more than WTOK_HELD bytes are let
 * go early. Threads: one at a time.
 */
enum { WTOK_HELD = 112 };
struct wtok_stream {
    const struct wtok *tok; /* borrowed */
    bool skip_special;
    bool begun;             /* some text was let go: leading blanks are no longer stripped */
    uint8_t n_held, n_text; /* the first n_text bytes of held are settled text */
    unsigned char held[WTOK_HELD];
};
void wtok_stream_init(struct wtok_stream *s, const struct wtok *tok, bool skip_special);
/* Appends the text that id completes (maybe nothing). Invalid sequences become U+FFFD.
 * WEIR_INVALID: id outside the vocabulary. */
enum weir_status wtok_stream_push(struct wtok_stream *s, uint32_t id,
                                  struct weir_buf *out) WEIR_MUST_CHECK;
/* The same for n ids in turn; one outside the vocabulary has no text. ret_ends[i] is the length of
 * `out` behind the i-th. *ret_n: how many went in, fewer than n on failure. */
enum weir_status wtok_stream_push_many(struct wtok_stream *s, const uint32_t *ids, size_t n,
                                       struct weir_buf *out, size_t *ret_ends,
                                       size_t *ret_n) WEIR_MUST_CHECK;
/* End of the stream: appends what is held, with U+FFFD for what is broken. */
enum weir_status wtok_stream_finish(struct wtok_stream *s, struct weir_buf *out) WEIR_MUST_CHECK;
/* The bytes of a single id, which need not be valid UTF-8 (logprobs). */
enum weir_status wtok_id_bytes(const struct wtok *tok, uint32_t id,
                               struct weir_buf *out) WEIR_MUST_CHECK;
/* It as the vocabulary writes it ("Ġworld", "▁world", "<0x0A>"), like convert_ids_to_tokens of
 * Hugging Face's classes; nothing for an id that no token has. */
enum weir_status wtok_id_piece(const struct wtok *tok, uint32_t id,
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
