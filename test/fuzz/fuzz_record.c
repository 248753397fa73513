/*
 * Discovery records, file names and slugs. Property: a record that decodes is written, and the text
 * reads back to the same text; any bytes survive as a file name. A card's checksum does not depend
 * on what was asked before, and that of a card that we write is there.
 */
#include "wire/card_sum.h"
#include "wire/record.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok) {
    if (!ok)
        abort();
}

static void sums(struct weir_card *card) {
    char a[WEIR_CARD_SUM_BYTES] = "", b[WEIR_CARD_SUM_BYTES] = "";
    enum weir_status st = weir_card_sum_of(card, true, a);
    must(weir_card_sum_of(card, true, b) == st && memcmp(a, b, sizeof(a)) == 0);
    card->json = weir_span(NULL, 0);
    st = weir_card_sum_of(card, false, a);
    must(st == WEIR_OK || st == WEIR_LIMIT);
}

static void record(struct weir_span json) {
    struct weir_arena arena;
    struct weir_record r, again;
    struct weir_err err;
    struct weir_buf first, second;
    weir_arena_init(&arena, 8 << 20);
    weir_buf_init(&first, 8 << 20);
    weir_buf_init(&second, 8 << 20);
    if (weir_record_decode(json, &arena, &r, &err) == WEIR_OK &&
        weir_record_encode(&r, &first) == WEIR_OK) {
        /* A channel of a kind that is not read has no address to write. */
        if (weir_record_decode(weir_buf_span(&first), &arena, &again, &err) == WEIR_OK) {
            must(weir_record_encode(&again, &second) == WEIR_OK);
            must(weir_span_eq(weir_buf_span(&first), weir_buf_span(&second)));
        } else {
            must(r.endpoint.ns.len == 0 || r.kind != WEIR_RECORD_ENDPOINT);
        }
        weir_buf_clear(&first);
        must(weir_record_key(&r, &first) == WEIR_OK);
        if (r.kind == WEIR_RECORD_MODEL)
            sums(&r.card);
    }
    weir_buf_fini(&first);
    weir_buf_fini(&second);
    weir_arena_fini(&arena);
}

static void names(struct weir_span bytes) {
    struct weir_buf name, back;
    weir_buf_init(&name, 1 << 22);
    weir_buf_init(&back, 1 << 22);
    if (weir_file_name_encode(bytes, &name) == WEIR_OK) {
        must(weir_file_name_decode(weir_buf_span(&name), &back) == WEIR_OK);
        must(weir_span_eq(weir_buf_span(&back), bytes));
    }
    weir_buf_clear(&back);
    (void)!weir_file_name_decode(bytes, &back);
    weir_buf_clear(&back);
    (void)!weir_slug(bytes, &back);
    weir_buf_fini(&name);
    weir_buf_fini(&back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    record(weir_span((const char *)data, size));
    names(weir_span((const char *)data, size));
    return 0;
}
