/*
 * Lines as the watches of slices (s), pods (p) and CRs (c) bring them, and pages of their lists (S,
 * P, C); the letter stands first. Property: what is told to be visible no longer was visible; when
 * both sides have been listed and are empty, nothing is; a name that was read is inside its bounds.
 */
#include "runtime/discovery_kube_view.h"

#include "base/hash.h"
#include "base/map.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok) {
    if (!ok)
        abort();
}

static struct weir_map visible;

static void on_change(void *arg, enum weir_record_kind kind, struct weir_span key,
                      struct weir_span json) {
    uint64_t h = weir_hash_word(WEIR_HASH_BEGIN, (uint64_t)kind);
    (void)arg;
    must(key.len > 0 && kind <= WEIR_RECORD_EVENT_SOURCE);
    h = weir_hash_bytes(h, key.data, key.len);
    if (json.data == NULL)
        must(weir_map_remove(&visible, h));
    else
        must(json.len > 0 && weir_map_put(&visible, h, 1) == WEIR_OK);
}

struct page {
    struct weir_kube_view *view;
    enum weir_kube_side side;
};

static void put(struct weir_kube_view *view, enum weir_kube_side side, struct weir_span object) {
    enum weir_status st = weir_kube_view_put(view, side, object);
    must(st == WEIR_OK || st == WEIR_INVALID || st == WEIR_LIMIT);
}

static void on_item(void *arg, struct weir_span item) {
    const struct page *p = arg;
    put(p->view, p->side, item);
}

static void take_event(struct weir_kube_view *view, enum weir_kube_side side,
                       struct weir_span line) {
    enum weir_kube_change change;
    struct weir_span object;
    struct weir_kube_status status;
    if (weir_kube_decode_event(line, &change, &object) != WEIR_OK)
        return;
    must(object.data >= line.data && object.data + object.len <= line.data + line.len);
    if (change == WEIR_KUBE_PUT) {
        put(view, side, object);
    } else if (change == WEIR_KUBE_DELETED) {
        enum weir_status st = weir_kube_view_remove(view, side, object);
        must(st == WEIR_OK || st == WEIR_INVALID);
    } else if (change == WEIR_KUBE_ERROR) {
        weir_kube_decode_status(object, &status);
        must(strlen(status.message) < sizeof(status.message));
    }
}

static void take_page(struct weir_kube_view *view, enum weir_kube_side side,
                      struct weir_span line) {
    struct page page = {view, side};
    struct weir_kube_list list = {{0}, {0}};
    struct weir_arena arena;
    weir_arena_init(&arena, 1 << 20);
    weir_kube_view_list_begin(view, side);
    if (weir_kube_decode_list(line, &arena, on_item, &page, &list) == WEIR_OK) {
        must(list.resource_version.len > 0);
        weir_kube_view_list_end(view, side);
    }
    weir_arena_fini(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char letters[] = "spcSPC";
    struct weir_span rest = weir_span((const char *)data, size);
    struct weir_kube_view *view = weir_kube_view_create(64, on_change, NULL);
    must(view != NULL);
    weir_map_init(&visible, 1 << 20);
    while (rest.data != NULL && rest.len > 0) {
        struct weir_span line = weir_span_split(rest, '\n', &rest);
        const char *letter = line.len > 0 ? strchr(letters, line.data[0]) : NULL;
        if (letter == NULL || *letter == '\0')
            continue;
        size_t n = (size_t)(letter - letters);
        line = weir_span(line.data + 1, line.len - 1);
        if (n < 3)
            take_event(view, (enum weir_kube_side)n, line);
        else
            take_page(view, (enum weir_kube_side)(n - 3), line);
        weir_kube_view_settle(view);
    }
    for (int side = 0; side < 3; side++) {
        weir_kube_view_list_begin(view, (enum weir_kube_side)side);
        weir_kube_view_list_end(view, (enum weir_kube_side)side);
    }
    struct weir_kube_counts left = weir_kube_view_counts(view);
    must(left.visible == 0 && left.crs == 0 && left.ready == 0);
    must(weir_map_len(&visible) == 0);
    weir_map_fini(&visible);
    weir_kube_view_destroy(view);
    return 0;
}
