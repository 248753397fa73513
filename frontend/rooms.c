#include "frontend/rooms.h"

#include "base/mem.h"

struct weir_rooms {
    struct weir_router *router; /* borrowed */
    uint32_t n;
    struct weir_admission *rooms[]; /* owned */
};

static void on_room(void *arg) {
    const struct weir_rooms *x = arg;
    for (uint32_t i = 0; i < x->n; i++)
        weir_admission_room(x->rooms[i]);
}

enum weir_status weir_rooms_create(const struct weir_admission_config *config,
                                   struct weir_router *router, uint32_t n_pools,
                                   struct weir_rooms **ret) {
    uint32_t n = n_pools > 0 ? n_pools : 1;
    struct weir_rooms *x = weir_calloc(1, sizeof(*x) + n * sizeof(x->rooms[0]));
    if (x == NULL)
        return WEIR_NOMEM;
    x->router = router;
    for (; x->n < n; x->n++) {
        struct weir_admission_config c = *config;
        c.has_pool = n_pools > 0;
        c.pool = x->n;
        if (weir_admission_create(&c, router, &x->rooms[x->n]) != WEIR_OK) {
            weir_rooms_destroy(x);
            return WEIR_NOMEM;
        }
    }
    weir_router_on_room(router, on_room, x);
    *ret = x;
    return WEIR_OK;
}

void weir_rooms_destroy(struct weir_rooms *x) {
    if (x == NULL)
        return;
    weir_router_on_room(x->router, NULL, NULL);
    for (uint32_t i = 0; i < x->n; i++)
        weir_admission_destroy(x->rooms[i]);
    weir_free(x);
}

uint32_t weir_rooms_n(const struct weir_rooms *x) {
    return x->n;
}

struct weir_admission *weir_rooms_at(const struct weir_rooms *x, uint32_t at) {
    return x->rooms[at < x->n ? at : 0];
}

void weir_rooms_pump(struct weir_rooms *x) {
    for (uint32_t i = 0; x != NULL && i < x->n; i++)
        weir_admission_pump(x->rooms[i]);
}
