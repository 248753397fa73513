/*
 * bench/overhead: what one request costs the frontend, in CPU time of its process, beside nginx and
 * haproxy that forward the same bodies in the same run.
 *
 * Set-up: `weir mocker` without delays, `weir frontend --router-mode kv`, and for the peers a
 * canned HTTP server whose answers have the bytes of the frontend's. Each figure is the median of
 * several rounds; in a round every subject gets the same requests in turn. One JSON line a figure.
 */
#include "base/json.h"
#include "bench/drive.h"
#include "bench/overhead/setup_priv.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- output ------------------------------------------------------------------------------- */

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(const double *values, size_t n) {
    double sorted[MAX_ROUNDS];
    memcpy(sorted, values, n * sizeof(*values));
    qsort(sorted, n, sizeof(*sorted), by_size);
    return n % 2 == 1 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}

static void print_line(struct weir_buf *line) {
    overhead_must(weir_buf_append_c(line, '\n'));
    fwrite(line->data, 1, line->len, stdout);
    fflush(stdout);
    weir_buf_fini(line);
}

static double rounded(double v) {
    return round(v * 1000) / 1000;
}

/* Medians of the subjects, their rounds, and how the first compares with each other. */
static void print_figure(const struct setup *s, const char *figure, const char *unit,
                         double values[SUBJECTS][MAX_ROUNDS], unsigned rounds) {
    struct weir_buf line;
    struct weir_jsonw w;
    weir_buf_init(&line, 1 << 16);
    weir_jsonw_init(&w, &line);
    weir_jsonw_object_begin(&w);
    weir_jsonw_key(&w, "figure");
    weir_jsonw_string_z(&w, figure);
    weir_jsonw_key(&w, "unit");
    weir_jsonw_string_z(&w, unit);
    for (int i = 0; i < SUBJECTS; i++) {
        char key[64];
        weir_jsonw_key(&w, overhead_subjects[i]);
        if (s->ports[i] == 0) {
            weir_jsonw_null(&w);
            snprintf(key, sizeof(key), "%s_absent", overhead_subjects[i]);
            weir_jsonw_key(&w, key);
            weir_jsonw_string_z(&w, s->absent[i]);
            continue;
        }
        weir_jsonw_f64(&w, rounded(median(values[i], rounds)));
        if (i != WEIR) {
            snprintf(key, sizeof(key), "ratio_to_%s", overhead_subjects[i]);
            weir_jsonw_key(&w, key);
            weir_jsonw_f64(&w, rounded(median(values[WEIR], rounds) / median(values[i], rounds)));
        }
    }
    weir_jsonw_key(&w, "rounds");
    weir_jsonw_array_begin(&w);
    for (unsigned r = 0; r < rounds; r++)
        weir_jsonw_f64(&w, rounded(values[WEIR][r]));
    weir_jsonw_array_end(&w);
    weir_jsonw_object_end(&w);
    overhead_must(w.status);
    print_line(&line);
}

static bool wanted(const struct setup *s, const char *figure) {
    return s->only == NULL || strncmp(figure, s->only, strlen(s->only)) == 0;
}

/* ---- figures ------------------------------------------------------------------------------ */

/* CPU microseconds of the subject for each request of this shape. */
static double cpu_per_request(struct setup *s, enum subject subject,
                              struct weir_drive_shape shape) {
    struct weir_err err;
    struct weir_tally t;
    shape.port = s->ports[subject];
    shape.model = "mock";
    shape.seed = ++s->seed;
    uint64_t before = weir_proc_cpu_ns(&s->procs[subject]);
    if (weir_drive_shape(&shape, &t, &err) != WEIR_OK)
        overhead_die(overhead_subjects[subject], &err);
    uint64_t cpu = weir_proc_cpu_ns(&s->procs[subject]) - before;
    double us = (double)cpu / 1e3 / (double)t.ok;
    weir_tally_fini(&t);
    return us;
}

static uint64_t scaled(const struct setup *s, double n) {
    double v = n * s->scale;
    return v < 20 ? 20 : (uint64_t)v;
}

static void figure_requests(struct setup *s) {
    static const struct {
        const char *name;
        uint64_t chars;
        double requests;
    } sizes[] = {{"1kB", 1024, 4000}, {"32kB", 32768, 1500}, {"450kB", 450000, 150}};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(sizes); i++)
        for (int stream = 0; stream <= 1; stream++) {
            char figure[64];
            static double values[SUBJECTS][MAX_ROUNDS];
            snprintf(figure, sizeof(figure), "request_%s_%s", sizes[i].name,
                     stream ? "streamed" : "unary");
            if (!wanted(s, figure))
                continue;
            struct weir_drive_shape shape = {.stream = stream,
                                             .prompt_chars = sizes[i].chars,
                                             .max_tokens = ANSWER_TOKENS,
                                             .concurrency = s->concurrency,
                                             .requests = scaled(s, sizes[i].requests)};
            /* A round before the first fills pools and connections. */
            for (unsigned r = 0; r <= s->rounds; r++)
                for (int k = 0; k < SUBJECTS; k++)
                    if (s->ports[k] != 0)
                        values[k][r > 0 ? r - 1 : 0] = cpu_per_request(s, k, shape);
            print_figure(s, figure, "us CPU per request", values, s->rounds);
        }
}

/* A long stream less a short one, divided by the tokens between them. */
static void figure_tokens(struct setup *s, const char *figure, unsigned concurrency,
                          double requests) {
    static double values[SUBJECTS][MAX_ROUNDS];
    if (!wanted(s, figure))
        return;
    struct weir_drive_shape shape = {.stream = true,
                                     .prompt_chars = 1024,
                                     .concurrency = concurrency,
                                     .requests = scaled(s, requests)};
    for (unsigned r = 0; r <= s->rounds; r++)
        for (int k = 0; k < SUBJECTS; k++) {
            if (s->ports[k] == 0)
                continue;
            shape.max_tokens = 1;
            double one = cpu_per_request(s, k, shape);
            shape.max_tokens = STREAM_TOKENS;
            double many = cpu_per_request(s, k, shape);
            values[k][r > 0 ? r - 1 : 0] = (many - one) / (STREAM_TOKENS - 1);
        }
    print_figure(s, figure, "us CPU per streamed token", values, s->rounds);
}

static double mb(uint64_t bytes) {
    return (double)bytes / 1e6;
}

static void figure_idle(struct setup *s) {
    static double values[SUBJECTS][MAX_ROUNDS];
    if (!wanted(s, "rss_idle"))
        return;
    for (int k = 0; k < SUBJECTS; k++)
        values[k][0] = mb(weir_proc_rss_bytes(&s->procs[k]));
    print_figure(s, "rss_idle", "MB", values, 1);
}

/* One keep-alive connection after a first answer on it; -1 when that fails. */
static int keep_alive_conn(uint16_t port) {
    static const char request[] =
        "GET /health HTTP/1.1\r\nHost: bench\r\nContent-Length: 0\r\n\r\n";
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
    char answer[8192];
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0 &&
        send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL) == (ssize_t)sizeof(request) - 1 &&
        recv(fd, answer, sizeof(answer), 0) > 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

static void figure_connections(struct setup *s) {
    static double values[SUBJECTS][MAX_ROUNDS];
    if (!wanted(s, "rss_connections"))
        return;
    uint64_t n = s->idle_conns, room = weir_proc_open_files();
    if (n + 500 > room) {
        fprintf(stderr, "overhead: %" PRIu64 " open files allowed: %" PRIu64 " connections\n", room,
                room - 500);
        n = room - 500;
    }
    int *fds = calloc(n, sizeof(*fds));
    if (fds == NULL)
        exit(1);
    char figure[64];
    for (int k = 0; k < SUBJECTS; k++) {
        if (s->ports[k] == 0)
            continue;
        for (uint64_t i = 0; i < n; i++) {
            fds[i] = keep_alive_conn(s->ports[k]);
            if (fds[i] < 0) {
                fprintf(stderr, "overhead: %s: connection %" PRIu64 ": %s\n", overhead_subjects[k],
                        i, strerror(errno));
                exit(1);
            }
        }
        values[k][0] = mb(weir_proc_rss_bytes(&s->procs[k]));
        for (uint64_t i = 0; i < n; i++)
            close(fds[i]);
        weir_proc_sleep_ms(200);
    }
    free(fds);
    snprintf(figure, sizeof(figure), "rss_connections_%" PRIu64, n);
    print_figure(s, figure, "MB", values, 1);
}

/* Resident memory at ten points of a long run, after a first tenth that fills all pools. */
static void figure_flat(struct setup *s) {
    enum { POINTS = 10 };
    if (!wanted(s, "rss_flat") || s->flat_requests == 0)
        return;
    double rss[POINTS + 1];
    for (int i = 0; i <= POINTS; i++) {
        struct weir_drive_shape shape = {.prompt_chars = 1024,
                                         .max_tokens = ANSWER_TOKENS,
                                         .stream = i % 2 == 0,
                                         .concurrency = s->concurrency,
                                         .requests = (s->flat_requests + POINTS - 1) / POINTS};
        (void)cpu_per_request(s, WEIR, shape);
        rss[i] = mb(weir_proc_rss_bytes(&s->procs[WEIR]));
    }
    struct weir_buf line;
    struct weir_jsonw w;
    weir_buf_init(&line, 1 << 16);
    weir_jsonw_init(&w, &line);
    weir_jsonw_object_begin(&w);
    weir_jsonw_key(&w, "figure");
    weir_jsonw_string_z(&w, "rss_flat");
    weir_jsonw_key(&w, "unit");
    weir_jsonw_string_z(&w, "MB");
    weir_jsonw_key(&w, "requests");
    weir_jsonw_u64(&w, s->flat_requests);
    weir_jsonw_key(&w, "growth_share");
    weir_jsonw_f64(&w, rounded(rss[POINTS] / rss[0] - 1));
    weir_jsonw_key(&w, "points");
    weir_jsonw_array_begin(&w);
    for (int i = 0; i <= POINTS; i++)
        weir_jsonw_f64(&w, rounded(rss[i]));
    weir_jsonw_array_end(&w);
    weir_jsonw_object_end(&w);
    overhead_must(w.status);
    print_line(&line);
}

/* ---- command line ------------------------------------------------------------------------- */

static const char usage[] =
    "usage: overhead [options]      one JSON line a figure on stdout\n"
    "  --weir PATH          the executable (default: weir beside this program's folder)\n"
    "  --rounds N           rounds of each figure, 1 to 25 (default 5)\n"
    "  --scale X            times the usual number of requests (default 1)\n"
    "  --concurrency N      requests in work at once (default 8)\n"
    "  --connections N      idle keep-alive connections (default 10000)\n"
    "  --flat-requests N    requests of the memory run (default 100000; 0 leaves it out)\n"
    "  --only PREFIX        figures whose names begin so: request_1kB_unary, token_burst,\n"
    "                       token_paced, rss_idle, rss_connections, rss_flat\n"
    "  --no-peers           without nginx and haproxy\n";

static double number(const char *text, double lo, double hi) {
    double v;
    if (!weir_span_f64(weir_span_z(text), &v) || v < lo || v > hi) {
        fprintf(stderr, "overhead: '%s' is not a number from %g to %g\n", text, lo, hi);
        exit(1);
    }
    return v;
}

static void parse(struct setup *s, int argc, char **argv) {
    static const struct option options[] = {{"weir", required_argument, NULL, 'w'},
                                            {"rounds", required_argument, NULL, 'r'},
                                            {"scale", required_argument, NULL, 's'},
                                            {"concurrency", required_argument, NULL, 'c'},
                                            {"connections", required_argument, NULL, 'k'},
                                            {"flat-requests", required_argument, NULL, 'f'},
                                            {"only", required_argument, NULL, 'o'},
                                            {"no-peers", no_argument, NULL, 'n'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (c) {
        case 'w':
            s->weir = optarg;
            break;
        case 'r':
            s->rounds = (unsigned)number(optarg, 1, MAX_ROUNDS);
            break;
        case 's':
            s->scale = number(optarg, 0.001, 1e6);
            break;
        case 'c':
            s->concurrency = (unsigned)number(optarg, 1, 10000);
            break;
        case 'k':
            s->idle_conns = (uint64_t)number(optarg, 1, 60000);
            break;
        case 'f':
            s->flat_requests = (uint64_t)number(optarg, 0, 1e12);
            break;
        case 'o':
            s->only = optarg;
            break;
        case 'n':
            s->peers = false;
            break;
        default:
            fputs(usage, c == 'h' ? stdout : stderr);
            exit(c == 'h' ? 0 : 1);
        }
    }
}

int main(int argc, char **argv) {
    enum { PACE_MS = 20, PACED_STREAMS = 64 };
    static struct setup s = {.rounds = 5,
                             .scale = 1,
                             .concurrency = 8,
                             .idle_conns = 10000,
                             .flat_requests = 100000,
                             .peers = true};
    char path[WEIR_PROC_PATH];
    parse(&s, argc, argv);
    if (s.weir == NULL && weir_proc_beside(argv[0], path))
        s.weir = path;
    if (s.weir == NULL) {
        fputs("overhead: the executable weir is not where it is built: name it by --weir\n",
              stderr);
        return 1;
    }
    overhead_make_answers(&s);
    (void)weir_proc_open_files(); /* the children inherit it */
    overhead_start(&s, 0);
    figure_idle(&s);
    figure_requests(&s);
    figure_tokens(&s, "token_burst", s.concurrency, 300);
    figure_flat(&s);
    figure_connections(&s); /* last: what its peak leaves behind would hide growth */
    overhead_stop(&s);
    if (wanted(&s, "token_paced")) {
        overhead_start(&s, PACE_MS);
        figure_tokens(&s, "token_paced", PACED_STREAMS, PACED_STREAMS);
        overhead_stop(&s);
    }
    weir_buf_fini(&s.unary);
    weir_buf_fini(&s.head);
    weir_buf_fini(&s.chunk);
    weir_buf_fini(&s.tail);
    return 0;
}
