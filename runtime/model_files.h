/*
 * Where the files of a model are: named by a model card, found on this machine or fetched. Source:
 * shared spec "transport" 8.3. Every file is compared with the card's checksum: a tokenizer that is
 * not the worker's own would give other tokens. Reads, fetches and waits: not on a loop.
 */
#ifndef WEIR_RUNTIME_MODEL_FILES_H
#define WEIR_RUNTIME_MODEL_FILES_H

#include "wire/record.h"

#include <limits.h>
#include <stdatomic.h>

enum { WEIR_MODEL_FILES_MAX = 5 };

/* Files of hf:// addresses: Hugging Face's own variables. Strings are borrowed. */
struct weir_hub_config {
    const char *endpoint; /* HF_ENDPOINT: an http or https URL */
    const char *token;    /* HF_TOKEN or NULL: sent to the endpoint's host only */
    const char *cache;    /* HF_HUB_CACHE or NULL: $HF_HOME/hub, ~/.cache/huggingface/hub */
    bool offline;         /* HF_HUB_OFFLINE: what is not in that cache is not had */
};

struct weir_model_file {
    char *path, *checksum; /* owned; checksum NULL: taken as it is */
};
/* What one card names. Owner: whoever called _copy. */
struct weir_model_files {
    struct weir_model_file files[WEIR_MODEL_FILES_MAX];
    size_t n;
    char *source_path; /* owned, or NULL */
};

/* A copy that outlives the card. On failure nothing is held. */
enum weir_status weir_model_files_copy(const struct weir_card *card,
                                       struct weir_model_files *ret_files) WEIR_MUST_CHECK;
void weir_model_files_fini(struct weir_model_files *files);
/* True when somebody has to be asked for them: their paths are URLs. */
bool weir_model_files_remote(const struct weir_model_files *files);

/* The directory that holds all files, or err says which one cannot be had. Looked for in turn:
 * where the card's paths are on this machine; `model_path` (may be NULL); the card's source path;
 * the cache of what was fetched before; the URLs. `model_path` is what an operator said, so a file
 * there that is another is an error. A directory of *ret_scratch == true is to be removed after use
 * with weir_model_files_remove(). WEIR_INVALID, WEIR_IO and WEIR_CANCELLED stay; of files behind
 * URLs, what else there is may go over by itself: a worker that is starting may not serve its files
 * yet. */
enum weir_status weir_model_files_find(const struct weir_model_files *files, const char *model_path,
                                       const struct weir_hub_config *hub, const atomic_bool *stop,
                                       char ret_dir[PATH_MAX], bool *ret_scratch,
                                       struct weir_err *err) WEIR_MUST_CHECK;
void weir_model_files_remove(const char *dir);

#endif
