#include "runtime/engine_answers.h"

#include "base/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH = 32 };

/* A string, or anything else passed over. */
static bool text_or_skip(struct weir_json *j, struct weir_arena *arena, struct weir_span *ret) {
    struct weir_json_str s;
    if (weir_json_peek(j) != WEIR_JSON_STRING)
        return weir_json_skip(j, NULL);
    if (!weir_json_string(j, &s))
        return false;
    struct weir_span text = weir_json_text(s, arena);
    *ret = text.data != NULL ? weir_arena_copy(arena, text) : text;
    return ret->data != NULL;
}

static bool number_or_skip(struct weir_json *j, uint64_t *ret) {
    double v;
    if (weir_json_peek(j) != WEIR_JSON_NUMBER)
        return weir_json_skip(j, NULL);
    if (!weir_json_f64(j, &v))
        return false;
    *ret = v >= 0 && v < 1e15 ? (uint64_t)v : 0;
    return true;
}

/* A member that is looked for, and where it goes: one of the three. */
struct member {
    const char *name;
    struct weir_span *text;
    uint64_t *number;
    bool *truth;
};

static bool read_member(struct weir_json *j, struct weir_arena *arena, const struct member *m) {
    if (m->text != NULL)
        return text_or_skip(j, arena, m->text);
    if (m->number != NULL)
        return number_or_skip(j, m->number);
    enum weir_json_type type = weir_json_peek(j);
    if (type == WEIR_JSON_TRUE || type == WEIR_JSON_FALSE)
        *m->truth = type == WEIR_JSON_TRUE;
    return weir_json_skip(j, NULL);
}

/* An object: the members of the table, everything else passed over. What has another type than its
 * place stays as it was. */
static bool read_members(struct weir_json *j, struct weir_arena *arena, const struct member *table,
                         size_t n) {
    struct weir_json_str key;
    if (!weir_json_object_enter(j))
        return false;
    while (weir_json_object_next(j, &key)) {
        size_t i = 0;
        while (i < n && !weir_json_str_eqz(key, table[i].name))
            i++;
        if (!(i < n ? read_member(j, arena, &table[i]) : weir_json_skip(j, NULL)))
            return false;
    }
    return j->error == WEIR_JSON_ERR_NONE;
}

/* ---- /v1/models --------------------------------------------------------------------------- */

/*
 * An adapter as a request must name it. SGLang takes "base:adapter"; its list says "adapter", and a
 * request with that gets the base model's answer, because SGLang answers to any name.
 */
static bool name_adapter(struct weir_engine_model *m, struct weir_span base,
                         struct weir_arena *arena) {
    m->lora = m->id;
    if (!m->sglang || m->id.len == 0)
        return true;
    char *name = weir_arena_alloc(arena, base.len + 1 + m->id.len);
    if (name == NULL)
        return false;
    memcpy(name, base.data, base.len);
    name[base.len] = ':';
    memcpy(name + base.len + 1, m->id.data, m->id.len);
    m->id = weir_span(name, base.len + 1 + m->id.len);
    return true;
}

static bool read_model(struct weir_json *j, struct weir_arena *arena,
                       struct weir_engine_model *ret) {
    struct weir_span parent = {0}, owner = {0};
    uint64_t len = 0;
    *ret = (struct weir_engine_model){0};
    const struct member table[] = {{.name = "id", .text = &ret->id},
                                   {.name = "parent", .text = &parent},
                                   {.name = "owned_by", .text = &owner},
                                   {.name = "max_model_len", .number = &len}};
    if (!read_members(j, arena, table, WEIR_ARRAY_LEN(table)))
        return false;
    ret->sglang = weir_span_eqz(owner, "sglang");
    ret->max_model_len = len <= UINT32_MAX ? (uint32_t)len : 0;
    ret->adapter = parent.len > 0;
    return !ret->adapter || name_adapter(ret, parent, arena);
}

enum weir_status weir_engine_read_models(struct weir_span body, struct weir_arena *arena,
                                         struct weir_engine_model *ret_models, size_t room,
                                         size_t *ret_n) {
    struct weir_json j;
    struct weir_json_str key;
    size_t n = 0;
    bool listed = false;
    weir_json_init(&j, body, DEPTH);
    if (!weir_json_object_enter(&j))
        return WEIR_INVALID;
    while (weir_json_object_next(&j, &key)) {
        if (!weir_json_str_eqz(key, "data") || weir_json_peek(&j) != WEIR_JSON_ARRAY) {
            if (!weir_json_skip(&j, NULL))
                return WEIR_INVALID;
            continue;
        }
        listed = weir_json_array_enter(&j);
        while (weir_json_array_next(&j)) {
            struct weir_engine_model m;
            if (!read_model(&j, arena, &m))
                return WEIR_INVALID;
            if (m.id.len > 0 && n < room)
                ret_models[n++] = m;
        }
    }
    if (!weir_json_finish(&j) || !listed)
        return WEIR_INVALID;
    *ret_n = n;
    return WEIR_OK;
}

/* ---- /kv_event_sources -------------------------------------------------------------------- */

/* "tcp://HOST:PORT" in its parts; host keeps its brackets. */
static bool split_endpoint(struct weir_span e, struct weir_span *ret_host, uint32_t *ret_port) {
    uint64_t port = 0;
    if (!weir_span_starts(e, WEIR_SPAN_LIT("tcp://")))
        return false;
    struct weir_span rest = weir_span(e.data + 6, e.len - 6);
    size_t colon = rest.len;
    while (colon > 0 && rest.data[colon - 1] != ':')
        colon--;
    if (colon < 2 || !weir_span_u64(weir_span(rest.data + colon, rest.len - colon), &port) ||
        port == 0 || port > UINT16_MAX)
        return false;
    *ret_host = weir_span(rest.data, colon - 1);
    *ret_port = (uint32_t)port;
    return true;
}

static struct weir_span make_endpoint(struct weir_span host, uint32_t port,
                                      struct weir_arena *arena) {
    char text[600];
    int n = snprintf(text, sizeof(text), "tcp://%.*s:%u", WEIR_SPAN_ARG(host), port);
    if (n <= 0 || (size_t)n >= sizeof(text) || port > UINT16_MAX)
        return weir_span(NULL, 0);
    return weir_arena_copy(arena, weir_span(text, (size_t)n));
}

struct weir_span weir_engine_rank_endpoint(struct weir_span endpoint, uint32_t rank,
                                           struct weir_arena *arena) {
    struct weir_span host;
    uint32_t port;
    if (!split_endpoint(endpoint, &host, &port))
        return weir_span(NULL, 0);
    return make_endpoint(host, port + rank, arena);
}

static struct weir_span host_in_url(const char *host, char *room, size_t bytes) {
    int n = snprintf(room, bytes, strchr(host, ':') != NULL ? "[%s]" : "%s", host);
    return weir_span(room, n > 0 && (size_t)n < bytes ? (size_t)n : 0);
}

static bool has_text(struct weir_span s, const char *what) {
    return memmem(s.data, s.len, what, strlen(what)) != NULL;
}

/*
 * The configured text of the engine, as a consumer must use it. vLLM binds when the text holds '*'
 * or "::", else it connects out to whoever binds (shared spec "engines" 1.1); the replay socket is
 * always bound.
 */
static struct weir_span consumer_endpoint(struct weir_span e, const char *host, bool bound,
                                          struct weir_arena *arena) {
    struct weir_span at;
    uint32_t port;
    char room[80];
    if (!split_endpoint(e, &at, &port))
        return weir_span(NULL, 0);
    bool binds = bound || weir_span_find(at, '*') >= 0 || has_text(at, "::");
    if (!binds)
        return make_endpoint(WEIR_SPAN_LIT("*"), port, arena);
    /* "[::ffff:127.0.0.1]" is a way to bind IPv4 loopback; libzmq cannot connect to it. */
    struct weir_span mapped = WEIR_SPAN_LIT("[::ffff:");
    if (weir_span_starts(at, mapped) && at.data[at.len - 1] == ']')
        at = weir_span(at.data + mapped.len, at.len - mapped.len - 1);
    bool every = weir_span_eqz(at, "*") || weir_span_eqz(at, "[::]") || weir_span_eqz(at, "::") ||
                 weir_span_eqz(at, "0.0.0.0");
    return make_endpoint(every ? host_in_url(host, room, sizeof(room)) : at, port, arena);
}

static bool read_source(struct weir_json *j, const char *host, struct weir_arena *arena,
                        struct weir_engine_source *ret, bool *ret_enabled) {
    struct weir_span events = {0}, replay = {0}, publisher = {0};
    *ret_enabled = true;
    const struct member table[] = {{.name = "endpoint", .text = &events},
                                   {.name = "replay_endpoint", .text = &replay},
                                   {.name = "topic", .text = &ret->topic},
                                   {.name = "publisher", .text = &publisher},
                                   {.name = "enable_kv_cache_events", .truth = ret_enabled}};
    if (!read_members(j, arena, table, WEIR_ARRAY_LEN(table)))
        return false;
    ret->events = consumer_endpoint(events, host, false, arena);
    if (replay.len > 0)
        ret->replay = consumer_endpoint(replay, host, true, arena);
    *ret_enabled &= weir_span_eqz(publisher, "zmq") && ret->events.data != NULL;
    return true;
}

static int by_rank(const void *a, const void *b) {
    const struct weir_engine_source *x = a, *y = b;
    return x->rank < y->rank ? -1 : x->rank > y->rank;
}

enum weir_status weir_engine_read_sources(struct weir_span body, const char *host,
                                          struct weir_arena *arena,
                                          struct weir_engine_source *ret_sources, size_t room,
                                          size_t *ret_n) {
    struct weir_json j;
    struct weir_json_str key;
    size_t n = 0;
    weir_json_init(&j, body, DEPTH);
    if (!weir_json_object_enter(&j))
        return WEIR_INVALID;
    while (weir_json_object_next(&j, &key)) {
        struct weir_engine_source s = {0};
        uint64_t rank = 0;
        bool enabled;
        char digits[16];
        if (!weir_span_u64(weir_json_short_text(key, digits, sizeof(digits)), &rank) ||
            rank >= WEIR_ENGINE_MAX_RANKS || weir_json_peek(&j) != WEIR_JSON_OBJECT) {
            if (!weir_json_skip(&j, NULL))
                return WEIR_INVALID;
            continue;
        }
        if (!read_source(&j, host, arena, &s, &enabled))
            return WEIR_INVALID;
        s.rank = (uint32_t)rank;
        if (enabled && n < room)
            ret_sources[n++] = s;
    }
    if (!weir_json_finish(&j))
        return WEIR_INVALID;
    qsort(ret_sources, n, sizeof(*ret_sources), by_rank);
    *ret_n = n;
    return WEIR_OK;
}

/* ---- /server_info ------------------------------------------------------------------------- */

struct publisher {
    struct weir_span kind, host, topic;
    uint64_t port, replay_port, block_size, n_ranks;
    bool binds; /* told so, whatever its host */
};

static bool read_publisher(struct weir_json *j, struct weir_arena *arena, struct publisher *p) {
    const struct member table[] = {{.name = "publisher", .text = &p->kind},
                                   {.name = "endpoint_host", .text = &p->host},
                                   {.name = "topic", .text = &p->topic},
                                   {.name = "endpoint_port_base", .number = &p->port},
                                   {.name = "replay_endpoint_port_base", .number = &p->replay_port},
                                   {.name = "block_size", .number = &p->block_size},
                                   {.name = "dp_size", .number = &p->n_ranks}};
    if (weir_json_peek(j) != WEIR_JSON_OBJECT)
        return weir_json_skip(j, NULL);
    return read_members(j, arena, table, WEIR_ARRAY_LEN(table));
}

/* --kv-events-config as it was given: JSON in a string. Only it says whether a concrete host is one
 * to bind. */
static bool read_binds(struct weir_json *j, struct weir_arena *arena, bool *ret_binds) {
    const struct member bind = {.name = "bind", .truth = ret_binds};
    struct weir_span text = {0};
    struct weir_json in;
    if (!text_or_skip(j, arena, &text))
        return false;
    weir_json_init(&in, text, DEPTH);
    if (text.len > 0 && weir_json_peek(&in) == WEIR_JSON_OBJECT)
        (void)read_members(&in, arena, &bind, 1); /* what it says until it breaks off counts */
    return true;
}

/* The addresses of a rank. The replay socket is bound on a host that is not told: with the events'
 * where that is one of the engine's, else on its HTTP address. */
static bool publisher_source(const struct publisher *p, uint32_t rank, const char *host,
                             struct weir_arena *arena, struct weir_engine_source *ret) {
    char room[80];
    struct weir_span here = host_in_url(host, room, sizeof(room));
    struct weir_span at = make_endpoint(p->host, (uint32_t)p->port + rank, arena);
    bool binds = p->binds || weir_span_eqz(p->host, "0.0.0.0");
    if (at.data == NULL)
        return false;
    *ret = (struct weir_engine_source){.rank = rank, .topic = p->topic};
    ret->events = consumer_endpoint(at, host, binds, arena);
    if (p->replay_port > 0)
        ret->replay = make_endpoint(here, (uint32_t)p->replay_port + rank, arena);
    return ret->events.data != NULL;
}

enum weir_status weir_engine_read_server_info(struct weir_span body, const char *host,
                                              struct weir_arena *arena,
                                              struct weir_engine_source *ret_sources, size_t room,
                                              size_t *ret_n, uint32_t *ret_block_size) {
    struct publisher p = {.topic = weir_span("", 0)};
    struct weir_json j;
    struct weir_json_str key;
    size_t n = 0;
    weir_json_init(&j, body, DEPTH);
    if (!weir_json_object_enter(&j))
        return WEIR_INVALID;
    while (weir_json_object_next(&j, &key)) {
        bool ok = weir_json_str_eqz(key, "kv_events")          ? read_publisher(&j, arena, &p)
                  : weir_json_str_eqz(key, "kv_events_config") ? read_binds(&j, arena, &p.binds)
                                                               : weir_json_skip(&j, NULL);
        if (!ok)
            return WEIR_INVALID;
    }
    if (!weir_json_finish(&j))
        return WEIR_INVALID;
    bool told = weir_span_eqz(p.kind, "zmq") && p.port > 0 && p.port <= UINT16_MAX &&
                p.replay_port <= UINT16_MAX;
    for (uint32_t r = 0; told && r < p.n_ranks && r < room; r++)
        n += publisher_source(&p, r, host, arena, &ret_sources[n]);
    *ret_n = n;
    *ret_block_size = p.block_size <= 1 << 20 ? (uint32_t)p.block_size : 0;
    return WEIR_OK;
}

/* ---- /metrics ----------------------------------------------------------------------------- */

/* Value of a label: "name=\"…\"" behind '{' or ','. */
static struct weir_span label(struct weir_span line, const char *name) {
    size_t len = strlen(name);
    for (size_t i = 1; i + len + 2 < line.len; i++) {
        if ((line.data[i - 1] != '{' && line.data[i - 1] != ',') || line.data[i + len] != '=' ||
            line.data[i + len + 1] != '"' || memcmp(line.data + i, name, len) != 0)
            continue;
        struct weir_span v = weir_span(line.data + i + len + 2, line.len - i - len - 2);
        ptrdiff_t end = weir_span_find(v, '"');
        return end >= 0 ? weir_span(v.data, (size_t)end) : weir_span(NULL, 0);
    }
    return weir_span(NULL, 0);
}

static struct weir_engine_load *rank_of(struct weir_engine_metrics *m, struct weir_span line,
                                        const char *name) {
    uint64_t rank = 0;
    struct weir_span text = label(line, name);
    if (text.data != NULL && (!weir_span_u64(text, &rank) || rank >= WEIR_ENGINE_MAX_RANKS))
        return NULL;
    for (; m->n_ranks <= rank; m->n_ranks++)
        m->ranks[m->n_ranks] = (struct weir_engine_load){.rank = (uint32_t)m->n_ranks};
    return &m->ranks[rank];
}

enum what { RUNNING, WAITING, USAGE, BLOCK_SIZE, BLOCKS, CONFIG };

/* Times a usage they are a number of blocks. */
#define BLOCKS_MAX 1000000000000u
#define USAGE_MAX 1e6

static void take(struct weir_engine_metrics *m, enum what what, struct weir_span line, double v,
                 const char *rank_label) {
    uint64_t n = 0;
    struct weir_engine_load *r;
    switch (what) {
    case BLOCK_SIZE:
        m->block_size = v > 0 && v <= 1 << 20 ? (uint32_t)v : 0;
        return;
    case BLOCKS:
        m->n_kv_blocks = v > 0 && v < BLOCKS_MAX ? (uint64_t)v : 0;
        return;
    case CONFIG:
        if (weir_span_u64(label(line, "block_size"), &n) && n <= 1 << 20)
            m->block_size = (uint32_t)n;
        /* What was asked for decides over what would have fit. */
        if (weir_span_u64(label(line, "num_gpu_blocks_override"), &n) ||
            weir_span_u64(label(line, "num_gpu_blocks"), &n))
            m->n_kv_blocks = n < BLOCKS_MAX ? n : 0;
        return;
    default:
        r = rank_of(m, line, rank_label);
        if (r == NULL || !(v >= 0) || v > (what == USAGE ? USAGE_MAX : 1e12))
            return;
        if (what == RUNNING)
            r->running = (uint64_t)v;
        else if (what == WAITING)
            r->waiting = (uint64_t)v;
        else
            r->kv_usage = v;
    }
}

void weir_engine_read_metrics(struct weir_span page, struct weir_engine_metrics *ret) {
    static const struct {
        const char *name, *rank;
        enum what what;
    } rows[] = {{"vllm:num_requests_running", "engine", RUNNING},
                {"vllm:num_requests_waiting", "engine", WAITING},
                {"vllm:kv_cache_usage_perc", "engine", USAGE},
                {"vllm:gpu_cache_usage_perc", "engine", USAGE}, /* before 0.10 */
                {"vllm:cache_config_info", "engine", CONFIG},
                {"sglang:num_running_reqs", "dp_rank", RUNNING},
                {"sglang:num_queue_reqs", "dp_rank", WAITING},
                {"sglang:token_usage", "dp_rank", USAGE},
                {"sglang:page_size", "dp_rank", BLOCK_SIZE},
                {"sglang:num_pages", "dp_rank", BLOCKS}};
    *ret = (struct weir_engine_metrics){0};
    while (page.data != NULL && page.len > 0) {
        struct weir_span line = weir_span_trim(weir_span_split(page, '\n', &page));
        size_t name = 0;
        while (name < line.len && line.data[name] != '{' && line.data[name] != ' ')
            name++;
        for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
            double v;
            size_t at = line.len;
            if (!weir_span_eqz(weir_span(line.data, name), rows[i].name))
                continue;
            while (at > name && line.data[at - 1] != ' ')
                at--;
            if (weir_span_f64(weir_span(line.data + at, line.len - at), &v))
                take(ret, rows[i].what, line, v, rows[i].rank);
            break;
        }
    }
}

/* ---- /tokenize ---------------------------------------------------------------------------- */

static bool read_ids(struct weir_json *j, struct weir_arena *arena, size_t room,
                     const uint32_t **ret_ids, size_t *ret_n) {
    uint32_t *ids = weir_arena_alloc(arena, (room + 1) * sizeof(*ids));
    size_t n = 0;
    uint64_t v;
    if (ids == NULL || !weir_json_array_enter(j))
        return false;
    while (weir_json_array_next(j)) {
        if (!weir_json_u64(j, &v) || v > UINT32_MAX || n == room)
            return false;
        ids[n++] = (uint32_t)v;
    }
    *ret_ids = ids;
    *ret_n = n;
    return true;
}

enum weir_status weir_engine_read_tokens(struct weir_span body, struct weir_arena *arena,
                                         const uint32_t **ret_ids, size_t *ret_n) {
    struct weir_json j;
    struct weir_json_str key;
    const uint32_t *ids = NULL;
    size_t n = 0;
    weir_json_init(&j, body, DEPTH);
    if (!weir_json_object_enter(&j))
        return WEIR_INVALID;
    while (weir_json_object_next(&j, &key)) {
        /* Two bytes an id at least. */
        bool ok = weir_json_str_eqz(key, "tokens") && weir_json_peek(&j) == WEIR_JSON_ARRAY
                      ? read_ids(&j, arena, body.len / 2, &ids, &n)
                      : weir_json_skip(&j, NULL);
        if (!ok)
            return WEIR_INVALID;
    }
    if (!weir_json_finish(&j) || ids == NULL)
        return WEIR_INVALID;
    *ret_ids = ids;
    *ret_n = n;
    return WEIR_OK;
}
