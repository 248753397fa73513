/*
 * gpu_info of the configuration dump: what nvidia-smi says, null when it is missing, fails, prints
 * nothing or takes longer than 5 seconds. Runs at start-up, and only when a dump was asked for.
 */
#include "runtime/config_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LIMIT_MS = 5000, MAX_OUTPUT = 65536, MAX_GPUS = 256 };

extern char **environ;

static int64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static bool start(pid_t *ret_pid, int *ret_fd) {
    static char command[] = "nvidia-smi", format[] = "--format=csv,noheader",
                query[] = "--query-gpu=name,driver_version,memory.total";
    char *const argv[] = {command, query, format, NULL};
    posix_spawn_file_actions_t actions;
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0)
        return false;
    bool ok = posix_spawn_file_actions_init(&actions) == 0;
    if (ok) {
        ok = posix_spawn_file_actions_adddup2(&actions, fds[1], STDOUT_FILENO) == 0 &&
             posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0) ==
                 0 &&
             posix_spawnp(ret_pid, command, &actions, NULL, argv, environ) == 0;
        posix_spawn_file_actions_destroy(&actions);
    }
    close(fds[1]);
    if (ok)
        *ret_fd = fds[0];
    else
        close(fds[0]);
    return ok;
}

/* True when the output ended in time and inside the bound. */
static bool read_all(int fd, struct weir_buf *out) {
    int64_t deadline = now_ms() + LIMIT_MS;
    char piece[4096];
    for (;;) {
        int64_t left = deadline - now_ms();
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (left <= 0 || poll(&p, 1, (int)left) <= 0)
            return false;
        ssize_t n = read(fd, piece, sizeof(piece));
        if (n <= 0)
            return n == 0;
        if (weir_buf_append(out, piece, (size_t)n) != WEIR_OK)
            return false;
    }
}

static bool query(struct weir_buf *out) {
    pid_t pid = 0;
    int fd = -1, status = 0;
    if (!start(&pid, &fd))
        return false;
    bool ok = read_all(fd, out);
    close(fd);
    if (!ok)
        kill(pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return ok && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void put_gpu(struct weir_jsonw *w, struct weir_span line) {
    static const char *const keys[] = {"name", "driver_version", "memory_total"};
    struct weir_span fields[3] = {{NULL, 0}};
    for (size_t i = 0; i < 3 && line.data != NULL; i++)
        fields[i] = weir_span_trim(weir_span_split(line, ',', &line));
    weir_jsonw_object_begin(w);
    static const size_t order[] = {1, 2, 0}; /* sorted keys */
    for (size_t i = 0; i < 3; i++) {
        weir_jsonw_key(w, keys[order[i]]);
        weir_jsonw_string(w, fields[order[i]]);
    }
    weir_jsonw_object_end(w);
}

void config_put_gpu_info(struct weir_jsonw *w) {
    struct weir_buf out;
    weir_buf_init(&out, MAX_OUTPUT);
    struct weir_span rest = weir_span(NULL, 0);
    if (query(&out))
        rest = weir_span_trim(weir_buf_span(&out));
    if (rest.len == 0) {
        weir_jsonw_null(w);
        weir_buf_fini(&out);
        return;
    }
    uint64_t count = 1;
    for (size_t i = 0; i < rest.len; i++)
        count += rest.data[i] == '\n';
    count = count < MAX_GPUS ? count : MAX_GPUS;
    weir_jsonw_object_begin(w);
    weir_jsonw_key(w, "count");
    weir_jsonw_u64(w, count);
    weir_jsonw_key(w, "gpus");
    weir_jsonw_array_begin(w);
    for (uint64_t i = 0; i < count; i++)
        put_gpu(w, weir_span_split(rest, '\n', &rest));
    weir_jsonw_array_end(w);
    weir_jsonw_object_end(w);
    weir_buf_fini(&out);
}
