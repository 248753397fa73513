/*
 * A request comes on the subject of its endpoint → it is acknowledged on its reply subject, empty,
 * or refused in the words of the TCP plane → the rest is as for any other request.
 *
 * Failure modes: no connection to NATS: nothing comes, and callers see that nobody listens. More
 * requests than our loop takes: the queue drops them, and callers see no acknowledgement. While
 * draining requests that are on their way are still served: their callers could not tell otherwise
 * that nobody has them.
 */
#include "runtime/plane_server_priv.h"

#include "base/log.h"
#include "base/mem.h"

static void acknowledge(struct weir_plane_server *s, const char *reply, const char *text) {
    static struct weir_log_limit limit;
    uint32_t dropped;
    const struct weir_nats_out out = {.subject = reply, .payload = weir_span_z(text)};
    if (weir_nats_publish(s->config.nats, &out) != WEIR_OK &&
        weir_log_limit_ok(&limit, 1, &dropped))
        WEIR_LOG(WEIR_LOG_WARN, "plane", "a request over NATS could not be acknowledged");
}

static void on_request(void *arg, const struct weir_nats_msg *msg) {
    struct weir_plane_path *p = arg;
    struct weir_plane_server *s = p->server;
    char room[WEIR_PLANE_REFUSAL_BYTES];
    const char *refusal = "";
    if (!s->draining)
        refusal = weir_plane_refusal(s, p, weir_span_z(p->path), room);
    p->n_requests++;
    p->n_errors += *refusal != '\0';
    if (msg->reply != NULL)
        acknowledge(s, msg->reply, refusal);
    if (*refusal == '\0')
        weir_plane_take(s, p, msg->payload);
}

static void on_change(void *arg, const struct weir_nats_change *change) {
    static struct weir_log_limit limit;
    struct weir_plane_path *p = arg;
    uint32_t dropped;
    if (change->dropped > 0 && weir_log_limit_ok(&limit, 1, &dropped))
        WEIR_LOG(WEIR_LOG_WARN, "plane", "%s: the queue was full, requests were lost", p->path);
    if (!change->drained || p->drained)
        return;
    p->drained = true;
    p->server->n_draining--;
}

/* Instances share no subject: the group, whose name the reference uses, has one member. */
enum weir_status weir_plane_nats_listen(struct weir_plane_path *p, const char *subject) {
    static const struct weir_nats_sub_ops ops = {on_request, on_change};
    struct weir_plane_server *s = p->server;
    p->subject_text = weir_strdup(subject);
    if (p->subject_text == NULL)
        return WEIR_NOMEM;
    enum weir_status st = s->service == NULL ? weir_plane_service_open(s, subject) : WEIR_OK;
    return st == WEIR_OK ? weir_nats_subscribe(s->config.nats, s->loop, subject,
                                               WEIR_PLANE_NATS_GROUP, &ops, p, &p->subject)
                         : st;
}

void weir_plane_nats_drain(struct weir_plane_server *s) {
    WEIR_LIST_FOREACH(it, &s->paths) {
        struct weir_plane_path *p = WEIR_CONTAINER_OF(it, struct weir_plane_path, node);
        if (p->subject == NULL)
            continue;
        s->n_draining++;
        weir_nats_sub_drain(p->subject);
    }
}
