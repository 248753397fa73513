#include "runtime/kv_stream_core.h"

void weir_kvs_init(struct weir_kvs *k, bool reset_states) {
    *k = (struct weir_kvs){.state = WEIR_KVS_OFF, .wipe = reset_states, .snapshot = true};
    k->any = true;
}

void weir_kvs_start(struct weir_kvs *k) {
    if (k->state == WEIR_KVS_OFF)
        k->state = WEIR_KVS_STREAM;
}

/* From the beginning, whatever stands there. */
static void rewind_to_start(struct weir_kvs *k) {
    k->pos = 0;
    k->any = true;
    k->first = 0;
}

static enum weir_kvs_effect stream_there(struct weir_kvs *k, uint64_t first_seq, uint64_t last_seq,
                                         uint64_t created) {
    bool anew = last_seq < k->high || (k->created != 0 && created != k->created);
    k->created = created;
    k->first = k->wipe ? 0 : first_seq;
    k->state = k->wipe ? WEIR_KVS_WIPE_STREAM : k->had ? WEIR_KVS_DROP_CONSUMER : WEIR_KVS_CONSUMER;
    if (!anew)
        return WEIR_KVS_NONE;
    k->high = 0;
    rewind_to_start(k);
    k->first = first_seq;
    return WEIR_KVS_BEGAN_ANEW;
}

enum weir_kvs_effect weir_kvs_done(struct weir_kvs *k, uint64_t first_seq, uint64_t last_seq,
                                   uint64_t created) {
    switch (k->state) {
    case WEIR_KVS_STREAM:
        return stream_there(k, first_seq, last_seq, created);
    case WEIR_KVS_WIPE_STREAM:
        k->state = WEIR_KVS_WIPE_BUCKET;
        break;
    case WEIR_KVS_WIPE_BUCKET:
        k->wipe = k->snapshot = false;
        k->state = WEIR_KVS_CONSUMER;
        break;
    case WEIR_KVS_DROP_CONSUMER:
        k->state = WEIR_KVS_CONSUMER;
        break;
    case WEIR_KVS_CONSUMER:
        k->had = true;
        k->delivery = 0;
        k->reads = 0;
        k->state = k->snapshot ? WEIR_KVS_SNAPSHOT : WEIR_KVS_LIVE;
        break;
    default:
        break;
    }
    return WEIR_KVS_NONE;
}

/* Read twice and the same: it is not being replaced. One that changes all the time is taken as it
 * is. */
bool weir_kvs_applies(const struct weir_kvs *k, bool same) {
    return k->state == WEIR_KVS_SETTLE && (same || k->reads + 1 >= WEIR_KVS_READS);
}

void weir_kvs_snapshot(struct weir_kvs *k, enum weir_status st, bool applied) {
    bool again = k->state == WEIR_KVS_SETTLE;
    if (!applied && (st == WEIR_OK || st == WEIR_AGAIN) && ++k->reads < WEIR_KVS_READS) {
        k->state = st == WEIR_OK || again ? WEIR_KVS_SETTLE : WEIR_KVS_SNAPSHOT;
        return;
    }
    k->snapshot = false;
    k->state = WEIR_KVS_LIVE;
}

uint64_t weir_kvs_failed(struct weir_kvs *k, struct weir_rng *rng) {
    uint64_t ms = WEIR_KVS_FAIL_MS;
    for (unsigned i = 0; i < k->failures && ms < WEIR_KVS_FAIL_MAX_MS; i++)
        ms *= 2;
    if (ms > WEIR_KVS_FAIL_MAX_MS)
        ms = WEIR_KVS_FAIL_MAX_MS;
    k->failures++;
    return ms / 2 + weir_rng_below(rng, ms / 2 + 1);
}

uint64_t weir_kvs_from(const struct weir_kvs *k) {
    return k->pos > 0 ? k->pos + 1 : 0;
}

void weir_kvs_void(struct weir_kvs *k) {
    k->high = 0;
    rewind_to_start(k);
    k->snapshot = true;
    weir_kvs_doubt(k);
}

void weir_kvs_doubt(struct weir_kvs *k) {
    if (k->state != WEIR_KVS_OFF)
        k->state = WEIR_KVS_STREAM;
}

/* All that is known is void. Another router's purge goes as far as every consumer has acknowledged,
 * but those of which none has counted yet: between our snapshot and our first message there may
 * have been others, which only a newer snapshot has. */
static enum weir_kvs_verdict gap(struct weir_kvs *k, enum weir_kvs_state next) {
    weir_kvs_void(k);
    k->state = next;
    return WEIR_KVS_GAP;
}

enum weir_kvs_verdict weir_kvs_message(struct weir_kvs *k, uint64_t seq, uint64_t delivery) {
    if (delivery != k->delivery + 1) {
        k->state = WEIR_KVS_DROP_CONSUMER;
        return WEIR_KVS_LOST;
    }
    k->delivery = delivery;
    k->failures = 0;
    if (!k->any && seq <= k->pos)
        return WEIR_KVS_OLD;
    if (!k->any && seq != k->pos + 1)
        return gap(k, WEIR_KVS_DROP_CONSUMER);
    if (k->any && k->first > 0 && seq > k->first && k->holes++ < WEIR_KVS_HOLES)
        return gap(k, WEIR_KVS_STREAM);
    k->holes = 0;
    k->pos = seq;
    k->any = false;
    if (seq <= k->high)
        return WEIR_KVS_APPLY_LATE;
    k->high = seq;
    return WEIR_KVS_APPLY;
}

void weir_kvs_dry(struct weir_kvs *k) {
    k->failures = 0;
    if (k->pos >= k->high)
        return;
    k->pos = k->high;
    k->any = false;
}

void weir_kvs_catch_up(struct weir_kvs *k) {
    if (k->state != WEIR_KVS_LIVE || weir_kvs_catching_up(k))
        return;
    rewind_to_start(k);
    k->snapshot = true;
    k->state = WEIR_KVS_DROP_CONSUMER;
}

bool weir_kvs_catching_up(const struct weir_kvs *k) {
    return k->pos < k->high;
}

/* ---- a list that comes in pages ------------------------------------------------------------ */

static enum weir_kvs_page list_again(struct weir_kvs_list *l) {
    if (l->again++ == WEIR_KVS_LIST_AGAIN)
        return WEIR_KVS_PAGE_GIVE_UP;
    l->seen = l->names = 0;
    return WEIR_KVS_PAGE_AGAIN;
}

enum weir_kvs_page weir_kvs_list_page(struct weir_kvs_list *l, uint64_t n, uint64_t total,
                                      uint64_t names) {
    bool one_piece = l->seen == 0 && n >= total;
    if (l->seen > 0 && total != l->total)
        return list_again(l);
    l->total = total;
    l->seen += n;
    l->names += names;
    if (l->seen < total)
        return n > 0 ? WEIR_KVS_PAGE_NEXT : WEIR_KVS_PAGE_GIVE_UP;
    if (one_piece || (l->had && l->before == l->names))
        return WEIR_KVS_PAGE_END;
    l->before = l->names;
    l->had = true;
    return list_again(l);
}

/* ---- snapshots ---------------------------------------------------------------------------- */

enum weir_kvs_duty weir_kvs_keep_look(struct weir_kvs_keep *k, uint64_t messages,
                                      uint64_t first_seq, uint64_t high, uint64_t now_ms) {
    k->messages = messages;
    k->first_seq = first_seq;
    if (messages <= k->threshold) {
        k->hold_ms = k->next_ms = 0;
        return WEIR_KVS_REST;
    }
    if (high > k->covered && now_ms >= k->next_ms)
        return WEIR_KVS_WRITE;
    return k->covered >= first_seq && k->covered > 0 ? WEIR_KVS_LIST : WEIR_KVS_REST;
}

void weir_kvs_keep_wrote(struct weir_kvs_keep *k, uint64_t covered) {
    k->covered = covered;
}

void weir_kvs_keep_failed(struct weir_kvs_keep *k, uint64_t now_ms) {
    k->hold_ms = k->hold_ms == 0 ? WEIR_KVS_TICK_MS : k->hold_ms * 2;
    if (k->hold_ms > WEIR_KVS_HOLD_MAX_MS)
        k->hold_ms = WEIR_KVS_HOLD_MAX_MS;
    k->next_ms = now_ms + k->hold_ms;
}

uint64_t weir_kvs_keep_purge(struct weir_kvs_keep *k, uint64_t least_floor, uint64_t now_ms) {
    uint64_t to = least_floor < k->covered ? least_floor : k->covered;
    uint64_t gone = to >= k->first_seq ? to - k->first_seq + 1 : 0;
    if (k->messages - (gone < k->messages ? gone : k->messages) > k->threshold) {
        /* Somebody holds the purge up: another snapshot would not help soon. */
        weir_kvs_keep_failed(k, now_ms);
    } else {
        k->hold_ms = k->next_ms = 0;
    }
    return gone > 0 ? to + 1 : 0;
}

uint64_t weir_kvs_keep_pause(struct weir_rng *rng) {
    return WEIR_KVS_TICK_MS - WEIR_KVS_TICK_JITTER_MS +
           weir_rng_below(rng, 2 * WEIR_KVS_TICK_JITTER_MS + 1);
}
