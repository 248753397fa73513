/*
 * A peer that is cut off, or whose machine died, ends no connection: no FIN and no reset comes, and
 * a side that only reads would wait for ever. So the system sends probes over silent connections,
 * and gives one up when neither bytes nor probes have been acknowledged for a time. A process that
 * merely hangs is not found so: its system answers.
 */
#ifndef WEIR_NET_DEAD_PEER_H
#define WEIR_NET_DEAD_PEER_H

#include <stdint.h>

struct weir_dead_peer_plan {
    unsigned idle_s, interval_s; /* the first probe after so much silence, then one each interval */
    unsigned give_up_ms;         /* bytes or probes unacknowledged, or no byte taken, for so long */
};
/* Gives a connection up after dead_ms (> 0), rounded up to whole seconds and at most one interval
 * later. Pure. */
struct weir_dead_peer_plan weir_dead_peer_plan(uint64_t dead_ms);
/* Of a socket, or of a listening one for all that it accepts. 0 = left to the system. A system that
 * refuses leaves its own times, which are longer. Thread: any. */
void weir_dead_peer_watch(int fd, uint64_t dead_ms);

#endif
