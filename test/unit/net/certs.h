/* Certificates for tests, made with OpenSSL at run time in a temporary folder. */
#ifndef WEIR_TEST_UNIT_NET_CERTS_H
#define WEIR_TEST_UNIT_NET_CERTS_H

struct certs {
    char dir[64];
    char ca[96], other_ca[96];
    char server[96], server_key[96];     /* localhost and 127.0.0.1, by ca */
    char server2[96], server2_key[96];   /* the same names, another serial number (2) */
    char client[96], client_key[96];     /* by ca */
    char stranger[96], stranger_key[96]; /* by other_ca */
    char garbage[96], locked_key[96];
};

/* Aborts on failure: nothing can be tested then. */
void certs_make(struct certs *c);
void certs_remove(struct certs *c);
/* Copies a file's content over another's. */
void certs_copy(const char *from, const char *to);

#endif
