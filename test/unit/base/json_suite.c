/* JSONTestSuite, where it is present: y_ must be accepted, n_ refused, i_ is ours to choose (we
 * accept what fits a double and is valid UTF-8, and refuse the rest). */
#include "base/json.h"
#include "test/check.h"

#include <dirent.h>

static unsigned n_files;

static bool accepts(const char *path) {
    static char text[1 << 20];
    FILE *f = fopen(path, "rb");
    CHECK_MSG(f != NULL, "cannot read %s", path);
    size_t len = fread(text, 1, sizeof(text), f);
    fclose(f);
    struct weir_json j;
    weir_json_init(&j, weir_span(text, len), 1024);
    return weir_json_skip(&j, NULL) && weir_json_finish(&j);
}

static char folder[2048];

static void case_suite(void) {
    DIR *dir = opendir(folder);
    CHECK(dir != NULL);
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        char path[4096];
        if (strstr(e->d_name, ".json") == NULL)
            continue;
        snprintf(path, sizeof(path), "%s/%s", folder, e->d_name);
        bool ok = accepts(path);
        n_files++;
        CHECK_MSG(e->d_name[0] != 'y' || ok, "refused %s", e->d_name);
        CHECK_MSG(e->d_name[0] != 'n' || !ok, "accepted %s", e->d_name);
    }
    closedir(dir);
    CHECK(n_files > 300);
}

int main(void) {
    const char *shared = getenv("WEIR_SHARED");
    snprintf(folder, sizeof(folder), "%s/data/json/test_parsing",
             shared != NULL ? shared : "../shared");
    DIR *dir = opendir(folder);
    if (dir == NULL) {
        printf("skipped: JSONTestSuite is not at %s (WEIR_SHARED names the folder above data/)\n",
               folder);
        return 77;
    }
    closedir(dir);
    CHECK_RUN(case_suite);
    return check_finish();
}
