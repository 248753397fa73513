/* Decisions about a JetStream of KV events: the way to live, order, losses, gaps, late workers, and
 * when to write and to purge. A naive server is played at random beside them. */
#include "runtime/kv_stream_core.h"

#include "test/check.h"

static struct weir_kvs k;
static struct weir_rng rng;

static void begin(bool reset) {
    weir_kvs_init(&k, reset);
    weir_kvs_start(&k);
    CHECK(k.state == WEIR_KVS_STREAM);
}

/* To live without a snapshot there. */
static void live(void) {
    begin(false);
    CHECK(weir_kvs_done(&k, 0, 0, 5) == WEIR_KVS_NONE && k.state == WEIR_KVS_CONSUMER);
    CHECK(weir_kvs_from(&k) == 0);
    CHECK(weir_kvs_done(&k, 0, 0, 0) == WEIR_KVS_NONE && k.state == WEIR_KVS_SNAPSHOT);
    weir_kvs_snapshot(&k, WEIR_NOT_FOUND, false);
    CHECK(k.state == WEIR_KVS_LIVE);
}

static void case_way_to_live(void) {
    live();
    begin(true);
    weir_kvs_done(&k, 0, 9, 5);
    CHECK(k.state == WEIR_KVS_WIPE_STREAM);
    weir_kvs_done(&k, 0, 0, 0);
    CHECK(k.state == WEIR_KVS_WIPE_BUCKET);
    weir_kvs_done(&k, 0, 0, 0);
    CHECK(k.state == WEIR_KVS_CONSUMER);
    weir_kvs_done(&k, 0, 0, 0);
    CHECK(k.state == WEIR_KVS_LIVE); /* nothing to read */
    /* It is wiped once, not after each doubt. */
    weir_kvs_doubt(&k);
    weir_kvs_done(&k, 0, 9, 5);
    CHECK(k.state == WEIR_KVS_DROP_CONSUMER);
}

/* A look that is over, or a reading that was applied where it may be. */
static void read_one(enum weir_status st, bool same) {
    weir_kvs_snapshot(&k, st, st == WEIR_OK && weir_kvs_applies(&k, same));
}

static void case_snapshot_settles(void) {
    begin(false);
    weir_kvs_done(&k, 0, 0, 5);
    weir_kvs_done(&k, 0, 0, 0);
    CHECK(!weir_kvs_applies(&k, true)); /* nothing was looked at yet */
    read_one(WEIR_OK, false);
    CHECK(k.state == WEIR_KVS_SETTLE);
    CHECK(!weir_kvs_applies(&k, false) && weir_kvs_applies(&k, true));
    read_one(WEIR_OK, false);
    CHECK(k.state == WEIR_KVS_SETTLE);
    read_one(WEIR_OK, true);
    CHECK(k.state == WEIR_KVS_LIVE && !k.snapshot);
    /* One that changes all the time is taken as it is. */
    begin(false);
    weir_kvs_done(&k, 0, 0, 5);
    weir_kvs_done(&k, 0, 0, 0);
    unsigned reads = 1;
    for (; !weir_kvs_applies(&k, false); reads++) {
        read_one(WEIR_OK, false);
        CHECK(reads < WEIR_KVS_READS && k.state == WEIR_KVS_SETTLE);
    }
    CHECK_EQ_U64(reads, WEIR_KVS_READS);
    read_one(WEIR_OK, false);
    CHECK(k.state == WEIR_KVS_LIVE);
    /* Replaced while it was read: again, but not for ever. Damaged: passed over. */
    begin(false);
    weir_kvs_done(&k, 0, 0, 5);
    weir_kvs_done(&k, 0, 0, 0);
    read_one(WEIR_AGAIN, false);
    CHECK(k.state == WEIR_KVS_SNAPSHOT);
    read_one(WEIR_OK, false);
    CHECK(k.state == WEIR_KVS_SETTLE);
    read_one(WEIR_AGAIN, false);
    CHECK(k.state == WEIR_KVS_SETTLE);
    read_one(WEIR_PROTOCOL, false);
    CHECK(k.state == WEIR_KVS_LIVE);
    begin(false);
    weir_kvs_done(&k, 0, 0, 5);
    weir_kvs_done(&k, 0, 0, 0);
    for (reads = 0; k.state == WEIR_KVS_SNAPSHOT; reads++)
        read_one(WEIR_AGAIN, false);
    CHECK_EQ_U64(reads, WEIR_KVS_READS);
    /* It breaks off when part of it is applied: all is void. */
    begin(false);
    weir_kvs_done(&k, 0, 0, 5);
    weir_kvs_done(&k, 0, 0, 0);
    read_one(WEIR_OK, false);
    weir_kvs_void(&k);
    CHECK(k.state == WEIR_KVS_STREAM && k.snapshot && weir_kvs_from(&k) == 0);
}

static void case_order(void) {
    live();
    CHECK(weir_kvs_message(&k, 41, 1) == WEIR_KVS_APPLY); /* the stream may begin anywhere */
    CHECK(weir_kvs_message(&k, 42, 2) == WEIR_KVS_APPLY);
    CHECK(weir_kvs_message(&k, 42, 3) == WEIR_KVS_OLD);
    CHECK(weir_kvs_message(&k, 43, 4) == WEIR_KVS_APPLY);
    /* A delivery was lost: the same place again, from a new consumer. */
    CHECK(weir_kvs_message(&k, 45, 6) == WEIR_KVS_LOST);
    CHECK(k.state == WEIR_KVS_DROP_CONSUMER && weir_kvs_from(&k) == 44);
    weir_kvs_done(&k, 0, 0, 0);
    weir_kvs_done(&k, 0, 0, 0);
    CHECK(k.state == WEIR_KVS_LIVE);
    CHECK(weir_kvs_message(&k, 44, 1) == WEIR_KVS_APPLY);
    /* Messages have left the stream unseen. */
    CHECK(weir_kvs_message(&k, 50, 2) == WEIR_KVS_GAP);
    CHECK(k.state == WEIR_KVS_DROP_CONSUMER && weir_kvs_from(&k) == 0);
    weir_kvs_done(&k, 0, 0, 0);
    weir_kvs_done(&k, 0, 0, 0);
    CHECK(k.state == WEIR_KVS_SNAPSHOT);
}

static void case_stream_anew(void) {
    live();
    CHECK(weir_kvs_message(&k, 8, 1) == WEIR_KVS_APPLY);
    weir_kvs_doubt(&k);
    CHECK(weir_kvs_done(&k, 0, 8, 5) == WEIR_KVS_NONE && k.state == WEIR_KVS_DROP_CONSUMER);
    CHECK_EQ_U64(weir_kvs_from(&k), 9);
    weir_kvs_doubt(&k);
    CHECK(weir_kvs_done(&k, 0, 3, 5) == WEIR_KVS_BEGAN_ANEW); /* shorter than what we saw */
    CHECK_EQ_U64(weir_kvs_from(&k), 0);
    live();
    CHECK(weir_kvs_message(&k, 8, 1) == WEIR_KVS_APPLY);
    weir_kvs_doubt(&k);
    CHECK(weir_kvs_done(&k, 0, 100, 6) == WEIR_KVS_BEGAN_ANEW); /* longer, but another one */
    weir_kvs_done(&k, 0, 0, 0);
    weir_kvs_done(&k, 0, 0, 0);
    CHECK(k.state == WEIR_KVS_LIVE && weir_kvs_message(&k, 1, 1) == WEIR_KVS_APPLY);
}

/* Another router purges while we read the snapshot: it may be older than what is gone. */
static void case_purged_before_the_first(void) {
    for (unsigned times = 1; times <= WEIR_KVS_HOLES + 1; times++) {
        begin(false);
        for (unsigned i = 0; i < times; i++) {
            CHECK(weir_kvs_done(&k, 5 + i, 40, 5) == WEIR_KVS_NONE);
            if (k.state == WEIR_KVS_DROP_CONSUMER)
                weir_kvs_done(&k, 0, 0, 0);
            weir_kvs_done(&k, 0, 0, 0);
            CHECK(k.state == WEIR_KVS_SNAPSHOT); /* once more each time */
            weir_kvs_snapshot(&k, WEIR_NOT_FOUND, false);
            enum weir_kvs_verdict v = weir_kvs_message(&k, 6 + i, 1);
            /* One that moves all the time moves by age. */
            CHECK(v == (i < WEIR_KVS_HOLES ? WEIR_KVS_GAP : WEIR_KVS_APPLY));
            CHECK(k.state == (i < WEIR_KVS_HOLES ? WEIR_KVS_STREAM : WEIR_KVS_LIVE));
        }
    }
    begin(false);
    weir_kvs_done(&k, 5, 40, 5);
    weir_kvs_done(&k, 0, 0, 0);
    weir_kvs_snapshot(&k, WEIR_NOT_FOUND, false);
    CHECK(weir_kvs_message(&k, 5, 1) == WEIR_KVS_APPLY);
    CHECK(weir_kvs_message(&k, 6, 2) == WEIR_KVS_APPLY);
    /* All there was is wiped on purpose. */
    begin(true);
    weir_kvs_done(&k, 5, 40, 5);
    for (int i = 0; i < 3; i++)
        weir_kvs_done(&k, 0, 0, 0);
    CHECK(k.state == WEIR_KVS_LIVE && weir_kvs_message(&k, 41, 1) == WEIR_KVS_APPLY);
}

static void case_late_workers(void) {
    live();
    for (uint64_t i = 1; i <= 3; i++)
        CHECK(weir_kvs_message(&k, i, i) == WEIR_KVS_APPLY);
    weir_kvs_catch_up(&k);
    CHECK(weir_kvs_catching_up(&k) && k.state == WEIR_KVS_DROP_CONSUMER && weir_kvs_from(&k) == 0);
    weir_kvs_done(&k, 0, 0, 0);
    weir_kvs_done(&k, 0, 0, 0);
    weir_kvs_snapshot(&k, WEIR_NOT_FOUND, false);
    /* The first message was purged meanwhile. */
    CHECK(weir_kvs_message(&k, 2, 1) == WEIR_KVS_APPLY_LATE && weir_kvs_catching_up(&k));
    CHECK(weir_kvs_message(&k, 3, 2) == WEIR_KVS_APPLY_LATE && !weir_kvs_catching_up(&k));
    CHECK(weir_kvs_message(&k, 4, 3) == WEIR_KVS_APPLY);
    /* All of it was: the stream is dry. */
    weir_kvs_catch_up(&k);
    weir_kvs_done(&k, 0, 0, 0);
    weir_kvs_done(&k, 0, 0, 0);
    weir_kvs_snapshot(&k, WEIR_NOT_FOUND, false);
    weir_kvs_dry(&k);
    CHECK(!weir_kvs_catching_up(&k));
    CHECK(weir_kvs_message(&k, 5, 1) == WEIR_KVS_APPLY);
}

static void case_pauses(void) {
    live();
    uint64_t most = 0;
    for (unsigned i = 0; i < 20; i++) {
        uint64_t ms = weir_kvs_failed(&k, &rng);
        uint64_t full = i < 7 ? (uint64_t)WEIR_KVS_FAIL_MS << i : WEIR_KVS_FAIL_MAX_MS;
        CHECK(ms >= full / 2 && ms <= full);
        most = ms > most ? ms : most;
    }
    CHECK(weir_kvs_message(&k, 1, 1) == WEIR_KVS_APPLY);
    CHECK(weir_kvs_failed(&k, &rng) <= WEIR_KVS_FAIL_MS);
    for (int i = 0; i < 1000; i++) {
        uint64_t ms = weir_kvs_keep_pause(&rng);
        CHECK(ms >= 900 && ms <= 1100);
    }
}

/* A server with a stream that loses deliveries, purges and redelivers; every message that the core
 * applies is the next one, or its absence was told. */
static void case_random(void) {
    live();
    uint64_t last = 0, first = 1, at = 1, delivery = 0, expected = 1;
    bool told_gap = false;
    for (int i = 0; i < 100000; i++) {
        uint64_t dice = weir_rng_below(&rng, 100);
        if (k.state != WEIR_KVS_LIVE) {
            if (k.state == WEIR_KVS_CONSUMER) {
                at = weir_kvs_from(&k) > first ? weir_kvs_from(&k) : first;
                delivery = 0;
            }
            if (k.state == WEIR_KVS_SNAPSHOT || k.state == WEIR_KVS_SETTLE)
                read_one(dice < 50 ? WEIR_NOT_FOUND : WEIR_OK, dice < 75);
            else
                weir_kvs_done(&k, last > 0 ? first : 0, last, 5);
        } else if (dice < 40) {
            last++;
        } else if (dice < 42) {
            weir_kvs_doubt(&k);
        } else if (dice < 44 && last > 0) {
            first = first + weir_rng_below(&rng, last - first + 2); /* purged */
            at = at > first ? at : first;
        } else if (at <= last) {
            uint64_t seq = at++;
            delivery++;
            if (dice < 47)
                continue; /* lost on the way */
            if (dice < 50 && k.pos > 0) {
                at--;
                seq = k.pos; /* redelivered */
            }
            enum weir_kvs_verdict v = weir_kvs_message(&k, seq, delivery);
            if (v == WEIR_KVS_GAP)
                told_gap = true;
            if (v == WEIR_KVS_APPLY) {
                CHECK_MSG(seq == expected || told_gap || expected == 1,
                          "%" PRIu64 " after %" PRIu64, seq, expected - 1);
                told_gap = false;
                expected = seq + 1;
            }
            CHECK(v != WEIR_KVS_APPLY_LATE);
            CHECK(v != WEIR_KVS_OLD || seq < expected);
        }
    }
    CHECK(expected > 1000);
}

/* A snapshot that could not be put together is tried again later, ever later. */
static void case_keep_failed(void) {
    struct weir_kvs_keep s = {.threshold = 10};
    uint64_t now = 0;
    for (uint64_t pause = 1000; pause <= 64000; pause *= 2) {
        CHECK(weir_kvs_keep_look(&s, 11, 1, 11, now) == WEIR_KVS_WRITE);
        weir_kvs_keep_failed(&s, now);
        uint64_t ms = pause < WEIR_KVS_HOLD_MAX_MS ? pause : WEIR_KVS_HOLD_MAX_MS;
        CHECK(weir_kvs_keep_look(&s, 11, 1, 11, now + ms - 1) == WEIR_KVS_REST);
        now += ms;
    }
    CHECK(weir_kvs_keep_look(&s, 10, 1, 11, now) == WEIR_KVS_REST); /* and it is forgotten */
    CHECK(weir_kvs_keep_look(&s, 11, 1, 11, now) == WEIR_KVS_WRITE);
}

static void case_keep(void) {
    struct weir_kvs_keep s = {.threshold = 10};
    CHECK(weir_kvs_keep_look(&s, 10, 1, 10, 0) == WEIR_KVS_REST);
    CHECK(weir_kvs_keep_look(&s, 11, 1, 11, 0) == WEIR_KVS_WRITE);
    weir_kvs_keep_wrote(&s, 11);
    CHECK_EQ_U64(weir_kvs_keep_purge(&s, 20, 0), 12); /* not beyond the snapshot */
    CHECK(weir_kvs_keep_look(&s, 30, 12, 41, 0) == WEIR_KVS_WRITE);
    weir_kvs_keep_wrote(&s, 41);
    /* Somebody is behind: what all have seen goes, and the next snapshot waits. */
    CHECK_EQ_U64(weir_kvs_keep_purge(&s, 15, 1000), 16);
    CHECK(weir_kvs_keep_look(&s, 27, 16, 42, 1500) == WEIR_KVS_LIST);
    CHECK_EQ_U64(weir_kvs_keep_purge(&s, 15, 1500), 0);
    CHECK(weir_kvs_keep_look(&s, 27, 16, 42, 3600) == WEIR_KVS_WRITE);
    weir_kvs_keep_wrote(&s, 42);
    CHECK_EQ_U64(weir_kvs_keep_purge(&s, 0, 3600), 0); /* one has acknowledged nothing */
    CHECK(weir_kvs_keep_look(&s, 27, 16, 50, 4000) == WEIR_KVS_LIST);
    for (int i = 0; i < 10; i++)
        CHECK_EQ_U64(weir_kvs_keep_purge(&s, 0, 5000), 0);
    CHECK(s.next_ms <= 5000 + WEIR_KVS_HOLD_MAX_MS);
    CHECK_EQ_U64(weir_kvs_keep_purge(&s, 42, 5000), 43);
    CHECK(weir_kvs_keep_look(&s, 0, 43, 42, 5001) == WEIR_KVS_REST);
    CHECK(weir_kvs_keep_look(&s, 11, 43, 53, 5002) == WEIR_KVS_WRITE); /* no pause any more */
}

/* A naive server lists its consumers a page at a time, in whatever order, and some go and come in
 * between: whoever stayed is in a list that ends. (Failed before: one that went from an earlier
 * page hid the first of the next; and when another came at the same time, the length said nothing.)
 */
static void case_list_in_pages(void) {
    enum { PAGE = 4, MOST = 30, EVER = 2000 };
    static uint64_t hashes[EVER];
    unsigned ended = 0, whole = 0, in_one = 0;
    for (unsigned i = 0; i < EVER; i++)
        hashes[i] = weir_rng_u64(&rng);
    for (int round = 0; round < 6000; round++) {
        unsigned ids[MOST], n = (unsigned)weir_rng_below(&rng, MOST + 1), pages = 0, next_id = n;
        unsigned odds = (unsigned)weir_rng_below(&rng, 40), first = n;
        bool exchanges = weir_rng_below(&rng, 2) == 0; /* one comes for one that goes */
        static bool seen[EVER];
        memset(seen, 0, sizeof(seen));
        for (unsigned i = 0; i < n; i++)
            ids[i] = i;
        struct weir_kvs_list l = {.seen = 0};
        enum weir_kvs_page page = WEIR_KVS_PAGE_NEXT;
        while (page == WEIR_KVS_PAGE_NEXT || page == WEIR_KVS_PAGE_AGAIN) {
            unsigned told = 0;
            uint64_t names = 0;
            if (page == WEIR_KVS_PAGE_AGAIN)
                memset(seen, 0, sizeof(seen));
            for (; told < PAGE && l.seen + told < n; told++) {
                seen[ids[l.seen + told]] = true;
                names += hashes[ids[l.seen + told]];
            }
            page = weir_kvs_list_page(&l, told, n, names);
            CHECK(++pages < (WEIR_KVS_LIST_AGAIN + 2) * (MOST / PAGE + 2));
            if (page == WEIR_KVS_PAGE_END)
                break;
            while (n > 0 && next_id < EVER && weir_rng_below(&rng, 100) < odds) {
                unsigned at = (unsigned)weir_rng_below(&rng, n);
                memmove(ids + at, ids + at + 1, (n - at - 1) * sizeof(*ids));
                n--;
                if (!exchanges)
                    continue;
                at = (unsigned)weir_rng_below(&rng, n + 1);
                memmove(ids + at + 1, ids + at, (n - at) * sizeof(*ids));
                ids[at] = next_id++;
                n++;
            }
        }
        ended += page == WEIR_KVS_PAGE_END;
        whole += page == WEIR_KVS_PAGE_END && l.again > 1;
        in_one += page == WEIR_KVS_PAGE_END && pages == 1;
        for (unsigned i = 0; i < n && page == WEIR_KVS_PAGE_END; i++)
            CHECK(ids[i] >= first || seen[ids[i]]);
    }
    CHECK(ended > 2000 && whole > 200 && in_one > 200);
    /* One that never rests comes to its end, too. */
    struct weir_kvs_list l = {.seen = 0};
    unsigned times = 0;
    for (uint64_t total = 1000; weir_kvs_list_page(&l, PAGE, total, 1) != WEIR_KVS_PAGE_GIVE_UP;
         total--)
        times++;
    CHECK(times <= 2 * WEIR_KVS_LIST_AGAIN + 2);
    l = (struct weir_kvs_list){.seen = 0};
    for (times = 0; weir_kvs_list_page(&l, PAGE, 2 * PAGE, times) != WEIR_KVS_PAGE_GIVE_UP;)
        times++;
    CHECK(times <= 2 * WEIR_KVS_LIST_AGAIN + 2);
    l = (struct weir_kvs_list){.seen = 0};
    CHECK(weir_kvs_list_page(&l, 0, 5, 0) == WEIR_KVS_PAGE_GIVE_UP);
}

int main(void) {
    weir_rng_seed(&rng, check_seed());
    CHECK_RUN(case_way_to_live);
    CHECK_RUN(case_snapshot_settles);
    CHECK_RUN(case_order);
    CHECK_RUN(case_stream_anew);
    CHECK_RUN(case_purged_before_the_first);
    CHECK_RUN(case_late_workers);
    CHECK_RUN(case_pauses);
    CHECK_RUN(case_random);
    CHECK_RUN(case_keep_failed);
    CHECK_RUN(case_keep);
    CHECK_RUN(case_list_in_pages);
    return check_finish();
}
