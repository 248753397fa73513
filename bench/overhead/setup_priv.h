/* What is measured, and beside what: processes that one run starts and ends. */
#ifndef WEIR_BENCH_OVERHEAD_SETUP_PRIV_H
#define WEIR_BENCH_OVERHEAD_SETUP_PRIV_H

#include "base/buf.h"
#include "bench/canned.h"
#include "bench/proc.h"

enum { MAX_ROUNDS = 25, ANSWER_TOKENS = 16, STREAM_TOKENS = 257 };

enum subject { WEIR, NGINX, HAPROXY, SUBJECTS };
extern const char *const overhead_subjects[SUBJECTS];

struct setup {
    const char *weir; /* path of the executable */
    unsigned rounds;
    double scale; /* of the numbers of requests */
    uint64_t flat_requests, idle_conns;
    unsigned concurrency;
    const char *only; /* prefix of figures, or NULL */
    bool peers;
    char dir[WEIR_PROC_PATH];
    struct weir_proc mocker, canned_proc;
    struct weir_proc procs[SUBJECTS];
    uint16_t ports[SUBJECTS]; /* 0 = not there */
    const char *absent[SUBJECTS];
    struct weir_canned canned;
    struct weir_buf unary, head, chunk, tail;
    uint64_t seed;
};

/* These end the program. */
void overhead_die(const char *what, const struct weir_err *err);
void overhead_must(enum weir_status st);

/* What the peers' upstream answers. Once, before the start. */
void overhead_make_answers(struct setup *s);
/* pace_ms: between the tokens of an answer; 0 = none. */
void overhead_start(struct setup *s, unsigned pace_ms);
void overhead_stop(struct setup *s);

#endif
