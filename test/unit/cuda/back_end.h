/* The back end under test: the CPU reference, or with WEIR_TEST_DEVICE=cuda the plug-in, without
 * which the program exits with 77. */
#ifndef WEIR_TEST_CUDA_BACK_END_H
#define WEIR_TEST_CUDA_BACK_END_H

#include "cuda/kvc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static inline struct kvc *open_back_end(void) {
    const char *device = getenv("WEIR_TEST_DEVICE"), *plugin = getenv("WEIR_CUDA_PLUGIN");
    struct kvc_options o = {.kind = KVC_CPU, .plugin = plugin};
    struct kvc *k = NULL;
    char why[256];
    if (device != NULL && strcmp(device, "cuda") == 0)
        o.kind = KVC_CUDA;
    enum kvc_status st = kvc_open(&o, &k, why, sizeof(why));
    if (st == KVC_NO_DEVICE) {
        printf("skipped: %s\n", why);
        exit(77);
    }
    if (st != KVC_OK) {
        printf("cannot open: %s: %s\n", kvc_status_text(st), why);
        exit(1);
    }
    return k;
}

/* It takes its time: emulated, or watched (WEIR_TEST_SHORT). */
static inline bool is_slow(const struct kvc *k) {
    struct kvc_info info;
    if (getenv("WEIR_TEST_SHORT") != NULL)
        return true;
    kvc_get_info(k, &info);
    return strcmp(info.name, "emulated device") == 0;
}

#endif
