#include "bench/replay_device.h"

#include "base/log.h"

static void on_fall_back(void *arg, const char *why) {
    (void)arg;
    WEIR_LOG(WEIR_LOG_WARN, "replay", "the CPU simulates in the device's place: %s", why);
}

enum weir_status weir_replay_device_open(const struct weir_replay_options *o, struct kvc **ret,
                                         struct weir_err *err) {
    const struct kvc_options options = {.kind = o->device == WEIR_OPT_REPLAY_DEVICE_CUDA ? KVC_CUDA
                                                                                         : KVC_CPU,
                                        .device = (int)o->device_number,
                                        .max_bytes = (size_t)o->device_memory_mb << 20,
                                        .plugin = o->weir_cuda_plugin,
                                        .fall_back = true,
                                        .on_fall_back = on_fall_back};
    char why[256];
    enum kvc_status st = kvc_open(&options, ret, why, sizeof(why));
    return st == KVC_OK ? WEIR_OK : weir_err_set(err, WEIR_NOMEM, "--device: %s", why);
}
