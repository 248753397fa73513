#include "indexer/numbers.h"

#include "base/mem.h"

bool weir_numbers_hash(struct weir_json *j, uint64_t *ret_hash) {
    struct weir_span raw;
    int64_t i;
    if (weir_json_peek(j) != WEIR_JSON_NUMBER || !weir_json_number(j, &raw))
        return false;
    if (weir_span_u64(raw, ret_hash))
        return true;
    if (!weir_span_i64(raw, &i))
        return false;
    *ret_hash = (uint64_t)i;
    return true;
}

enum weir_status weir_numbers_tokens(struct weir_json *j, uint32_t **array, size_t *n,
                                     size_t *cap) {
    if (weir_json_peek(j) != WEIR_JSON_ARRAY || !weir_json_array_enter(j))
        return WEIR_INVALID;
    while (weir_json_array_next(j)) {
        uint64_t v;
        if (!weir_json_u64(j, &v) || v > UINT32_MAX)
            return WEIR_INVALID;
        if (!weir_grow(array, cap, *n + 1, sizeof(**array)))
            return WEIR_NOMEM;
        (*array)[(*n)++] = (uint32_t)v;
    }
    return WEIR_OK;
}

enum weir_status weir_numbers_hashes(struct weir_json *j, uint64_t **array, size_t *n,
                                     size_t *cap) {
    if (weir_json_peek(j) != WEIR_JSON_ARRAY || !weir_json_array_enter(j))
        return WEIR_INVALID;
    while (weir_json_array_next(j)) {
        uint64_t v;
        if (!weir_numbers_hash(j, &v))
            return WEIR_INVALID;
        if (!weir_grow(array, cap, *n + 1, sizeof(**array)))
            return WEIR_NOMEM;
        (*array)[(*n)++] = v;
    }
    return WEIR_OK;
}
