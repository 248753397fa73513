#include "net/nats_priv.h"

#include "base/mem.h"
#include "base/utf8.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    MAX_SERVERS = 64,
    CONNECT_MS = 2000,
    WRITE_MS = 5000, /* a server that takes nothing for so long is left */
    PING_MS = 3000,  /* one that answers nothing is left after three of them */
    PINGS_OUT = 2,
    PENDING_MESSAGES = 65536,
};

/* ---- addresses ---------------------------------------------------------------------------- */

const char *weir_nats_shown(const char *server) {
    const char *at = strrchr(server, '@');
    return at != NULL ? at + 1 : server;
}

static bool is_address(const char *s) {
    const char *rest = strncmp(s, "nats://", 7) == 0  ? s + 7
                       : strncmp(s, "tls://", 6) == 0 ? s + 6
                                                      : NULL;
    return rest != NULL && *rest != '\0' && strpbrk(rest, " \t\r\n/") == NULL;
}

void weir_nats_servers_free(char **servers, int n) {
    for (int i = 0; i < n; i++)
        weir_free(servers[i]);
    weir_free(servers);
}

enum weir_status weir_nats_servers(const char *list, char ***ret_servers, int *ret_n,
                                   struct weir_err *err) {
    char **servers = weir_calloc(MAX_SERVERS, sizeof(*servers));
    int n = 0;
    enum weir_status st =
        servers != NULL ? WEIR_OK : weir_err_set(err, WEIR_NOMEM, "out of memory");
    while (st == WEIR_OK && *list != '\0') {
        list += strspn(list, ", ");
        size_t len = strcspn(list, ", ");
        if (len == 0)
            break;
        if (n == MAX_SERVERS)
            st = weir_err_set(err, WEIR_LIMIT, "more than %d addresses of NATS servers",
                              MAX_SERVERS);
        else if ((servers[n] = weir_strndup(list, len)) == NULL)
            st = weir_err_set(err, WEIR_NOMEM, "out of memory");
        else if (!is_address(servers[n++]))
            st = weir_err_set(err, WEIR_INVALID,
                              "\"%.*s\" is no address of a NATS server: write nats://host:port or "
                              "tls://host:port",
                              WEIR_SPAN_ARG(weir_utf8_cut_z(weir_nats_shown(servers[n - 1]), 100)));
        list += len;
    }
    if (st == WEIR_OK && n == 0)
        st = weir_err_set(err, WEIR_INVALID,
                          "no address of a NATS server is given: write nats://host:port");
    if (st != WEIR_OK) {
        weir_nats_servers_free(servers, n);
        return st;
    }
    *ret_servers = servers;
    *ret_n = n;
    return WEIR_OK;
}

/* ---- login -------------------------------------------------------------------------------- */

static natsStatus sign(char **text, unsigned char **signature, int *n, const char *nonce,
                       void *closure) {
    const struct weir_nats *nats = closure;
    (void)text;
    return nats_Sign(nats->config.nkey_seed, nonce, signature, n);
}

static natsStatus set_login(struct weir_nats *nats, natsOptions *o, const char *server) {
    const struct weir_nats_config *c = &nats->config;
    char public[WEIR_NATS_NKEY_BYTES];
    if (strchr(server, '@') != NULL)
        return NATS_OK; /* the address says who we are */
    if (c->user != NULL)
        return natsOptions_SetUserInfo(o, c->user, c->password != NULL ? c->password : "");
    if (c->token != NULL)
        return natsOptions_SetToken(o, c->token);
    if (c->nkey_seed != NULL)
        return weir_nats_nkey_public(c->nkey_seed, public) == WEIR_OK
                   ? natsOptions_SetNKey(o, public, sign, nats)
                   : NATS_INVALID_ARG;
    if (c->credentials_path != NULL)
        return natsOptions_SetUserCredentialsFromFiles(o, c->credentials_path, NULL);
    /* As the reference does; servers that ask for no login do not look at it. */
    return natsOptions_SetUserInfo(o, "user", "user");
}

/* ---- TLS ---------------------------------------------------------------------------------- */

/* The host of "scheme://[login@]host[:port]", without brackets. */
static bool host_of(const char *server, char *out, size_t room) {
    const char *at = strstr(server, "://"), *login;
    at = at != NULL ? at + 3 : server;
    login = strrchr(at, '@');
    at = login != NULL ? login + 1 : at;
    size_t n = *at == '[' ? strcspn(++at, "]") : strcspn(at, ":");
    if (n == 0 || n >= room)
        return false;
    memcpy(out, at, n);
    out[n] = '\0';
    return true;
}

static natsStatus set_tls(const struct weir_nats *nats, natsOptions *o, const char *server) {
    const struct weir_nats_config *c = &nats->config;
    char host[256];
    /* A server may ask for TLS by itself, so its name is set in any case. */
    bool wanted = c->ca_path != NULL || c->cert_path != NULL || c->insecure ||
                  strncmp(server, "tls://", 6) == 0;
    natsStatus s = wanted ? natsOptions_SetSecure(o, true) : NATS_OK;
    if (s == NATS_OK && c->insecure)
        s = natsOptions_SkipServerVerification(o, true);
    else if (s == NATS_OK && host_of(server, host, sizeof(host)))
        s = natsOptions_SetExpectedHostname(o, host);
    if (s == NATS_OK && c->ca_path != NULL)
        s = natsOptions_LoadCATrustedCertificates(o, c->ca_path);
    if (s == NATS_OK && c->cert_path != NULL)
        s = natsOptions_LoadCertificatesChain(o, c->cert_path, c->key_path);
    return s;
}

/* What nats.c says of its last failure on this thread, without the place in its source. */
static const char *last_words(natsStatus s) {
    const char *why = nats_GetLastError(NULL), *end;
    if (why == NULL || *why == '\0')
        return natsStatus_GetText(s);
    if (*why == '(' && (end = strstr(why, "): ")) != NULL)
        return end + 3;
    return why;
}

/* ---- all of it ---------------------------------------------------------------------------- */

/* nats.c says of a file that cannot be read only that something failed. */
static enum weir_status check_files(const struct weir_nats_config *c, struct weir_err *err) {
    const char *const files[] = {c->credentials_path, c->ca_path, c->cert_path, c->key_path};
    char public[WEIR_NATS_NKEY_BYTES];
    for (size_t i = 0; i < WEIR_ARRAY_LEN(files); i++)
        if (files[i] != NULL && access(files[i], R_OK) != 0)
            return weir_err_set(err, WEIR_IO, "NATS: the file %s cannot be read", files[i]);
    if (c->nkey_seed != NULL && weir_nats_nkey_public(c->nkey_seed, public) != WEIR_OK)
        return weir_err_set(err, WEIR_INVALID,
                            "the NATS nkey is not the seed of a user: it begins with SU and has 58 "
                            "letters");
    return WEIR_OK;
}

enum weir_status weir_nats_options(struct weir_nats *nats, const char *server,
                                   natsOptions **ret_options, struct weir_err *err) {
    natsOptions *o = NULL;
    enum weir_status st = check_files(&nats->config, err);
    if (st != WEIR_OK)
        return st;
    natsStatus s = natsOptions_Create(&o);
    const char *what = "the library does not start";
    if (s == NATS_OK) {
        what = "the address";
        s = natsOptions_SetURL(o, server);
    }
    if (s == NATS_OK && nats->config.name != NULL)
        s = natsOptions_SetName(o, nats->config.name);
    if (s == NATS_OK)
        s = natsOptions_SetTimeout(o, CONNECT_MS);
    if (s == NATS_OK)
        s = natsOptions_SetAllowReconnect(o, false); /* nats_thread.c does */
    if (s == NATS_OK)
        s = natsOptions_SetPingInterval(o, PING_MS);
    if (s == NATS_OK)
        s = natsOptions_SetMaxPingsOut(o, PINGS_OUT);
    if (s == NATS_OK)
        s = natsOptions_SetWriteDeadline(o, WRITE_MS);
    if (s == NATS_OK)
        s = natsOptions_SetMaxPendingMsgs(o, PENDING_MESSAGES);
    if (s == NATS_OK)
        s = natsOptions_UseGlobalMessageDelivery(o, true);
    if (s == NATS_OK)
        s = natsOptions_SetSendAsap(o, true);
    if (s == NATS_OK) {
        what = "the login";
        s = set_login(nats, o, server);
    }
    if (s == NATS_OK) {
        what = "the TLS files";
        s = set_tls(nats, o, server);
    }
    if (s != NATS_OK) {
        weir_err_set(err, WEIR_INVALID, "NATS: %s cannot be used: %s", what, last_words(s));
        natsOptions_Destroy(o);
        return WEIR_INVALID;
    }
    *ret_options = o;
    return WEIR_OK;
}

enum weir_status weir_nats_explain(const char *server, natsStatus s, bool *ret_final,
                                   struct weir_err *err) {
    const char *advice = "";
    enum weir_status st = WEIR_CANNOT_CONNECT;
    *ret_final = true;
    switch (s) {
    case NATS_CONNECTION_AUTH_FAILED:
        st = WEIR_INVALID;
        advice = "; the server refuses the login: check NATS_AUTH_*";
        break;
    case NATS_SECURE_CONNECTION_REQUIRED:
        st = WEIR_TLS;
        advice = "; the server wants TLS: write tls:// in its address or give NATS_TLS_*";
        break;
    case NATS_SECURE_CONNECTION_WANTED:
        st = WEIR_TLS;
        advice = "; the server has no TLS: write nats:// in its address and give no NATS_TLS_*";
        break;
    case NATS_SSL_ERROR:
        st = WEIR_TLS;
        advice = "; check NATS_TLS_*";
        break;
    case NATS_ADDRESS_MISSING:
    case NATS_INVALID_ARG:
        st = WEIR_INVALID;
        break;
    default:
        *ret_final = false;
    }
    return weir_err_set(err, st, "NATS at %s: %s%s", weir_nats_shown(server), last_words(s),
                        advice);
}
