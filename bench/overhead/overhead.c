/*
 * bench/overhead: what one request costs the frontend, in CPU time of its process, beside nginx and
 * haproxy that forward the same bodies in the same run.
 *
 * Set-up: `weir mocker` without delays, `weir frontend --router-mode kv`, and for the peers a
 * canned HTTP server whose answers have the bytes of the frontend's. Each figure is the median of
 * several rounds; in a round every subject gets the same requests in turn. One JSON line a figure.
 */
#include "base/json.h"
#include "bench/canned.h"
#include "bench/drive.h"
#include "bench/file.h"
#include "bench/proc.h"
#include "wire/openai_answer.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_ROUNDS = 25, READY_MS = 30000, ANSWER_TOKENS = 16, STREAM_TOKENS = 257 };

enum subject { WEIR, NGINX, HAPROXY, SUBJECTS };
static const char *const subject_names[] = {"weir", "nginx", "haproxy"};

struct setup {
    const char *weir; /* path of the executable */
    unsigned rounds;
    double scale; /* of the numbers of requests */
    uint64_t flat_requests, idle_conns;
    unsigned concurrency;
    const char *only; /* prefix of figures, or NULL */
    bool peers;
    char dir[WEIR_PROC_PATH];
    struct weir_proc mocker, canned_proc;
    struct weir_proc procs[SUBJECTS];
    uint16_t ports[SUBJECTS]; /* 0 = not there */
    const char *absent[SUBJECTS];
    struct weir_canned canned;
    struct weir_buf unary, head, chunk, tail;
    uint64_t seed;
};

static void die(const char *what, const struct weir_err *err) {
    fprintf(stderr, "overhead: %s: %s\n", what, err->text);
    exit(1);
}

/* ---- the peers' upstream ------------------------------------------------------------------ */

static void must(enum weir_status st) {
    struct weir_err err;
    if (st != WEIR_OK) {
        weir_err_set(&err, st, "%s", weir_status_text(st));
        die("set-up", &err);
    }
}

static void put_chunked(struct weir_buf *out, struct weir_span bytes) {
    must(weir_buf_printf(out, "%zx\r\n%.*s\r\n", bytes.len, WEIR_SPAN_ARG(bytes)));
}

/* The very bytes of the frontend's answers, made by the same functions. */
static void make_answers(struct setup *s) {
    const struct weir_answer_head head = {
        .kind = WEIR_OPENAI_CHAT,
        .id = WEIR_SPAN_LIT("chatcmpl-01234567-89ab-4cde-8f01-23456789abcd"),
        .model = WEIR_SPAN_LIT("mock"),
        .created_s = 1790000000};
    const struct weir_usage usage = {.prompt_tokens = 1024, .completion_tokens = ANSWER_TOKENS};
    const struct weir_answer_choice choice = {.text = WEIR_SPAN_LIT("the quick brown "),
                                              .finish_reason = "length"};
    struct weir_answer_piece piece = {.has_text = true, .text = WEIR_SPAN_LIT("x")};
    struct weir_buf body;
    weir_buf_init(&body, 1 << 16);
    weir_buf_init(&s->unary, 1 << 16);
    weir_buf_init(&s->head, 1 << 16);
    weir_buf_init(&s->chunk, 1 << 16);
    weir_buf_init(&s->tail, 1 << 16);
    must(weir_answer_unary(&head, &choice, 1, &usage, weir_span(NULL, 0), &body));
    must(weir_buf_printf(&s->unary,
                         "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
                         "content-length: %zu\r\n\r\n%.*s",
                         body.len, WEIR_SPAN_ARG(weir_buf_span(&body))));
    must(weir_buf_append_z(&s->head, "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
                                     "transfer-encoding: chunked\r\n\r\n"));
    weir_buf_clear(&body);
    must(weir_answer_chunk(&head, &piece, &body));
    put_chunked(&s->chunk, weir_buf_span(&body));
    weir_buf_clear(&body);
    piece.has_text = false;
    piece.finish_reason = "length";
    must(weir_answer_chunk(&head, &piece, &body));
    must(weir_answer_usage_chunk(&head, &usage, &body));
    must(weir_buf_append_span(&body, weir_answer_done()));
    put_chunked(&s->tail, weir_buf_span(&body));
    must(weir_buf_append_z(&s->tail, "0\r\n\r\n"));
    weir_buf_fini(&body);
    s->canned.unary = weir_buf_span(&s->unary);
    s->canned.head = weir_buf_span(&s->head);
    s->canned.chunk = weir_buf_span(&s->chunk);
    s->canned.tail = weir_buf_span(&s->tail);
}

static void in_dir(const struct setup *s, const char *name, char out[WEIR_PROC_PATH]) {
    int n = snprintf(out, WEIR_PROC_PATH, "%.400s/%.80s", s->dir, name);
    WEIR_ASSERT(n > 0 && n < WEIR_PROC_PATH);
}

static void write_config(const struct setup *s, const char *name, char path[WEIR_PROC_PATH],
                         const struct weir_buf *text) {
    struct weir_err err;
    in_dir(s, name, path);
    if (weir_file_write(path, weir_buf_span(text), &err) != WEIR_OK)
        die("configuration of a peer", &err);
}

static void start_nginx(struct setup *s, const char *binary) {
    struct weir_buf text;
    struct weir_err err;
    char path[WEIR_PROC_PATH], log[WEIR_PROC_PATH];
    weir_buf_init(&text, 1 << 16);
    must(weir_buf_printf(
        &text,
        "daemon off; master_process off; worker_processes 1; worker_rlimit_nofile 65536;\n"
        "error_log stderr crit; pid %s/nginx.pid;\n"
        "events { worker_connections 60000; multi_accept on; }\n"
        "http { access_log off; client_max_body_size 64m; client_body_buffer_size 1m;\n"
        "client_body_temp_path %s/b; proxy_temp_path %s/p; fastcgi_temp_path %s/f;\n"
        "uwsgi_temp_path %s/u; scgi_temp_path %s/s;\n"
        "upstream up { server 127.0.0.1:%u; keepalive 1024; keepalive_requests 100000000; }\n"
        "server { listen 127.0.0.1:%u backlog=4096; keepalive_requests 100000000;\n"
        "keepalive_timeout 600s;\n"
        "location / { proxy_pass http://up; proxy_http_version 1.1;\n"
        "proxy_set_header Connection \"\"; proxy_buffering off; } } }\n",
        s->dir, s->dir, s->dir, s->dir, s->dir, s->dir, s->canned.port, s->ports[NGINX]));
    write_config(s, "nginx.conf", path, &text);
    in_dir(s, "nginx.log", log);
    weir_buf_fini(&text);
    const char *argv[] = {binary, "-p", s->dir, "-c", path, NULL};
    if (weir_proc_start(&s->procs[NGINX], "nginx", argv, NULL, log, &err) != WEIR_OK ||
        weir_proc_wait_port(&s->procs[NGINX], s->ports[NGINX], READY_MS, &err) != WEIR_OK)
        die("nginx", &err);
}

static void start_haproxy(struct setup *s, const char *binary) {
    struct weir_buf text;
    struct weir_err err;
    char path[WEIR_PROC_PATH], log[WEIR_PROC_PATH];
    weir_buf_init(&text, 1 << 16);
    must(weir_buf_printf(&text,
                         "global\n maxconn 12000\n nbthread 1\n no strict-limits\n"
                         "defaults\n mode http\n timeout connect 5s\n timeout client 600s\n"
                         " timeout server 600s\n option http-keep-alive\n http-reuse always\n"
                         "frontend f\n bind 127.0.0.1:%u backlog 4096\n default_backend b\n"
                         "backend b\n server s 127.0.0.1:%u\n",
                         s->ports[HAPROXY], s->canned.port));
    write_config(s, "haproxy.cfg", path, &text);
    in_dir(s, "haproxy.log", log);
    weir_buf_fini(&text);
    const char *argv[] = {binary, "-db", "-f", path, NULL};
    if (weir_proc_start(&s->procs[HAPROXY], "haproxy", argv, NULL, log, &err) != WEIR_OK ||
        weir_proc_wait_port(&s->procs[HAPROXY], s->ports[HAPROXY], READY_MS, &err) != WEIR_OK)
        die("haproxy", &err);
}

static void start_peers(struct setup *s, unsigned pace_ms) {
    struct weir_err err;
    char binary[WEIR_PROC_PATH];
    s->canned.pace_ms = pace_ms;
    if (weir_canned_listen(&s->canned, &err) != WEIR_OK ||
        weir_proc_fork(&s->canned_proc, "canned server", weir_canned_serve, &s->canned, &err) !=
            WEIR_OK)
        die("upstream of the peers", &err);
    for (int i = NGINX; i < SUBJECTS; i++) {
        s->ports[i] = 0;
        if (!s->peers) {
            s->absent[i] = "left out by --no-peers";
        } else if (!weir_proc_find(subject_names[i], binary)) {
            s->absent[i] = "not installed";
        } else {
            s->ports[i] = weir_proc_free_port();
            if (i == NGINX)
                start_nginx(s, binary);
            else
                start_haproxy(s, binary);
        }
    }
}

/* ---- the subject -------------------------------------------------------------------------- */

static void start_weir(struct setup *s, unsigned pace_ms) {
    struct weir_err err;
    char port[16], log[WEIR_PROC_PATH], kv[WEIR_PROC_PATH + 16], step[32];
    char discovery[WEIR_PROC_PATH];
    in_dir(s, "discovery", discovery);
    snprintf(kv, sizeof(kv), "DYN_FILE_KV=%s", discovery);
    snprintf(step, sizeof(step), "%u", pace_ms);
    s->ports[WEIR] = weir_proc_free_port();
    snprintf(port, sizeof(port), "%u", s->ports[WEIR]);
    const char *const env[] = {kv, "DYN_LOG=warn", "DYN_TCP_RPC_HOST=127.0.0.1",
                               "DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS=0", NULL};
    const char *mocker[] = {s->weir,
                            "mocker",
                            "--model-name",
                            "mock",
                            "--num-gpu-blocks-override",
                            "65536",
                            "--max-num-seqs",
                            "4096",
                            "--max-num-batched-tokens",
                            "1048576",
                            "--decode-per-request-ms",
                            "0",
                            "--prefill-tokens-per-s",
                            "1e9",
                            "--decode-base-ms",
                            step,
                            "--speedup-ratio",
                            pace_ms > 0 ? "1" : "0",
                            NULL};
    in_dir(s, "mocker.log", log);
    if (weir_proc_start(&s->mocker, "weir mocker", mocker, env, log, &err) != WEIR_OK)
        die("mocker", &err);
    const char *frontend[] = {s->weir, "frontend",      "--http-host", "127.0.0.1", "--http-port",
                              port,    "--router-mode", "kv",          NULL};
    in_dir(s, "frontend.log", log);
    if (weir_proc_start(&s->procs[WEIR], "weir frontend", frontend, env, log, &err) != WEIR_OK ||
        weir_proc_wait_http(&s->procs[WEIR], s->ports[WEIR], "/v1/models", "\"mock\"", READY_MS,
                            &err) != WEIR_OK)
        die("frontend", &err);
}

static void start_all(struct setup *s, unsigned pace_ms) {
    struct weir_err err;
    if (weir_proc_tempdir(s->dir, &err) != WEIR_OK)
        die("set-up", &err);
    start_weir(s, pace_ms);
    start_peers(s, pace_ms);
}

static void stop_all(struct setup *s) {
    for (int i = 0; i < SUBJECTS; i++)
        weir_proc_stop(&s->procs[i]);
    weir_proc_stop(&s->mocker);
    weir_proc_stop(&s->canned_proc);
    close(s->canned.listen_fd);
    weir_proc_remove_dir(s->dir);
}

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
    must(weir_buf_append_c(line, '\n'));
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
        weir_jsonw_key(&w, subject_names[i]);
        if (s->ports[i] == 0) {
            weir_jsonw_null(&w);
            snprintf(key, sizeof(key), "%s_absent", subject_names[i]);
            weir_jsonw_key(&w, key);
            weir_jsonw_string_z(&w, s->absent[i]);
            continue;
        }
        weir_jsonw_f64(&w, rounded(median(values[i], rounds)));
        if (i != WEIR) {
            snprintf(key, sizeof(key), "ratio_to_%s", subject_names[i]);
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
    must(w.status);
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
        die(subject_names[subject], &err);
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
                fprintf(stderr, "overhead: %s: connection %" PRIu64 ": %s\n", subject_names[k], i,
                        strerror(errno));
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
    must(w.status);
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
    make_answers(&s);
    (void)weir_proc_open_files(); /* the children inherit it */
    start_all(&s, 0);
    figure_idle(&s);
    figure_requests(&s);
    figure_tokens(&s, "token_burst", s.concurrency, 300);
    figure_flat(&s);
    figure_connections(&s); /* last: what its peak leaves behind would hide growth */
    stop_all(&s);
    if (wanted(&s, "token_paced")) {
        start_all(&s, PACE_MS);
        figure_tokens(&s, "token_paced", PACED_STREAMS, PACED_STREAMS);
        stop_all(&s);
    }
    weir_buf_fini(&s.unary);
    weir_buf_fini(&s.head);
    weir_buf_fini(&s.chunk);
    weir_buf_fini(&s.tail);
    return 0;
}
