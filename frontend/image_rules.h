/*
 * How many tokens an image becomes in the prompt of a model: rules of the Qwen-VL families
 * (Qwen2-VL, Qwen2.5-VL, Qwen3-VL, Qwen3.5), made of the model's files as the reference system
 * (Dynamo 1.6.1) makes them. Pure but for weir_image_rules_load().
 */
#ifndef WEIR_FRONTEND_IMAGE_RULES_H
#define WEIR_FRONTEND_IMAGE_RULES_H

#include "tokenizer/wtok.h"

struct weir_image_rules {
    bool known;           /* else no image of the model has a number of tokens here */
    uint32_t image_token; /* one a picture, where its template puts it */
    bool has_bos;         /* engines begin its prompts with `bos`, which no template writes */
    uint32_t bos;
    uint32_t patch, merge; /* pixels a side of a patch; patches a side of a token */
    uint64_t min_pixels, max_pixels;
};

/* Texts of files, NULL where there is none. */
struct weir_image_files {
    struct weir_span model;        /* config.json */
    struct weir_span preprocessor; /* preprocessor_config.json */
};

/* `source`: where the card says that the model came from; a family's name in it counts, else the
 * model_type does. Without a bos. Not known: what is missing, of another type than it should be, or
 * of another family. */
void weir_image_rules_read(struct weir_span source, const struct weir_image_files *files,
                           struct weir_image_rules *ret);
/* The same of the files in a directory, with the bos of its tokenizer_config.json. Reads files: not
 * on a loop. Whatever cannot be read: not known. */
void weir_image_rules_load(const char *dir, const char *source, const struct wtok *tok,
                           struct weir_image_rules *ret);
/* Of an image of this size, in pixels, neither of them 0. */
uint64_t weir_image_rules_tokens(const struct weir_image_rules *r, uint32_t width, uint32_t height);

#endif
