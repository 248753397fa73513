/* The emulated device (WEIR_CUDA_PLUGIN) with a call of the runtime that fails. */
#ifndef WEIR_TEST_CUDA_FAILING_H
#define WEIR_TEST_CUDA_FAILING_H

#include "test/check.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* emu_fail_at() of the plug-in. */
static void (*fail_at)(long call, bool lost);
/* What on_fall_back() was told last. */
static char told[256];

static inline void on_fall_back(void *arg, const char *why) {
    (void)arg;
    snprintf(told, sizeof(told), "%s", why);
}

/* Without such a device the program exits with 77. */
static inline void find_fail_at(void) {
    void *plugin = dlopen(getenv("WEIR_CUDA_PLUGIN"), RTLD_NOW);
    void *symbol = plugin != NULL ? dlsym(plugin, "emu_fail_at") : NULL;
    if (symbol == NULL) {
        printf("skipped: WEIR_CUDA_PLUGIN names no emulated device\n");
        exit(77);
    }
    memcpy(&fail_at, &symbol, sizeof(fail_at));
}

/* one(arg, call, lost, back) for the first call, the second, and so on, until nothing has come of
 * so many in a row (it says false); for want of memory and for good, without fall_back and with. */
static inline void fail_every_call(bool (*one)(const void *arg, long call, bool lost, bool back),
                                   const void *arg, long most_quiet, long most_calls) {
    for (int lost = 0; lost < 2; lost++)
        for (int back = 0; back < 2; back++) {
            long n_failed = 0, quiet = 0;
            for (long call = 0; quiet < most_quiet && call < most_calls; call++) {
                bool failed = one(arg, call, lost, back);
                n_failed += failed;
                quiet = failed ? 0 : quiet + 1;
            }
            CHECK_MSG(n_failed > 15, "only %ld calls failed", n_failed);
        }
}

#endif
