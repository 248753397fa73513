/* Network addresses of this machine and of workers. Pure but for weir_local_ip(). */
#ifndef WEIR_RUNTIME_ADDRESS_H
#define WEIR_RUNTIME_ADDRESS_H

#include "base/span.h"
#include "base/status.h"

enum { WEIR_IP_BYTES = 64, WEIR_HOST_BYTES = 256 };

struct weir_address {
    char ip[WEIR_IP_BYTES]; /* literal, without brackets */
    uint16_t port;
};

/* First IPv4 address of an interface that is up and is not the loopback; "127.0.0.1" when none. */
void weir_local_ip(char ret_ip[WEIR_IP_BYTES]);
/* What to bind and what to tell others, from settings that may be NULL or empty. `host`: a literal
 * address or the name of an interface (its first address, IPv4 before IPv6); without it the first
 * local address. ret_shown is `advertise` where that is given; else what is bound, or the first
 * local address when that stands for all addresses. */
enum weir_status weir_address_bind(const char *host, const char *advertise,
                                   char ret_ip[WEIR_IP_BYTES], char ret_shown[WEIR_HOST_BYTES],
                                   struct weir_err *err) WEIR_MUST_CHECK;
/* An IPv4 or IPv6 address, without brackets. */
bool weir_address_is_literal(const char *text);
/* "1.2.3.4:80", "[::1]:80" or "::1:80" (split at the last colon). *ret_rest: what follows the port
 * behind a '/', data NULL without one. An optional "tcp://" in front is accepted. Host names:
 * WEIR_INVALID, except localhost. */
enum weir_status weir_address_parse(struct weir_span text, struct weir_address *ret_address,
                                    struct weir_span *ret_rest) WEIR_MUST_CHECK;
/* "host", "host:port", "[v6]", "[v6]:port", names included. *ret_port keeps what it was where none
 * is given. False: no such text, or a host with characters that separate something in a URL. */
bool weir_host_parse(struct weir_span text, char ret_host[WEIR_HOST_BYTES],
                     uint16_t *ret_port) WEIR_MUST_CHECK;

#endif
