#include "runtime/address.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>

void weir_local_ip(char ret_ip[WEIR_IP_BYTES]) {
    struct ifaddrs *all = NULL;
    memcpy(ret_ip, "127.0.0.1", sizeof("127.0.0.1"));
    if (getifaddrs(&all) != 0)
        return;
    for (const struct ifaddrs *i = all; i != NULL; i = i->ifa_next) {
        bool usable = i->ifa_addr != NULL && i->ifa_addr->sa_family == AF_INET &&
                      (i->ifa_flags & IFF_UP) != 0 && (i->ifa_flags & IFF_LOOPBACK) == 0;
        if (usable &&
            inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)i->ifa_addr)->sin_addr,
                      ret_ip, WEIR_IP_BYTES) != NULL)
            break;
    }
    freeifaddrs(all);
}

enum weir_status weir_address_parse(struct weir_span text, struct weir_address *ret_address,
                                    struct weir_span *ret_rest) {
    if (weir_span_starts(text, WEIR_SPAN_LIT("tcp://")))
        text = weir_span(text.data + 6, text.len - 6);
    struct weir_span rest, host = weir_span_split(text, '/', &rest), port;
    size_t colon = host.len;
    while (colon > 0 && host.data[colon - 1] != ':')
        colon--;
    if (colon < 2)
        return WEIR_INVALID;
    port = weir_span(host.data + colon, host.len - colon);
    host.len = colon - 1;
    if (host.len >= 2 && host.data[0] == '[' && host.data[host.len - 1] == ']')
        host = weir_span(host.data + 1, host.len - 2);
    if (weir_span_eqz(host, "localhost"))
        host = WEIR_SPAN_LIT("127.0.0.1");
    struct weir_address a;
    uint64_t number = 0;
    struct in6_addr ignored;
    if (host.len == 0 || host.len >= sizeof(a.ip) || !weir_span_u64(port, &number) ||
        number > UINT16_MAX)
        return WEIR_INVALID;
    memcpy(a.ip, host.data, host.len);
    a.ip[host.len] = '\0';
    a.port = (uint16_t)number;
    if (inet_pton(AF_INET, a.ip, &ignored) != 1 && inet_pton(AF_INET6, a.ip, &ignored) != 1)
        return WEIR_INVALID;
    *ret_address = a;
    if (ret_rest != NULL)
        *ret_rest = rest;
    return WEIR_OK;
}
