#include "runtime/checksum.h"

#include "base/blake3.h"

#include <stdio.h>

enum weir_status weir_checksum_file(const char *path, char ret_text[WEIR_CHECKSUM_BYTES]) {
    static const char prefix[] = "blake3:";
    char room[65536];
    struct weir_blake3 h;
    size_t n;
    FILE *f = fopen(path, "rb");
    if (f == NULL)
        return WEIR_NOT_FOUND;
    weir_blake3_init(&h);
    while ((n = fread(room, 1, sizeof(room), f)) > 0)
        weir_blake3_update(&h, weir_span(room, n));
    bool broken = ferror(f) != 0;
    fclose(f);
    if (broken)
        return WEIR_IO;
    memcpy(ret_text, prefix, sizeof(prefix));
    weir_blake3_hex(&h, ret_text + sizeof(prefix) - 1);
    return WEIR_OK;
}
