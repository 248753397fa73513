/*
 * Where the API server is and who this process is: a kubeconfig as kubectl writes it, the service
 * account's folder, the Downward API's folder, and what is refused.
 */
#include "runtime/discovery_kube_priv.h"

#include "test/check.h"

#include <sys/stat.h>
#include <unistd.h>

static char folder[] = "/tmp/weir-kube-XXXXXX";

static const char *path_of(const char *name) {
    static char paths[4][200];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
    return path;
}

static const char *write_file(const char *name, const char *text) {
    const char *path = path_of(name);
    FILE *f = fopen(path, "w");
    CHECK(f != NULL && fputs(text, f) >= 0 && fclose(f) == 0);
    return path;
}

static struct kube_target target;
static struct weir_err err;

static enum weir_status read_target(const struct weir_discovery_kube *config) {
    struct weir_discovery_kube c = *config;
    weir_arena_fini(&target.arena);
    target = (struct kube_target){.port = 0};
    if (c.podinfo == NULL)
        c.podinfo = "/nowhere";
    return weir_kube_target_read(&c, &target, &err);
}

static bool is(const char *got, const char *want) {
    return got != NULL && want != NULL ? strcmp(got, want) == 0 : got == want;
}

static const char kubectl[] =
    "apiVersion: v1\n"
    "clusters:\n"
    "- cluster:\n"
    "    certificate-authority-data: LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCg==\n"
    "    server: https://[fd00::1]:6443/k8s/clusters/c-1/\n"
    "  name: prod\n"
    "- cluster:\n"
    "    certificate-authority: ca.crt\n"
    "    insecure-skip-tls-verify: true\n"
    "    tls-server-name: kubernetes\n"
    "    server: https://cluster.example\n"
    "  name: dev\n"
    "contexts:\n"
    "- context:\n"
    "    cluster: prod\n"
    "    namespace: models\n"
    "    user: admin\n"
    "  name: admin@prod\n"
    "- context:\n"
    "    cluster: dev\n"
    "    user: robot\n"
    "  name: dev\n"
    "current-context: %s\n"
    "kind: Config\n"
    "preferences: {}\n"
    "users:\n"
    "- name: admin\n"
    "  user:\n"
    "    client-certificate-data: Q0VSVA==\n"
    "    client-key-data: S0VZ\n"
    "- name: robot\n"
    "  user:\n"
    "    token: abc.def\n"
    "    tokenFile: /run/token\n";

static const char *config_with(const char *context) {
    char text[4096];
    snprintf(text, sizeof(text), kubectl, context);
    return write_file("config", text);
}

static void case_kubectl(void) {
    struct weir_discovery_kube c = {.kubeconfig = config_with("admin@prod"),
                                    .service_host = "10.0.0.1"};
    CHECK_MSG(read_target(&c) == WEIR_OK, "%s", err.text);
    CHECK(is(target.host, "fd00::1") && target.port == 6443 && target.tls);
    CHECK(is(target.prefix, "/k8s/clusters/c-1") && is(target.ns, "models"));
    CHECK(is(target.ca, "-----BEGIN CERTIFICATE-----\n") && is(target.cert, "CERT"));
    CHECK(is(target.key, "KEY") && target.token == NULL && !target.insecure);
    CHECK(target.cr_name == NULL);
    c = (struct weir_discovery_kube){.kubeconfig = config_with("dev"), .pod_name = "p"};
    CHECK_MSG(read_target(&c) == WEIR_OK, "%s", err.text);
    CHECK(is(target.host, "cluster.example") && target.port == 443 && is(target.prefix, ""));
    CHECK(is(target.ca, path_of("ca.crt")) && target.insecure);
    CHECK(is(target.server_name, "kubernetes") && is(target.ns, "default"));
    CHECK(is(target.token, "abc.def") && is(target.token_path, "/run/token"));
    CHECK(is(target.cr_name, "p") && target.pod_uid == NULL);
}

static void case_what_is_refused(void) {
    static const struct {
        const char *cluster, *user, *words;
    } rows[] = {
        {"server: https://h", "exec: {command: aws}", "user: exec is not supported"},
        {"server: https://h", "auth-provider: {name: gcp}", "user: auth-provider is not supported"},
        {"server: https://h", "as: root", "user: as is not supported"},
        {"server: https://h\n    proxy-url: http://p", "token: t",
         "cluster: proxy-url is not supp"},
        {"server: https://h", "client-key-data: '?'", "client-key-data is not base64"},
        {"server: https://h", "token: [a]", "token is no text"},
        {"server: https://h\n    insecure-skip-tls-verify: maybe", "token: t",
         "insecure-skip-tls-verify is neither true nor false"},
        {"server: h:6443", "token: t", "neither https:// nor http://"},
        {"server: https://h:0x1", "token: t", "give https://host:port"},
        {"server: https://", "token: t", "give https://host:port"},
        {"tls-server-name: x", "token: t", "has no server"},
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        char text[2048];
        snprintf(text, sizeof(text),
                 "current-context: c\ncontexts:\n- name: c\n  context: {cluster: k, user: u}\n"
                 "clusters:\n- name: k\n  cluster:\n    %s\nusers:\n- name: u\n  user:\n    %s\n",
                 rows[i].cluster, rows[i].user);
        const struct weir_discovery_kube c = {.kubeconfig = write_file("config", text)};
        CHECK_MSG(read_target(&c) != WEIR_OK, "row %zu", i);
        CHECK_MSG(strstr(err.text, rows[i].words) != NULL, "row %zu: %s", i, err.text);
    }
    struct weir_discovery_kube c = {.kubeconfig = config_with("other")};
    CHECK(read_target(&c) != WEIR_OK && strstr(err.text, "contexts has none called \"other\""));
    c.kubeconfig = write_file("config", "a: 1\n");
    CHECK(read_target(&c) != WEIR_OK && strstr(err.text, "no current-context"));
    c.kubeconfig = path_of("missing");
    CHECK(read_target(&c) == WEIR_NOT_FOUND);
    c.kubeconfig = "/a:/b";
    CHECK(read_target(&c) == WEIR_UNSUPPORTED && strstr(err.text, "more than one file"));
    c = (struct weir_discovery_kube){.service_host = "10.0.0.1", .service_port = "tcp"};
    CHECK(read_target(&c) == WEIR_INVALID && strstr(err.text, "KUBERNETES_SERVICE_PORT"));
}

static void case_in_a_pod(void) {
    write_file("namespace", "models\n");
    struct weir_discovery_kube c = {.service_host = "10.96.0.1", .account_folder = folder};
    CHECK_MSG(read_target(&c) == WEIR_OK, "%s", err.text);
    CHECK(is(target.host, "10.96.0.1") && target.port == 443 && target.tls && !target.insecure);
    CHECK(is(target.ca, path_of("ca.crt")) && is(target.token_path, path_of("token")));
    CHECK(is(target.ns, "models") && target.token == NULL && target.cr_name == NULL);
    /* The Downward API's files before the variables, these before the account's namespace. */
    c.pod_namespace = "other";
    c.pod_name = "from-env";
    c.pod_uid = "u";
    c.service_port = "6443";
    CHECK(read_target(&c) == WEIR_OK && target.port == 6443);
    CHECK(is(target.ns, "other") && is(target.cr_name, "from-env") && is(target.pod_uid, "u"));
    write_file("pod_name", " from-file\n");
    c.podinfo = folder;
    CHECK(read_target(&c) == WEIR_OK && is(target.cr_name, "from-file") && is(target.ns, "other"));
    c.by_container = true;
    CHECK(read_target(&c) == WEIR_OK && target.cr_name == NULL);
    c.container_name = "engine-1";
    CHECK(read_target(&c) == WEIR_OK && is(target.cr_name, "from-file-engine-1"));
    c.container_name = "main";
    CHECK(read_target(&c) == WEIR_OK && is(target.cr_name, "from-file"));
}

static void case_nowhere(void) {
    const struct weir_discovery_kube c = {.pod_name = "p"};
    CHECK(setenv("HOME", folder, 1) == 0);
    CHECK(read_target(&c) == WEIR_NOT_FOUND && strstr(err.text, "neither KUBECONFIG nor"));
    CHECK(mkdir(path_of(".kube"), 0700) == 0);
    char text[4096];
    snprintf(text, sizeof(text), kubectl, "dev");
    write_file(".kube/config", text);
    CHECK_MSG(read_target(&c) == WEIR_OK && is(target.host, "cluster.example"), "%s", err.text);
}

int main(void) {
    static const char *const files[] = {"config", "namespace", "pod_name", ".kube/config"};
    if (mkdtemp(folder) == NULL)
        return 1;
    CHECK_RUN(case_kubectl);
    CHECK_RUN(case_what_is_refused);
    CHECK_RUN(case_in_a_pod);
    CHECK_RUN(case_nowhere);
    weir_arena_fini(&target.arena);
    for (size_t i = 0; i < WEIR_ARRAY_LEN(files); i++)
        unlink(path_of(files[i]));
    rmdir(path_of(".kube"));
    rmdir(folder);
    return check_finish();
}
