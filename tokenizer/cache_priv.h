/* Compiled tokenizers kept on disk: one file per state of the source files, named by it. */
#ifndef WEIR_TOKENIZER_CACHE_PRIV_H
#define WEIR_TOKENIZER_CACHE_PRIV_H

#include "tokenizer/model_priv.h"

/* Path of the cache file; false when nothing is to be kept. Makes the directory. */
bool wtok_cache_path(const char *dir, const uint64_t source[2], char *ret_path, size_t room);
/* Maps the file if it is whole and made from these sources by this version. */
bool wtok_cache_map(const char *path, const uint64_t source[2], const struct wtok_image **ret_image,
                    size_t *ret_bytes);
/* Writes the file beside its place and renames it; failure is logged, no error. Sets the image's
 * checksum. */
void wtok_cache_write(const char *path, struct wtok_image *image, size_t bytes);

#endif
