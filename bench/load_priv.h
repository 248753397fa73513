/* Inside of a load. Files: load.c what is sent, and when; load_answer.c what comes back. */
#ifndef WEIR_BENCH_LOAD_PRIV_H
#define WEIR_BENCH_LOAD_PRIV_H

#include "bench/arrival.h"
#include "bench/load.h"
#include "net/sse.h"

#include <stdatomic.h>

struct weir_load {
    struct weir_load_run *run; /* borrowed: outlives the load */
    struct weir_loop *loop;    /* borrowed: outlives the load */
    unsigned index;
    weir_load_done_fn on_done;
    void *arg;
    struct weir_http_client *client; /* owned */
    struct weir_tally tally;
    struct weir_load_live live;
    struct weir_list active, idle; /* of struct talk; owned */
    uint64_t n_active, max_active;
    struct weir_deferred pull_later;

    /* Open loop: the walk through the arrivals of all loops. */
    struct weir_arrival arrival;
    uint64_t next_conversation, next_due_ns; /* absolute; of the walk */
    uint64_t window_ns;                      /* due time of the first measured one; 0 = not yet */
    int timer_fd;
    struct weir_poll *timer; /* owned */

    bool exhausted; /* takes no new conversation */
    bool stopped;   /* sends no new request */
    bool finished;
    double cpu_from_s, cpu_s;
};

/* One conversation in work. */
struct talk {
    struct weir_list node; /* in load->active or load->idle */
    struct weir_load *load;
    struct weir_dialog dialog;
    struct weir_turn turn;
    struct weir_http_call *call; /* borrowed: dead after on_done */
    struct weir_outcome outcome;
    struct weir_sse sse;
    struct weir_buf body;   /* unary answer, or the body of an error */
    struct weir_buf answer; /* escaped text for the next turn */
    bool sse_fresh;         /* the last stream ended between two events */
    bool saw_done, saw_error, saw_garbage;
    uint64_t read_ns, read_chunks; /* of the piece that is being read */
    struct weir_timer pause;       /* think time, or a rest after a failed connection */
    bool resting;
};

static inline void weir_load_count(_Atomic uint64_t *counter, uint64_t n) {
    /* One writer: no need for a locked instruction. */
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

/* Of the call of a conversation, the argument. */
void weir_load_on_head(void *arg, int status, const struct weir_http_header *headers,
                       size_t n_headers);
void weir_load_on_body(void *arg, struct weir_span bytes);
/* The call is over: what was wrong with the answer; a sample of it goes into the tally. */
enum weir_bench_fault weir_load_judge(struct talk *k, enum weir_status status);

#endif
