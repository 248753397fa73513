#include "runtime/leaving.h"

#include "base/log.h"

#include <signal.h>

enum { POLL_MS = 20 };

static void wait_for_requests(struct weir_leaving *l) {
    bool late = weir_loop_now_ms(l->config.loop) >= l->deadline_ms;
    if (late || weir_plane_server_active(l->config.server) == 0 ||
        weir_timer_start(&l->timer, POLL_MS) != WEIR_OK)
        weir_loop_stop(l->config.loop);
}

static void refuse(struct weir_leaving *l) {
    l->refusing = true;
    WEIR_LOG(WEIR_LOG_INFO, l->config.name, "no more requests are taken; %u are running",
             weir_plane_server_active(l->config.server));
    weir_plane_server_drain(l->config.server);
    l->deadline_ms = weir_loop_now_ms(l->config.loop) + (uint64_t)(l->config.running_s * 1000);
    wait_for_requests(l);
}

static void on_timer(void *arg) {
    struct weir_leaving *l = arg;
    if (l->refusing)
        wait_for_requests(l);
    else
        refuse(l);
}

static void on_signal(void *arg, int signum) {
    struct weir_leaving *l = arg;
    if (signum == SIGHUP && l->config.tls != NULL && weir_tls_watch_any(l->config.tls)) {
        weir_tls_watch_read(l->config.tls);
        return;
    }
    if (l->begun) {
        weir_loop_stop(l->config.loop);
        return;
    }
    l->begun = true;
    bool seen = l->config.unpublish(l->config.arg);
    uint64_t grace_ms = seen ? (uint64_t)(l->config.grace_s * 1000) : 0;
    WEIR_LOG(WEIR_LOG_INFO, l->config.name,
             "signal %d: leaving; requests are taken for another %.3g s", signum,
             (double)grace_ms / 1000);
    if (grace_ms == 0 || weir_timer_start(&l->timer, grace_ms) != WEIR_OK)
        refuse(l);
}

enum weir_status weir_leaving_init(struct weir_leaving *leaving,
                                   const struct weir_leaving_config *config) {
    *leaving = (struct weir_leaving){.config = *config};
    weir_timer_init(&leaving->timer, config->loop, on_timer, leaving);
    return weir_loop_on_end(config->loop, on_signal, leaving);
}

void weir_leaving_fini(struct weir_leaving *leaving) {
    leaving->begun = true; /* the loop may run on for a while: a signal now only stops it */
    if (leaving->config.loop != NULL)
        weir_timer_stop(&leaving->timer);
}
