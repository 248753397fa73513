#include "bench/proc.h"

#include "bench/fetch.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { POLL_MS = 20, STOP_MS = 5000, MAX_ENV = 32 };

enum weir_status weir_proc_tempdir(char ret_path[WEIR_PROC_PATH], struct weir_err *err) {
    const char *base = getenv("TMPDIR");
    int n = snprintf(ret_path, WEIR_PROC_PATH, "%s/weir-bench-XXXXXX",
                     base != NULL && base[0] != '\0' ? base : "/tmp");
    if (n >= WEIR_PROC_PATH || mkdtemp(ret_path) == NULL)
        return weir_err_set(err, WEIR_IO, "cannot make a temporary folder: %s", strerror(errno));
    return WEIR_OK;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *where) {
    (void)st;
    (void)kind;
    (void)where;
    return remove(path);
}

void weir_proc_remove_dir(const char *path) {
    if (path[0] != '\0')
        (void)nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

uint16_t weir_proc_free_port(void) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return 0;
    uint16_t port = 0;
    if (bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0 &&
        getsockname(fd, (struct sockaddr *)&a, &len) == 0)
        port = ntohs(a.sin_port);
    close(fd);
    return port;
}

static void follow_parent(pid_t parent) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
}

static void run_child(const char *const *argv, const char *const *env, const char *log_path) {
    int log = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    int in = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (log < 0 || in < 0)
        _exit(127);
    dup2(in, STDIN_FILENO);
    dup2(log, STDOUT_FILENO);
    dup2(log, STDERR_FILENO);
    for (size_t i = 0; env != NULL && env[i] != NULL && i < MAX_ENV; i++) {
        char name[128];
        const char *eq = strchr(env[i], '=');
        if (eq == NULL || (size_t)(eq - env[i]) >= sizeof(name))
            _exit(127);
        memcpy(name, env[i], (size_t)(eq - env[i]));
        name[eq - env[i]] = '\0';
        setenv(name, eq + 1, 1);
    }
    execv(argv[0], (char *const *)argv);
    _exit(127);
}

enum weir_status weir_proc_start(struct weir_proc *p, const char *name, const char *const *argv,
                                 const char *const *env, const char *log_path,
                                 struct weir_err *err) {
    pid_t parent = getpid(), pid = fork();
    if (pid < 0)
        return weir_err_set(err, WEIR_IO, "%s: fork: %s", name, strerror(errno));
    if (pid == 0) {
        follow_parent(parent);
        run_child(argv, env, log_path);
    }
    *p = (struct weir_proc){.name = name, .pid = pid};
    return WEIR_OK;
}

enum weir_status weir_proc_fork(struct weir_proc *p, const char *name, void (*fn)(void *arg),
                                void *arg, struct weir_err *err) {
    fflush(stdout);
    pid_t parent = getpid(), pid = fork();
    if (pid < 0)
        return weir_err_set(err, WEIR_IO, "%s: fork: %s", name, strerror(errno));
    if (pid == 0) {
        follow_parent(parent);
        fn(arg);
        _exit(0);
    }
    *p = (struct weir_proc){.name = name, .pid = pid};
    return WEIR_OK;
}

bool weir_proc_alive(struct weir_proc *p) {
    if (p->pid == 0)
        return false;
    if (waitpid(p->pid, NULL, WNOHANG) == 0)
        return true;
    p->pid = 0;
    return false;
}

void weir_proc_sleep_ms(unsigned ms) {
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    nanosleep(&t, NULL);
}

void weir_proc_stop(struct weir_proc *p) {
    if (!weir_proc_alive(p))
        return;
    kill(p->pid, SIGTERM);
    for (unsigned waited = 0; waited < STOP_MS && weir_proc_alive(p); waited += POLL_MS)
        weir_proc_sleep_ms(POLL_MS);
    if (!weir_proc_alive(p))
        return;
    kill(p->pid, SIGKILL);
    waitpid(p->pid, NULL, 0);
    p->pid = 0;
}

uint64_t weir_proc_cpu_ns(const struct weir_proc *p) {
    clockid_t clock;
    struct timespec t;
    if (p->pid == 0 || clock_getcpuclockid(p->pid, &clock) != 0 || clock_gettime(clock, &t) != 0)
        return 0;
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t weir_proc_rss_bytes(const struct weir_proc *p) {
    char path[64], line[256];
    snprintf(path, sizeof(path), "/proc/%d/status", (int)p->pid);
    FILE *f = p->pid != 0 ? fopen(path, "r") : NULL;
    uint64_t kib = 0;
    if (f == NULL)
        return 0;
    while (fgets(line, sizeof(line), f) != NULL) {
        struct weir_span rest, key = weir_span_split(weir_span_z(line), ':', &rest);
        if (!weir_span_eqz(key, "VmRSS") || rest.data == NULL)
            continue;
        struct weir_span tail, number = weir_span_trim(rest);
        number = weir_span_split(number, ' ', &tail);
        (void)weir_span_u64(number, &kib);
    }
    fclose(f);
    return kib * 1024;
}

static enum weir_status ended(const struct weir_proc *p, struct weir_err *err) {
    return weir_err_set(err, WEIR_UNAVAILABLE, "%s ended while it was starting", p->name);
}

enum weir_status weir_proc_wait_port(struct weir_proc *p, uint16_t port, unsigned timeout_ms,
                                     struct weir_err *err) {
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
    for (unsigned waited = 0; waited < timeout_ms; waited += POLL_MS) {
        if (!weir_proc_alive(p))
            return ended(p, err);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        bool up = fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0;
        if (fd >= 0)
            close(fd);
        if (up)
            return WEIR_OK;
        weir_proc_sleep_ms(POLL_MS);
    }
    return weir_err_set(err, WEIR_TIMEOUT, "%s does not listen on port %u", p->name, port);
}

enum weir_status weir_proc_wait_http(struct weir_proc *p, uint16_t port, const char *path,
                                     const char *words, unsigned timeout_ms, struct weir_err *err) {
    struct weir_http_client_config server = {.ip = "127.0.0.1", .port = port};
    struct weir_buf body;
    weir_buf_init(&body, (size_t)16 << 20);
    bool good = false;
    for (unsigned waited = 0; waited < timeout_ms && !good; waited += POLL_MS) {
        int status = 0;
        if (!weir_proc_alive(p))
            break;
        weir_buf_clear(&body);
        good = weir_fetch(&server, path, NULL, 0, weir_span(NULL, 0), 2000, &status, &body) ==
                   WEIR_OK &&
               status == 200 && weir_buf_append_c(&body, '\0') == WEIR_OK &&
               (words == NULL || strstr(body.data, words) != NULL);
        if (!good)
            weir_proc_sleep_ms(POLL_MS);
    }
    weir_buf_fini(&body);
    if (good)
        return WEIR_OK;
    if (!weir_proc_alive(p))
        return ended(p, err);
    return weir_err_set(err, WEIR_TIMEOUT, "%s is not ready at %s", p->name, path);
}

bool weir_proc_find(const char *name, char ret_path[WEIR_PROC_PATH]) {
    const char *path = getenv("PATH");
    struct weir_span dirs[2] = {weir_span_z(path != NULL ? path : ""),
                                WEIR_SPAN_LIT("/usr/sbin:/usr/local/sbin:/sbin")};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(dirs); i++)
        for (struct weir_span rest = dirs[i]; rest.data != NULL;) {
            struct weir_span dir = weir_span_split(rest, ':', &rest);
            int n = snprintf(ret_path, WEIR_PROC_PATH, "%.*s/%s", WEIR_SPAN_ARG(dir), name);
            if (dir.len > 0 && n < WEIR_PROC_PATH && access(ret_path, X_OK) == 0)
                return true;
        }
    return false;
}

bool weir_proc_beside(const char *self, char ret_path[WEIR_PROC_PATH]) {
    const char *slash = strrchr(self, '/');
    int n = snprintf(ret_path, WEIR_PROC_PATH, "%.*s/../weir",
                     slash != NULL ? (int)(slash - self) : 1, slash != NULL ? self : ".");
    return n < WEIR_PROC_PATH && access(ret_path, X_OK) == 0;
}

uint64_t weir_proc_open_files(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 1024;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    return limit.rlim_cur;
}
