/* Where a request is counted: gauges while it runs, the model's figures and the access log at its
 * end. */
#include "base/log.h"
#include "frontend/request_priv.h"

void weir_request_count_in(struct weir_request *r) {
    const struct weir_front_model_metrics *m = &weir_model_info(r->model)->metrics;
    r->counted = r->queued = true;
    weir_metric_inc(m->inflight);
    weir_metric_inc(m->active);
    weir_metric_inc(m->queued);
}

void weir_request_run_in(struct weir_request *r) {
    r->running = true;
    atomic_fetch_add_explicit(&r->fl->app->n_running, 1, memory_order_relaxed);
}

static void leave_queue(struct weir_request *r) {
    if (r->queued)
        weir_metric_dec(weir_model_info(r->model)->metrics.queued);
    r->queued = false;
}

/* What its worker shows of the leg on the metrics page. */
static void note_worker(const struct weir_request *r, const struct weir_leg *leg) {
    const struct weir_worker_seen seen = {.worker_id = leg->worker_id,
                                          .dp_rank = leg->dp_rank,
                                          .n_input = leg->prompt.n,
                                          .ttft_s = leg->ttft_s,
                                          .itl_s =
                                              r->itl_n > 0 ? r->itl_sum / (double)r->itl_n : -1};
    if (leg->first_item)
        weir_worker_figures_note(r->fl->app->workers, &seen);
}

static void observe_end(struct weir_request *r, struct weir_leg *leg) {
    struct weir_front_metrics *m = r->fl->app->metrics;
    if (leg->n_decoded > 0)
        weir_front_observe_detokenize(m, (double)leg->decode_ns / 1e9 / leg->n_decoded,
                                      leg->n_tokens);
    if (leg->routed)
        weir_front_observe_routed_end(m, leg->n_tokens);
    note_worker(r, leg);
}

static void count_out(struct weir_request *r) {
    const struct weir_front_model_metrics *m = &weir_model_info(r->model)->metrics;
    uint64_t tokens = 0;
    leave_queue(r);
    weir_metric_dec(m->inflight);
    weir_metric_dec(m->active);
    weir_metric_observe(m->duration, (double)(weir_loop_event_ns(r->fl->loop) - r->start_ns) / 1e9);
    for (size_t i = 0; i < r->n_legs; i++) {
        weir_output_count_tokens(&r->legs[i]);
        tokens += r->legs[i].n_tokens;
        observe_end(r, &r->legs[i]);
    }
    if (r->n_legs > 0 && r->legs[0].routed && r->itl_n > 0)
        weir_front_observe_routed_gaps(r->fl->app->metrics, r->itl_sum / (double)r->itl_n,
                                       r->itl_n);
    if (tokens > 0)
        weir_metric_observe(m->output_tokens, (double)tokens);
}

static void log_access(const struct weir_request *r) {
    uint64_t tokens = 0;
    if (!weir_log_on(WEIR_LOG_INFO, "access"))
        return;
    for (size_t i = 0; i < r->n_legs; i++)
        tokens += r->legs[i].n_tokens;
    double ttft_ms = r->first_token_ns > 0 ? (double)(r->first_token_ns - r->start_ns) / 1e6 : -1;
    /* A text: it may be beyond what a double holds. */
    struct weir_worker_text worker = weir_worker_text(r->n_legs > 0 ? r->legs[0].worker_id : 0);
    struct weir_log_field fields[] = {
        WEIR_LOG_STR("request_id", weir_span_z(r->uuid)),
        WEIR_LOG_STR("model", r->model != NULL ? weir_span_z(weir_model_info(r->model)->name)
                                               : WEIR_SPAN_LIT("unknown")),
        WEIR_LOG_STR("endpoint", weir_span_z(weir_front_endpoint_name(r->endpoint))),
        WEIR_LOG_STR("request_type", weir_span_z(r->q.stream ? "stream" : "unary")),
        WEIR_LOG_NUM("status", r->status),
        WEIR_LOG_STR("error_type", weir_span_z(r->error_type)),
        WEIR_LOG_NUM("elapsed_ms", (double)(weir_now_ns() - r->start_ns) / 1e6),
        WEIR_LOG_NUM("input_tokens", r->prompt_tokens),
        WEIR_LOG_NUM("output_tokens", tokens),
        WEIR_LOG_NUM("ttft_ms", ttft_ms),
        WEIR_LOG_NUM("avg_itl_ms", r->itl_n > 0 ? r->itl_sum * 1e3 / (double)r->itl_n : -1),
        WEIR_LOG_STR("worker_id", weir_span_z(worker.s)),
        WEIR_LOG_NUM("overlap_blocks", r->n_legs > 0 ? r->legs[0].overlap_blocks : 0)};
    WEIR_LOG_FIELDS(WEIR_LOG_INFO, "access", fields, "request completed");
}

/* A request of our own is none of those that clients make. */
static void count_end(struct weir_request *r) {
    struct weir_front_metrics *m = r->fl->app->metrics;
    if (r->x == NULL)
        return;
    if (r->only_counts) {
        log_access(r);
        return;
    }
    if (r->counted) {
        if (*r->error_type == '\0')
            weir_metric_inc(weir_model_info(r->model)->metrics.succeeded[r->endpoint][r->q.stream]);
        else
            weir_front_count_failed(m, weir_model_info(r->model)->name, r->endpoint, r->q.stream,
                                    r->error_type);
    } else {
        weir_front_count_failed(m, NULL, r->endpoint, r->q.stream, r->error_type);
    }
    if (*r->error_type != '\0' && strcmp(r->error_type, "cancelled") != 0)
        weir_front_count_failure(m, strcmp(r->error_type, "overload") == 0 && r->status != 429
                                        ? 529 /* whatever status stands for it */
                                        : r->status);
    if (r->counted)
        count_out(r);
    log_access(r);
}

void weir_request_count_end(struct weir_request *r) {
    count_end(r);
    if (r->running) /* last: where none runs, all are counted */
        atomic_fetch_sub_explicit(&r->fl->app->n_running, 1, memory_order_relaxed);
    r->running = false;
}
