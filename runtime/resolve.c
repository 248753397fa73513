/*
 * Happy path: start → thread asks → posts the answer to the loop → fn → freed. A resolver may take
 * half a minute, so nobody waits for it: whoever comes last, the thread or the canceller, frees.
 */
#include "runtime/resolve.h"

#include "base/mem.h"
#include "base/utf8.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

struct weir_resolve {
    struct weir_loop *loop; /* borrowed; touched by the thread only while not cancelled */
    weir_resolved_fn fn;
    void *arg;
    char host[WEIR_HOST_BYTES];
    char ips[WEIR_RESOLVE_MAX][WEIR_IP_BYTES];
    size_t n;
    struct weir_err err;
    pthread_mutex_t lock; /* guards the two below */
    bool cancelled;
    bool stranded; /* answered, and the loop has stopped: the canceller frees */
};

static void destroy(struct weir_resolve *r) {
    pthread_mutex_destroy(&r->lock);
    weir_free(r);
}

static void deliver(void *arg) {
    struct weir_resolve *r = arg;
    pthread_mutex_lock(&r->lock); /* the thread posts while it holds it: wait until it has let go */
    bool wanted = !r->cancelled;
    pthread_mutex_unlock(&r->lock);
    if (wanted)
        r->fn(r->arg, (const char(*)[WEIR_IP_BYTES])r->ips, r->n, &r->err);
    destroy(r);
}

static void add(struct weir_resolve *r, const struct addrinfo *a) {
    char ip[WEIR_IP_BYTES];
    const void *at =
        a->ai_family == AF_INET
            ? (const void *)&((const struct sockaddr_in *)(const void *)a->ai_addr)->sin_addr
            : (const void *)&((const struct sockaddr_in6 *)(const void *)a->ai_addr)->sin6_addr;
    if (r->n == WEIR_RESOLVE_MAX || inet_ntop(a->ai_family, at, ip, sizeof(ip)) == NULL)
        return;
    for (size_t i = 0; i < r->n; i++)
        if (strcmp(r->ips[i], ip) == 0)
            return;
    memcpy(r->ips[r->n++], ip, sizeof(ip));
}

/* False: the loop has no room for the answer yet. The lock is not held while it gets some: its
 * thread may be about to cancel. */
static bool tell(struct weir_resolve *r) {
    pthread_mutex_lock(&r->lock);
    bool mine = r->cancelled;
    enum weir_status st = mine ? WEIR_OK : weir_loop_post(r->loop, deliver, r);
    r->stranded = st == WEIR_CANCELLED;
    pthread_mutex_unlock(&r->lock);
    if (mine)
        destroy(r);
    return st != WEIR_LIMIT && st != WEIR_NOMEM;
}

static void *ask(void *arg) {
    static const struct timespec pause = {.tv_nsec = 1000000};
    struct weir_resolve *r = arg;
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *list = NULL;
    int rc = getaddrinfo(r->host, NULL, &hints, &list);
    if (rc != 0)
        weir_err_set(&r->err, WEIR_NOT_FOUND, "%s: %s", r->host, gai_strerror(rc));
    for (const struct addrinfo *a = list; a != NULL; a = a->ai_next)
        if (a->ai_family == AF_INET || a->ai_family == AF_INET6)
            add(r, a);
    if (list != NULL)
        freeaddrinfo(list);
    while (!tell(r))
        nanosleep(&pause, NULL);
    return NULL;
}

enum weir_status weir_resolve_start(struct weir_loop *loop, const char *host, weir_resolved_fn fn,
                                    void *arg, struct weir_resolve **ret_resolve) {
    struct weir_resolve *r = weir_calloc(1, sizeof(*r));
    size_t len = strlen(host);
    pthread_t thread;
    if (r == NULL || len >= sizeof(r->host)) {
        weir_free(r);
        return len >= sizeof(r->host) ? WEIR_INVALID : WEIR_NOMEM;
    }
    r->loop = loop;
    r->fn = fn;
    r->arg = arg;
    memcpy(r->host, host, len + 1);
    pthread_mutex_init(&r->lock, NULL);
    if (pthread_create(&thread, NULL, ask, r) != 0) {
        destroy(r);
        return WEIR_LIMIT;
    }
    pthread_detach(thread);
    *ret_resolve = r;
    return WEIR_OK;
}

/* Posted: deliver() frees it. Not answered yet: the thread does, when it comes back. */
void weir_resolve_cancel(struct weir_resolve *resolve) {
    if (resolve == NULL)
        return;
    pthread_mutex_lock(&resolve->lock);
    resolve->cancelled = true;
    bool mine = resolve->stranded;
    pthread_mutex_unlock(&resolve->lock);
    if (mine)
        destroy(resolve);
}

/* ---- the addresses of one host ------------------------------------------------------------ */

static void on_addresses(void *arg, const char (*ips)[WEIR_IP_BYTES], size_t n,
                         const struct weir_err *err) {
    struct weir_addresses *a = arg;
    a->resolve = NULL;
    a->n = n < WEIR_ADDRESSES_MAX ? (unsigned)n : WEIR_ADDRESSES_MAX;
    a->at = 0;
    if (n > 0)
        memcpy(a->ips, ips, a->n * sizeof(a->ips[0]));
    a->fn(a->arg, n > 0 ? NULL : err);
}

enum weir_status weir_addresses_next(struct weir_addresses *a, struct weir_loop *loop,
                                     const char *host, weir_addresses_fn fn, void *arg) {
    if (a->at < a->n)
        return WEIR_OK;
    if (weir_address_is_literal(host)) {
        snprintf(a->ips[0], sizeof(a->ips[0]), "%.*s", WEIR_SPAN_ARG(weir_utf8_cut_z(host, 45)));
        a->n = 1;
        a->at = 0;
        return WEIR_OK;
    }
    a->fn = fn;
    a->arg = arg;
    enum weir_status st = weir_resolve_start(loop, host, on_addresses, a, &a->resolve);
    return st == WEIR_OK ? WEIR_AGAIN : st;
}

void weir_addresses_stop(struct weir_addresses *a) {
    weir_resolve_cancel(a->resolve);
    a->resolve = NULL;
}
