#include "bench/overhead/setup_priv.h"

#include "bench/file.h"
#include "wire/openai_answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { READY_MS = 30000 };

const char *const overhead_subjects[SUBJECTS] = {"weir", "nginx", "haproxy"};

void overhead_die(const char *what, const struct weir_err *err) {
    fprintf(stderr, "overhead: %s: %s\n", what, err->text);
    exit(1);
}

/* ---- the peers' upstream ------------------------------------------------------------------ */

void overhead_must(enum weir_status st) {
    struct weir_err err;
    if (st != WEIR_OK) {
        weir_err_set(&err, st, "%s", weir_status_text(st));
        overhead_die("set-up", &err);
    }
}

static void put_chunked(struct weir_buf *out, struct weir_span bytes) {
    overhead_must(weir_buf_printf(out, "%zx\r\n%.*s\r\n", bytes.len, WEIR_SPAN_ARG(bytes)));
}

/* The very bytes of the frontend's answers, made by the same functions. */
void overhead_make_answers(struct setup *s) {
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
    overhead_must(weir_answer_unary(&head, &choice, 1, &usage, weir_span(NULL, 0), &body));
    overhead_must(weir_buf_printf(&s->unary,
                                  "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
                                  "content-length: %zu\r\n\r\n%.*s",
                                  body.len, WEIR_SPAN_ARG(weir_buf_span(&body))));
    overhead_must(weir_buf_append_z(&s->head,
                                    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
                                    "transfer-encoding: chunked\r\n\r\n"));
    weir_buf_clear(&body);
    overhead_must(weir_answer_chunk(&head, &piece, &body));
    put_chunked(&s->chunk, weir_buf_span(&body));
    weir_buf_clear(&body);
    piece.has_text = false;
    piece.finish_reason = "length";
    overhead_must(weir_answer_chunk(&head, &piece, &body));
    overhead_must(weir_answer_usage_chunk(&head, &usage, &body));
    overhead_must(weir_buf_append_span(&body, weir_answer_done()));
    put_chunked(&s->tail, weir_buf_span(&body));
    overhead_must(weir_buf_append_z(&s->tail, "0\r\n\r\n"));
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
        overhead_die("configuration of a peer", &err);
}

static void start_nginx(struct setup *s, const char *binary) {
    struct weir_buf text;
    struct weir_err err;
    char path[WEIR_PROC_PATH], log[WEIR_PROC_PATH];
    weir_buf_init(&text, 1 << 16);
    overhead_must(weir_buf_printf(
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
        overhead_die("nginx", &err);
}

static void start_haproxy(struct setup *s, const char *binary) {
    struct weir_buf text;
    struct weir_err err;
    char path[WEIR_PROC_PATH], log[WEIR_PROC_PATH];
    weir_buf_init(&text, 1 << 16);
    overhead_must(
        weir_buf_printf(&text,
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
        overhead_die("haproxy", &err);
}

static void start_peers(struct setup *s, unsigned pace_ms) {
    struct weir_err err;
    char binary[WEIR_PROC_PATH];
    s->canned.pace_ms = pace_ms;
    if (weir_canned_listen(&s->canned, &err) != WEIR_OK ||
        weir_proc_fork(&s->canned_proc, "canned server", weir_canned_serve, &s->canned, &err) !=
            WEIR_OK)
        overhead_die("upstream of the peers", &err);
    for (int i = NGINX; i < SUBJECTS; i++) {
        s->ports[i] = 0;
        if (!s->peers) {
            s->absent[i] = "left out by --no-peers";
        } else if (!weir_proc_find(overhead_subjects[i], binary)) {
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
        overhead_die("mocker", &err);
    const char *frontend[] = {s->weir, "frontend",      "--http-host", "127.0.0.1", "--http-port",
                              port,    "--router-mode", "kv",          NULL};
    in_dir(s, "frontend.log", log);
    if (weir_proc_start(&s->procs[WEIR], "weir frontend", frontend, env, log, &err) != WEIR_OK ||
        weir_proc_wait_http(&s->procs[WEIR], s->ports[WEIR], "/v1/models", "\"mock\"", READY_MS,
                            &err) != WEIR_OK)
        overhead_die("frontend", &err);
}

void overhead_start(struct setup *s, unsigned pace_ms) {
    struct weir_err err;
    if (weir_proc_tempdir(s->dir, &err) != WEIR_OK)
        overhead_die("set-up", &err);
    start_weir(s, pace_ms);
    start_peers(s, pace_ms);
}

void overhead_stop(struct setup *s) {
    for (int i = 0; i < SUBJECTS; i++)
        weir_proc_stop(&s->procs[i]);
    weir_proc_stop(&s->mocker);
    weir_proc_stop(&s->canned_proc);
    close(s->canned.listen_fd);
    weir_proc_remove_dir(s->dir);
}
