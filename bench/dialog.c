#include "bench/dialog.h"

#include "base/json.h"

void weir_dialog_init(struct weir_dialog *d, size_t max_bytes) {
    *d = (struct weir_dialog){.form = NULL};
    weir_buf_init(&d->body, max_bytes);
}

void weir_dialog_fini(struct weir_dialog *d) {
    if (d != NULL)
        weir_buf_fini(&d->body);
}

enum weir_status weir_dialog_begin(struct weir_dialog *d, const struct weir_dialog_form *form) {
    weir_buf_clear(&d->body);
    d->form = form;
    d->has_message = false;
    struct weir_jsonw w;
    weir_jsonw_init(&w, &d->body);
    weir_jsonw_object_begin(&w);
    weir_jsonw_key(&w, "model");
    weir_jsonw_string_z(&w, form->model);
    weir_jsonw_key(&w, form->chat ? "messages" : "prompt");
    weir_jsonw_raw(&w, form->chat ? WEIR_SPAN_LIT("[") : WEIR_SPAN_LIT("\""));
    d->open_len = d->body.len;
    return w.status;
}

/* Opens a message; in a completion what was said simply goes on. */
static enum weir_status open_message(struct weir_dialog *d, const char *role) {
    d->body.len = d->open_len;
    if (!d->form->chat)
        return WEIR_OK;
    enum weir_status st = weir_buf_printf(&d->body, "%s{\"role\":\"%s\",\"content\":\"",
                                          d->has_message ? "," : "", role);
    d->has_message = true;
    return st;
}

static enum weir_status close_message(struct weir_dialog *d) {
    enum weir_status st = d->form->chat ? weir_buf_append_z(&d->body, "\"}") : WEIR_OK;
    d->open_len = d->body.len;
    return st;
}

enum weir_status weir_dialog_user(struct weir_dialog *d, const struct weir_plan *plan,
                                  const struct weir_turn *turn) {
    enum weir_status st = WEIR_OK;
    if (turn->turn == 0 && plan->prefix_groups > 0 && turn->line == NULL) {
        st = open_message(d, "system");
        if (st == WEIR_OK)
            st = weir_plan_prefix(plan, turn, &d->body);
        if (st == WEIR_OK)
            st = close_message(d);
    }
    if (st == WEIR_OK)
        st = open_message(d, "user");
    if (st == WEIR_OK)
        st = weir_plan_text(plan, turn, &d->body);
    return st == WEIR_OK ? close_message(d) : st;
}

enum weir_status weir_dialog_answer(struct weir_dialog *d, struct weir_span escaped) {
    enum weir_status st = open_message(d, "assistant");
    if (st == WEIR_OK)
        st = weir_buf_append_span(&d->body, escaped);
    return st == WEIR_OK ? close_message(d) : st;
}

enum weir_status weir_dialog_body(struct weir_dialog *d, uint32_t max_tokens,
                                  struct weir_span *ret_body) {
    const struct weir_dialog_form *f = d->form;
    d->body.len = d->open_len;
    enum weir_status st = weir_buf_printf(
        &d->body, "%s,\"max_tokens\":%u%s%s}", f->chat ? "]" : "\"", max_tokens,
        f->ignore_eos ? ",\"ignore_eos\":true" : "",
        f->stream ? ",\"stream\":true,\"stream_options\":{\"include_usage\":true}" : "");
    if (st == WEIR_OK)
        *ret_body = weir_buf_span(&d->body);
    return st;
}
