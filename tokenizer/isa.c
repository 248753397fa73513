/* Which instruction sets the machine has. */
#include "tokenizer/blocks_priv.h"

#include <stdlib.h>

bool wtok_isa_usable(enum wtok_isa isa) {
    switch (isa) {
    case WTOK_ISA_SCALAR:
        return true;
#if defined(__x86_64__)
    case WTOK_ISA_AVX2:
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2");
    case WTOK_ISA_VBMI2:
        return __builtin_cpu_supports("avx512vbmi2") && wtok_isa_usable(WTOK_ISA_AVX512);
    case WTOK_ISA_AVX512:
        return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("bmi2");
#endif
#if defined(__aarch64__)
    case WTOK_ISA_NEON:
        return true;
#endif
    default:
        return false;
    }
}

enum wtok_isa wtok_isa_best(void) {
    static const char *const names[] = {"scalar", "avx2", "avx512", "avx512vbmi2", "neon"};
    const char *wish = getenv("WEIR_TOKENIZER_ISA");
    for (int i = 0; wish != NULL && i < WTOK_N_ISAS; i++)
        if (strcmp(wish, names[i]) == 0 && wtok_isa_usable((enum wtok_isa)i))
            return (enum wtok_isa)i;
    for (int i = WTOK_N_ISAS - 1; i > 0; i--)
        if (wtok_isa_usable((enum wtok_isa)i))
            return (enum wtok_isa)i;
    return WTOK_ISA_SCALAR;
}
