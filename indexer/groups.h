/*
 * What the indexer knows: one index for each model and routing group, and the engines that feed it.
 * Thread: one loop.
 */
#ifndef WEIR_INDEXER_GROUPS_H
#define WEIR_INDEXER_GROUPS_H

#include "base/list.h"
#include "base/span.h"
#include "base/status.h"
#include "indexer/device.h"
#include "indexer/follower.h"
#include "kvindex/kvi.h"

struct weir_groups;

/* One index. Owned by the registry. */
struct weir_group {
    struct weir_list node, followers; /* of struct weir_registration */
    char *model, *name;               /* owned */
    uint32_t block_size;              /* tokens; set by what came first */
    const char *size_of; /* what that was, when no engine has it yet: "a snapshot"; static */
    bool left;           /* its last engine has gone: empty and unseen until its names come again */
    uint64_t n_left;     /* times that it was left */
    unsigned n_followers;
    struct kvi_index *index;
    struct kvi_reader *reader, *bulk_reader; /* the loop's; the bulk thread's */
    struct weir_mirror *mirror;              /* through which the index changes */
};

/* One engine rank that publishes events. */
struct weir_registration {
    struct weir_list node;
    struct kvi_worker worker;
    char *endpoint, *replay; /* owned; replay NULL: gaps stay gaps */
    struct weir_follower *follower;
};

struct weir_groups_config {
    struct weir_loop *loop;     /* borrowed: where events arrive */
    struct weir_device *device; /* borrowed; NULL: none */
    size_t index_max_bytes;
    unsigned max_groups;
};
enum weir_status weir_groups_create(const struct weir_groups_config *config,
                                    struct weir_groups **ret_groups) WEIR_MUST_CHECK;
/* Accepts NULL. */
void weir_groups_destroy(struct weir_groups *groups);

/* NULL when there is none. */
struct weir_group *weir_groups_find(struct weir_groups *groups, struct weir_span model,
                                    struct weir_span name);
/* Finds or makes; size_of: what has this block size (static), NULL: an engine. WEIR_EXISTS: it has
 * another one, and *ret_group is it; WEIR_LIMIT: too many groups. */
enum weir_status weir_groups_get(struct weir_groups *groups, struct weir_span model,
                                 struct weir_span name, uint32_t block_size, const char *size_of,
                                 struct weir_group **ret_group) WEIR_MUST_CHECK;
/* One that was made for what did not come, and has neither engines nor blocks, goes as if its last
 * engine had left: it settles no block size. */
void weir_groups_drop_empty(struct weir_group *group);
/* Those that were left too. */
const struct weir_list *weir_groups_list(const struct weir_groups *groups);

struct weir_register_request {
    struct weir_span model, group, endpoint, replay; /* replay may be NULL */
    uint64_t instance_id;
    uint32_t dp_rank, block_size;
};
/* WEIR_EXISTS: the rank is registered already, its instance is in another group (one engine's
 * cache is in one index), or the group has another block size. WEIR_INVALID:
 * no ZeroMQ address. err says which. */
enum weir_status weir_groups_register(struct weir_groups *groups,
                                      const struct weir_register_request *request,
                                      struct weir_err *err) WEIR_MUST_CHECK;
/* group.data NULL: in all groups; dp_rank < 0: all ranks. Returns how many went; their blocks leave
 * the index. A group whose last rank goes is empty and no group any more: the next one of its names
 * may have another block size. */
unsigned weir_groups_unregister(struct weir_groups *groups, struct weir_span model,
                                struct weir_span group, uint64_t instance_id, int64_t dp_rank);

/* Stops or goes on reading a rank's events; what is known of it stays. WEIR_NOT_FOUND: no such rank
 * in any group; WEIR_EXISTS: it is paused, or is not, already. */
enum weir_status weir_groups_pause(struct weir_groups *groups, struct kvi_worker worker, bool pause,
                                   struct weir_err *err) WEIR_MUST_CHECK;

#endif
