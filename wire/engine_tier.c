#include "wire/engine_event.h"

enum weir_kv_tier weir_engine_tier(struct weir_span medium) {
    static const struct {
        const char *name;
        enum weir_kv_tier tier;
    } rows[] = {{"CPU", WEIR_TIER_HOST},         {"CPU_PINNED", WEIR_TIER_HOST},
                {"CPU_TIER1", WEIR_TIER_HOST},   {"CPU_TIER2", WEIR_TIER_DISK},
                {"DISK", WEIR_TIER_DISK},        {"NVME", WEIR_TIER_DISK},
                {"STORAGE", WEIR_TIER_DISK},     {"EXTERNAL", WEIR_TIER_EXTERNAL},
                {"NETWORK", WEIR_TIER_EXTERNAL}, {"REMOTE", WEIR_TIER_EXTERNAL},
                {"SHARED", WEIR_TIER_EXTERNAL}};
    if (weir_span_eqz(medium, "GPU")) /* nearly always */
        return WEIR_TIER_DEVICE;
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++)
        if (weir_span_ieq(medium, weir_span_z(rows[i].name)))
            return rows[i].tier;
    return WEIR_TIER_DEVICE;
}
