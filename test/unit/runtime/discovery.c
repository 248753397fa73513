/*
 * Discovery on real folders: the reference's layout byte by byte, other writers (another instance,
 * another process, Python), leases, races, folders that vanish; mem and static backends.
 */
#include "runtime/discovery.h"

#include "base/mem.h"
#include "test/check.h"
#include "test/unit/runtime/turns.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static struct weir_loop *loop;
static char root[64];

/* ---- what a watch saw --------------------------------------------------------------------- */

struct seen {
    unsigned puts, deletes;
    char last_key[256];
    uint64_t last_id;
    enum weir_record_kind last_kind;
    unsigned want_puts, want_deletes;
};

static void on_change(void *arg, enum weir_discovery_change change, enum weir_record_kind kind,
                      struct weir_span key, const struct weir_record *record) {
    struct seen *s = arg;
    *(change == WEIR_DISCOVERY_PUT ? &s->puts : &s->deletes) += 1;
    snprintf(s->last_key, sizeof(s->last_key), "%.*s", WEIR_SPAN_ARG(key));
    s->last_kind = kind;
    if (change == WEIR_DISCOVERY_PUT)
        s->last_id = record->instance_id;
}

static bool reached(void *arg) {
    const struct seen *s = arg;
    return s->puts >= s->want_puts && s->deletes >= s->want_deletes;
}

static void wait_for(struct seen *s, unsigned puts, unsigned deletes) {
    s->want_puts = puts;
    s->want_deletes = deletes;
    bool came = turns_until(loop, reached, s);
    CHECK_MSG(came && s->puts == puts && s->deletes == deletes, "%u puts, %u deletes", s->puts,
              s->deletes);
}

/* ---- folders ------------------------------------------------------------------------------ */

static void remove_tree(const char *path) {
    DIR *dir = opendir(path);
    for (struct dirent *e; dir != NULL && (e = readdir(dir)) != NULL;) {
        char child[1024];
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        snprintf(child, sizeof(child), "%s/%s", path, e->d_name);
        if (unlink(child) != 0)
            remove_tree(child);
    }
    if (dir != NULL)
        closedir(dir);
    rmdir(path);
}

static void fresh(void) {
    if (root[0] != '\0')
        remove_tree(root);
    snprintf(root, sizeof(root), "/tmp/weir-disc-XXXXXX");
    CHECK(mkdtemp(root) != NULL);
}

static const char *in_root(const char *rest) {
    static char path[4][1024];
    static unsigned n;
    char *p = path[n++ % 4];
    snprintf(p, sizeof(path[0]), "%s/%s", root, rest);
    return p;
}

static void write_file(const char *path, const char *text) {
    FILE *f = fopen(path, "wb");
    CHECK_MSG(f != NULL, "%s: %s", path, strerror(errno));
    fputs(text, f);
    fclose(f);
}

static void make_old(const char *path) {
    const struct timespec old[2] = {{1000, 0}, {1000, 0}};
    CHECK(utimensat(AT_FDCWD, path, old, 0) == 0);
}

static unsigned count_files(const char *path) {
    DIR *dir = opendir(path);
    unsigned n = 0;
    CHECK(dir != NULL);
    for (struct dirent *e; (e = readdir(dir)) != NULL;)
        n += e->d_type == DT_REG;
    closedir(dir);
    return n;
}

static struct weir_discovery *open_file(uint64_t ttl_ms) {
    struct weir_discovery_config config = {
        .backend = WEIR_DISCOVERY_FILE, .file_root = root, .ttl_ms = ttl_ms};
    struct weir_discovery *d = NULL;
    struct weir_err err = {.text = ""};
    CHECK_MSG(weir_discovery_open(loop, &config, &d, &err) == WEIR_OK, "%s", err.text);
    return d;
}

static void close_it(struct weir_discovery *d) {
    weir_discovery_close(d);
    turns_flush(loop);
}

static struct weir_record instance(uint64_t id) {
    return (struct weir_record){
        .kind = WEIR_RECORD_ENDPOINT,
        .endpoint = {WEIR_SPAN_LIT("my-ns"), WEIR_SPAN_LIT("back_end"), WEIR_SPAN_LIT("gen.x")},
        .instance_id = id,
        .tcp_address = WEIR_SPAN_LIT("127.0.0.1:9201/p"),
        .codec = WEIR_CODEC_MSGPACK};
}

#define INSTANCE_TEXT(id)                                                                          \
    "{\"type\":\"Endpoint\",\"component\":\"back_end\",\"endpoint\":\"gen.x\",\"namespace\":"      \
    "\"my-ns\",\"instance_id\":" #id ",\"transport\":{\"tcp\":\"127.0.0.1:9201/p\"}}"
#define NAME(id) "v1/instances/my%2Dns%2Fback%5Fend%2Fgen%2Ex%2F" id

/* ---- file backend ------------------------------------------------------------------------- */

static void case_layout(void) {
    fresh();
    struct weir_discovery *d = open_file(0);
    struct weir_record r = instance(UINT64_MAX);
    struct weir_err err;
    CHECK(weir_discovery_publish(d, &r, &err) == WEIR_OK);
    char text[1024] = "";
    FILE *f = fopen(in_root(NAME("ffffffffffffffff")), "rb");
    CHECK(f != NULL);
    size_t n = fread(text, 1, sizeof(text) - 1, f);
    fclose(f);
    CHECK_EQ_STR(
        text, n,
        "{\"type\":\"Endpoint\",\"component\":\"back_end\",\"endpoint\":\"gen.x\","
        "\"namespace\":\"my-ns\",\"instance_id\":18446744073709551615,\"transport\":{\"tcp\":"
        "\"127.0.0.1:9201/p\"},\"request_plane_codec\":\"msgpack\"}");
    static const char *const buckets[] = {"v1/instances", "v1/mdc", "v1/event_channels",
                                          "v1/event_sources"};
    for (size_t i = 0; i < 4; i++)
        CHECK_EQ_U64(count_files(in_root(buckets[i])), i == 0); /* no .tmp_ is left */
    weir_discovery_unpublish(d, &r);
    CHECK_EQ_U64(count_files(in_root("v1/instances")), 0);
    CHECK(weir_discovery_publish(d, &r, &err) == WEIR_OK);
    close_it(d);
    CHECK_EQ_U64(count_files(in_root("v1/instances")), 0);
}

/* Everything another process may do to a file, in the order of a life. */
static void case_changes(void) {
    fresh();
    struct seen s = {0};
    struct weir_discovery *d = open_file(0);
    write_file(in_root(NAME("1")), INSTANCE_TEXT(1));
    CHECK(weir_discovery_watch(d, on_change, &s) == WEIR_OK);
    wait_for(&s, 1, 0);
    CHECK(s.last_kind == WEIR_RECORD_ENDPOINT && strcmp(s.last_key, "my-ns/back_end/gen.x/1") == 0);
    /* As the reference writes: a temporary file, then a link. */
    write_file(in_root("v1/instances/.tmp_0123456789abcdef"), INSTANCE_TEXT(2));
    CHECK(link(in_root("v1/instances/.tmp_0123456789abcdef"), in_root(NAME("2"))) == 0);
    CHECK(unlink(in_root("v1/instances/.tmp_0123456789abcdef")) == 0);
    wait_for(&s, 2, 0);
    CHECK_EQ_U64(s.last_id, 2);
    /* An update by rename. */
    write_file(in_root("v1/instances/.tmp_1"), INSTANCE_TEXT(22));
    CHECK(rename(in_root("v1/instances/.tmp_1"), in_root(NAME("2"))) == 0);
    wait_for(&s, 3, 0);
    CHECK_EQ_U64(s.last_id, 22);
    /* A change of the time alone is none; nor is the same text. */
    CHECK(utimensat(AT_FDCWD, in_root(NAME("2")), NULL, 0) == 0);
    write_file(in_root("v1/instances/.tmp_1"), INSTANCE_TEXT(22));
    CHECK(rename(in_root("v1/instances/.tmp_1"), in_root(NAME("2"))) == 0);
    /* A broken record is refused alone, also one that lies in the wrong bucket. */
    write_file(in_root(NAME("3")), "{\"type\":\"Endpoint\"");
    write_file(in_root("v1/mdc/a"), INSTANCE_TEXT(4));
    write_file(in_root("v1/instances/broken%"), INSTANCE_TEXT(5));
    CHECK(mkdir(in_root("v1/instances/folder"), 0777) == 0);
    CHECK(unlink(in_root(NAME("1"))) == 0);
    wait_for(&s, 3, 1);
    CHECK(strcmp(s.last_key, "my-ns/back_end/gen.x/1") == 0);
    /* A file that is removed and made again is the same record. */
    CHECK(unlink(in_root(NAME("2"))) == 0);
    write_file(in_root(NAME("2")), INSTANCE_TEXT(222));
    wait_for(&s, 4, 1);
    CHECK_EQ_U64(s.last_id, 222);
    CHECK(rename(in_root(NAME("2")), in_root(NAME("9"))) == 0);
    wait_for(&s, 5, 2);
    /* A second watch is told what there is. */
    struct seen late = {0};
    CHECK(weir_discovery_watch(d, on_change, &late) == WEIR_OK);
    wait_for(&late, 1, 0);
    CHECK_EQ_U64(late.last_id, 222);
    close_it(d);
}

static void case_same_key(void) {
    fresh();
    struct weir_discovery *a = open_file(0), *b = open_file(0);
    struct weir_record r = instance(7);
    struct weir_err err;
    CHECK(weir_discovery_publish(a, &r, &err) == WEIR_OK);
    CHECK(weir_discovery_publish(b, &r, &err) == WEIR_EXISTS);
    CHECK_EQ_STR(err.text, strlen(err.text),
                 "cannot write the record v1/instances/my-ns/back_end/gen.x/7: already exists");
    struct seen s = {0};
    CHECK(weir_discovery_watch(b, on_change, &s) == WEIR_OK);
    wait_for(&s, 1, 0);
    close_it(a);
    wait_for(&s, 1, 1);
    CHECK(weir_discovery_publish(b, &r, &err) == WEIR_OK);
    close_it(b);
}

static bool is_new(void *arg) {
    struct stat info;
    return stat(arg, &info) == 0 && info.st_mtim.tv_sec > 1000;
}

static bool is_gone(void *arg) {
    struct stat info;
    return stat(arg, &info) != 0 && errno == ENOENT;
}

static void case_leases(void) {
    fresh();
    struct seen s = {0};
    char own[1024], foreign[1024], temp[1024];
    struct weir_record r = instance(1);
    struct weir_err err;
    CHECK(mkdir(in_root("v1"), 0777) == 0 && mkdir(in_root("v1/instances"), 0777) == 0);
    snprintf(own, sizeof(own), "%s", in_root(NAME("1")));
    snprintf(foreign, sizeof(foreign), "%s", in_root(NAME("2")));
    snprintf(temp, sizeof(temp), "%s", in_root("v1/instances/.tmp_9"));
    /* What was stale before we came is never listed. */
    write_file(foreign, INSTANCE_TEXT(2));
    make_old(foreign);
    struct weir_discovery *d = open_file(150);
    CHECK(is_gone(foreign));
    CHECK(weir_discovery_publish(d, &r, &err) == WEIR_OK);
    CHECK(weir_discovery_watch(d, on_change, &s) == WEIR_OK);
    wait_for(&s, 1, 0);
    /* The own file is touched. */
    make_old(own);
    CHECK(turns_until(loop, is_new, own));
    /* Those of others are removed when nobody touches them, unfinished ones too. */
    write_file(foreign, INSTANCE_TEXT(2));
    write_file(temp, "x");
    make_old(temp);
    wait_for(&s, 2, 1);
    CHECK(strcmp(s.last_key, "my-ns/back_end/gen.x/2") == 0);
    CHECK(turns_until(loop, is_gone, temp));
    /* An own record that somebody deleted is written again. */
    CHECK(unlink(own) == 0);
    wait_for(&s, 3, 2);
    CHECK(is_new(own));
    close_it(d);
    CHECK(is_gone(own));
}

/* Only the folder itself can be opened: whom it lists are not gone, and the next looks read them.
 * (Failed before: all were taken for gone, and stayed so until their records were written anew.) */
static void case_no_descriptors(void) {
    fresh();
    struct seen s = {0};
    char own[1024];
    struct weir_record r = instance(1);
    struct weir_err err;
    int held[4096];
    size_t n = 0;
    struct weir_discovery *d = open_file(900);
    CHECK(weir_discovery_publish(d, &r, &err) == WEIR_OK);
    CHECK(weir_discovery_watch(d, on_change, &s) == WEIR_OK);
    snprintf(own, sizeof(own), "%s", in_root(NAME("1")));
    write_file(in_root("v1/instances/.tmp_2"), INSTANCE_TEXT(2));
    wait_for(&s, 1, 0);
    const struct rlimit few = {256, 256};
    CHECK(setrlimit(RLIMIT_NOFILE, &few) == 0);
    while (n < 4096 && (held[n] = dup(0)) >= 0)
        n++;
    CHECK(n > 0 && n < 4096 && errno == EMFILE);
    CHECK(rename(in_root("v1/instances/.tmp_2"), in_root(NAME("2"))) == 0);
    close(held[--n]);
    for (int i = 0; i < 2; i++) { /* a touch comes before a look */
        make_old(own);
        CHECK(turns_until(loop, is_new, own));
    }
    unsigned deletes = s.deletes;
    while (n > 0)
        close(held[--n]);
    CHECK_EQ_U64(deletes, 0);
    wait_for(&s, 2, 0);
    close_it(d);
}

/* ---- a file system that fails ---------------------------------------------------------------- */

/* What fails, with which error, for files of records (and the folder of instances). */
static enum { NOTHING_FAILS, OPEN_FAILS, READ_FAILS, READDIR_FAILS } fails;
static int fails_with;
static const char *fails_only; /* for this file alone */
static bool no_inotify;
static int record_fd = -1;

int __real_open(const char *path, int flags, ...);
ssize_t __real_read(int fd, void *to, size_t bytes);
struct dirent *__real_readdir(DIR *dir);
int __wrap_open(const char *path, int flags, ...);
ssize_t __wrap_read(int fd, void *to, size_t bytes);
struct dirent *__wrap_readdir(DIR *dir);
int __real_inotify_init1(int flags);
int __wrap_inotify_init1(int flags);

int __wrap_inotify_init1(int flags) {
    errno = EMFILE;
    return no_inotify ? -1 : __real_inotify_init1(flags);
}

int __wrap_open(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    unsigned mode = (flags & O_CREAT) != 0 ? va_arg(more, unsigned) : 0;
    va_end(more);
    bool record = fails != NOTHING_FAILS && strstr(path, "/v1/instances/") != NULL &&
                  flags & O_NONBLOCK && (fails_only == NULL || strstr(path, fails_only) != NULL);
    if (record && fails == OPEN_FAILS) {
        errno = fails_with;
        return -1;
    }
    int fd = __real_open(path, flags, mode);
    if (record || fd == record_fd)
        record_fd = record ? fd : -1;
    return fd;
}

ssize_t __wrap_read(int fd, void *to, size_t bytes) {
    if (fails != READ_FAILS || fd != record_fd)
        return __real_read(fd, to, bytes);
    errno = fails_with;
    return -1;
}

struct dirent *__wrap_readdir(DIR *dir) {
    if (fails != READDIR_FAILS)
        return __real_readdir(dir);
    errno = fails_with;
    return NULL;
}

/* A record of another process, which does not grow old. */
static void put_lasting(const char *name, const char *text) {
    const struct timespec tomorrow[2] = {{.tv_sec = time(NULL) + 86400},
                                         {.tv_sec = time(NULL) + 86400}};
    char temp[1024];
    snprintf(temp, sizeof(temp), "%s", in_root("v1/instances/.tmp_lasting"));
    write_file(temp, text);
    CHECK(utimensat(AT_FDCWD, temp, tomorrow, 0) == 0);
    CHECK(rename(temp, in_root(name)) == 0);
}

/* A disk or a network file system in trouble: whom it had are not gone, and are as they are when it
 * is well again. (Failed before: all but a lack of descriptors was taken for the end of a record.)
 */
static void case_reading_fails(void) {
    static const struct {
        int how, why;
    } cases[] = {{OPEN_FAILS, ESTALE}, {OPEN_FAILS, EIO},      {OPEN_FAILS, EMFILE},
                 {READ_FAILS, EIO},    {READ_FAILS, ESTALE},   {READ_FAILS, ETIMEDOUT},
                 {READDIR_FAILS, EIO}, {READDIR_FAILS, ESTALE}};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(cases); i++) {
        fresh();
        struct seen s = {0};
        struct weir_record r = instance(1);
        struct weir_err err;
        struct weir_discovery *d = open_file(150);
        CHECK(weir_discovery_publish(d, &r, &err) == WEIR_OK);
        char own[1024];
        snprintf(own, sizeof(own), "%s", in_root(NAME("1")));
        CHECK(weir_discovery_watch(d, on_change, &s) == WEIR_OK);
        wait_for(&s, 1, 0);
        put_lasting(NAME("2"), INSTANCE_TEXT(2));
        wait_for(&s, 2, 0);
        fails_with = cases[i].why;
        fails = cases[i].how;
        for (int k = 0; k < 3; k++) { /* a touch comes before a look */
            put_lasting(NAME("2"), INSTANCE_TEXT(2));
            make_old(own);
            CHECK(turns_until(loop, is_new, own));
        }
        fails = NOTHING_FAILS;
        CHECK_EQ_U64(s.deletes, 0);
        put_lasting(NAME("3"), INSTANCE_TEXT(3));
        wait_for(&s, 3, 0);
        /* What has gone meanwhile is gone. */
        CHECK(unlink(in_root(NAME("3"))) == 0);
        wait_for(&s, 3, 1);
        close_it(d);
    }
}

/* One record that cannot be read for good, where nobody tells of changes: it stays as it was, and
 * the others come and go. (Failed before: nobody went.) */
static void case_one_cannot_be_read(void) {
    static const struct {
        int how, why;
    } cases[] = {{OPEN_FAILS, ESTALE}, {OPEN_FAILS, EIO}, {READ_FAILS, EIO}};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(cases); i++) {
        fresh();
        struct seen s = {0};
        no_inotify = true;
        struct weir_discovery *d = open_file(150);
        no_inotify = false;
        CHECK(weir_discovery_watch(d, on_change, &s) == WEIR_OK);
        put_lasting(NAME("2"), INSTANCE_TEXT(2));
        put_lasting(NAME("3"), INSTANCE_TEXT(3));
        wait_for(&s, 2, 0);
        fails_only = NAME("2");
        fails_with = cases[i].why;
        fails = cases[i].how;
        put_lasting(NAME("2"), INSTANCE_TEXT(22));
        put_lasting(NAME("4"), INSTANCE_TEXT(4));
        wait_for(&s, 3, 0);
        CHECK(unlink(in_root(NAME("3"))) == 0);
        wait_for(&s, 3, 1);
        CHECK(strcmp(s.last_key, "my-ns/back_end/gen.x/3") == 0);
        fails = NOTHING_FAILS;
        wait_for(&s, 4, 1);
        CHECK_EQ_U64(s.last_id, 22);
        fails = cases[i].how;
        CHECK(unlink(in_root(NAME("2"))) == 0); /* it can be seen that it is not there */
        wait_for(&s, 4, 2);
        fails = NOTHING_FAILS;
        fails_only = NULL;
        close_it(d);
    }
}

/* What a record said before stays when its new text cannot be read. (Failed before: until the
 * folder was looked at as a whole.) */
static void case_unreadable_text(void) {
    fresh();
    struct seen s = {0};
    struct weir_record r = instance(1);
    struct weir_err err;
    struct weir_discovery *d = open_file(150);
    char own[1024];
    CHECK(weir_discovery_publish(d, &r, &err) == WEIR_OK);
    snprintf(own, sizeof(own), "%s", in_root(NAME("1")));
    CHECK(weir_discovery_watch(d, on_change, &s) == WEIR_OK);
    put_lasting(NAME("2"), INSTANCE_TEXT(2));
    wait_for(&s, 2, 0);
    put_lasting(NAME("2"), "{\"type\":\"Endpoint\"");
    for (int k = 0; k < 3; k++) { /* a touch comes before a look */
        make_old(own);
        CHECK(turns_until(loop, is_new, own));
    }
    CHECK_EQ_U64(s.deletes, 0);
    put_lasting(NAME("2"), INSTANCE_TEXT(22));
    wait_for(&s, 3, 0);
    CHECK_EQ_U64(s.last_id, 22);
    CHECK(unlink(in_root(NAME("2"))) == 0);
    wait_for(&s, 3, 1);
    close_it(d);
}

/* All of it is removed: folders come back, own records too, and others are seen again. */
static void case_root_removed(void) {
    fresh();
    struct seen s = {0};
    struct weir_record r = instance(1);
    struct weir_err err;
    struct weir_discovery *d = open_file(150);
    CHECK(weir_discovery_publish(d, &r, &err) == WEIR_OK);
    CHECK(weir_discovery_watch(d, on_change, &s) == WEIR_OK);
    wait_for(&s, 1, 0);
    remove_tree(in_root("v1"));
    wait_for(&s, 2, 1);
    CHECK_EQ_U64(count_files(in_root("v1/instances")), 1);
    char moved[80];
    snprintf(moved, sizeof(moved), "%s-moved", root);
    CHECK(rename(root, moved) == 0);
    wait_for(&s, 3, 2);
    remove_tree(moved);
    write_file(in_root(NAME("5")), INSTANCE_TEXT(5));
    wait_for(&s, 4, 2);
    close_it(d);
}

/* A process that is killed leaves its files behind; they expire. */
static void case_killed_process(void) {
    fresh();
    struct seen s = {0};
    struct weir_discovery *d = open_file(1000);
    CHECK(weir_discovery_watch(d, on_change, &s) == WEIR_OK);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        struct weir_loop *own = NULL;
        /* Touches its files far more often than it must, as a busy machine delays that. */
        struct weir_discovery_config config = {
            .backend = WEIR_DISCOVERY_FILE, .file_root = root, .ttl_ms = 100};
        struct weir_discovery *theirs = NULL;
        struct weir_record r = instance(77);
        struct weir_err err;
        if (weir_loop_create(1, &own) == WEIR_OK &&
            weir_discovery_open(own, &config, &theirs, &err) == WEIR_OK &&
            weir_discovery_publish(theirs, &r, &err) == WEIR_OK)
            weir_loop_run(own);
        _exit(1);
    }
    wait_for(&s, 1, 0);
    turns_for(loop, 1300); /* it is kept alive beyond its lease */
    CHECK(s.deletes == 0);
    CHECK(kill(child, SIGKILL) == 0);
    CHECK(waitpid(child, NULL, 0) == child);
    wait_for(&s, 1, 1);
    close_it(d);
}

/* A writer of another language: its own escapes, text in two pieces, temporary names and renames.
 */
static void case_python_writer(void) {
    static const char script[] =
        "import json,os,sys,urllib.parse\n"
        "root=sys.argv[1]\n"
        "def record(i): return json.dumps({'type':'Endpoint','namespace':'my-ns','component':'c',"
        "'endpoint':'e','instance_id':i,'transport':{'tcp':'127.0.0.1:1/p'}})\n"
        "def path(i): return root+'/v1/instances/'+urllib.parse.quote('my-ns/c/e/%x'%i,safe='')\n"
        "for i in range(200):\n"
        "    tmp=root+'/v1/instances/.tmp_%016x'%i\n"
        "    with open(tmp,'w') as f: f.write(record(i))\n"
        "    os.link(tmp,path(i)); os.unlink(tmp)\n"
        "with open(path(1000),'w') as f:\n"
        "    text=record(1000); f.write(text[:30]); f.flush(); f.write(text[30:])\n"
        "for i in range(0,200,2): os.unlink(path(i))\n";
    fresh();
    struct seen s = {0};
    struct weir_discovery *d = open_file(0);
    CHECK(weir_discovery_watch(d, on_change, &s) == WEIR_OK);
    turns_flush(loop);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        execlp("python3", "python3", "-c", script, root, (char *)NULL);
        _exit(127);
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127) {
        printf("skipped: no python3\n");
        close_it(d);
        return;
    }
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    /* The files are read after the writer has ended: those already removed may never be seen. */
    struct seen late = {0};
    turns_for(loop, 20);
    CHECK(weir_discovery_watch(d, on_change, &late) == WEIR_OK);
    wait_for(&late, 101, 0);
    CHECK(s.puts - s.deletes == 101);
    close_it(d);
}

static void case_file_errors(void) {
    fresh();
    write_file(in_root("plain"), "x");
    struct weir_discovery_config config = {.backend = WEIR_DISCOVERY_FILE};
    struct weir_discovery *d = NULL;
    struct weir_err err;
    config.file_root = in_root("plain");
    CHECK(weir_discovery_open(loop, &config, &d, &err) == WEIR_IO);
    CHECK(strncmp(err.text, "cannot make the folder ", 23) == 0);
    /* A name that no file can have. */
    static char name[300];
    memset(name, 'n', sizeof(name));
    d = open_file(0);
    struct weir_record r = instance(1);
    r.endpoint.ns = weir_span(name, sizeof(name));
    CHECK(weir_discovery_publish(d, &r, &err) == WEIR_TOO_LARGE);
    close_it(d);
}

/* ---- mem ---------------------------------------------------------------------------------- */

static void case_mem(void) {
    struct weir_discovery_config config = {.backend = WEIR_DISCOVERY_MEM, .max_records = 300};
    struct weir_discovery *d = NULL;
    struct weir_err err;
    struct seen s = {0};
    struct weir_record r = instance(1);
    CHECK(weir_discovery_open(loop, &config, &d, &err) == WEIR_OK);
    CHECK(weir_discovery_publish(d, &r, &err) == WEIR_OK);
    CHECK(weir_discovery_publish(d, &r, &err) == WEIR_EXISTS);
    CHECK(weir_discovery_watch(d, on_change, &s) == WEIR_OK);
    CHECK(s.puts == 0); /* from a later turn */
    wait_for(&s, 1, 0);
    for (unsigned i = 2; i <= 300; i++) {
        r = instance(i);
        CHECK(weir_discovery_publish(d, &r, &err) == WEIR_OK);
    }
    CHECK(s.puts == 300);
    r = instance(301); /* over the limit: left out, with a log line */
    CHECK(weir_discovery_publish(d, &r, &err) == WEIR_OK);
    CHECK(s.puts == 300);
    for (unsigned i = 300; i >= 1; i--) {
        r = instance(i);
        weir_discovery_unpublish(d, &r);
    }
    CHECK(s.deletes == 300 && strcmp(s.last_key, "my-ns/back_end/gen.x/1") == 0);
    for (unsigned i = 0; i < 15; i++)
        CHECK(weir_discovery_watch(d, on_change, &s) == WEIR_OK);
    CHECK(weir_discovery_watch(d, on_change, &s) == WEIR_LIMIT);
    close_it(d);
}

/* ---- static ------------------------------------------------------------------------------- */

static void case_static_flags(void) {
    static const char *const workers[] = {
        "127.0.0.1:9001/p", "[::1]:9002/a/b,model=Org/M,block_size=4,context_length=99,id=5,"
                            "namespace=n,component=c,endpoint=e,tokenizer=bytes"};
    struct weir_discovery_config config = {
        .backend = WEIR_DISCOVERY_STATIC, .static_workers = workers, .n_static_workers = 2};
    struct weir_discovery *d = NULL;
    struct weir_err err;
    struct seen s = {0};
    struct weir_record r = instance(1);
    CHECK(weir_discovery_open(loop, &config, &d, &err) == WEIR_OK);
    CHECK(weir_discovery_watch(d, on_change, &s) == WEIR_OK);
    wait_for(&s, 4, 0);
    CHECK(strcmp(s.last_key, "n/c/e/5") == 0 && s.last_kind == WEIR_RECORD_MODEL);
    CHECK(weir_discovery_publish(d, &r, &err) == WEIR_UNSUPPORTED);
    close_it(d);
}

static void case_static_errors(void) {
    static const struct {
        const char *worker, *error;
    } rows[] = {
        {"127.0.0.1:9001", "static worker \"127.0.0.1:9001\": write ip:port/path, with a literal "
                           "address"},
        {"host:9001/p",
         "static worker \"host:9001/p\": write ip:port/path, with a literal address"},
        {"127.0.0.1:0/p", "static worker \"127.0.0.1:0/p\": write ip:port/path, with a literal "
                          "address"},
        {"127.0.0.1:9001/p,block_size=0",
         "static worker 127.0.0.1:9001/p: \"block_size=0\": known are model, block_size, "
         "context_length, id, namespace, component, endpoint, tokenizer=bytes"},
        {"127.0.0.1:9001/p,size",
         "static worker 127.0.0.1:9001/p: \"size=\": known are model, block_size, context_length, "
         "id, namespace, component, endpoint, tokenizer=bytes"},
        {"127.0.0.1:9001/p,model=", "static worker 127.0.0.1:9001/p: the model's name is empty or "
                                    "too long"},
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        struct weir_discovery_config config = {.backend = WEIR_DISCOVERY_STATIC,
                                               .static_workers = &rows[i].worker,
                                               .n_static_workers = 1};
        struct weir_discovery *d = NULL;
        struct weir_err err = {.text = ""};
        CHECK(weir_discovery_open(loop, &config, &d, &err) == WEIR_INVALID);
        CHECK_EQ_STR(err.text, strlen(err.text), rows[i].error);
    }
}

/* Two with one key were one worker, the later of them, without a word. */
static void case_static_twice(void) {
    static const struct {
        const char *workers[2], *error;
    } rows[] = {
        {{"127.0.0.1:9001/p,id=7", "127.0.0.1:9002/p,id=7"},
         "static worker 127.0.0.1:9002/p: another one is dynamo/backend/generate/7 too: name it "
         "once, or give each an id=N of its own"},
        {{"127.0.0.1:9001/p,id=7,model=a", "127.0.0.1:9001/p,id=7,model=b"},
         "static worker 127.0.0.1:9001/p: another one is dynamo/backend/generate/7 too: name it "
         "once, or give each an id=N of its own"},
        {{"127.0.0.1:9001/p,id=7", "127.0.0.1:9001/p,id=7,namespace=n"}, NULL},
        {{"127.0.0.1:9001/p", "127.0.0.1:9002/p"}, NULL},
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        struct weir_discovery_config config = {.backend = WEIR_DISCOVERY_STATIC,
                                               .static_workers = rows[i].workers,
                                               .n_static_workers = 2};
        struct weir_discovery *d = NULL;
        struct weir_err err = {.text = ""};
        enum weir_status st = weir_discovery_open(loop, &config, &d, &err);
        CHECK_MSG(st == (rows[i].error != NULL ? WEIR_EXISTS : WEIR_OK), "%zu: %s", i, err.text);
        if (rows[i].error != NULL)
            CHECK_EQ_STR(err.text, strlen(err.text), rows[i].error);
        if (st == WEIR_OK)
            close_it(d);
    }
}

static void case_static_file(void) {
    fresh();
    struct weir_discovery_config config = {.backend = WEIR_DISCOVERY_STATIC,
                                           .static_path = in_root("workers.toml")};
    struct weir_discovery *d = NULL;
    struct weir_err err = {.text = ""};
    struct seen s = {0};
    CHECK(weir_discovery_open(loop, &config, &d, &err) == WEIR_NOT_FOUND);
    config.static_path = in_root("workers.toml");
    write_file(in_root("workers.toml"), "[[worker]]\naddress = 7\n");
    CHECK(weir_discovery_open(loop, &config, &d, &err) == WEIR_INVALID);
    CHECK(strstr(err.text, "workers.toml: line 1: a worker needs address = \"ip:port/path\"") !=
          NULL);
    config.static_path = in_root("workers.toml");
    write_file(in_root("workers.toml"),
               "[[worker]]\naddress = \"127.0.0.1:1/a\"\nmodel = \"m\"\nblock_size = 8\n"
               "[[worker]]\naddress = \"127.0.0.1:2/b\"\nid = 2\n");
    CHECK_MSG(weir_discovery_open(loop, &config, &d, &err) == WEIR_OK, "%s", err.text);
    CHECK(weir_discovery_watch(d, on_change, &s) == WEIR_OK);
    wait_for(&s, 4, 0);
    /* One worker goes, one comes, one stays untouched; the file is replaced as editors do. */
    write_file(in_root("new"), "[[worker]]\naddress = \"127.0.0.1:2/b\"\nid = 2\n"
                               "[[worker]]\naddress = \"127.0.0.1:3/c\"\nid = 3\n");
    CHECK(rename(in_root("new"), in_root("workers.toml")) == 0);
    wait_for(&s, 6, 2);
    /* A mistake changes nothing; the next right text counts. */
    write_file(in_root("workers.toml"),
               "[[worker]]\naddress = \"127.0.0.1:9/z\"\nid = 9\n[[worker]]\n");
    turns_for(loop, 80);
    CHECK(s.puts == 6 && s.deletes == 2);
    write_file(in_root("workers.toml"), "");
    wait_for(&s, 6, 6);
    close_it(d);
}

int main(void) {
    /* What is removed and written again between two looks is not seen without it. */
    int fd = inotify_init1(IN_CLOEXEC);
    if (fd < 0) {
        printf("skipped: no inotify instance is left for this user: %s\n", strerror(errno));
        return 77;
    }
    close(fd);
    if (weir_loop_create(0, &loop) != WEIR_OK)
        return 1;
    CHECK_RUN(case_layout);
    CHECK_RUN(case_changes);
    CHECK_RUN(case_same_key);
    CHECK_RUN(case_leases);
    CHECK_RUN(case_no_descriptors);
    CHECK_RUN(case_reading_fails);
    CHECK_RUN(case_one_cannot_be_read);
    CHECK_RUN(case_unreadable_text);
    CHECK_RUN(case_root_removed);
    CHECK_RUN(case_killed_process);
    CHECK_RUN(case_python_writer);
    CHECK_RUN(case_file_errors);
    CHECK_RUN(case_mem);
    CHECK_RUN(case_static_flags);
    CHECK_RUN(case_static_errors);
    CHECK_RUN(case_static_twice);
    CHECK_RUN(case_static_file);
    if (root[0] != '\0')
        remove_tree(root);
    if (check_failed == 0)
        weir_loop_destroy(loop);
    return check_finish();
}
