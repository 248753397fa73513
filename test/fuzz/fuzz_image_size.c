/* Heads of images. The input is the image; it is read as base64 behind a head of its own. Beyond
 * crashes: what is found stays when more follows, and without its first bytes there is no image. */
#include "base/base64.h"
#include "wire/image_size.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct weir_span head = {"data:image/png;base64,", 22};

/* Exactly as long as its text: a read behind it is seen. */
static bool size_of(struct weir_span image, struct weir_image_size *ret) {
    struct weir_buf text;
    weir_buf_init(&text, (size_t)64 << 20);
    if (weir_buf_append_span(&text, head) != WEIR_OK || weir_base64_encode(image, &text) != WEIR_OK)
        abort();
    char *url = malloc(text.len);
    if (url == NULL)
        abort();
    memcpy(url, text.data, text.len);
    bool known = weir_image_size_of_url(weir_span(url, text.len), ret);
    free(url);
    weir_buf_fini(&text);
    return known;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct weir_image_size first, again;
    struct weir_span image = weir_span((const char *)data, size);
    bool known = size_of(image, &first);
    if (known && (first.width == 0 || first.height == 0))
        abort();
    if (known && size > 1 && size_of(weir_span(image.data + 1, size - 1), &again))
        abort();
    (void)weir_image_size_of_url(image, &again); /* as a URL itself */
    /* Behind the head of an image there may stand anything, but for WebP, whose chunks are whole.
     */
    if (!known || size > (1 << 16) || memcmp(data, "RIFF", 4) == 0)
        return 0;
    char *more = malloc(size + 3);
    if (more == NULL)
        abort();
    memcpy(more, data, size);
    memcpy(more + size, "\xff\x00\xd9", 3);
    if (!size_of(weir_span(more, size + 3), &again) || again.width != first.width ||
        again.height != first.height)
        abort();
    free(more);
    return 0;
}
