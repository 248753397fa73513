/* A disk that stands still holds nobody but the spool's thread up: reads and writes of this program
 * go through pread and pwrite below, which wait where a case says so. */
#include "runtime/spool.h"

#include "test/check.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PIECES = 300, PIECE = 4096 };

/* ---- the disk ----------------------------------------------------------------------------- */

static pthread_mutex_t disk_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t disk_moves = PTHREAD_COND_INITIALIZER;
static bool stands, came;

static void pass(void) {
    pthread_mutex_lock(&disk_lock);
    came = true;
    pthread_cond_broadcast(&disk_moves);
    while (stands)
        pthread_cond_wait(&disk_moves, &disk_lock);
    pthread_mutex_unlock(&disk_lock);
}

static void let(bool stand) {
    pthread_mutex_lock(&disk_lock);
    stands = stand;
    came = false;
    pthread_cond_broadcast(&disk_moves);
    pthread_mutex_unlock(&disk_lock);
}

static void wait_until_it_came(void) {
    pthread_mutex_lock(&disk_lock);
    while (!came)
        pthread_cond_wait(&disk_moves, &disk_lock);
    pthread_mutex_unlock(&disk_lock);
}

ssize_t pwrite(int fd, const void *bytes, size_t n, off_t at) {
    pass();
    return syscall(SYS_pwrite64, fd, bytes, n, at);
}

ssize_t pread(int fd, void *bytes, size_t n, off_t at) {
    pass();
    return syscall(SYS_pread64, fd, bytes, n, at);
}

/* ---- asking ------------------------------------------------------------------------------- */

static struct weir_loop *loop;
static struct weir_spool *spool;
static enum weir_status told;
static char got[PIECE];
static size_t n_got, n_told;

static void on_told(void *arg, enum weir_status st, struct weir_span bytes) {
    CHECK(arg == &told && bytes.len <= sizeof(got));
    told = st;
    n_told++;
    n_got = bytes.len;
    if (bytes.len > 0)
        memcpy(got, bytes.data, bytes.len);
    weir_loop_stop(loop);
}

static void begin(void) {
    CHECK(weir_loop_create(0, &loop) == WEIR_OK);
    CHECK(weir_spool_create(loop, &spool) == WEIR_OK);
    n_told = 0;
}

static void end(void) {
    weir_spool_destroy(spool);
    weir_loop_destroy(loop);
}

/* A loop runs once: each answer ends one, so the questions go to a spool of a loop that goes on. */
struct asking {
    unsigned step;
    bool ok;
};

static struct weir_buf piece_of(const char *bytes, size_t n) {
    struct weir_buf b;
    weir_buf_init(&b, PIECE);
    CHECK(weir_buf_append(&b, bytes, n) == WEIR_OK);
    return b;
}

static void fill(char *piece, unsigned i) {
    memset(piece, (int)('a' + i % 26), PIECE);
    piece[0] = (char)i;
}

static void on_next(void *arg, enum weir_status st, struct weir_span bytes);

/* PIECES appends, a change over the end of the first, its reading, reading backwards, and beyond.
 */
static void go_on(struct asking *a) {
    char piece[PIECE];
    unsigned i = a->step++;
    struct weir_buf b = {.max = 2};
    if (i < PIECES) {
        fill(piece, i);
        b = piece_of(piece, PIECE);
        weir_spool_append(spool, &b, on_next, a);
        CHECK(b.len == 0);
        CHECK_EQ_U64(weir_spool_size(spool), (uint64_t)(i + 1) * PIECE);
    } else if (i == PIECES) {
        b = piece_of("xy", 2);
        weir_spool_replace(spool, PIECE - 1, &b, on_next, a);
        CHECK_EQ_U64(weir_spool_size(spool), (uint64_t)PIECES * PIECE);
    } else if (i == PIECES + 1) {
        weir_spool_read(spool, PIECE - 1, 2, on_next, a);
    } else if (i < 2 * PIECES) {
        weir_spool_read(spool, (uint64_t)(2 * PIECES - i + 1) * PIECE, PIECE, on_next, a);
    } else {
        weir_spool_read(spool, (uint64_t)PIECES * PIECE - 1, 2, on_next, a);
    }
}

static void on_next(void *arg, enum weir_status st, struct weir_span bytes) {
    struct asking *a = arg;
    unsigned i = a->step - 1;
    char want[PIECE];
    if (i == 2 * PIECES) { /* beyond what is there: told, not made up */
        CHECK(st == WEIR_IO);
        a->ok = true;
        weir_loop_stop(loop);
        return;
    }
    CHECK(st == WEIR_OK);
    CHECK_EQ_U64(bytes.len, i <= PIECES ? 0 : i == PIECES + 1 ? 2 : PIECE);
    if (i == PIECES + 1)
        CHECK(memcmp(bytes.data, "xy", 2) == 0);
    if (i > PIECES + 1) {
        fill(want, 2 * PIECES - i + 1);
        CHECK(memcmp(bytes.data, want, PIECE) == 0);
    }
    go_on(a);
}

static void check_there_and_back(void) {
    struct asking a = {0, false};
    begin();
    go_on(&a);
    weir_loop_run(loop);
    CHECK(a.ok);
    end();
}

static void case_in_a_folder(void) {
    check_there_and_back();
}

static void case_without_a_folder(void) {
    const char *tmp = getenv("TMPDIR");
    char *kept = tmp != NULL ? strdup(tmp) : NULL;
    setenv("TMPDIR", "/nowhere/at/all", 1);
    check_there_and_back();
    if (kept != NULL)
        setenv("TMPDIR", kept, 1);
    else
        unsetenv("TMPDIR");
    free(kept);
}

static void case_nothing(void) {
    struct weir_buf none = {.max = 1};
    begin();
    weir_spool_append(spool, &none, on_told, &told);
    weir_loop_run(loop);
    CHECK(n_told == 1 && told == WEIR_OK && n_got == 0 && weir_spool_size(spool) == 0);
    end();
    weir_spool_destroy(NULL);
}

/* ---- a disk that stands still ------------------------------------------------------------- */

static struct weir_timer tick;
static unsigned n_ticks;

static void on_tick(void *arg) {
    (void)arg;
    CHECK(n_told == 0);
    if (++n_ticks == 20)
        let(false);
    else
        CHECK(weir_timer_start(&tick, 1) == WEIR_OK);
}

/* The loop goes on. (Failed before: it waited for the disk.) */
static void case_the_loop_goes_on(void) {
    struct weir_buf b = piece_of("abc", 3);
    begin();
    n_ticks = 0;
    weir_timer_init(&tick, loop, on_tick, NULL);
    let(true);
    weir_spool_append(spool, &b, on_told, &told);
    wait_until_it_came();
    CHECK(weir_timer_start(&tick, 0) == WEIR_OK);
    weir_loop_run(loop);
    CHECK(n_ticks == 20 && n_told == 1 && told == WEIR_OK);
    end();
}

/* Nor does whoever destroys it wait. Memory: the thread's, when it comes back. */
static void case_destroyed_meanwhile(void) {
    struct weir_buf b = piece_of("abc", 3);
    begin();
    let(true);
    weir_spool_append(spool, &b, on_told, &told);
    wait_until_it_came();
    end();
    let(false);
    CHECK(n_told == 0);
}

static void on_destroy(void *arg, enum weir_status st, struct weir_span bytes) {
    on_told(arg, st, bytes);
    weir_spool_destroy(spool);
    spool = NULL;
}

static void case_destroyed_by_its_answer(void) {
    struct weir_buf b = piece_of("abc", 3);
    begin();
    weir_spool_append(spool, &b, on_destroy, &told);
    weir_loop_run(loop);
    CHECK(n_told == 1 && spool == NULL);
    end();
}

/* 256 at once in the process. One that was destroyed counts until the disk lets its thread go. */
static void case_no_more_than_so_many(void) {
    enum { MOST = 256 };
    static struct weir_spool *all[MOST];
    struct weir_buf b = piece_of("abc", 3);
    struct weir_spool *more = NULL;
    enum weir_status st;
    begin();
    all[0] = spool;
    for (int i = 1; i < MOST; i++) /* threads of earlier cases may not have ended */
        while ((st = weir_spool_create(loop, &all[i])) != WEIR_OK) {
            CHECK(st == WEIR_LIMIT);
            sched_yield();
        }
    CHECK(weir_spool_create(loop, &more) == WEIR_LIMIT && more == NULL);
    let(true);
    weir_spool_append(spool, &b, on_told, &told);
    wait_until_it_came();
    weir_spool_destroy(spool);
    CHECK(weir_spool_create(loop, &more) == WEIR_LIMIT);
    let(false);
    while ((st = weir_spool_create(loop, &more)) == WEIR_LIMIT)
        sched_yield();
    CHECK(st == WEIR_OK);
    spool = more;
    for (int i = 1; i < MOST; i++)
        weir_spool_destroy(all[i]);
    end();
}

int main(void) {
    CHECK_RUN(case_in_a_folder);
    CHECK_RUN(case_without_a_folder);
    CHECK_RUN(case_nothing);
    CHECK_RUN(case_the_loop_goes_on);
    CHECK_RUN(case_destroyed_meanwhile);
    CHECK_RUN(case_destroyed_by_its_answer);
    CHECK_RUN(case_no_more_than_so_many);
    return check_finish();
}
