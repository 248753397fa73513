/* What threads have found reaches their loop, however full its queue is meanwhile. (Failed before:
 * the result was lost, a name was never resolved and a model never served.) */
#include "frontend/models_load.h"
#include "runtime/resolve.h"
#include "test/check.h"
#include "test/unit/runtime/turns.h"

#include <stdatomic.h>

static struct weir_loop *loop;
static atomic_uint n_refused; /* posts that still find the queue full */

enum weir_status __real_weir_loop_post(struct weir_loop *to, weir_post_fn fn, void *arg);
enum weir_status __wrap_weir_loop_post(struct weir_loop *to, weir_post_fn fn, void *arg);
enum weir_status __wrap_weir_loop_post(struct weir_loop *to, weir_post_fn fn, void *arg) {
    unsigned n = atomic_load(&n_refused);
    while (n > 0) /* threads of cases before may post, too */
        if (atomic_compare_exchange_weak(&n_refused, &n, n - 1))
            return n % 2 == 0 ? WEIR_LIMIT : WEIR_NOMEM;
    return __real_weir_loop_post(to, fn, arg);
}

static bool is_set(void *arg) {
    return *(bool *)arg;
}

static void on_resolved(void *arg, const char (*ips)[WEIR_IP_BYTES], size_t n,
                        const struct weir_err *err) {
    (void)err;
    CHECK(n == 1 && strcmp(ips[0], "127.0.0.1") == 0);
    *(bool *)arg = true;
}

static void case_a_name(void) {
    struct weir_resolve *r = NULL;
    bool came = false;
    atomic_store(&n_refused, 5);
    CHECK(weir_resolve_start(loop, "127.0.0.1", on_resolved, &came, &r) == WEIR_OK);
    CHECK(turns_until(loop, is_set, &came));
    CHECK_EQ_U64(atomic_load(&n_refused), 0);
    /* Who cancels meanwhile waits for nothing. */
    atomic_store(&n_refused, UINT_MAX);
    came = false;
    CHECK(weir_resolve_start(loop, "127.0.0.1", on_resolved, &came, &r) == WEIR_OK);
    weir_resolve_cancel(r);
    atomic_store(&n_refused, 0);
    turns_flush(loop);
    CHECK(!came);
}

static void on_loaded(void *arg, struct wtok *tok, const struct weir_image_rules *images,
                      const struct weir_err *err) {
    (void)images;
    CHECK(tok == NULL && err->text[0] != '\0');
    *(bool *)arg = true;
}

static void case_a_model(void) {
    const struct weir_card card = {.display_name = WEIR_SPAN_LIT("m")};
    const struct weir_tok_load_config config = {.model = "m", .model_path = "/nowhere"};
    struct weir_tok_load *load = NULL;
    bool came = false;
    atomic_store(&n_refused, 5);
    CHECK(weir_tok_load_start(loop, &card, &config, on_loaded, &came, &load) == WEIR_OK);
    CHECK(turns_until(loop, is_set, &came));
    CHECK_EQ_U64(atomic_load(&n_refused), 0);
    /* Its end is not held up. */
    atomic_store(&n_refused, UINT_MAX);
    CHECK(weir_tok_load_start(loop, &card, &config, on_loaded, &came, &load) == WEIR_OK);
    weir_tok_load_cancel(load);
    atomic_store(&n_refused, 0);
}

int main(void) {
    if (weir_loop_create(0, &loop) != WEIR_OK)
        return 1;
    CHECK_RUN(case_a_name);
    CHECK_RUN(case_a_model);
    if (check_failed == 0)
        weir_loop_destroy(loop);
    return check_finish();
}
