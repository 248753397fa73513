/* Opening a back end, and the checks that both have in common. */
#include "cuda/kvc.h"

#include "cuda/kvc_priv.h"

#define XXH_INLINE_ALL
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

const char *kvc_status_text(enum kvc_status s) {
    static const char *const texts[KVC_STATUSES] = {"ok",
                                                    "invalid argument",
                                                    "out of memory",
                                                    "no device",
                                                    "device lost",
                                                    "table is full",
                                                    "sequence hashes collide",
                                                    "block is not held",
                                                    "inconsistent: a defect of Weir"};
    return (unsigned)s < KVC_STATUSES ? texts[s] : "unknown status";
}

static void secret_init(struct kvc_secret *s) {
    for (size_t i = 0; i < KVC_SECRET_READS; i++) {
        s->at[i] = 0;
        for (size_t k = 8; k-- > 0;)
            s->at[i] = s->at[i] << 8 | XXH3_kSecret[i + k];
    }
}

/* ---- the plug-in ---------------------------------------------------------------------------- */

/* It stays mapped when it is closed: threads and exit handlers of the CUDA runtime outlive that. */
enum { HOW = RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE };

/* libweir_cuda.so beside the executable, in ../lib/weir from it, or where the loader looks. */
static void *load(const char *named, char *why, size_t room) {
    static const char *const places[] = {"", "../lib/weir/"};
    char path[4096];
    void *handle = NULL;
    if (named != NULL) {
        handle = dlopen(named, HOW);
    } else {
        ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 64);
        char *slash = n > 0 ? memrchr(path, '/', (size_t)n) : NULL;
        for (size_t i = 0; slash != NULL && handle == NULL && i < 2; i++) {
            snprintf(slash + 1, 64, "%slibweir_cuda.so", places[i]);
            handle = dlopen(path, HOW);
        }
        handle = handle != NULL ? handle : dlopen("libweir_cuda.so", HOW);
    }
    if (handle == NULL) {
        const char *text = dlerror();
        snprintf(why, room, "the plug-in cannot be loaded: %s",
                 text != NULL ? text : "unknown reason");
    }
    return handle;
}

static enum kvc_status open_plugin(struct kvc *k, const char *named, char *why, size_t room) {
    k->plugin = load(named, why, room);
    if (k->plugin == NULL)
        return KVC_NO_DEVICE;
    kvc_plugin_fn fn;
    void *symbol = dlsym(k->plugin, KVC_PLUGIN_SYMBOL);
    memcpy(&fn, &symbol, sizeof(fn));
    k->ops = symbol != NULL ? fn() : NULL;
    if (k->ops != NULL && k->ops->abi == KVC_ABI)
        return KVC_OK;
    snprintf(why, room, "the plug-in is of another version of Weir");
    return KVC_NO_DEVICE;
}

static void tell(const struct kvc *k, const char *why) {
    if (k->options.on_fall_back != NULL)
        k->options.on_fall_back(k->options.arg, why);
}

enum kvc_status kvc_open(const struct kvc_options *options, struct kvc **ret, char *why,
                         size_t room) {
    char unheard[256];
    struct kvc *k = calloc(1, sizeof(*k));
    if (why == NULL || room == 0) {
        why = unheard;
        room = sizeof(unheard);
    }
    if (k == NULL) {
        snprintf(why, room, "out of memory");
        return KVC_NOMEM;
    }
    secret_init(&k->secret);
    k->options = *options;
    k->ops = &kvc_cpu_ops;
    enum kvc_status st =
        options->kind == KVC_CUDA ? open_plugin(k, options->plugin, why, room) : KVC_OK;
    if (st == KVC_OK)
        st = k->ops->open(options, &k->secret, &k->dev, why, room);
    if (st != KVC_OK && k->plugin != NULL)
        dlclose(k->plugin);
    if (st != KVC_OK && options->fall_back) {
        k->plugin = NULL;
        k->ops = &kvc_cpu_ops;
        k->dev = &k->secret;
        tell(k, why);
        st = KVC_OK;
    }
    if (st != KVC_OK) {
        free(k);
        return st;
    }
    *ret = k;
    return KVC_OK;
}

bool kvc_falls_back(struct kvc *k, enum kvc_status st) {
    if (!k->options.fall_back || k->ops == &kvc_cpu_ops || (st != KVC_LOST && st != KVC_NOMEM))
        return false;
    if (st == KVC_LOST && !k->lost)
        tell(k, "the device failed: the CPU does its work from now on");
    if (st == KVC_NOMEM && !k->told_nomem)
        tell(k, "the device's memory is full: the CPU does what does not fit");
    k->lost |= st == KVC_LOST;
    k->told_nomem |= st == KVC_NOMEM;
    k->fallen_back++;
    return true;
}

void kvc_close(struct kvc *k) {
    if (k == NULL)
        return;
    k->ops->close(k->dev);
    if (k->plugin != NULL)
        dlclose(k->plugin);
    free(k);
}

void kvc_get_info(const struct kvc *k, struct kvc_info *ret) {
    k->ops->info(k->dev, ret);
    ret->fallen_back = k->fallen_back;
}

void *kvc_alloc(struct kvc *k, enum kvc_memory memory, size_t bytes) {
    return k->ops->alloc(k->dev, memory, bytes > 0 ? bytes : 1);
}

void kvc_free(struct kvc *k, enum kvc_memory memory, void *p) {
    if (p != NULL)
        k->ops->release(k->dev, memory, p);
}

enum kvc_status kvc_copy(struct kvc *k, void *to, const void *from, size_t bytes) {
    return bytes == 0 ? KVC_OK : k->ops->copy(k->dev, to, from, bytes);
}

/* ---- checks --------------------------------------------------------------------------------- */

static bool rising(const uint64_t *offsets, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (offsets[i] > offsets[i + 1])
            return false;
    return true;
}

size_t kvc_block_offsets(const struct kvc_prompts *p, uint64_t *ret_offsets) {
    ret_offsets[0] = 0;
    for (size_t i = 0; i < p->n; i++)
        ret_offsets[i + 1] = ret_offsets[i] + kvc_block_count(p->offsets[i + 1] - p->offsets[i],
                                                              p->block_size, p->eagle);
    return ret_offsets[p->n];
}

enum kvc_status kvc_hash(struct kvc *k, const struct kvc_prompts *p, uint64_t *ret_local,
                         uint64_t *ret_sequence) {
    if (p->block_size == 0 || p->block_size > KVC_BLOCK_SIZE_MAX || !rising(p->offsets, p->n))
        return KVC_INVALID;
    uint64_t *block_offsets = malloc((p->n + 1) * sizeof(*block_offsets));
    if (block_offsets == NULL)
        return KVC_NOMEM;
    enum kvc_status st = KVC_OK;
    if (kvc_block_offsets(p, block_offsets) > 0) {
        st = k->lost ? KVC_LOST : k->ops->hash(k->dev, p, block_offsets, ret_local, ret_sequence);
        if (!p->resident && kvc_falls_back(k, st))
            st = kvc_cpu_ops.hash(&k->secret, p, block_offsets, ret_local, ret_sequence);
    }
    free(block_offsets);
    return st;
}

/* What is known before asking it. */
static enum kvc_status device_trouble(const struct kvc_table *t) {
    return t->k->lost ? KVC_LOST : t->on_host ? KVC_NOMEM : KVC_OK;
}

enum kvc_status kvc_match(struct kvc_table *t, const struct kvc_queries *q, size_t room,
                          struct kvc_match *ret, uint32_t *ret_n) {
    if (t->broken != KVC_OK)
        return t->broken;
    if (!rising(q->offsets, q->n))
        return KVC_INVALID;
    if (q->n == 0)
        return KVC_OK;
    struct kvc *k = t->k;
    enum kvc_status st = device_trouble(t);
    if (st == KVC_OK)
        st = k->ops->match(k->dev, t, q, room, ret, ret_n);
    if (kvc_falls_back(k, st))
        st = kvc_cpu_ops.match(&k->secret, t, q, room, ret, ret_n);
    return st;
}

enum kvc_status kvc_rank(struct kvc_table *t, const struct kvc_queries *q, const double *isl_tokens,
                         const struct kvc_cost_params *params, const struct kvc_loads *loads,
                         uint32_t k, struct kvc_choice *ret) {
    double least = INFINITY;
    if (t->broken != KVC_OK)
        return t->broken;
    if (!rising(q->offsets, q->n) || k == 0 || k > KVC_TOP_MAX || params->block_size == 0)
        return KVC_INVALID;
    for (uint32_t r = 0; r < t->options.max_ranks; r++)
        if (loads->candidate[r])
            least = fmin(least, loads->active_prefill_tokens[r]);
    if (q->n == 0)
        return KVC_OK;
    struct kvc *back_end = t->k;
    enum kvc_status st = device_trouble(t);
    if (st == KVC_OK)
        st = back_end->ops->rank(back_end->dev, t, q, isl_tokens, params, loads, least, k, ret);
    if (kvc_falls_back(back_end, st))
        st = kvc_cpu_ops.rank(&back_end->secret, t, q, isl_tokens, params, loads, least, k, ret);
    return st;
}
