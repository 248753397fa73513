/* Intrusive doubly linked ring. A node is in at most one list; an unlinked node points to itself.
 */
#ifndef WEIR_BASE_LIST_H
#define WEIR_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct weir_list {
    struct weir_list *prev, *next;
};

static inline void weir_list_init(struct weir_list *l) {
    l->prev = l->next = l;
}
static inline bool weir_list_empty(const struct weir_list *l) {
    return l->next == l;
}
static inline void weir_list_insert_before(struct weir_list *at, struct weir_list *node) {
    node->prev = at->prev;
    node->next = at;
    at->prev->next = node;
    at->prev = node;
}
static inline void weir_list_push_back(struct weir_list *head, struct weir_list *node) {
    weir_list_insert_before(head, node);
}
static inline void weir_list_push_front(struct weir_list *head, struct weir_list *node) {
    weir_list_insert_before(head->next, node);
}
/* Safe on a node that is not linked. */
static inline void weir_list_remove(struct weir_list *node) {
    node->prev->next = node->next;
    node->next->prev = node->prev;
    weir_list_init(node);
}
/* Iterates safely against removal of `it`. */
#define WEIR_LIST_FOREACH(it, head)                                                                \
    for (struct weir_list *it = (head)->next, *it##_next = it->next; it != (head);                 \
         it = it##_next, it##_next = it->next)

#endif
