/*
 * Where the API server is, who this process is there, and which pod it is in: from the service
 * account that Kubernetes puts into each pod, or from a kubeconfig, of which only what is written
 * below is understood; the rest is refused by its name.
 */
#include "base/base64.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "runtime/discovery_kube_priv.h"
#include "runtime/yaml.h"

#include <stdlib.h>

enum { MAX_CONFIG = 1 << 20, MAX_SMALL = 4096 };

static char *keep(struct kube_target *t, struct weir_span text, struct weir_err *err) {
    struct weir_span copy = weir_arena_copy(&t->arena, text);
    if (copy.data == NULL)
        weir_err_set(err, WEIR_NOMEM, "out of memory");
    return (char *)(uintptr_t)copy.data;
}

static char *join(struct kube_target *t, const char *folder, struct weir_span name,
                  struct weir_err *err) {
    struct weir_buf path;
    char *kept = NULL;
    weir_buf_init(&path, 4 * MAX_SMALL);
    bool whole = name.len > 0 && name.data[0] == '/';
    enum weir_status st = whole ? WEIR_OK : weir_buf_printf(&path, "%s/", folder);
    if (st == WEIR_OK)
        st = weir_buf_append_span(&path, name);
    if (st == WEIR_OK)
        kept = keep(t, weir_buf_span(&path), err);
    else
        weir_err_set(err, st, "the path %.*s is too long", WEIR_SPAN_ARG(name));
    weir_buf_fini(&path);
    return kept;
}

/* A small file's text, trimmed; NULL when there is none, or nothing in it. */
static char *read_small(struct kube_target *t, const char *folder, const char *name) {
    struct weir_buf text;
    struct weir_err err;
    char *kept = NULL;
    char *path = join(t, folder, weir_span_z(name), &err);
    weir_buf_init(&text, MAX_SMALL);
    if (path != NULL && weir_file_read(path, WEIR_FILE_PLAIN, &text, &err) == WEIR_OK) {
        struct weir_span trimmed = weir_span_trim(weir_buf_span(&text));
        if (trimmed.len > 0)
            kept = keep(t, trimmed, &err);
    }
    weir_buf_fini(&text);
    return kept;
}

/* ---- the server's address ----------------------------------------------------------------- */

/* https://host[:port][/prefix] */
static enum weir_status read_server(struct kube_target *t, struct weir_span url,
                                    struct weir_err *err) {
    struct weir_span rest = url, prefix = {0};
    char host[WEIR_HOST_BYTES];
    t->tls = weir_span_starts(rest, WEIR_SPAN_LIT("https://"));
    if (!t->tls && !weir_span_starts(rest, WEIR_SPAN_LIT("http://")))
        return weir_err_set(err, WEIR_INVALID, "server \"%.*s\": neither https:// nor http://",
                            WEIR_SPAN_ARG(url));
    rest = weir_span(rest.data + (t->tls ? 8 : 7), rest.len - (t->tls ? 8 : 7));
    ptrdiff_t slash = weir_span_find(rest, '/');
    if (slash >= 0) {
        prefix = weir_span(rest.data + slash, rest.len - (size_t)slash);
        rest.len = (size_t)slash;
        while (prefix.len > 0 && prefix.data[prefix.len - 1] == '/')
            prefix.len--;
    }
    t->port = t->tls ? 443 : 80;
    if (!weir_host_parse(rest, host, &t->port))
        return weir_err_set(err, WEIR_INVALID, "server \"%.*s\": give https://host:port",
                            WEIR_SPAN_ARG(url));
    t->host = keep(t, weir_span_z(host), err);
    t->prefix = keep(t, prefix, err);
    return t->host != NULL && t->prefix != NULL ? WEIR_OK : WEIR_NOMEM;
}

/* ---- kubeconfig --------------------------------------------------------------------------- */

/* What may be done with a field. */
enum field_use {
    FIELD_TEXT,   /* keep the text */
    FIELD_PATH,   /* keep the path; relative ones are from the file's folder */
    FIELD_BASE64, /* keep what it stands for */
    FIELD_BOOL,
    FIELD_IGNORED, /* changes nothing here */
};
struct field {
    const char *name;
    enum field_use use;
    void *ret; /* char **, or bool * */
};

static enum weir_status take_base64(struct kube_target *t, const struct weir_yaml *node, char **ret,
                                    struct weir_err *err) {
    struct weir_span bytes;
    if (weir_base64_decode(node->text, &t->arena, &bytes) != WEIR_OK)
        return weir_err_set(err, WEIR_INVALID, "line %u: %.*s is not base64", node->line,
                            WEIR_SPAN_ARG(node->key));
    *ret = keep(t, bytes, err);
    return *ret != NULL ? WEIR_OK : WEIR_NOMEM;
}

static enum weir_status take_field(struct kube_target *t, const char *folder,
                                   const struct weir_yaml *node, const struct field *f,
                                   struct weir_err *err) {
    char **text = f->ret;
    if (f->use == FIELD_IGNORED || weir_yaml_is_null(node))
        return WEIR_OK;
    if (node->type != WEIR_YAML_SCALAR)
        return weir_err_set(err, WEIR_INVALID, "line %u: %s is no text", node->line, f->name);
    if (f->use == FIELD_BOOL) {
        if (!weir_yaml_bool(node, f->ret))
            return weir_err_set(err, WEIR_INVALID, "line %u: %s is neither true nor false",
                                node->line, f->name);
        return WEIR_OK;
    }
    if (node->text.len == 0)
        return WEIR_OK;
    if (f->use == FIELD_BASE64)
        return take_base64(t, node, text, err);
    *text = f->use == FIELD_PATH ? join(t, folder, node->text, err) : keep(t, node->text, err);
    return *text != NULL ? WEIR_OK : WEIR_NOMEM;
}

static enum weir_status take_fields(struct kube_target *t, const char *folder,
                                    const struct weir_yaml *mapping, const char *what,
                                    const struct field *fields, size_t n, struct weir_err *err) {
    enum weir_status st = WEIR_OK;
    if (mapping == NULL || mapping->type != WEIR_YAML_MAPPING)
        return weir_err_set(err, WEIR_INVALID, "%s is no mapping", what);
    for (const struct weir_yaml *m = mapping->first; m != NULL && st == WEIR_OK; m = m->next) {
        size_t i = 0;
        while (i < n && !weir_span_eqz(m->key, fields[i].name))
            i++;
        st = i < n ? take_field(t, folder, m, &fields[i], err)
                   : weir_err_set(err, WEIR_UNSUPPORTED,
                                  "line %u: %s: %.*s is not supported by this build", m->line, what,
                                  WEIR_SPAN_ARG(m->key));
    }
    return st;
}

/* The inner mapping of the entry with that name in a list like "clusters". */
static const struct weir_yaml *entry(const struct weir_yaml *root, const char *list,
                                     const char *inner, const char *name, struct weir_err *err) {
    const struct weir_yaml *seq = weir_yaml_get(root, list);
    for (const struct weir_yaml *m = seq != NULL ? seq->first : NULL; m != NULL; m = m->next) {
        const struct weir_yaml *n = weir_yaml_get(m, "name");
        if (n != NULL && n->type == WEIR_YAML_SCALAR && weir_span_eqz(n->text, name))
            return weir_yaml_get(m, inner);
    }
    weir_err_set(err, WEIR_NOT_FOUND, "%s has none called \"%s\"", list, name);
    return NULL;
}

static enum weir_status read_tree(struct kube_target *t, const char *folder,
                                  const struct weir_yaml *root, struct weir_err *err) {
    char *server = NULL, *context = NULL, *cluster = NULL, *user = NULL, *pem[3] = {NULL};
    const struct field in_context[] = {{"cluster", FIELD_TEXT, &cluster},
                                       {"user", FIELD_TEXT, &user},
                                       {"namespace", FIELD_TEXT, &t->ns},
                                       {"extensions", FIELD_IGNORED, NULL}};
    const struct field in_cluster[] = {{"server", FIELD_TEXT, &server},
                                       {"certificate-authority", FIELD_PATH, &t->ca},
                                       {"certificate-authority-data", FIELD_BASE64, &pem[0]},
                                       {"insecure-skip-tls-verify", FIELD_BOOL, &t->insecure},
                                       {"tls-server-name", FIELD_TEXT, &t->server_name},
                                       {"disable-compression", FIELD_IGNORED, NULL},
                                       {"extensions", FIELD_IGNORED, NULL}};
    const struct field in_user[] = {{"token", FIELD_TEXT, &t->token},
                                    {"tokenFile", FIELD_PATH, &t->token_path},
                                    {"client-certificate", FIELD_PATH, &t->cert},
                                    {"client-certificate-data", FIELD_BASE64, &pem[1]},
                                    {"client-key", FIELD_PATH, &t->key},
                                    {"client-key-data", FIELD_BASE64, &pem[2]},
                                    {"extensions", FIELD_IGNORED, NULL}};
    const struct weir_yaml *name = weir_yaml_get(root, "current-context"), *at;
    if (name == NULL || name->type != WEIR_YAML_SCALAR || name->text.len == 0)
        return weir_err_set(err, WEIR_INVALID, "there is no current-context");
    context = keep(t, name->text, err);
    at = context != NULL ? entry(root, "contexts", "context", context, err) : NULL;
    enum weir_status st = at == NULL ? err->status
                                     : take_fields(t, folder, at, "context", in_context,
                                                   WEIR_ARRAY_LEN(in_context), err);
    if (st != WEIR_OK)
        return st;
    if (cluster == NULL)
        return weir_err_set(err, WEIR_INVALID, "the context \"%s\" names no cluster", context);
    at = entry(root, "clusters", "cluster", cluster, err);
    st = at == NULL
             ? err->status
             : take_fields(t, folder, at, "cluster", in_cluster, WEIR_ARRAY_LEN(in_cluster), err);
    at = st == WEIR_OK && user != NULL ? entry(root, "users", "user", user, err) : NULL;
    if (st == WEIR_OK && user != NULL)
        st = at == NULL ? err->status
                        : take_fields(t, folder, at, "user", in_user, WEIR_ARRAY_LEN(in_user), err);
    if (st != WEIR_OK)
        return st;
    /* Data stands above paths, a file of the token above the token itself. */
    t->ca = pem[0] != NULL ? pem[0] : t->ca;
    t->cert = pem[1] != NULL ? pem[1] : t->cert;
    t->key = pem[2] != NULL ? pem[2] : t->key;
    if (server == NULL)
        return weir_err_set(err, WEIR_INVALID, "the cluster \"%s\" has no server", cluster);
    return read_server(t, weir_span_z(server), err);
}

static enum weir_status read_kubeconfig(struct kube_target *t, const char *path,
                                        struct weir_err *err) {
    struct weir_arena arena;
    const struct weir_yaml *root;
    if (strchr(path, ':') != NULL)
        return weir_err_set(err, WEIR_UNSUPPORTED,
                            "KUBECONFIG: more than one file is not supported by this build");
    const char *slash = strrchr(path, '/');
    char *folder =
        keep(t, slash != NULL ? weir_span(path, (size_t)(slash - path)) : WEIR_SPAN_LIT("."), err);
    if (folder == NULL)
        return WEIR_NOMEM;
    weir_arena_init(&arena, 16 * (size_t)MAX_CONFIG);
    enum weir_status st = weir_yaml_read(path, MAX_CONFIG, &arena, &root, err);
    if (st == WEIR_OK) {
        st = read_tree(t, folder, root, err);
        if (st != WEIR_OK)
            weir_err_prefix(err, "%s", path);
    }
    weir_arena_fini(&arena);
    return st;
}

/* ---- inside of a pod ---------------------------------------------------------------------- */

static enum weir_status read_account(struct kube_target *t, const struct weir_discovery_kube *c,
                                     struct weir_err *err) {
    const char *folder = c->account_folder != NULL ? c->account_folder : KUBE_ACCOUNT;
    const char *port =
        c->service_port != NULL && c->service_port[0] != '\0' ? c->service_port : "443";
    uint64_t number;
    if (!weir_span_u64(weir_span_z(port), &number) || number == 0 || number > 65535 ||
        strlen(c->service_host) >= WEIR_HOST_BYTES)
        return weir_err_set(err, WEIR_INVALID,
                            "KUBERNETES_SERVICE_HOST, KUBERNETES_SERVICE_PORT: \"%.*s\", "
                            "\"%.*s\" are no address",
                            WEIR_SPAN_ARG(weir_utf8_cut_z(c->service_host, 100)),
                            WEIR_SPAN_ARG(weir_utf8_cut_z(port, 20)));
    t->tls = true;
    t->port = (uint16_t)number;
    t->host = keep(t, weir_span_z(c->service_host), err);
    t->prefix = keep(t, weir_span_z(""), err);
    t->ca = join(t, folder, WEIR_SPAN_LIT("ca.crt"), err);
    t->token_path = join(t, folder, WEIR_SPAN_LIT("token"), err);
    t->ns = read_small(t, folder, "namespace");
    return t->host != NULL && t->prefix != NULL && t->ca != NULL && t->token_path != NULL
               ? WEIR_OK
               : WEIR_NOMEM;
}

/* The Downward API's files before its variables, as Dynamo has it. */
static char *about_pod(struct kube_target *t, const struct weir_discovery_kube *c, const char *file,
                       const char *value, struct weir_err *err) {
    char *text = read_small(t, c->podinfo != NULL ? c->podinfo : KUBE_PODINFO, file);
    return text != NULL                        ? text
           : value != NULL && value[0] != '\0' ? keep(t, weir_span_z(value), err)
                                               : NULL;
}

static enum weir_status read_pod(struct kube_target *t, const struct weir_discovery_kube *c,
                                 struct weir_err *err) {
    char *ns = about_pod(t, c, "pod_namespace", c->pod_namespace, err);
    t->pod = about_pod(t, c, "pod_name", c->pod_name, err);
    t->pod_uid = about_pod(t, c, "pod_uid", c->pod_uid, err);
    t->by_container = c->by_container;
    if (ns != NULL)
        t->ns = ns;
    if (t->ns == NULL)
        t->ns = keep(t, WEIR_SPAN_LIT("default"), err);
    bool named = c->container_name != NULL && c->container_name[0] != '\0';
    if (t->ns == NULL || t->pod == NULL || (t->by_container && !named))
        return t->ns != NULL ? WEIR_OK : WEIR_NOMEM;
    struct weir_buf name;
    weir_buf_init(&name, MAX_SMALL);
    enum weir_status st = weir_kube_cr_name(
        weir_span_z(t->pod), weir_span_z(t->by_container ? c->container_name : NULL), &name);
    if (st == WEIR_OK)
        t->cr_name = keep(t, weir_buf_span(&name), err);
    weir_buf_fini(&name);
    return t->cr_name != NULL ? WEIR_OK : weir_err_set(err, WEIR_INVALID, "POD_NAME is too long");
}

enum weir_status weir_kube_target_read(const struct weir_discovery_kube *c, struct kube_target *t,
                                       struct weir_err *err) {
    const char *home = getenv("HOME");
    enum weir_status st;
    weir_arena_init(&t->arena, 32 * (size_t)MAX_CONFIG);
    if (c->kubeconfig != NULL && c->kubeconfig[0] != '\0') {
        st = read_kubeconfig(t, c->kubeconfig, err);
    } else if (c->service_host != NULL && c->service_host[0] != '\0') {
        st = read_account(t, c, err);
    } else {
        char *path = join(t, home != NULL ? home : "", WEIR_SPAN_LIT(".kube/config"), err);
        st = path == NULL ? WEIR_NOMEM : read_kubeconfig(t, path, err);
        if (st == WEIR_NOT_FOUND)
            weir_err_set(err, WEIR_NOT_FOUND,
                         "--discovery-backend kubernetes: this is no pod (KUBERNETES_SERVICE_HOST "
                         "is not set), and there is neither KUBECONFIG nor ~/.kube/config");
    }
    return st == WEIR_OK ? read_pod(t, c, err) : st;
}
