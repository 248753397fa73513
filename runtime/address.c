#include "runtime/address.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>

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

bool weir_address_is_literal(const char *text) {
    struct in6_addr ignored;
    return inet_pton(AF_INET, text, &ignored) == 1 || inet_pton(AF_INET6, text, &ignored) == 1;
}

static bool stands_for_all(const char *ip) {
    struct in6_addr v6;
    return strcmp(ip, "0.0.0.0") == 0 ||
           (inet_pton(AF_INET6, ip, &v6) == 1 && IN6_IS_ADDR_UNSPECIFIED(&v6));
}

static bool interface_address(const char *name, int family, char ret_ip[WEIR_IP_BYTES]) {
    struct ifaddrs *all = NULL;
    bool found = false;
    if (getifaddrs(&all) != 0)
        return false;
    for (const struct ifaddrs *i = all; i != NULL && !found; i = i->ifa_next) {
        if (i->ifa_addr == NULL || i->ifa_addr->sa_family != family ||
            strcmp(i->ifa_name, name) != 0)
            continue;
        const void *a =
            family == AF_INET
                ? (const void *)&((const struct sockaddr_in *)(const void *)i->ifa_addr)->sin_addr
                : (const void *)&((const struct sockaddr_in6 *)(const void *)i->ifa_addr)
                      ->sin6_addr;
        found = inet_ntop(family, a, ret_ip, WEIR_IP_BYTES) != NULL;
    }
    freeifaddrs(all);
    return found;
}

enum weir_status weir_address_bind(const char *host, const char *advertise,
                                   char ret_ip[WEIR_IP_BYTES], char ret_shown[WEIR_HOST_BYTES],
                                   struct weir_err *err) {
    char local[WEIR_IP_BYTES], ip[WEIR_IP_BYTES];
    bool given = host != NULL && *host != '\0';
    bool told = advertise != NULL && *advertise != '\0';
    weir_local_ip(local);
    if (!given)
        snprintf(ip, sizeof(ip), "%s", local);
    else if (weir_address_is_literal(host) && strlen(host) < sizeof(ip))
        snprintf(ip, sizeof(ip), "%s", host);
    else if (!interface_address(host, AF_INET, ip) && !interface_address(host, AF_INET6, ip))
        return weir_err_set(err, WEIR_INVALID,
                            "\"%s\" is neither an IP address nor an interface with one", host);
    if (told && strlen(advertise) >= WEIR_HOST_BYTES)
        return weir_err_set(err, WEIR_INVALID, "the address to advertise is too long");
    const char *shown = stands_for_all(ip) ? local : ip;
    snprintf(ret_shown, WEIR_HOST_BYTES, "%s", told ? advertise : shown);
    memcpy(ret_ip, ip, sizeof(ip));
    return WEIR_OK;
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
    if (host.len == 0 || host.len >= sizeof(a.ip) || !weir_span_u64(port, &number) || number == 0 ||
        number > UINT16_MAX)
        return WEIR_INVALID;
    memcpy(a.ip, host.data, host.len);
    a.ip[host.len] = '\0';
    a.port = (uint16_t)number;
    if (!weir_address_is_literal(a.ip))
        return WEIR_INVALID;
    *ret_address = a;
    if (ret_rest != NULL)
        *ret_rest = rest;
    return WEIR_OK;
}

bool weir_host_parse(struct weir_span text, char ret_host[WEIR_HOST_BYTES], uint16_t *ret_port) {
    struct weir_span host = text, port = {NULL, 0};
    if (text.len > 0 && text.data[0] == '[') {
        struct weir_span rest;
        host = weir_span_split(weir_span(text.data + 1, text.len - 1), ']', &rest);
        if (rest.data == NULL || (rest.len > 0 && rest.data[0] != ':'))
            return false;
        if (rest.len > 0)
            port = weir_span(rest.data + 1, rest.len - 1);
    } else {
        host = weir_span_split(text, ':', &port);
        if (port.data != NULL && weir_span_find(port, ':') >= 0)
            return false; /* IPv6 without brackets */
    }
    uint64_t number = *ret_port;
    if (host.len == 0 || host.len >= WEIR_HOST_BYTES ||
        (port.data != NULL && (!weir_span_u64(port, &number) || number < 1 || number > 65535)))
        return false;
    for (size_t i = 0; i < host.len; i++)
        if ((unsigned char)host.data[i] <= ' ' || strchr("/@?#\"\\", host.data[i]) != NULL)
            return false;
    memcpy(ret_host, host.data, host.len);
    ret_host[host.len] = '\0';
    *ret_port = (uint16_t)number;
    return true;
}
