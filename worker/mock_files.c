/* Happy path: card with local paths → publish → card with URLs; GET of one → the file, read whole.
 * A file that has gone meanwhile is a 404, as one that never was. */
#include "worker/mock_files.h"

#include "base/buf.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

enum { FILE_MAX = 256 << 20 };

static struct weir_span name_of(struct weir_span path) {
    size_t from = path.len;
    while (from > 0 && path.data[from - 1] != '/')
        from--;
    return weir_span(path.data + from, path.len - from);
}

static enum weir_status publish_one(struct weir_mock_files *files, struct weir_file_ref *ref,
                                    struct weir_span origin, struct weir_arena *arena) {
    if (ref->path.len == 0)
        return WEIR_OK;
    struct weir_span name = name_of(ref->path);
    size_t n = origin.len + files->prefix.len + name.len;
    char *url = weir_arena_alloc(arena, n + 1);
    if (url == NULL)
        return WEIR_NOMEM;
    snprintf(url, n + 1, "%.*s%.*s%.*s", WEIR_SPAN_ARG(origin), WEIR_SPAN_ARG(files->prefix),
             WEIR_SPAN_ARG(name));
    files->local[files->n++] = ref->path;
    ref->path = weir_span(url, n);
    return WEIR_OK;
}

enum weir_status weir_mock_files_publish(struct weir_mock_files *ret_files, struct weir_card *card,
                                         const struct weir_endpoint_id *endpoint, const char *ip,
                                         uint16_t port, struct weir_arena *arena) {
    char text[PATH_MAX];
    *ret_files = (struct weir_mock_files){.n = 0};
    int n = snprintf(text, sizeof(text), "/v1/metadata/%.*s/%.*s/%.*s/%.*s/_base/",
                     WEIR_SPAN_ARG(endpoint->ns), WEIR_SPAN_ARG(endpoint->component),
                     WEIR_SPAN_ARG(endpoint->name), WEIR_SPAN_ARG(card->slug));
    if (n < 0 || (size_t)n >= sizeof(text))
        return WEIR_TOO_LARGE;
    ret_files->prefix = weir_arena_copy(arena, weir_span(text, (size_t)n));
    n = snprintf(text, sizeof(text), strchr(ip, ':') != NULL ? "http://[%s]:%u" : "http://%s:%u",
                 ip, (unsigned)port);
    struct weir_span origin = weir_span(text, (size_t)n);
    struct weir_file_ref *refs[] = {&card->model_info, &card->tokenizer, &card->prompt_formatter,
                                    &card->chat_template, &card->gen_config};
    enum weir_status st = ret_files->prefix.data != NULL ? WEIR_OK : WEIR_NOMEM;
    for (size_t i = 0; i < WEIR_MOCK_FILES_MAX && st == WEIR_OK; i++)
        st = publish_one(ret_files, refs[i], origin, arena);
    return st;
}

static bool read_whole(struct weir_span path, struct weir_buf *out) {
    char room[PATH_MAX];
    unsigned char piece[1 << 16];
    if (path.len >= sizeof(room))
        return false;
    memcpy(room, path.data, path.len);
    room[path.len] = '\0';
    FILE *f = fopen(room, "re");
    if (f == NULL)
        return false;
    bool ok = true;
    for (size_t n; ok && (n = fread(piece, 1, sizeof(piece), f)) > 0;)
        ok = weir_buf_append(out, piece, n) == WEIR_OK;
    ok = ok && ferror(f) == 0;
    fclose(f);
    return ok;
}

bool weir_mock_files_answer(const struct weir_mock_files *files, struct weir_http_exchange *x) {
    const struct weir_http_request *q = weir_http_exchange_request(x);
    if (!weir_span_starts(q->path, WEIR_SPAN_LIT("/v1/metadata/")))
        return false;
    struct weir_buf body;
    bool found = false;
    weir_buf_init(&body, FILE_MAX);
    if (files->prefix.len > 0 && weir_span_starts(q->path, files->prefix) &&
        weir_span_eqz(q->method, "GET")) {
        struct weir_span name =
            weir_span(q->path.data + files->prefix.len, q->path.len - files->prefix.len);
        for (size_t i = 0; i < files->n && !found; i++)
            found =
                weir_span_eq(name, name_of(files->local[i])) && read_whole(files->local[i], &body);
    }
    if (found)
        weir_http_respond(x, 200, "application/octet-stream", NULL, 0, weir_buf_span(&body));
    else
        weir_http_respond(x, 404, "text/plain", NULL, 0, WEIR_SPAN_LIT("Not found"));
    weir_buf_fini(&body);
    return true;
}
