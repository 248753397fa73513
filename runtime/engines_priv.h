/* The list (engines.c) and one engine of it (engine_poll.c). */
#ifndef WEIR_RUNTIME_ENGINES_PRIV_H
#define WEIR_RUNTIME_ENGINES_PRIV_H

#include "base/list.h"
#include "net/http_client.h"
#include "runtime/address.h"
#include "runtime/engine_answers.h"
#include "runtime/engine_spec.h"

enum weir_engine_step {
    WEIR_ENGINE_ASK_HEALTH,
    WEIR_ENGINE_ASK_MODELS,
    WEIR_ENGINE_ASK_SOURCES,
    WEIR_ENGINE_ASK_TOKENS,
    WEIR_ENGINE_ASK_METRICS,
    WEIR_ENGINE_ASKED, /* waits for the next round */
};

/* One address. Owner: its entry. */
struct weir_engine_poll {
    struct weir_list node;
    struct weir_engines *engines;        /* borrowed */
    const struct weir_engine_spec *spec; /* borrowed: of the entry */
    char ip[WEIR_IP_BYTES];
    char address[WEIR_HOST_BYTES + 2 * WEIR_IP_BYTES];
    uint64_t id;
    unsigned mark; /* of the last answer of the resolver that named it */
    struct weir_http_client *client;
    struct weir_http_call *call; /* NULL: none under way */
    struct weir_timer timer;
    enum weir_engine_step step;
    int status;           /* of the answer under way */
    struct weir_buf body; /* of the answer under way */
    unsigned rounds, failures, successes;
    bool up, was_up, told_tokens;
    bool told; /* its failure has been logged */
    char why[160];
    /* What the last good answers said; spans in one of two arenas, in turn. */
    struct weir_arena arenas[2];
    unsigned arena; /* the one in use */
    struct weir_engine_info info;
    struct weir_engine_model models[WEIR_ENGINE_MAX_MODELS];
    struct weir_engine_source sources[WEIR_ENGINE_MAX_RANKS];
    uint64_t print; /* of what was told with on_up */
};

struct weir_engines {
    struct weir_loop *loop; /* borrowed */
    struct weir_engines_config config;
    char *bearer; /* of the key, as the header says it, or NULL */
    struct weir_engines_ops ops;
    void *arg;
    struct weir_list entries;
    size_t n_polls;
    int fd; /* inotify */
    struct weir_poll *watch;
    struct weir_timer reload;
};

/* WEIR_LIMIT: WEIR_ENGINE_MAX. */
enum weir_status weir_engine_poll_start(struct weir_engines *engines,
                                        const struct weir_engine_spec *spec, const char *ip,
                                        struct weir_list *list) WEIR_MUST_CHECK;
/* Tells on_down if it was up. */
void weir_engine_poll_stop(struct weir_engine_poll *p, const char *why);

#endif
