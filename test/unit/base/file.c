/* Whole files: every length around the sizes of a step and of the maximum, and what is no file. */
#include "base/file.h"

#include "test/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[] = "/tmp/weir-file-XXXXXX";
static char path[128];

static void write_bytes(size_t n) {
    FILE *f = fopen(path, "wb");
    CHECK(f != NULL);
    for (size_t i = 0; i < n; i++)
        fputc((int)('a' + i % 23), f);
    CHECK(fclose(f) == 0);
}

static void case_lengths(void) {
    static const size_t lengths[] = {0, 1, 255, 256, 65535, 65536, 65537, 131072, 200000};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(lengths); i++) {
        size_t n = lengths[i];
        write_bytes(n);
        for (int less = -1; less <= 1; less++) { /* the maximum beside the length */
            struct weir_buf buf;
            struct weir_err err = {.text = ""};
            if (n == 0 && less > 0)
                continue;
            weir_buf_init(&buf, n - (size_t)less);
            enum weir_status st = weir_file_read(path, WEIR_FILE_PLAIN, &buf, &err);
            CHECK_MSG(st == (less > 0 ? WEIR_TOO_LARGE : WEIR_OK), "%zu bytes: %s", n, err.text);
            CHECK(less > 0 || buf.len == n);
            for (size_t k = 0; less <= 0 && k < n; k++)
                CHECK(buf.data[k] == (char)('a' + k % 23));
            weir_buf_fini(&buf);
        }
    }
}

static void refused(const char *what, enum weir_status want, const char *text) {
    struct weir_buf buf;
    struct weir_err err = {.text = ""};
    weir_buf_init(&buf, 4096);
    enum weir_status st = weir_file_read(what, WEIR_FILE_PLAIN, &buf, &err);
    CHECK_MSG(st == want && strstr(err.text, text) != NULL, "%s: %s", what, err.text);
    weir_buf_fini(&buf);
}

static void case_no_files(void) {
    refused(folder, WEIR_IO, "Is a directory");
    refused("/dev/zero", WEIR_TOO_LARGE, "over a size limit");
    refused("/dev/null/x", WEIR_NOT_FOUND, "Not a directory");
    unlink(path);
    refused(path, WEIR_NOT_FOUND, "No such file");
    CHECK(mkfifo(path, 0600) == 0);
    refused(path, WEIR_IO, "a pipe");
    CHECK(weir_file_open(path, WEIR_FILE_PLAIN, NULL) == -1);
}

int main(void) {
    CHECK(mkdtemp(folder) != NULL);
    snprintf(path, sizeof(path), "%s/f", folder);
    CHECK_RUN(case_lengths);
    CHECK_RUN(case_no_files);
    unlink(path);
    rmdir(folder);
    return check_finish();
}
