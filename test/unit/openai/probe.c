/* Parses request bodies given in hex, one a line, and prints "status message" for each (200 for
 * what passes). For comparisons with recorded cases by a script. */
#include "base/mem.h"
#include "wire/openai.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One line, whatever the client wrote. */
static void print_refusal(const struct weir_openai_error *error) {
    printf("%d ", error->http_status);
    for (size_t i = 0; i < error->message.len; i++) {
        char c = error->message.data[i];
        if (c == '\n')
            fputs("\\n", stdout);
        else
            putchar(c);
    }
    putchar('\n');
}

int main(void) {
    char *line = NULL;
    size_t room = 0;
    ssize_t n;
    while ((n = getline(&line, &room, stdin)) > 0) {
        enum weir_openai_kind kind = strncmp(line, "chat ", 5) == 0         ? WEIR_OPENAI_CHAT
                                     : strncmp(line, "responses ", 10) == 0 ? WEIR_OPENAI_RESPONSES
                                     : strncmp(line, "embeddings ", 11) == 0
                                         ? WEIR_OPENAI_EMBEDDINGS
                                         : WEIR_OPENAI_COMPLETION;
        const char *hex = strchr(line, ' ') + 1;
        struct weir_buf body;
        weir_buf_init(&body, (size_t)n);
        for (uint64_t v; hex[0] > ' ' && weir_span_hex64(weir_span(hex, 2), &v); hex += 2)
            if (weir_buf_append_c(&body, (char)v) != WEIR_OK)
                return 1;
        struct weir_arena arena;
        weir_arena_init(&arena, 512u << 20);
        struct weir_openai_request req;
        struct weir_openai_error error = {0};
        const struct weir_openai_rules rules = {0};
        enum weir_status st =
            weir_openai_parse(kind, weir_buf_span(&body), &rules, &arena, &req, &error);
        if (st == WEIR_OK)
            puts("200");
        else
            print_refusal(&error);
        weir_arena_fini(&arena);
        weir_buf_fini(&body);
    }
    free(line);
    return 0;
}
