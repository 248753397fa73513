/* Runs a fuzz driver over every file of the folders and files named on the command line. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned n_inputs;

static void run_file(const char *path) {
    FILE *f = fopen(path, "rb");
    if (f == NULL)
        return;
    fseek(f, 0, SEEK_END);
    long size = ftell(f);
    rewind(f);
    uint8_t *data = size > 0 ? malloc((size_t)size) : NULL;
    if (size <= 0 || (data != NULL && fread(data, 1, (size_t)size, f) == (size_t)size)) {
        LLVMFuzzerTestOneInput(data, size > 0 ? (size_t)size : 0);
        n_inputs++;
    }
    free(data);
    fclose(f);
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        DIR *dir = opendir(argv[i]);
        if (dir == NULL) {
            run_file(argv[i]);
            continue;
        }
        for (struct dirent *e; (e = readdir(dir)) != NULL;) {
            char path[4096];
            if (e->d_name[0] != '.' &&
                snprintf(path, sizeof(path), "%s/%s", argv[i], e->d_name) < (int)sizeof(path))
                run_file(path);
        }
        closedir(dir);
    }
    printf("%u passed, 0 failed\n", n_inputs);
    return n_inputs > 0 ? 0 : 1;
}
