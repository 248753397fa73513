/*
 * The admission queue with policy classes of a file (policy_config.h): a queue a class, and deficit
 * round robin among those that can go. Pure, as queue.h, whose items it takes; without a profile it
 * is one such queue.
 *
 * Whose turn it is, from the class at the cursor on: a class without items loses its credit; one
 * whose next item cannot go keeps it; one whose credit pays for its next item goes; any other gets
 * its quantum, once a scan, and goes if that pays. When a scan lets nobody go, each class that
 * could go gets as many quanta as the nearest one lacks. The cursor stays while the credit lasts.
 * Source: Dynamo's page "Deficit Round Robin Queue Scheduling".
 *
 * Bounds of a class are times the number of workers, and met when they are reached: what crosses
 * one is still taken.
 */
#ifndef WEIR_ROUTER_CLASS_QUEUE_H
#define WEIR_ROUTER_CLASS_QUEUE_H

#include "router/policy_config.h"

struct weir_class_queue;

/* profile (borrowed: outlives the queue) may be NULL; of `config` its policy, its classes and the
 * refreshing of prices are not used then. */
enum weir_status weir_class_queue_create(const struct weir_queue_config *config,
                                         const struct weir_policy_profile *profile,
                                         struct weir_class_queue **ret) WEIR_MUST_CHECK;
/* Accepts NULL. */
void weir_class_queue_destroy(struct weir_class_queue *queue);

/* As weir_queue_push; item->klass is the class, item->raw_tokens the whole prompt. */
enum weir_status weir_class_queue_push(struct weir_class_queue *queue, struct weir_queue_item *item,
                                       unsigned n_workers, uint64_t now_ms,
                                       struct weir_queue_refusal *ret) WEIR_MUST_CHECK;
/* Whose turn it is among those that can go; NULL: nobody. Grants credit, so each call is followed
 * by pop, pass or reprice of its item. can: asked of the next item of each class; NULL: all can. */
typedef bool (*weir_class_queue_can_fn)(void *arg, const struct weir_queue_item *item);
struct weir_queue_item *weir_class_queue_next(struct weir_class_queue *queue,
                                              weir_class_queue_can_fn can, void *arg);
/* As those of weir_queue. */
bool weir_class_queue_stale(const struct weir_class_queue *queue,
                            const struct weir_queue_item *item, uint64_t now_ms);
void weir_class_queue_reprice(struct weir_class_queue *queue, struct weir_queue_item *item,
                              uint64_t uncached_tokens, uint64_t now_ms);
void weir_class_queue_pass(struct weir_class_queue *queue, struct weir_queue_item *item);
void weir_class_queue_unpass(struct weir_class_queue *queue);
void weir_class_queue_pop(struct weir_class_queue *queue, struct weir_queue_item *item,
                          uint64_t now_ms);
void weir_class_queue_remove(struct weir_class_queue *queue, struct weir_queue_item *item);

void weir_class_queue_stats(const struct weir_class_queue *queue, uint64_t now_ms,
                            struct weir_queue_stats *ret);
struct weir_class_queue_totals {
    size_t requests;
    uint64_t raw_tokens, cached_tokens, uncached_tokens; /* as of their arrival */
};
void weir_class_queue_totals(const struct weir_class_queue *queue, size_t klass,
                             struct weir_class_queue_totals *ret);

#endif
