#include "test/unit/runtime/peer.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_FDS = 64, ROOM = 1 << 20 };

struct peer {
    const struct peer_script *script;
    int listener;
    unsigned port;
    pthread_mutex_t lock;
    pthread_t threads[MAX_FDS];
    int fds[MAX_FDS];
    unsigned n_fds, n_threads, n_requests, n_conns, n_ended;
    char heard[256];
    size_t n_heard;
};

struct job {
    struct peer *peer;
    int fd;
};

static bool read_all(int fd, unsigned char *to, size_t n) {
    for (size_t at = 0; at < n;) {
        ssize_t got = read(fd, to + at, n - at);
        if (got <= 0)
            return false;
        at += (size_t)got;
    }
    return true;
}

static bool write_all(int fd, const char *data, size_t n, size_t chunk) {
    for (size_t at = 0; at < n;) {
        size_t want = chunk > 0 && chunk < n - at ? chunk : n - at;
        ssize_t put = send(fd, data + at, want, MSG_NOSIGNAL);
        if (put <= 0)
            return false;
        at += (size_t)put;
    }
    return true;
}

static void keep_fd(struct peer *p, int fd) {
    pthread_mutex_lock(&p->lock);
    if (p->n_fds == MAX_FDS)
        abort();
    p->fds[p->n_fds++] = fd;
    pthread_mutex_unlock(&p->lock);
}

static void drop_fd(struct peer *p, int fd) {
    pthread_mutex_lock(&p->lock);
    for (unsigned i = 0; i < p->n_fds; i++)
        if (p->fds[i] == fd)
            p->fds[i] = p->fds[--p->n_fds];
    close(fd);
    pthread_mutex_unlock(&p->lock);
}

/* The value behind \"name\":\" in the text of the control header. */
static bool find(const char *text, const char *name, char *ret, size_t room) {
    char key[64];
    snprintf(key, sizeof(key), "\\\"%s\\\":\\\"", name);
    const char *at = strstr(text, key);
    if (at == NULL)
        return false;
    at += strlen(key);
    size_t n = strcspn(at, "\\");
    if (n >= room)
        return false;
    memcpy(ret, at, n);
    ret[n] = '\0';
    return true;
}

static void hear(struct peer *p, const char *data, size_t n) {
    pthread_mutex_lock(&p->lock);
    for (size_t i = 0; i < n && p->n_heard < sizeof(p->heard); i++)
        p->heard[p->n_heard++] = data[i];
    pthread_mutex_unlock(&p->lock);
}

static void stream(struct peer *p, const char *address, const char *subject) {
    const struct peer_script *s = p->script;
    char host[128], frame[256] = {0}, text[160];
    const char *colon = strrchr(address, ':');
    snprintf(host, sizeof(host), "%.*s", (int)(colon - address), address);
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10))};
    inet_pton(AF_INET, host, &to.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    keep_fd(p, fd);
    if (connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0) {
        int n = snprintf(text, sizeof(text), "{\"subject\":\"%s\",\"stream_type\":\"response\"}",
                         s->subject != NULL ? s->subject : subject);
        frame[7] = (char)n;
        memcpy(frame + 24, text, (size_t)n);
        bool ok = s->opening.data != NULL ? write_all(fd, s->opening.data, s->opening.len, s->chunk)
                                          : write_all(fd, frame, 24 + (size_t)n, s->chunk);
        if (ok)
            ok = write_all(fd, s->stream.data, s->stream.len, s->chunk);
        if (ok && s->end == PEER_WAITS) {
            char room[4096];
            ssize_t got;
            while ((got = read(fd, room, sizeof(room))) > 0)
                hear(p, room, (size_t)got);
        } else if (s->end == PEER_RESETS) {
            struct linger hard = {1, 0};
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
        }
    }
    drop_fd(p, fd);
    pthread_mutex_lock(&p->lock);
    p->n_ended++;
    pthread_mutex_unlock(&p->lock);
}

static bool one_request(struct peer *p, int fd) {
    const struct peer_script *s = p->script;
    unsigned char head[8];
    char address[128], subject[128];
    char *room = calloc(1, ROOM);
    size_t lens[3] = {0};
    const size_t width[3] = {2, 2, 4};
    bool ok = room != NULL;
    for (int i = 0; i < 3 && ok; i++) {
        ok = read_all(fd, head, width[i]);
        for (size_t k = 0; k < width[i]; k++)
            lens[i] = lens[i] << 8 | head[k];
        ok = ok && lens[i] < ROOM && read_all(fd, (unsigned char *)room, lens[i]);
    }
    /* The payload: 24 bytes, then the control header. */
    ok = ok && find(room + 24, "address", address, sizeof(address)) &&
         find(room + 24, "subject", subject, sizeof(subject));
    free(room);
    if (!ok)
        return false;
    pthread_mutex_lock(&p->lock);
    p->n_requests++;
    pthread_mutex_unlock(&p->lock);
    if (s->dials_first)
        stream(p, address, subject);
    if (s->ack.data != NULL && !write_all(fd, s->ack.data, s->ack.len, 0))
        return false;
    if (s->dials)
        stream(p, address, subject);
    return !s->close_request;
}

static void *serve(void *arg) {
    struct job *job = arg;
    struct peer *p = job->peer;
    int fd = job->fd;
    free(job);
    while (one_request(p, fd))
        ;
    drop_fd(p, fd);
    return NULL;
}

static void *accept_all(void *arg) {
    struct peer *p = arg;
    int fd;
    while ((fd = accept(p->listener, NULL, NULL)) >= 0) {
        struct job *job = malloc(sizeof(*job));
        if (job == NULL)
            abort();
        *job = (struct job){p, fd};
        keep_fd(p, fd);
        pthread_mutex_lock(&p->lock);
        p->n_conns++;
        if (p->n_threads == MAX_FDS ||
            pthread_create(&p->threads[p->n_threads++], NULL, serve, job) != 0)
            abort();
        pthread_mutex_unlock(&p->lock);
    }
    return NULL;
}

struct peer *peer_start(const struct peer_script *script) {
    struct peer *p = calloc(1, sizeof(*p));
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(any);
    if (p == NULL)
        abort();
    p->script = script;
    pthread_mutex_init(&p->lock, NULL);
    p->listener = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(p->listener, (struct sockaddr *)&any, sizeof(any)) != 0 ||
        listen(p->listener, 64) != 0 ||
        getsockname(p->listener, (struct sockaddr *)&any, &len) != 0)
        abort();
    p->port = ntohs(any.sin_port);
    pthread_mutex_lock(&p->lock);
    if (pthread_create(&p->threads[p->n_threads++], NULL, accept_all, p) != 0)
        abort();
    pthread_mutex_unlock(&p->lock);
    return p;
}

unsigned peer_port(const struct peer *p) {
    return p->port;
}

static unsigned get(struct peer *p, const unsigned *value) {
    pthread_mutex_lock(&p->lock);
    unsigned v = *value;
    pthread_mutex_unlock(&p->lock);
    return v;
}

unsigned peer_requests(struct peer *p) {
    return get(p, &p->n_requests);
}
unsigned peer_conns(struct peer *p) {
    return get(p, &p->n_conns);
}
unsigned peer_streams_ended(struct peer *p) {
    return get(p, &p->n_ended);
}

size_t peer_heard(struct peer *p, char *ret, size_t room) {
    pthread_mutex_lock(&p->lock);
    size_t n = p->n_heard < room ? p->n_heard : room;
    memcpy(ret, p->heard, n);
    pthread_mutex_unlock(&p->lock);
    return n;
}

void peer_stop(struct peer *p) {
    shutdown(p->listener, SHUT_RDWR);
    pthread_join(p->threads[0], NULL);
    pthread_mutex_lock(&p->lock);
    for (unsigned i = 0; i < p->n_fds; i++)
        shutdown(p->fds[i], SHUT_RDWR);
    unsigned n = p->n_threads;
    pthread_mutex_unlock(&p->lock);
    for (unsigned i = 1; i < n; i++)
        pthread_join(p->threads[i], NULL);
    close(p->listener);
    pthread_mutex_destroy(&p->lock);
    free(p);
}
