/* Addresses of media. Beyond crashes: what is written is plain, has its bound, and stays as it is
 * when it is read again. */
#include "wire/media.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_written(struct weir_span url, size_t from) {
    if (url.len > 3 * from + 64) /* every byte percent-encoded, and a host of numbers */
        abort();
    for (size_t i = 0; i < url.len; i++)
        if ((unsigned char)url.data[i] < 0x20 || (unsigned char)url.data[i] > 0x7e)
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct weir_arena arena;
    struct weir_span url = {NULL, 0}, again = {NULL, 0};
    const char *why = NULL;
    char *text = malloc(size > 0 ? size : 1); /* exact: a read behind it is seen */
    if (text == NULL)
        abort();
    memcpy(text, data, size);
    weir_arena_init(&arena, (size_t)64 << 20);
    enum weir_status st = weir_media_url(weir_span(text, size), &arena, &url, &why);
    if (st == WEIR_OK) {
        check_written(url, size);
        (void)weir_media_url_refused(url);
        (void)weir_media_url_holds_data(url);
        if (weir_media_url(url, &arena, &again, &why) != WEIR_OK || !weir_span_eq(again, url))
            abort();
    } else if (st != WEIR_INVALID || why == NULL) {
        abort();
    }
    weir_arena_fini(&arena);
    free(text);
    return 0;
}
