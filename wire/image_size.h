/*
 * Width and height of an image in a data: URL, from its head: PNG, JPEG, GIF and WebP. Nothing is
 * decoded but the numbers asked for, in time and memory that the pixels have no part in. Pure.
 */
#ifndef WEIR_WIRE_IMAGE_SIZE_H
#define WEIR_WIRE_IMAGE_SIZE_H

#include "base/span.h"

struct weir_image_size {
    uint32_t width, height; /* not 0 */
};

/* `url`: in the form that weir_media_url() gives. False: no such image, or one that readers may
 * take differently (a chunk that is cut short, a second frame head, a size of 0): then nobody knows
 * its size. Where it is true the reference system (Dynamo 1.6.1) finds the same size. */
bool weir_image_size_of_url(struct weir_span url, struct weir_image_size *ret);

#endif
