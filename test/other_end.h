/* Sockets of one process that are connected with one another: what has come to the other end. */
#ifndef WEIR_TEST_OTHER_END_H
#define WEIR_TEST_OTHER_END_H

#include <netinet/in.h>
#include <sys/socket.h>

/* The other end's descriptor of an IPv4 connection within this process; -1: not there (yet). */
static inline int other_end(int fd) {
    struct sockaddr_in own, peer;
    socklen_t size = sizeof(own);
    if (getsockname(fd, (struct sockaddr *)&own, &size) != 0)
        return -1;
    for (int i = 0; i < 1024; i++) {
        size = sizeof(peer);
        if (i != fd && getpeername(i, (struct sockaddr *)&peer, &size) == 0 &&
            peer.sin_family == AF_INET && peer.sin_port == own.sin_port &&
            peer.sin_addr.s_addr == own.sin_addr.s_addr)
            return i;
    }
    return -1;
}

#endif
