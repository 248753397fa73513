#include "runtime/card_files.h"

#include "runtime/checksum.h"

#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

/* Absolute path of a file in the model directory; empty where there is none. */
static struct weir_file_ref file_of(struct weir_arena *arena, const char *dir, const char *name) {
    char path[PATH_MAX];
    struct stat st;
    struct weir_file_ref ref = {.size = -1};
    char sum[WEIR_CHECKSUM_BYTES];
    int n = snprintf(path, sizeof(path), "%s/%s", dir, name);
    if (n > 0 && (size_t)n < sizeof(path) && stat(path, &st) == 0 && S_ISREG(st.st_mode)) {
        ref.path = weir_arena_copy(arena, weir_span(path, (size_t)n));
        ref.size = st.st_size;
        if (weir_checksum_file(path, sum) == WEIR_OK)
            ref.checksum = weir_arena_copy(arena, weir_span_z(sum));
    }
    return ref;
}

enum weir_status weir_card_find_files(struct weir_card *card, const char *dir,
                                      struct weir_arena *arena, struct weir_err *err) {
    card->source_path = weir_arena_copy(arena, weir_span_z(dir));
    if (card->source_path.data == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    card->model_info = file_of(arena, dir, "config.json");
    card->tokenizer = file_of(arena, dir, "tokenizer.json");
    card->prompt_formatter = file_of(arena, dir, "tokenizer_config.json");
    card->chat_template = file_of(arena, dir, "chat_template.jinja");
    card->gen_config = file_of(arena, dir, "generation_config.json");
    return WEIR_OK;
}
