#define XXH_INLINE_ALL
#include "tokenizer/cache_priv.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

static bool make_dir(const char *path) {
    return mkdir(path, 0700) == 0 || errno == EEXIST;
}

bool wtok_cache_path(const char *dir, const uint64_t source[2], char *ret_path, size_t room) {
    char base[3072];
    int n;
    if (dir != NULL && dir[0] == '\0')
        return false;
    if (dir != NULL) {
        n = snprintf(base, sizeof(base), "%s", dir);
    } else {
        const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
        if (xdg != NULL && xdg[0] == '/') {
            n = snprintf(base, sizeof(base), "%s/weir", xdg);
        } else if (home != NULL && home[0] == '/') {
            n = snprintf(base, sizeof(base), "%s/.cache", home);
            if (n > 0 && (size_t)n < sizeof(base))
                (void)make_dir(base);
            n = snprintf(base, sizeof(base), "%s/.cache/weir", home);
        } else {
            return false;
        }
    }
    if (n < 0 || (size_t)n >= sizeof(base))
        return false;
    if (!make_dir(base)) {
        WEIR_LOG(WEIR_LOG_WARN, "tokenizer", "%s: %s; compiled tokenizers are not kept", base,
                 strerror(errno));
        return false;
    }
    n = snprintf(ret_path, room, "%s/%016llx%016llx.wtok", base, (unsigned long long)source[0],
                 (unsigned long long)source[1]);
    return n > 0 && (size_t)n < room;
}

static uint64_t checksum(const struct wtok_image *image, size_t bytes) {
    size_t from = offsetof(struct wtok_image, total);
    return XXH3_64bits((const char *)image + from, bytes - from);
}

/*
 * Memory for an image. The file is read into it rather than mapped: its tables are asked all over
 * for every new word, which huge pages make a quarter cheaper, and a file that someone cuts short
 * while it is mapped would end the process.
 */
static void *image_memory(size_t bytes) {
    enum { HUGE_PAGE = 2 << 20 };
    size_t room = wtok_image_room(bytes);
    char *block =
        mmap(NULL, room + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block == MAP_FAILED)
        return NULL;
    size_t before = -(uintptr_t)block & (HUGE_PAGE - 1);
    if (before > 0)
        munmap(block, before);
    if (before < HUGE_PAGE)
        munmap(block + before + room, HUGE_PAGE - before);
    (void)madvise(block + before, room, MADV_HUGEPAGE);
    return block + before;
}

static bool read_all(int fd, char *to, size_t bytes) {
    for (size_t done = 0; done < bytes;) {
        ssize_t n = read(fd, to + done, bytes - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        done += (size_t)n;
    }
    return true;
}

static bool is_good(const struct wtok_image *image, size_t bytes, const uint64_t source[2]) {
    return memcmp(image->magic, WTOK_IMAGE_MAGIC, 8) == 0 && image->version == WTOK_IMAGE_VERSION &&
           image->total == bytes && image->source[0] == source[0] &&
           image->source[1] == source[1] && image->checksum == checksum(image, bytes);
}

bool wtok_cache_map(const char *path, const uint64_t source[2], const struct wtok_image **ret_image,
                    size_t *ret_bytes) {
    struct stat s;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    size_t bytes = fstat(fd, &s) == 0 && s.st_size > 0 ? (size_t)s.st_size : 0;
    bool fits = bytes >= sizeof(struct wtok_image) && bytes <= WTOK_IMAGE_MAX;
    void *image = fits ? image_memory(bytes) : NULL;
    bool good = image != NULL && read_all(fd, image, bytes) && is_good(image, bytes, source);
    close(fd);
    if (good) {
        (void)mprotect(image, wtok_image_room(bytes), PROT_READ);
        *ret_image = image;
        *ret_bytes = bytes;
    } else if (image != NULL) {
        munmap(image, wtok_image_room(bytes));
    }
    return good;
}

void wtok_cache_write(const char *path, struct wtok_image *image, size_t bytes) {
    char beside[4096];
    int n = snprintf(beside, sizeof(beside), "%s.%ld.XXXXXX", path, (long)getpid());
    image->checksum = checksum(image, bytes);
    int fd = n > 0 && (size_t)n < sizeof(beside) ? mkostemp(beside, O_CLOEXEC) : -1;
    bool ok = fd >= 0;
    for (size_t done = 0; ok && done < bytes;) {
        ssize_t w = write(fd, (const char *)image + done, bytes - done);
        if (w < 0 && errno == EINTR)
            continue;
        ok = w > 0;
        done += ok ? (size_t)w : 0;
    }
    /* Without a sync a crash may leave a hole under the final name; the checksum sees it. */
    if (fd >= 0)
        ok = close(fd) == 0 && ok;
    if (ok)
        ok = rename(beside, path) == 0;
    if (!ok) {
        WEIR_LOG(WEIR_LOG_WARN, "tokenizer", "%s: cannot keep the compiled tokenizer: %s", path,
                 strerror(errno));
        if (fd >= 0)
            (void)unlink(beside);
    }
}
