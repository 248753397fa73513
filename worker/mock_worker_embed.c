/* Requests for embeddings of a worker that serves them: answered at once, whatever the load. */
#include "worker/mock_worker.h"

enum { MAX_IDS = 4 << 20, ANSWER_MAX = 256 << 20 };

static void answer(const struct weir_mock_worker_config *w, struct weir_plane_request *r) {
    const struct weir_mock_embed_config config = {.form = w->embed,
                                                  .n_values = w->n_values,
                                                  .max_input = w->engine.max_model_len,
                                                  .max_ids = MAX_IDS};
    enum weir_codec codec;
    struct weir_buf out;
    const char *why;
    struct weir_span body = weir_plane_request_body(r, &codec);
    weir_buf_init(&out, ANSWER_MAX);
    enum weir_status st = weir_mock_embed_answer(&config, body, codec, &out, &why);
    if (st == WEIR_OK) {
        weir_plane_reply_prologue(r, NULL);
        weir_plane_reply_raw(r, weir_buf_span(&out));
        weir_plane_reply_end(r);
    } else {
        weir_plane_reply_refuse_text(r, st == WEIR_NOMEM ? WEIR_OVERLOADED : WEIR_INVALID,
                                     st == WEIR_NOMEM ? "the worker is out of memory" : why);
    }
    weir_buf_fini(&out);
}

static void on_request(void *arg, struct weir_plane_request *r,
                       const struct weir_prep_request *req) {
    const struct weir_mock_worker_config *config = weir_mock_worker_config(arg);
    (void)req;
    enum weir_mock_fault fault = weir_mock_fault(config->faults);
    if (fault == WEIR_MOCK_FAULT_FAIL)
        weir_plane_reply_refuse_text(r, WEIR_INTERNAL, "injected failure (--fail-rate)");
    else if (fault == WEIR_MOCK_FAULT_NONE)
        answer(config, r);
}

static void on_over(void *arg, struct weir_plane_request *r) {
    (void)arg;
    (void)r;
}

const struct weir_plane_handler weir_mock_embed_handler = {on_request, on_over, on_over};
