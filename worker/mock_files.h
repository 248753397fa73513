/*
 * The model's files on the status port, as workers of the reference system serve them: a frontend
 * on another machine finds them by the card. Source: shared spec "transport" 7 and 8.3. Thread: the
 * status server's loop.
 */
#ifndef WEIR_WORKER_MOCK_FILES_H
#define WEIR_WORKER_MOCK_FILES_H

#include "net/http_server.h"
#include "wire/record.h"

enum { WEIR_MOCK_FILES_MAX = 5 };

struct weir_mock_files {
    struct weir_span prefix; /* path up to the file's name */
    struct weir_span local[WEIR_MOCK_FILES_MAX];
    size_t n;
};

/* Notes the files of *card and makes their paths URLs of this server. Strings live in the arena. */
enum weir_status weir_mock_files_publish(struct weir_mock_files *ret_files, struct weir_card *card,
                                         const struct weir_endpoint_id *endpoint, const char *ip,
                                         uint16_t port, struct weir_arena *arena) WEIR_MUST_CHECK;
/* Answers a request below /v1/metadata/; false: another path. */
bool weir_mock_files_answer(const struct weir_mock_files *files, struct weir_http_exchange *x);

#endif
