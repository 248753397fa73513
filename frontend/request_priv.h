/*
 * One chat, completions, Responses or Messages request and its parts. Files: request.c (admission,
 * ending), request_headers.c, request_prepare.c (render, tokenize, hash), leg_route.c and leg.c
 * (routing; sending, retries), output.c (from worker items to the client's bytes), relay.c (legs to
 * HTTP engines).
 */
#ifndef WEIR_FRONTEND_REQUEST_PRIV_H
#define WEIR_FRONTEND_REQUEST_PRIV_H

#include "frontend/app_priv.h"
#include "frontend/disagg_priv.h"
#include "frontend/leg_pool_priv.h"
#include "frontend/parse_output_priv.h"
#include "frontend/relay_retry.h"
#include "wire/anthropic.h"
#include "wire/openai_chat_read.h"
#include "wire/openai_responses.h"

enum { WEIR_REQUEST_ARENA = 1 << 30, WEIR_OUT_MAX = 64 << 20 };

struct weir_leg;
struct weir_relay;
struct weir_warm;
struct weir_embeddings;

/* One answer: its decoder, and for unary requests its text. */
struct weir_choice {
    unsigned index; /* as the client counts */
    struct wtok_stream decoder;
    struct wtok_stop *stop;             /* owned; NULL without stop strings */
    struct weir_buf text;               /* unary: the whole text; streamed: scratch of one piece */
    struct weir_logprob_lists logprobs; /* gathered so far; streamed: since the last chunk */
    struct weir_buf frame_bytes;        /* of `frame`; empty: not made yet */
    struct weir_answer_frame frame;
    struct weir_parsed *parsed;         /* owned; NULL: the text is the answer */
    const struct weir_chat_read *given; /* the whole answer of an HTTP engine, which parses; or NULL
                                         */
    const char *finish;                 /* NULL while it runs */
    int stop_index;                     /* matched stop string, -1 none */
    int64_t stop_id;                    /* matched stop id, -1 none */
    uint64_t n_tokens;
    struct weir_span worker_reason; /* stop_reason of the worker: JSON in the arena, or NULL */
    bool role_sent;
};

enum { WEIR_LEG_ID_BYTES = 64 };
enum weir_leg_state { WEIR_LEG_IDLE, WEIR_LEG_RUNNING, WEIR_LEG_DONE };

/* One prompt of the request on its way through one worker (after another). */
struct weir_leg {
    struct weir_request *request;
    enum weir_leg_state state;
    char *id; /* in the arena; NULL: none was made yet, or the request has one leg */
    struct weir_ids prompt;
    uint64_t *local, *sequence; /* block hashes, in the arena */
    size_t n_blocks;
    double hash_ms;
    struct weir_plane_call *call;
    enum weir_codec codec;    /* of `call` */
    struct weir_relay *relay; /* of a leg to an HTTP engine; in the arena */
    bool many_ranks;          /* the chosen engine has more than one */
    struct weir_disagg disagg;
    struct weir_leg_pool pool, prefill_pool; /* pool: of the worker that serves the client */
    struct weir_wait wait;
    uint64_t wait_until_ms,
        wait_ms;                 /* waits end then, so long after the first began; 0: none has */
    struct weir_deferred finish; /* armed when all choices have ended */
    uint64_t booking, worker_id;
    uint32_t dp_rank, overlap_blocks;
    uint64_t tried[WEIR_MAX_TRIED];
    unsigned n_tried,
        moves; /* workers that failed; of these, retries that count against the limit */
    uint64_t breaks[WEIR_RELAY_BREAKS]; /* HTTP engines that broke off with it: relay_retry.h */
    unsigned n_breaks;
    bool refused_full;  /* the last of them had no room */
    uint64_t moved_ns;  /* a migration began then and has not ended; 0: none has */
    bool moved_ongoing; /* tokens had come before it */
    bool routed;        /* counted as a choice in kv mode */
    bool asks_tokens;   /* an engine is chosen for /tokenize alone */
    uint64_t lost_ns;   /* time spent on those that had not got the request */
    bool first_item;    /* an item has been seen, */
    double ttft_s;      /* so long after it was sent to that worker */
    uint64_t decode_ns; /* spent on decoding so many tokens, of some items */
    uint32_t n_decoded;
    bool resent;             /* a connection was stale: from now on new ones */
    bool passed_on;          /* a worker went before it had acknowledged: the next such one fails */
    bool counted;            /* the worker's count of the prompt has been compared */
    struct weir_buf emitted; /* ids of the answer so far, while somebody may ask for them */
    int64_t cached_tokens;   /* -1 unknown */
    int64_t audio_tokens;    /* of the prompt; -1 unknown */
    bool cached_by_prefill;  /* told by the prefill worker: the decode worker's is another cache */
    int64_t counted_prompt;  /* prompt tokens by the worker's count; -1 unknown */
    struct weir_span engine_data, completion_details; /* JSON in the arena, or NULL: the last */
    bool fresh_data;                                  /* no chunk has had engine_data yet */
    size_t n_ids_given;                               /* of `emitted`: in chunks */
    uint64_t n_tokens;
    uint64_t n_uncounted, n_gapless; /* tokens that no metric knows yet; of these, without a gap */
    uint64_t sent_ns, last_token_ns;
    unsigned n_open; /* choices that run */
    struct weir_choice *choices;
    unsigned n_choices;
};

struct weir_request {
    struct weir_request *next_spare; /* after its end */
    struct weir_front_loop *fl;      /* borrowed: outlives the request */
    struct weir_http_exchange *x;    /* borrowed: until on_done; NULL: nobody is answered */
    struct weir_arena arena;
    struct weir_model *model; /* a reference; NULL before look-up */
    struct weir_openai_request q;
    struct weir_answer_head head;
    struct weir_responses_head responses_head; /* of an answer of the Responses API */
    struct weir_responses_stream *events;      /* of a stream of these; in the arena; else NULL */
    struct weir_messages_stream messages;      /* of the Messages API; unary: its head alone */
    char id[64], uuid[37];
    enum weir_front_endpoint endpoint;
    struct weir_leg *legs;              /* in the arena */
    size_t n_legs, n_open;              /* legs; of these, running */
    struct weir_buf out;                /* frames of this item */
    bool warms;                         /* the next turn is prefilled: the answer is kept for it */
    struct weir_buf said;               /* then: of a stream, so far */
    struct weir_warm *warm;             /* of a request of our own */
    struct weir_embeddings *embeddings; /* of one for embeddings; in the arena */
    struct weir_timer keep_alive;
    struct weir_span formatted_prompt;
    /* Of a chat with media: its prompt with the tokens of its images, where they are known; else
     * NULL, and prompt tokens before the first medium are all that can be compared. */
    struct weir_ids expanded;
    size_t before_media;
    char prompt_tail[64]; /* last bytes of the rendered prompt: does it open a reasoning block? */
    size_t prompt_tail_len;
    struct weir_span traceparent;
    struct weir_span metadata; /* JSON object for the worker's context, or NULL */
    uint64_t start_ns, first_token_ns;
    double itl_sum;
    uint64_t itl_n, prompt_tokens;
    bool opaque;        /* for an engine, in a form that only it can judge: passed on unread */
    uint32_t opaque_id; /* then: the largest id of its prompts, 0 where they have none */
    bool only_counts;   /* the tokens of a prompt: no part of the metrics */
    bool counted;       /* the gauges of the model count it */
    bool running;       /* the app's n_running counts it */
    bool queued;        /* the queue gauge counts it */
    bool committed;     /* the 200 of a stream has been sent */
    bool answered;      /* an answer has been handed to the server, whole or begun and ended */
    bool paused;
    uint32_t queue_class;
    struct weir_span policy_class; /* with a policy file: of the head, which stays */
    uint64_t
        queue_ms; /* waits so long at most, and goes before those with more time; 0 = not said */
    bool has_session;
    struct weir_session session;
    struct weir_span details; /* JSON of a refusal, or NULL */
    unsigned retry_after_s;
    bool explain;               /* x-weir-explain: 1 */
    struct weir_span explained; /* value of the answer's header, in the arena */
    const char *error_type;     /* "" = success; for the counters */
    int status;                 /* for the access line */
};

/* It came through another API than OpenAI's chat and completions, and is answered in its form. */
static inline bool weir_request_is_translated(const struct weir_request *r) {
    return r->endpoint == WEIR_FRONT_RESPONSES || r->endpoint == WEIR_FRONT_MESSAGES;
}

/* The annotation query_instance_id: which worker would it be? Nothing is generated or booked. */
static inline bool weir_request_only_asks(const struct weir_request *r) {
    return (r->q.extras & WEIR_ANNOTATE_QUERY_INSTANCE) != 0;
}

/* leg_route.c */
/* What the leg is called by workers and other routers. Valid as long as the request. */
struct weir_span weir_leg_id(struct weir_leg *leg);
/* What any router is asked of the leg's prompt, and what that of its workers is; both borrow from
 * the leg and its request. */
struct weir_route_query weir_leg_prompt_query(struct weir_leg *leg);
void weir_leg_query(struct weir_leg *leg, struct weir_route_query *ret);
/* What the engine computes of the prompt: with its images, where their tokens are known; the prompt
 * is what a worker is sent. */
struct weir_ids weir_leg_engine_prompt(const struct weir_leg *leg);
/* Share of the prompt's blocks, a partial last one included, that are held already. */
double weir_leg_hit_rate(const struct weir_leg *leg, uint32_t overlap_blocks);
/* Chooses a worker and books the load. */
enum weir_status weir_leg_route(struct weir_leg *leg) WEIR_MUST_CHECK;
/* Answers that no worker can be had. */
void weir_leg_fail_route(struct weir_leg *leg, enum weir_status st);
/* It is routed by what workers hold. */
bool weir_leg_is_kv(const struct weir_leg *leg);

/* leg.c */
/* Who shares with whom: the configured header, else the API key; requests with neither are one. */
uint64_t weir_request_tenant(const struct weir_request *r);
void weir_leg_init(struct weir_leg *leg, struct weir_request *r);
void weir_leg_start(struct weir_leg *leg);
/* Frees call and booking; nothing fires afterwards. */
void weir_leg_stop(struct weir_leg *leg, bool graceful);

/* The request as this attempt sends it: after a migration the prompt has grown. */
enum weir_status weir_leg_fill(struct weir_leg *leg, struct weir_prep_request *ret);
/* Gives up the attempt and starts another. */
void weir_leg_restart(struct weir_leg *leg);
/* The attempt that began then has failed and the worker had not got the request. True: another one
 * may be asked at no cost. */
bool weir_leg_may_pass_over(struct weir_leg *leg, uint64_t sent_ns);
/* Ids that belong to the answer, those in front of a stop: for whoever asked for them, and for the
 * worker that goes on with it after a migration. */
void weir_leg_keep_ids(struct weir_leg *leg, struct weir_ids ids);
/* Ends the request with what a worker said. */
void weir_leg_fail_worker(struct weir_leg *leg, const struct weir_wire_error *error);

/* disagg.c: the prefill part of a leg. */
/* True when the leg waits for a prefill worker, or has ended; weir_leg_start is called again. */
bool weir_disagg_begin(struct weir_leg *leg);
/* Sets leg->disagg.pool to that of the prefill workers which are there; false: there are none. */
bool weir_disagg_find_pool(struct weir_leg *leg);
/* What is booked at its prefill worker. */
void weir_disagg_release(struct weir_leg *leg);
/* Only a prefill worker may compute the prompt. */
bool weir_disagg_is_must(const struct weir_leg *leg);
/* No other prefill worker is asked. */
bool weir_disagg_exhausted(const struct weir_disagg *disagg);
/* The prefill attempt has failed; untouched: the worker had not got the prompt. Returns whether
 * that was the last one. */
bool weir_disagg_failed(struct weir_leg *leg, bool untouched);
/* Goes on without a prefill worker. True when the leg has ended: that is refused, or impossible. */
bool weir_disagg_alone(struct weir_leg *leg, const char *why);
/* Chooses a prefill worker of leg->disagg.pool and books it. */
enum weir_status weir_disagg_route(struct weir_leg *leg) WEIR_MUST_CHECK;
/* relay_disagg.c: ends the call to an HTTP engine that prefills. */
void weir_relay_disagg_stop(struct weir_leg *leg);
/* What the prefill pool's router is asked. */
void weir_disagg_query(struct weir_leg *leg, struct weir_route_query *ret);
/* disagg_choice.c: conditional disaggregation lets the decode worker compute this prompt. */
bool weir_disagg_goes_local(struct weir_leg *leg);
/* The leg goes to another decode worker; untouched: the last one has not seen the request. */
void weir_disagg_again(struct weir_leg *leg, bool untouched);
/* What the decode part gets; nothing when one worker does all. */
const struct weir_route_override *weir_disagg_override(const struct weir_leg *leg);
void weir_disagg_fill(const struct weir_leg *leg, struct weir_prep_request *p);
/* The prefill worker; false: none but the leg's own. */
bool weir_disagg_worker(const struct weir_leg *leg, uint64_t *ret_id, uint32_t *ret_rank);
void weir_disagg_stop(struct weir_leg *leg);

/* leg_pool.c; all do nothing without --pools. `router`: of the phase. */
/* False: out of memory. set NULL: the phase has no pools. */
bool weir_leg_pool_choose(struct weir_leg *leg, struct weir_leg_pool *p,
                          const struct weir_pool_set *set);
void weir_leg_pool_apply(const struct weir_leg_pool *p, struct weir_route_query *q);
/* Number of its pool; 0 without pools. */
uint32_t weir_leg_pool_at(const struct weir_leg_pool *p);
/* Routing in the pool has ended with st: true when another one is to be asked. */
bool weir_leg_pool_next(struct weir_leg *leg, struct weir_leg_pool *p, struct weir_router *router,
                        enum weir_status st);
/* What to tell the client when the pool has no worker at all; else data NULL. */
struct weir_span weir_leg_pool_missing(struct weir_leg *leg, const struct weir_leg_pool *p,
                                       struct weir_router *router);
/* Member "pool" of an open object. */
void weir_leg_pool_write(const struct weir_leg_pool *p, struct weir_jsonw *w);

/* wait.c */
void weir_wait_init(struct weir_wait *wait, struct weir_leg *leg, bool prefill);
/* True when the leg waits for its turn, or was refused; weir_leg_start is called again. */
bool weir_leg_waits(struct weir_leg *leg);
enum weir_prefill_turn {
    WEIR_PREFILL_GO,
    WEIR_PREFILL_WAITS, /* or was refused; as of weir_leg_waits */
    WEIR_PREFILL_NONE,  /* the room is full: one worker may do all */
};
/* Before a worker of leg->disagg.pool. */
enum weir_prefill_turn weir_prefill_waits(struct weir_leg *leg);
/* The worker that the waiting room has booked for it; false: none. */
bool weir_wait_take(struct weir_wait *wait, struct weir_route *ret);
/* Leaves the room, gives back what was booked there; it may come again if it waited. Idempotent. */
void weir_wait_stop(struct weir_wait *wait);

/* explain_page.c */
struct weir_decision;
/* True when the decision of this leg is to be recorded. */
bool weir_leg_explains(const struct weir_leg *leg);
/* The decision of the leg's decode worker, or of the one that does all; of its prefill worker. */
void weir_leg_explain(struct weir_leg *leg, const struct weir_decision *decision);
void weir_leg_explain_prefill(struct weir_leg *leg, const struct weir_decision *decision);

/* output.c */
/* Sends the 200 of a stream, once. It goes with the first item or the first keep-alive comment, so
 * an earlier failure keeps its own status. */
enum weir_status weir_output_commit(struct weir_request *r);
enum weir_status weir_output_item(struct weir_leg *leg, const struct weir_output *item);
/* What a worker tells beside its answer, an event without an output: clients of streams in the form
 * of chunks get it as it came. */
enum weir_status weir_output_annotation(struct weir_leg *leg, const struct weir_output *item);
/* Puts into the metrics what item() has left out so far. */
void weir_output_count_tokens(struct weir_leg *leg);
void weir_output_finish(struct weir_request *r);
void weir_output_error(struct weir_request *r, int http_status, struct weir_span message);
/* All zero before; without decoder, stop and parser. */
void weir_output_init_choice(struct weir_choice *c, unsigned index);
void weir_output_destroy_choice(struct weir_choice *c);
/* The one frame of a streamed answer that names the worker and nothing else. */
enum weir_status weir_output_choice_made(struct weir_leg *leg) WEIR_MUST_CHECK;
/* One frame of a choice; fills in index, role, usage, nvext and log probabilities gathered since
 * the last. */
enum weir_status weir_output_put(struct weir_leg *leg, struct weir_choice *c,
                                 struct weir_answer_piece *piece);

/* For output_tokens.c. What was made of `out` leaves: the frames of one item, or of several. */
void weir_output_flush(struct weir_request *r);
/* Tokens of one item: the gap since the item before, shared among them. Items that came in one read
 * have one time: the first has the gap, the others 0, which is what a client sees. */
void weir_output_observe(struct weir_leg *leg, size_t n);
/* Before n tokens that are decoded together: the clock is read where they hold the first of the
 * choice or a 16th, for reading it costs as much as decoding one. */
static inline uint64_t weir_output_decode_begins(const struct weir_choice *c, size_t n) {
    return c->n_tokens % 16 == 0 || c->n_tokens % 16 + n > 16 ? weir_now_ns() : 0;
}
void weir_output_decode_ended(struct weir_leg *leg, uint64_t begin, size_t n);
bool weir_output_listed(struct weir_ids list, uint32_t id);
enum weir_status weir_output_piece(struct weir_leg *leg, struct weir_choice *c,
                                   struct weir_span text);

/* output_translated.c: of requests of other APIs. False: no memory, the request has failed. */
bool weir_output_translated_prepare(struct weir_request *r);
void weir_output_translated_fini(struct weir_request *r);
/* The first events of a stream; those of one piece, those that end it, those of a failure. usage
 * NULL: nothing was generated. */
enum weir_status weir_output_translated_begin(struct weir_request *r) WEIR_MUST_CHECK;
enum weir_status weir_output_translated_piece(struct weir_request *r,
                                              const struct weir_answer_piece *p) WEIR_MUST_CHECK;
enum weir_status weir_output_translated_finish(struct weir_request *r,
                                               const struct weir_usage *usage) WEIR_MUST_CHECK;
enum weir_status weir_output_translated_fail(struct weir_request *r, int http_status,
                                             struct weir_span message) WEIR_MUST_CHECK;
/* The whole answer; choice NULL: nothing was generated. */
enum weir_status weir_output_translated_unary(struct weir_request *r,
                                              const struct weir_answer_choice *choice,
                                              const struct weir_usage *usage,
                                              struct weir_span nvext) WEIR_MUST_CHECK;

/* output_tokens.c: item() for items of one id of the first choice each. Returns how many it has
 * taken; the next is for item(). */
size_t weir_output_tokens(struct weir_leg *leg, const uint32_t *ids, size_t n,
                          enum weir_status *ret_status);

/* output_nvext.c: the value of `nvext` with this piece of the answer (`last`: nothing follows), in
 * the arena; data NULL when nothing is to be said. */
struct weir_span weir_output_nvext(struct weir_request *r, struct weir_leg *leg,
                                   const struct weir_choice *c, bool last);
/* The next piece would have some, not being the last. */
bool weir_output_nvext_due(const struct weir_leg *leg, const struct weir_choice *c);

/* embeddings.c: of requests whose workers are on the request plane. */
/* Makes the one leg. False: the request has failed. */
bool weir_embeddings_prepare(struct weir_request *r);
/* What it weighs for routing, where its worker makes the tokens: about so many. */
size_t weir_embeddings_weight(const struct weir_request *r);
enum weir_status weir_embeddings_put_body(struct weir_leg *leg, enum weir_codec codec,
                                          struct weir_buf *out) WEIR_MUST_CHECK;
/* An on_wrapper of the leg's call. */
void weir_embeddings_wrapper(void *leg, struct weir_span wrapper,
                             const struct weir_output_look *look);
/* Every input has its vector. */
bool weir_embeddings_whole(const struct weir_request *r);
/* Counts how long the answer took; false: of another kind of request. */
bool weir_embeddings_observe(const struct weir_request *r, uint64_t now_ns);
/* Sends the answer. */
void weir_embeddings_finish(struct weir_request *r);
/* Frees what was gathered; nothing to do for other requests. */
void weir_embeddings_stop(struct weir_request *r);

/* relay.c */
void weir_relay_start(struct weir_leg *leg);
/* Its turn has come. */
void weir_relay_go(struct weir_leg *leg);
/* Ends its call; idempotent. */
void weir_relay_stop(struct weir_relay *relay);
void weir_relay_pause(struct weir_relay *relay, bool pause);
/* relay_translated.c. False: no memory, the request has failed. */
/* The chat that stands for a request of another API, as an engine gets it; nothing else changes. */
bool weir_relay_translated_body(struct weir_request *r);
/* Of a request of another API, whose leg is there. */
bool weir_relay_translated_prepare(struct weir_request *r);
/* relay_tokens.c: of a request that only counts the tokens of an engine's prompt. Whether an engine
 * is to be asked; false: ours are the same, or the request has failed, because nobody can tell. */
bool weir_relay_counts(struct weir_request *r);
void weir_relay_count(struct weir_request *r);

/* request_headers.c */
/* Takes what the headers ask of routing into the request. False: the request has failed, or there
 * is no memory for it. */
bool weir_request_apply_headers(struct weir_request *r);
/* Takes metadata headers for the worker's context. False: they exceed their bounds, or there is no
 * memory, and the request has failed. */
bool weir_request_read_metadata(struct weir_request *r);
/* A header's value that is visible ASCII. Others are not passed on: what they mean is not known. */
bool weir_request_is_text(struct weir_span value);
/* request_agent.c: the session that the headers name (data NULL: none), and what the worker is told
 * of it. */
enum weir_status weir_request_read_agent(struct weir_request *r,
                                         struct weir_span *ret_session) WEIR_MUST_CHECK;

/* request_prepare.c; false: the request has failed. r->model is set. */
/* The legs of a request whose tokens the workers get, n_legs of them, with choices. */
bool weir_request_prepare_legs(struct weir_request *r);
/* The tokens of a text; flags: enum wtok_encode_flags. Counted as tokenizing. */
bool weir_request_encode(struct weir_request *r, struct weir_span text, unsigned flags,
                         struct weir_ids *ret);
/* What workers of the request plane get of a chat: the same for /tokenize. Spans are those of *q.
 */
struct wtok_chat weir_request_chat_of(const struct weir_app *app,
                                      const struct weir_model_info *info,
                                      const struct weir_openai_request *q);
/* NUL bytes mean nothing to a model: for its workers the reference system drops them before it
 * encodes. `to`: room for the text, or the text itself; returns what is left of its length. */
size_t weir_request_drop_nul(struct weir_span text, char *to);
/* They are tokens of the model; `what` they are, for the refusal. */
bool weir_request_check_ids(struct weir_request *r, const char *what, struct weir_ids ids);
/* The tokens of its rendered messages. */
bool weir_request_chat_prompt(struct weir_request *r, struct weir_ids *ret);
/* The one leg to an HTTP engine; NULL: no memory, the request has failed. */
struct weir_leg *weir_request_one_leg(struct weir_request *r);
/* The same with what routing wants to know of it. */
bool weir_request_prepare_relay(struct weir_request *r);
/* Hashes the blocks of leg->prompt; false: out of memory. */
bool weir_request_hash_leg(struct weir_request *r, struct weir_leg *leg);
/* Name of the model and end-of-sequence ids of r->q.prep. */
void weir_request_fill_prep(struct weir_request *r);

#define WEIR_REQUEST_MEDIA_NOT_COUNTED                                                             \
    "Tokens of images and other media cannot be counted here: only the engine's answer says how "  \
    "many there were"
/* request_media.c: images, videos and sounds before workers of the request plane. */
/* What a worker is sent of them; false: one is not passed on, and the request has failed. */
bool weir_request_take_media(struct weir_request *r);
/* The same of a chat that is no request of its own: WEIR_INVALID with words in *err. */
enum weir_status weir_request_media_of(const struct weir_app *app, struct weir_openai_request *q,
                                       struct weir_arena *arena, struct weir_err *err);
/* The prompt is rendered and these are its tokens: finds those before the first medium, and has
 * messages and prompt told to the worker. False: no memory, the request has failed. */
bool weir_request_tell_media(struct weir_request *r, struct wtok_prompt *prompt,
                             struct weir_ids ids);
/* How many of a kind were sent, into the metrics. */
/* request_images.c: sets r->expanded and what the worker is told of it, if it can be known. False:
 * answered (no memory). */
bool weir_request_expand_images(struct weir_request *r, struct weir_ids ids);
void weir_request_count_media(const struct weir_request *r);

/* request_figures.c */
/* The gauges of its model count it, until weir_request_count_end(). */
void weir_request_count_in(struct weir_request *r);
/* A frontend that leaves waits for it, until weir_request_count_end(). */
void weir_request_run_in(struct weir_request *r);
/* Into figures and access log. Once, at its end. */
void weir_request_count_end(struct weir_request *r);

/* request.c */
/* Fails the request for lack of memory; returns false, which travels up. */
bool weir_request_fail_memory(struct weir_request *r);
void weir_request_fail(struct weir_request *r, int http_status, struct weir_span message,
                       const char *error_type);
/* r->model lacks workers that it needs: 503, in the reference system's words. */
void weir_request_fail_not_ready(struct weir_request *r);
void weir_request_leg_over(struct weir_request *r);
/* Of a request that only counts: the prompt has so many tokens. */
void weir_request_answer_count(struct weir_request *r, size_t n_tokens);
const char *weir_request_error_type(int http_status);
/* Empty but for where it belongs; x NULL: a request of our own (warm.c). NULL: out of memory. */
struct weir_request *weir_request_new(struct weir_front_loop *fl, struct weir_http_exchange *x,
                                      enum weir_openai_kind kind);

#endif
