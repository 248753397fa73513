/* Loads a program's configuration from texts and catches what it prints. */
#ifndef WEIR_TEST_UNIT_CONFIG_HELPERS_H
#define WEIR_TEST_UNIT_CONFIG_HELPERS_H

#include "runtime/config.h"
#include "test/check.h"

#include <fcntl.h>
#include <unistd.h>

/* Room for the largest options struct. */
struct loaded {
    enum weir_config_outcome outcome;
    struct weir_arena arena;
    _Alignas(16) char config[8192];
    char out[65536], err[65536];
};

static inline void slurp(int fd, char *text, size_t room) {
    lseek(fd, 0, SEEK_SET);
    ssize_t n = read(fd, text, room - 1);
    text[n > 0 ? n : 0] = '\0';
    close(fd);
}

static inline int temp_fd(void) {
    char path[] = "/tmp/weir-config-XXXXXX";
    int fd = mkstemp(path);
    if (fd < 0)
        abort();
    unlink(path);
    return fd;
}

/* args and env: NULL-terminated; args without the program word. The struct borrows both. */
static inline void load(struct loaded *l, const struct weir_program *p, const char *const *args,
                        const char *const *env) {
    static char word[] = "program";
    static char *argv[64];
    static const char *const none[] = {NULL};
    int argc = 0;
    argv[argc++] = word;
    for (; args != NULL && args[argc - 1] != NULL && argc < 63; argc++)
        argv[argc] = (char *)(uintptr_t)args[argc - 1];
    argv[argc] = NULL;
    weir_arena_init(&l->arena, WEIR_CONFIG_ARENA_BYTES);
    if (p->struct_bytes > sizeof(l->config))
        abort();
    fflush(stdout);
    fflush(stderr);
    int keep_out = dup(1), keep_err = dup(2), out = temp_fd(), err = temp_fd();
    dup2(out, 1);
    dup2(err, 2);
    l->outcome = weir_config_load(p, argc, argv, (char **)(uintptr_t)(env != NULL ? env : none),
                                  &l->arena, l->config);
    fflush(stdout);
    dup2(keep_out, 1);
    dup2(keep_err, 2);
    close(keep_out);
    close(keep_err);
    slurp(out, l->out, sizeof(l->out));
    slurp(err, l->err, sizeof(l->err));
}

static inline void unload(struct loaded *l) {
    weir_arena_fini(&l->arena);
}

#define ARGS(...)                                                                                  \
    (const char *const[]) {                                                                        \
        __VA_ARGS__, NULL                                                                          \
    }

#endif
