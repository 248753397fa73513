#include "test/unit/net/nats_server.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_ARGS = 24, TRIES = 3000 };

static void pause_ms(long ms) {
    nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
}

bool nats_server_there(void) {
    return system("command -v nats-server >/dev/null 2>&1") == 0;
}

/* The ports file appears when the server listens. */
static bool read_port(struct nats_server *s) {
    char path[512], text[4096];
    DIR *d = opendir(s->folder);
    struct dirent *e;
    bool found = false;
    while (d != NULL && !found && (e = readdir(d)) != NULL) {
        if (strstr(e->d_name, ".ports") == NULL)
            continue;
        snprintf(path, sizeof(path), "%s/%s", s->folder, e->d_name);
        FILE *f = fopen(path, "re");
        size_t n = f != NULL ? fread(text, 1, sizeof(text) - 1, f) : 0;
        if (f != NULL)
            fclose(f);
        text[n] = '\0';
        const char *at = strstr(text, "nats://127.0.0.1:");
        found = at != NULL && sscanf(at, "nats://127.0.0.1:%u", &s->port) == 1;
    }
    if (d != NULL)
        closedir(d);
    return found;
}

static bool listens(unsigned port) {
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool ok = connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0;
    close(fd);
    return ok;
}

static void exec_server(const struct nats_server *s, const char *const *more) {
    char port[16];
    const char *args[MAX_ARGS] = {"nats-server", "-a", "127.0.0.1", "-p", port};
    unsigned n = 5;
    snprintf(port, sizeof(port), "%d", s->port != 0 ? (int)s->port : -1);
    args[n++] = "--ports_file_dir";
    args[n++] = s->folder;
    while (more != NULL && *more != NULL && n < MAX_ARGS - 1)
        args[n++] = *more++;
    int null = open("/dev/null", O_WRONLY);
    dup2(null, 1);
    dup2(null, 2);
    execvp(args[0], (char *const *)(uintptr_t)args);
    _exit(127);
}

bool nats_server_start(struct nats_server *s, const char *const *more) {
    if (s->folder[0] == '\0') {
        snprintf(s->folder, sizeof(s->folder), "/tmp/weir_nats_XXXXXX");
        if (mkdtemp(s->folder) == NULL)
            return false;
    }
    s->pid = fork();
    if (s->pid == 0)
        exec_server(s, more);
    for (int i = 0; i < TRIES; i++) {
        if ((s->port != 0 || read_port(s)) && listens(s->port)) {
            snprintf(s->url, sizeof(s->url), "nats://127.0.0.1:%u", s->port);
            return true;
        }
        pause_ms(5);
    }
    return false;
}

void nats_server_kill(struct nats_server *s) {
    if (s->pid == 0)
        return;
    kill(s->pid, SIGKILL);
    waitpid(s->pid, NULL, 0);
    s->pid = 0;
}

void nats_server_fini(struct nats_server *s) {
    char path[512];
    nats_server_kill(s);
    DIR *d = s->folder[0] != '\0' ? opendir(s->folder) : NULL;
    struct dirent *e;
    while (d != NULL && (e = readdir(d)) != NULL)
        if (e->d_name[0] != '.') {
            snprintf(path, sizeof(path), "%s/%s", s->folder, e->d_name);
            unlink(path);
        }
    if (d != NULL)
        closedir(d);
    rmdir(s->folder);
}
