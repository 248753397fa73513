/*
 * What the endpoints of a process say of themselves to tools of NATS ("nats micro ls"): answers on
 * $SRV.PING, .INFO and .STATS, alone, with the service's name, and with its name and id behind. The
 * reference registers the same service ("transport" 2.3). Source of the answers: the NATS services
 * protocol, ADR-32, version 1. Thread: the loop of the server.
 */
#include "runtime/plane_server_priv.h"

#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"

#include <stdio.h>
#include <time.h>

enum { ANSWER_MAX = 1 << 20, NAME_BYTES = 256, SUBJECT_BYTES = NAME_BYTES + 64 };

enum verb { PING, INFO, STATS, N_VERBS };
static const char *const verbs[N_VERBS] = {"PING", "INFO", "STATS"};
static const char *const types[N_VERBS] = {"io.nats.micro.v1.ping_response",
                                           "io.nats.micro.v1.info_response",
                                           "io.nats.micro.v1.stats_response"};
enum { FORMS = 3 }; /* for all, for the name, for the id */

struct asked {
    struct weir_plane_service *service;
    enum verb verb;
    struct weir_nats_sub *sub;
};

struct weir_plane_service {
    struct weir_plane_server *server;
    char name[NAME_BYTES], id[WEIR_NATS_INBOX_BYTES], started[32];
    struct asked asked[N_VERBS * FORMS];
};

static void put_z(struct weir_jsonw *w, const char *key, const char *value) {
    weir_jsonw_key(w, key);
    weir_jsonw_string_z(w, value);
}

static void put_num(struct weir_jsonw *w, const char *key, uint64_t value) {
    weir_jsonw_key(w, key);
    weir_jsonw_u64(w, value);
}

static void put_metadata(struct weir_jsonw *w) {
    weir_jsonw_key(w, "metadata");
    weir_jsonw_object_begin(w);
    weir_jsonw_object_end(w);
}

static void put_endpoint(struct weir_jsonw *w, const struct weir_plane_path *p, enum verb verb) {
    const char *dot = strchr(p->subject_text, '.');
    weir_jsonw_object_begin(w);
    put_z(w, "name", dot != NULL ? dot + 1 : p->subject_text);
    put_z(w, "subject", p->subject_text);
    put_z(w, "queue_group", WEIR_PLANE_NATS_GROUP);
    if (verb == STATS) {
        put_num(w, "num_requests", p->n_requests);
        put_num(w, "num_errors", p->n_errors);
        put_z(w, "last_error", "");
        put_num(w, "processing_time", p->busy_ns);
        put_num(w, "average_processing_time", p->n_done > 0 ? p->busy_ns / p->n_done : 0);
    } else {
        put_metadata(w);
    }
    weir_jsonw_object_end(w);
}

static enum weir_status write_answer(const struct weir_plane_service *v, enum verb verb,
                                     struct weir_buf *out) {
    struct weir_jsonw writer, *w = &writer;
    weir_jsonw_init(w, out);
    weir_jsonw_object_begin(w);
    put_z(w, "type", types[verb]);
    put_z(w, "name", v->name);
    put_z(w, "id", v->id);
    put_z(w, "version", "0.0.1");
    put_metadata(w);
    if (verb == INFO)
        put_z(w, "description", "");
    if (verb == STATS)
        put_z(w, "started", v->started);
    if (verb != PING) {
        weir_jsonw_key(w, "endpoints");
        weir_jsonw_array_begin(w);
        WEIR_LIST_FOREACH(it, &v->server->paths) {
            const struct weir_plane_path *p = WEIR_CONTAINER_OF(it, struct weir_plane_path, node);
            if (p->subject_text != NULL)
                put_endpoint(w, p, verb);
        }
        weir_jsonw_array_end(w);
    }
    weir_jsonw_object_end(w);
    return w->status;
}

static void on_question(void *arg, const struct weir_nats_msg *msg) {
    static struct weir_log_limit limit;
    const struct asked *a = arg;
    struct weir_buf text;
    uint32_t dropped;
    if (msg->reply == NULL)
        return;
    weir_buf_init(&text, ANSWER_MAX);
    enum weir_status st = write_answer(a->service, a->verb, &text);
    const struct weir_nats_out out = {.subject = msg->reply, .payload = weir_buf_span(&text)};
    if (st == WEIR_OK)
        st = weir_nats_publish(a->service->server->config.nats, &out);
    if (st != WEIR_OK && weir_log_limit_ok(&limit, 1, &dropped))
        WEIR_LOG(WEIR_LOG_WARN, "plane", "%s was not answered: %s", msg->subject,
                 weir_status_text(st));
    weir_buf_fini(&text);
}

static enum weir_status subscribe(struct weir_plane_service *v, enum verb verb, int form) {
    static const struct weir_nats_sub_ops ops = {.on_message = on_question};
    struct asked *a = &v->asked[verb * FORMS + form];
    char subject[SUBJECT_BYTES];
    snprintf(subject, sizeof(subject), "$SRV.%s%s%s%s%s", verbs[verb], form > 0 ? "." : "",
             form > 0 ? v->name : "", form > 1 ? "." : "", form > 1 ? v->id : "");
    *a = (struct asked){.service = v, .verb = verb};
    return weir_nats_subscribe(v->server->config.nats, v->server->loop, subject, NULL, &ops, a,
                               &a->sub);
}

enum weir_status weir_plane_service_open(struct weir_plane_server *s, const char *subject) {
    size_t n = strcspn(subject, ".");
    struct weir_plane_service *v = n < NAME_BYTES ? weir_calloc(1, sizeof(*v)) : NULL;
    char inbox[WEIR_NATS_INBOX_BYTES];
    struct tm utc;
    time_t now = (time_t)(weir_wall_ms() / 1000);
    if (v == NULL)
        return n < NAME_BYTES ? WEIR_NOMEM : WEIR_TOO_LARGE;
    v->server = s;
    memcpy(v->name, subject, n);
    weir_nats_inbox(weir_loop_rng(s->loop), inbox);
    snprintf(v->id, sizeof(v->id), "%s", strchr(inbox, '.') + 1);
    strftime(v->started, sizeof(v->started), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    enum weir_status st = WEIR_OK;
    for (int i = 0; i < N_VERBS * FORMS && st == WEIR_OK; i++)
        st = subscribe(v, (enum verb)(i / FORMS), i % FORMS);
    s->service = v;
    return st;
}

void weir_plane_service_close(struct weir_plane_server *s) {
    if (s->service == NULL)
        return;
    for (int i = 0; i < N_VERBS * FORMS; i++)
        weir_nats_sub_close(s->service->asked[i].sub);
    weir_free(s->service);
    s->service = NULL;
}
