/*
 * bench/floor: what the socket calls of a request cost that goes over Dynamo's TCP request plane,
 * and nothing else: no JSON, no template, no token, no routing. The floor beside `weir frontend`
 * and `dynamo.frontend` in bench/peers.
 *
 *   client → front: POST, keep-alive        read
 *   front → worker, one lasting connection  as many bytes as the body has, an ack back
 *   worker → front: a connection a request  accept, a frame a token, read as they come, close
 *   front → client: the answer              one write, or one for what was read of a stream
 *
 * usage: floor worker PORT HOME_PORT; floor front PORT HOME_PORT WORKER_PORT. One thread each, on
 * 127.0.0.1. For benches: they trust who connects.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
    MAX_FDS = 4096,
    ROOM = 1 << 20, /* bytes of a request */
    FRAME = 96,     /* bytes that a worker sends for a token */
    TOKENS = 16,
    STREAM_TOKENS = 257,
    STEP_TOKENS = 24, /* tokens that leave a worker at once; measured: 11 reads for 257 */
    EVENTS = 256,
};

/* Before a request on the lasting connection, and first on the connection of its answer. */
struct note {
    uint32_t slot, n_tokens;
    uint64_t n_bytes;
};

enum kind { LISTEN, HOME_LISTEN, LASTING, CLIENT, HOME };
struct conn {
    enum kind kind;
    char *in;
    size_t len, need;         /* client: need 0 = head not seen */
    uint32_t slot, left, due; /* home: its client, tokens to come; client: tokens of its answer */
    bool begun;
};

static struct conn conns[MAX_FDS];
static int epoll_fd, worker_fd, home_port;
static char bulk[1 << 16];

static void die(const char *what) {
    perror(what);
    exit(1);
}

static int port_of(const char *text) {
    char *end;
    long port = strtol(text, &end, 10);
    if (*end != '\0' || port < 1 || port > 65535) {
        fprintf(stderr, "floor: '%s' is no port\n", text);
        exit(1);
    }
    return (int)port;
}

static struct sockaddr_in at(int port) {
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static void watch(int fd, enum kind kind) {
    struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
    if (fd >= MAX_FDS || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &e) != 0)
        die("watch");
    conns[fd].kind = kind;
}

static int listen_on(int port, enum kind kind) {
    struct sockaddr_in a = at(port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0 ||
        bind(fd, (struct sockaddr *)&a, sizeof(a)) != 0 || listen(fd, 1024) != 0)
        die("listen");
    watch(fd, kind);
    return fd;
}

static int connect_to(int port) {
    struct sockaddr_in a = at(port);
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) != 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) != 0)
        die("connect");
    return fd;
}

/* All of it; a socket that is full is waited for, asleep. */
static void send_all(int fd, const void *data, size_t len) {
    const char *p = data;
    while (len > 0) {
        ssize_t n = write(fd, p, len);
        if (n > 0) {
            p += n;
            len -= (size_t)n;
            continue;
        }
        struct pollfd full = {.fd = fd, .events = POLLOUT};
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            die("write");
        (void)poll(&full, 1, -1);
    }
}

static void drop(int fd) {
    free(conns[fd].in);
    conns[fd] = (struct conn){.kind = CLIENT};
    close(fd);
}

static int take(int listener) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    if (fd >= MAX_FDS)
        die("too many connections");
    return fd;
}

static void at_once(int fd) {
    int one = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

/* ---- worker ------------------------------------------------------------------------------- */

static int active[MAX_FDS]; /* connections of answers that go on */
static size_t n_active;

/* A note, then so many bytes of a request, of which nothing is looked at. */
static void worker_read(int fd) {
    static struct note note;
    static size_t have;
    static uint64_t body;
    static char in[1 << 18];
    ssize_t n = read(fd, in, sizeof(in));
    if (n == 0)
        drop(fd); /* somebody looked whether we are there */
    for (size_t from = 0; n > 0 && from < (size_t)n;) {
        size_t left = (size_t)n - from;
        if (have < sizeof(note)) {
            size_t part = left < sizeof(note) - have ? left : sizeof(note) - have;
            memcpy((char *)&note + have, in + from, part);
            have += part;
            from += part;
            body = note.n_bytes;
        } else {
            uint64_t part = left < body ? left : body;
            from += (size_t)part;
            body -= part;
        }
        if (have < sizeof(note) || body > 0)
            continue;
        have = 0;
        send_all(fd, "\0\0\0", 4);
        int home = connect_to(home_port);
        send_all(home, &note, sizeof(note));
        conns[home] = (struct conn){.kind = HOME, .left = note.n_tokens};
        active[n_active++] = home;
    }
}

/* A step of every answer. */
static void worker_step(void) {
    for (size_t i = 0; i < n_active;) {
        struct conn *c = &conns[active[i]];
        uint32_t n = c->left < STEP_TOKENS ? c->left : STEP_TOKENS;
        send_all(active[i], bulk, (size_t)n * FRAME);
        c->left -= n;
        if (c->left > 0) {
            i++;
            continue;
        }
        close(active[i]);
        active[i] = active[--n_active];
    }
}

/* ---- front -------------------------------------------------------------------------------- */

static const char unary[] =
    "{\"id\":\"chatcmpl-01234567-89ab-4cde-8f01-23456789abcd\",\"choices\":[{\"index\":0,"
    "\"message\":{"
    "\"role\":\"assistant\",\"content\":\"the quick brown fox jumps over the lazy dog and on it "
    "goes\"},"
    "\"finish_reason\":\"length\"}],\"created\":1790000000,\"model\":\"m\",\"object\":\"chat."
    "completion\","
    "\"usage\":{\"prompt_tokens\":394,\"completion_tokens\":16,\"total_tokens\":410}}";
static const char event[] =
    "data: {\"id\":\"chatcmpl-01234567-89ab-4cde-8f01-23456789abcd\",\"choices\":[{\"index\":0,"
    "\"delta\":{\"content\":\" "
    "word\"},\"finish_reason\":null}],\"created\":1790000000,\"model\":\"m\","
    "\"object\":\"chat.completion.chunk\"}\n\n";
static const char stream_head[] = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
                                  "transfer-encoding: chunked\r\n\r\n";
static const char stream_tail[] =
    "data: {\"id\":\"chatcmpl-01234567-89ab-4cde-8f01-23456789abcd\",\"choices\":[{\"index\":0,"
    "\"delta\":{},\"finish_reason\":\"length\"}],\"created\":1790000000,\"model\":\"m\","
    "\"object\":\"chat.completion.chunk\"}\n\ndata: "
    "{\"id\":\"x\",\"choices\":[],\"created\":1790000000,"
    "\"model\":\"m\",\"object\":\"chat.completion.chunk\",\"usage\":{\"prompt_tokens\":394,"
    "\"completion_tokens\":257,\"total_tokens\":651}}\n\ndata: [DONE]\n\n";

static char whole[2048], chunk[1024], tail[2048];
static size_t whole_len, chunk_len, tail_len;

static void make_answers(void) {
    whole_len = (size_t)snprintf(whole, sizeof(whole),
                                 "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
                                 "content-length: %zu\r\n\r\n%s",
                                 sizeof(unary) - 1, unary);
    chunk_len = (size_t)snprintf(chunk, sizeof(chunk), "%zx\r\n%s\r\n", sizeof(event) - 1, event);
    tail_len = (size_t)snprintf(tail, sizeof(tail), "%zx\r\n%s\r\n0\r\n\r\n",
                                sizeof(stream_tail) - 1, stream_tail);
}

/* Its end, and whether a stream is asked for: looked for in head and tail only. */
static bool request_there(struct conn *c) {
    const char *end = c->need == 0 ? memmem(c->in, c->len, "\r\n\r\n", 4) : NULL;
    if (end != NULL) {
        const char *length = strcasestr(c->in, "content-length:");
        c->need = (size_t)(end + 4 - c->in) +
                  (length != NULL && length < end ? strtoul(length + 15, NULL, 10) : 0);
    }
    return c->need > 0 && c->len >= c->need;
}

static bool wants_stream(const struct conn *c) {
    static const char words[] = "\"stream\":true";
    size_t part = c->len < 400 ? c->len : 400;
    return memmem(c->in, part, words, sizeof(words) - 1) != NULL ||
           memmem(c->in + c->len - part, part, words, sizeof(words) - 1) != NULL;
}

static void client_read(int fd) {
    struct conn *c = &conns[fd];
    if (c->in == NULL && (c->in = malloc(ROOM + 1)) == NULL)
        die("memory");
    ssize_t n = read(fd, c->in + c->len, ROOM - c->len);
    if (n <= 0 && !(n < 0 && errno == EAGAIN)) {
        drop(fd);
        return;
    }
    c->len += n > 0 ? (size_t)n : 0;
    c->in[c->len] = '\0';
    if (!request_there(c))
        return;
    c->due = wants_stream(c) ? STREAM_TOKENS : TOKENS;
    struct note note = {(uint32_t)fd, c->due, c->need};
    struct iovec v[] = {{&note, sizeof(note)}, {c->in, c->need}};
    ssize_t done = writev(worker_fd, v, 2);
    size_t sent = done > 0 ? (size_t)done : 0;
    if (sent < sizeof(note)) {
        send_all(worker_fd, (char *)&note + sent, sizeof(note) - sent);
        sent = sizeof(note);
    }
    send_all(worker_fd, c->in + (sent - sizeof(note)), c->need - (sent - sizeof(note)));
    c->len = c->need = 0;
    c->begun = false;
}

static void to_client(struct conn *home, uint32_t n_tokens) {
    static char out[STREAM_TOKENS * sizeof(chunk) + sizeof(tail) + sizeof(stream_head)];
    struct conn *c = &conns[home->slot];
    size_t len = 0;
    home->left -= n_tokens;
    if (c->due == TOKENS) {
        if (home->left == 0)
            send_all((int)home->slot, whole, whole_len);
        return;
    }
    if (!c->begun) {
        memcpy(out, stream_head, sizeof(stream_head) - 1);
        len = sizeof(stream_head) - 1;
    }
    c->begun = true;
    for (uint32_t i = 0; i < n_tokens; i++, len += chunk_len)
        memcpy(out + len, chunk, chunk_len);
    if (home->left == 0) {
        memcpy(out + len, tail, tail_len);
        len += tail_len;
    }
    if (len > 0)
        send_all((int)home->slot, out, len);
}

/* True: it is over. */
static bool home_read(int fd) {
    static char in[STREAM_TOKENS * FRAME + sizeof(struct note)];
    struct conn *h = &conns[fd];
    ssize_t n = recv(fd, in, sizeof(in), 0);
    if (n < 0)
        return errno != EAGAIN;
    size_t skip = 0;
    if (!h->begun && (size_t)n >= sizeof(struct note)) {
        const struct note *note = (const struct note *)(const void *)in;
        h->slot = note->slot;
        h->left = note->n_tokens;
        h->begun = true;
        skip = sizeof(*note);
    }
    h->len += (size_t)n - skip;
    uint32_t n_tokens = (uint32_t)(h->len / FRAME);
    h->len %= FRAME;
    if (n_tokens > 0)
        to_client(h, n_tokens);
    return n == 0 || (h->begun && h->left == 0);
}

/* Most answers are there whole when their connection is: the poll never hears of it. */
static void home_open(int fd) {
    conns[fd] = (struct conn){.kind = HOME};
    if (home_read(fd))
        drop(fd);
    else
        watch(fd, HOME);
}

/* ---- both --------------------------------------------------------------------------------- */

static void on_event(int fd) {
    switch (conns[fd].kind) {
    case LISTEN:
        for (int c; (c = take(fd)) >= 0;) {
            at_once(c);
            watch(c, worker_fd < 0 ? LASTING : CLIENT);
        }
        break;
    case HOME_LISTEN: {
        int c = take(fd); /* more will be told */
        if (c >= 0)
            home_open(c);
        break;
    }
    case LASTING:
        if (worker_fd < 0)
            worker_read(fd);
        else if (read(fd, bulk, sizeof(bulk)) == 0)
            exit(0);
        break;
    case CLIENT:
        client_read(fd);
        break;
    case HOME:
        if (home_read(fd))
            drop(fd);
        break;
    }
}

int main(int argc, char **argv) {
    bool front = argc == 5 && strcmp(argv[1], "front") == 0;
    if (!front && !(argc == 4 && strcmp(argv[1], "worker") == 0)) {
        fputs("usage: floor worker PORT HOME_PORT | floor front PORT HOME_PORT WORKER_PORT\n",
              stderr);
        return 1;
    }
    signal(SIGPIPE, SIG_IGN);
    epoll_fd = epoll_create1(0);
    home_port = port_of(argv[3]);
    worker_fd = -1;
    if (front) {
        make_answers();
        worker_fd = connect_to(port_of(argv[4]));
        if (fcntl(worker_fd, F_SETFL, O_NONBLOCK) != 0)
            die("worker");
        watch(worker_fd, LASTING);
        listen_on(home_port, HOME_LISTEN);
    }
    listen_on(port_of(argv[2]), LISTEN);
    for (;;) {
        struct epoll_event events[EVENTS];
        int n = epoll_wait(epoll_fd, events, EVENTS, n_active > 0 ? 0 : -1);
        for (int i = 0; i < n; i++)
            on_event(events[i].data.fd);
        worker_step();
    }
}
