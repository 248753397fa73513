/*
 * What the net core costs: CPU of the serving thread per echoed message and per pushed chunk, and
 * memory per idle connection. One JSON line per figure.
 *
 *   bench_net [messages [connections [certificate key]]]   (TLS figures with the last two)
 */
#include "base/mem.h"
#include "base/span.h"
#include "net/stream.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_CONNS = 16384 };

static char payload[65536];

static void need(bool ok, const char *what) {
    if (ok)
        return;
    fprintf(stderr, "bench_net: %s\n", what);
    exit(1);
}

static double cpu_us(void) {
    struct timespec ts;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

/* ---- server: echoes, or pushes `push` chunks after the first byte -------------------------- */

struct server {
    struct weir_loop *loop;
    struct weir_listener *listener;
    struct weir_tls *tls;
    size_t chunk;
    unsigned push;
    _Atomic unsigned open;
    double cpu_us;
};

struct conn {
    struct server *server;
    struct weir_stream *stream;
    struct weir_timer timer;
    unsigned pushed;
};

static void on_push(void *arg) {
    struct conn *c = arg;
    need(weir_stream_write(c->stream, payload, c->server->chunk) == WEIR_OK, "write");
    if (++c->pushed < c->server->push)
        need(weir_timer_start(&c->timer, 0) == WEIR_OK, "timer");
}

static void on_conn_read(void *arg, struct weir_span bytes) {
    struct conn *c = arg;
    if (c->server->push > 0) {
        weir_timer_init(&c->timer, c->server->loop, on_push, c);
        need(weir_timer_start(&c->timer, 0) == WEIR_OK, "timer");
    } else {
        need(weir_stream_write(c->stream, bytes.data, bytes.len) == WEIR_OK, "write");
    }
}

static void on_conn_close(void *arg, enum weir_status status, const char *reason) {
    (void)status;
    (void)reason;
    free(arg);
}

static const struct weir_stream_ops conn_ops = {.on_read = on_conn_read, .on_close = on_conn_close};

static void on_accept(void *arg, struct weir_stream *s) {
    struct server *server = arg;
    struct conn *c = calloc(1, sizeof(*c));
    c->server = server;
    c->stream = s;
    weir_stream_adopt(s, &conn_ops, c);
    atomic_fetch_add(&server->open, 1);
}

static void on_server_cpu(void *arg) {
    struct server *server = arg;
    server->cpu_us = cpu_us();
    weir_listener_close(server->listener);
    weir_loop_stop(server->loop);
}

static void server_start(struct server *s) {
    struct weir_listen_config config = {
        .ip = "127.0.0.1", .tls = s->tls, .backlog = 4096, .limits = {.open_ms = 60000}};
    struct weir_err err = {0};
    need(weir_loop_create(0, &s->loop) == WEIR_OK, "loop");
    need(weir_listen(s->loop, &config, on_accept, s, &s->listener, &err) == WEIR_OK, err.text);
    need(weir_loop_thread_start(s->loop, "server") == WEIR_OK, "thread");
}

static void server_stop(struct server *s) {
    need(weir_loop_post(s->loop, on_server_cpu, s) == WEIR_OK, "post");
    weir_loop_thread_join(s->loop);
    weir_loop_destroy(s->loop);
}

/* ---- clients ------------------------------------------------------------------------------ */

struct clients {
    struct weir_loop *loop;
    struct weir_tls *tls;
    uint16_t port;
    size_t bytes;
    unsigned n, opened;
    uint64_t rounds, total; /* answers wanted per connection */
    unsigned finished;
};

struct client {
    struct clients *all;
    struct weir_stream *stream;
    uint64_t got;
};

static void connect_one(struct clients *all);

static void on_open(void *arg) {
    struct client *c = arg;
    struct clients *all = c->all;
    if (++all->opened < all->n)
        connect_one(all);
    need(weir_stream_write(c->stream, payload, all->bytes) == WEIR_OK, "write");
}

static void on_read(void *arg, struct weir_span bytes) {
    struct client *c = arg;
    struct clients *all = c->all;
    uint64_t before = c->got / all->bytes;
    c->got += bytes.len;
    if (c->got >= all->total) {
        if (++all->finished == all->n)
            weir_loop_stop(all->loop);
        return;
    }
    if (all->rounds > 0 && c->got / all->bytes > before)
        need(weir_stream_write(c->stream, payload, all->bytes) == WEIR_OK, "write");
}

static void on_close(void *arg, enum weir_status status, const char *reason) {
    need(status == WEIR_OK || status == WEIR_CANCELLED, reason);
    free(arg);
}

static const struct weir_stream_ops client_ops = {
    .on_open = on_open, .on_read = on_read, .on_close = on_close};

static void connect_one(struct clients *all) {
    struct client *c = calloc(1, sizeof(*c));
    c->all = all;
    struct weir_stream_limits limits = {.open_ms = 60000};
    need(weir_stream_connect(all->loop, "127.0.0.1", all->port, all->tls, "localhost", &limits,
                             &client_ops, c, &c->stream) == WEIR_OK,
         "connect");
}

/* ---- figures ------------------------------------------------------------------------------ */

static void echo(struct weir_tls *server_tls, struct weir_tls *client_tls, unsigned conns,
                 size_t bytes, uint64_t messages) {
    struct server s = {.tls = server_tls};
    server_start(&s);
    struct clients all = {.tls = client_tls,
                          .port = weir_listener_port(s.listener),
                          .bytes = bytes,
                          .n = conns,
                          .rounds = messages / conns,
                          .total = messages / conns * bytes};
    need(weir_loop_create(1, &all.loop) == WEIR_OK, "loop");
    connect_one(&all);
    weir_loop_run(all.loop);
    weir_loop_destroy(all.loop);
    server_stop(&s);
    printf(
        "{\"bench\":\"net_echo\",\"tls\":%s,\"connections\":%u,\"bytes\":%zu,\"messages\":%" PRIu64
        ",\"server_cpu_us_per_message\":%.3f}\n",
        server_tls != NULL ? "true" : "false", conns, bytes, messages, s.cpu_us / (double)messages);
}

/* The same work by a bare epoll loop: what the system itself costs. */
struct floor_server {
    int listener, epoll;
    unsigned conns, gone;
    double cpu_us;
};

static void *run_floor(void *arg) {
    struct floor_server *f = arg;
    static char scratch[65536];
    struct epoll_event events[64];
    while (f->gone < f->conns) {
        int n = epoll_wait(f->epoll, events, 64, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == f->listener) {
                struct epoll_event e = {.events = EPOLLIN};
                e.data.fd = accept4(f->listener, NULL, NULL, SOCK_NONBLOCK);
                epoll_ctl(f->epoll, EPOLL_CTL_ADD, e.data.fd, &e);
                continue;
            }
            ssize_t got = read(fd, scratch, sizeof(scratch));
            if (got > 0) {
                need(write(fd, scratch, (size_t)got) == got, "short write");
            } else {
                close(fd);
                f->gone++;
            }
        }
    }
    f->cpu_us = cpu_us();
    return NULL;
}

static void echo_floor(unsigned conns, size_t bytes, uint64_t messages) {
    struct floor_server f = {.conns = conns};
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    int on = 1;
    f.listener = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(f.listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    need(bind(f.listener, (struct sockaddr *)&a, len) == 0 && listen(f.listener, 1024) == 0 &&
             getsockname(f.listener, (struct sockaddr *)&a, &len) == 0,
         "listen");
    f.epoll = epoll_create1(0);
    struct epoll_event e = {.events = EPOLLIN};
    e.data.fd = f.listener;
    epoll_ctl(f.epoll, EPOLL_CTL_ADD, f.listener, &e);
    pthread_t thread;
    need(pthread_create(&thread, NULL, run_floor, &f) == 0, "thread");
    struct clients all = {.port = ntohs(a.sin_port),
                          .bytes = bytes,
                          .n = conns,
                          .rounds = messages / conns,
                          .total = messages / conns * bytes};
    need(weir_loop_create(1, &all.loop) == WEIR_OK, "loop");
    connect_one(&all);
    weir_loop_run(all.loop);
    weir_loop_destroy(all.loop);
    pthread_join(thread, NULL);
    close(f.listener);
    close(f.epoll);
    printf("{\"bench\":\"net_echo_floor\",\"connections\":%u,\"bytes\":%zu,\"messages\":%" PRIu64
           ",\"server_cpu_us_per_message\":%.3f}\n",
           conns, bytes, messages, f.cpu_us / (double)messages);
}

static void push(struct weir_tls *server_tls, struct weir_tls *client_tls, unsigned conns,
                 size_t bytes, unsigned chunks) {
    struct server s = {.tls = server_tls, .push = chunks, .chunk = bytes};
    server_start(&s);
    struct clients all = {.tls = client_tls,
                          .port = weir_listener_port(s.listener),
                          .bytes = bytes,
                          .n = conns,
                          .total = (uint64_t)chunks * bytes};
    need(weir_loop_create(1, &all.loop) == WEIR_OK, "loop");
    connect_one(&all);
    weir_loop_run(all.loop);
    weir_loop_destroy(all.loop);
    server_stop(&s);
    printf("{\"bench\":\"net_push\",\"tls\":%s,\"connections\":%u,\"bytes\":%zu,\"chunks\":%u"
           ",\"server_cpu_us_per_chunk\":%.3f}\n",
           server_tls != NULL ? "true" : "false", conns, bytes, conns * chunks,
           s.cpu_us / ((double)chunks * conns));
}

static long resident_kb(void) {
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    need(f != NULL && fscanf(f, "%*s %ld", &pages) == 1, "statm");
    fclose(f);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

/* Memory of connections that are idle after one exchange. The clients live in a child process, so
 * that the memory counted is the server's alone. */
static void idle(struct weir_tls *server_tls, const struct weir_tls_config *client_config,
                 unsigned conns) {
    int up[2], down[2];
    need(pipe(up) == 0 && pipe(down) == 0, "pipe");
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        close(down[1]); /* or the end of the parent would never be seen */
        struct clients all = {.n = conns, .bytes = 1024, .total = 1024};
        need(read(down[0], &all.port, sizeof(all.port)) == sizeof(all.port), "port");
        struct weir_err err = {0};
        if (client_config != NULL)
            need(weir_tls_create(client_config, &all.tls, &err) == WEIR_OK, err.text);
        need(weir_loop_create(1, &all.loop) == WEIR_OK, "loop");
        connect_one(&all);
        weir_loop_run(all.loop);
        need(write(up[1], "x", 1) == 1, "pipe");
        char c;
        _exit(read(down[0], &c, 1) >= 0 ? 0 : 1);
    }
    struct server s = {.tls = server_tls};
    server_start(&s);
    uint16_t port = weir_listener_port(s.listener);
    long before = resident_kb();
    char c;
    need(write(down[1], &port, sizeof(port)) == sizeof(port), "pipe");
    need(read(up[0], &c, 1) == 1, "the client side failed");
    while (atomic_load(&s.open) < conns)
        sched_yield();
    long after = resident_kb();
    printf("{\"bench\":\"net_idle\",\"tls\":%s,\"connections\":%u,\"kb\":%ld,"
           "\"bytes_per_connection\":%.0f}\n",
           server_tls != NULL ? "true" : "false", conns, after - before,
           (double)(after - before) * 1024 / conns);
    close(down[1]);
    waitpid(child, NULL, 0);
    server_stop(&s);
    close(up[0]);
    close(up[1]);
    close(down[0]);
}

int main(int argc, char **argv) {
    uint64_t messages = 200000, conns = 10000;
    if (argc > 1)
        need(weir_span_u64(weir_span_z(argv[1]), &messages) && messages >= 64, "messages");
    if (argc > 2)
        need(weir_span_u64(weir_span_z(argv[2]), &conns) && conns <= MAX_CONNS, "connections");
    struct weir_tls *server = NULL, *client = NULL;
    struct weir_err err = {0};
    struct weir_tls_config client_config = {.insecure = true};
    if (argc > 4) {
        struct weir_tls_config config = {.server = true, .cert_path = argv[3], .key_path = argv[4]};
        need(weir_tls_create(&config, &server, &err) == WEIR_OK, err.text);
    }
    idle(NULL, NULL, (unsigned)conns);
    if (server != NULL)
        idle(server, &client_config, (unsigned)conns);
    need(weir_tls_create(&client_config, &client, &err) == WEIR_OK, err.text);
    echo_floor(1, 1024, messages);
    echo_floor(64, 1024, messages);
    for (int tls = 0; tls < (server != NULL ? 2 : 1); tls++) {
        struct weir_tls *s = tls ? server : NULL, *c = tls ? client : NULL;
        echo(s, c, 1, 1024, messages);
        echo(s, c, 64, 1024, messages);
        echo(s, c, 64, 32768, messages / 4);
        push(s, c, 64, 200, (unsigned)(messages / 64));
    }
    weir_tls_destroy(server);
    weir_tls_destroy(client);
    return 0;
}
