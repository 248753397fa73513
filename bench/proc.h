/*
 * Child processes of the comparing benches: started in a temporary folder, watched through /proc,
 * ended with their parent. Linux. Threads: one.
 */
#ifndef WEIR_BENCH_PROC_H
#define WEIR_BENCH_PROC_H

#include "base/status.h"

#include <stdint.h>
#include <sys/types.h>

struct weir_proc {
    const char *name;
    pid_t pid; /* 0 = not running */
};

enum { WEIR_PROC_PATH = 512 };

/* A fresh folder under $TMPDIR or /tmp, without a slash at its end. */
enum weir_status weir_proc_tempdir(char ret_path[WEIR_PROC_PATH],
                                   struct weir_err *err) WEIR_MUST_CHECK;
/* Removes such a folder with all in it. */
void weir_proc_remove_dir(const char *path);
/* A TCP port of 127.0.0.1 that was free a moment ago; 0 when there is none. */
uint16_t weir_proc_free_port(void);
/* argv and env end with NULL; env: "NAME=value" on top of this process's own. Output goes to
 * `log_path`. The child gets SIGKILL when this process dies. `name` is static text. */
enum weir_status weir_proc_start(struct weir_proc *p, const char *name, const char *const *argv,
                                 const char *const *env, const char *log_path,
                                 struct weir_err *err) WEIR_MUST_CHECK;
/* Runs fn(arg) in a forked child. */
enum weir_status weir_proc_fork(struct weir_proc *p, const char *name, void (*fn)(void *arg),
                                void *arg, struct weir_err *err) WEIR_MUST_CHECK;
/* SIGTERM, and SIGKILL after five seconds. Accepts one that does not run. */
void weir_proc_stop(struct weir_proc *p);
/* False when it has ended by itself. */
bool weir_proc_alive(struct weir_proc *p);
/* CPU time of all its threads; 0 when it cannot be had. */
uint64_t weir_proc_cpu_ns(const struct weir_proc *p);
/* Resident bytes as the kernel counts them (VmRSS, pages of files included); 0 when they cannot be
 * had. */
uint64_t weir_proc_rss_bytes(const struct weir_proc *p);
/* Waits until the port takes connections. */
enum weir_status weir_proc_wait_port(struct weir_proc *p, uint16_t port, unsigned timeout_ms,
                                     struct weir_err *err) WEIR_MUST_CHECK;
/* Waits until GET of the path gives 200 and, when `words` is not NULL, a body that holds them. */
enum weir_status weir_proc_wait_http(struct weir_proc *p, uint16_t port, const char *path,
                                     const char *words, unsigned timeout_ms,
                                     struct weir_err *err) WEIR_MUST_CHECK;
/* First executable of that name in PATH and the usual places of servers. */
bool weir_proc_find(const char *name, char ret_path[WEIR_PROC_PATH]);
/* The executable weir where a program of this folder is built: build/…/bench/x → build/…/weir. */
bool weir_proc_beside(const char *self, char ret_path[WEIR_PROC_PATH]);
/* Pauses without spinning. */
void weir_proc_sleep_ms(unsigned ms);
/* Raises the limit of open files as far as it goes; returns it. */
uint64_t weir_proc_open_files(void);

#endif
