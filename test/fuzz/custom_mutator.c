/* libFuzzer's hook: every other change is one of structure, the rest are its own. */
#include "test/fuzz/mutate.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed) {
    size_t n = seed % 2 == 0 ? mutate_structure(data, size, max_size, seed / 2) : 0;
    return n > 0 ? n : LLVMFuzzerMutate(data, size, max_size);
}
