/*
 * Download: the record → its chunks, one after the other, handed on as they come → digest → told.
 * Upload: the bucket → the record of before → the owner says what is to replace it → chunks, each
 * read and acknowledged → the new record, which replaces that of before and no other → the chunks
 * of before are purged → told. (What is made before the record of before was read may be older than
 * that one.)
 *
 * Failure modes: any call that fails ends the operation; an upload that breaks off leaves the
 * object of before whole, and has its own chunks purged: nobody names them, and the bucket has no
 * age. They stay only where the purge is lost, or where nobody knows whether the new record was
 * stored, since then they may be the object's.
 */
#include "runtime/js_object.h"

#include "base/arena.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/sha256.h"
#include "wire/jetstream.h"

#include <inttypes.h>
#include <stdio.h>

enum {
    CHUNK_BYTES = 128 * 1024,
    NUID_MAX = 64,
    SUBJECT_BYTES = WEIR_JS_BUCKET_BYTES + 160,
    ARENA_MAX = 64 << 20,
};

enum step { STEP_BUCKET, STEP_RECORD, STEP_READY, STEP_CHUNK, STEP_NEW_RECORD, STEP_PURGE };

struct weir_js_object_op {
    struct weir_js *js; /* borrowed */
    char bucket[WEIR_JS_BUCKET_BYTES];
    char name[64];
    const struct weir_js_object_sink *sink; /* borrowed; NULL: an upload */
    bool upload;
    uint64_t max_bytes;
    void (*on_ready)(void *arg); /* upload */
    weir_js_object_fn fn;
    void *arg;
    enum step step;
    struct weir_js_call *call;
    struct weir_arena arena;
    struct weir_spool *bytes; /* upload: of the object */
    struct weir_span chunk;   /* upload: the one that is sent, borrowed from the spool */
    uint64_t got;             /* download: bytes handed on */
    struct weir_sha256 *sha;
    char digest[WEIR_JS_DIGEST_BYTES]; /* download: what the record says */
    char nuid[NUID_MAX + 1];           /* whose chunks are read or written */
    char old[NUID_MAX + 1];            /* upload: whose are to go; "" = none */
    uint64_t size, chunks, n, seq;     /* as the record says; chunks done; place of the last one */
    uint64_t record_seq; /* upload: place of the record of before; 0 = there is none */
    bool ours_alone;     /* upload: chunks may be there that no record names */
};

static void ask(struct weir_js_object_op *op);

/* Best effort: nobody waits for it. */
static void purge_own(const struct weir_js_object_op *op) {
    char subject[SUBJECT_BYTES], body[SUBJECT_BYTES];
    int n = snprintf(body, sizeof(body), "{\"filter\":\"$O.%s.C.%s\"}", op->bucket, op->nuid);
    snprintf(subject, sizeof(subject), "$JS.API.STREAM.PURGE.OBJ_%s", op->bucket);
    if (weir_js_tell(op->js, subject, weir_span(body, (size_t)n)) != WEIR_OK)
        WEIR_LOG(WEIR_LOG_WARN, "events",
                 "bucket %s: chunks of an upload that broke off were not removed: %s.C.%s",
                 op->bucket, op->bucket, op->nuid);
}

static void free_op(struct weir_js_object_op *op) {
    weir_js_cancel(op->call);
    if (op->ours_alone)
        purge_own(op);
    weir_sha256_destroy(op->sha);
    weir_arena_fini(&op->arena);
    weir_spool_destroy(op->bytes);
    weir_free(op);
}

static void finish(struct weir_js_object_op *op, enum weir_status st) {
    op->fn(op->arg, st, op->digest);
    free_op(op);
}

/* "SHA-256=" and the digest of all that was added. */
static enum weir_status put_digest(struct weir_js_object_op *op, char ret[WEIR_JS_DIGEST_BYTES]) {
    char raw[WEIR_SHA256_BYTES];
    struct weir_buf text;
    weir_buf_init(&text, WEIR_JS_DIGEST_BYTES - 1);
    enum weir_status st = weir_sha256_end(op->sha, raw);
    if (st == WEIR_OK)
        st = weir_buf_append_z(&text, "SHA-256=");
    if (st == WEIR_OK)
        st = weir_js_base64url(weir_span(raw, sizeof(raw)), &text);
    if (st == WEIR_OK) {
        memcpy(ret, text.data, text.len);
        ret[text.len] = '\0';
    }
    weir_buf_fini(&text);
    return st;
}

/* ---- steps -------------------------------------------------------------------------------- */

/* It becomes part of a subject and of a JSON text. */
static bool take_nuid(struct weir_span nuid, char ret[NUID_MAX + 1]) {
    if (nuid.len == 0 || nuid.len > NUID_MAX)
        return false;
    for (size_t i = 0; i < nuid.len; i++) {
        char c = nuid.data[i];
        if (!((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
              c == '-' || c == '_'))
            return false;
    }
    memcpy(ret, nuid.data, nuid.len);
    ret[nuid.len] = '\0';
    return true;
}

/* Download: what the record says is to be read. */
static enum weir_status take_record(struct weir_js_object_op *op, struct weir_span json) {
    struct weir_js_object o;
    enum weir_status st = weir_js_object_decode(json, &op->arena, &o);
    if (st != WEIR_OK)
        return st;
    if (o.deleted)
        return WEIR_NOT_FOUND;
    if (o.size > op->max_bytes)
        return WEIR_TOO_LARGE;
    if (!take_nuid(o.nuid, op->nuid) || o.digest.len >= sizeof(op->digest))
        return WEIR_PROTOCOL;
    memcpy(op->digest, o.digest.data, o.digest.len);
    op->digest[o.digest.len] = '\0';
    op->size = o.size;
    op->chunks = o.chunks;
    op->sink->on_begin(op->arg, op->digest, op->size);
    return WEIR_OK;
}

static void take_old(struct weir_js_object_op *op, struct weir_span json) {
    struct weir_js_object o;
    op->old[0] = '\0';
    if (weir_js_object_decode(json, &op->arena, &o) == WEIR_OK && !take_nuid(o.nuid, op->old))
        op->old[0] = '\0';
}

static enum weir_status check(struct weir_js_object_op *op) {
    char digest[WEIR_JS_DIGEST_BYTES];
    enum weir_status st = put_digest(op, digest);
    if (st != WEIR_OK)
        return st;
    return op->got == op->size && strcmp(digest, op->digest) == 0 ? WEIR_OK : WEIR_PROTOCOL;
}

static bool is_missing(uint32_t error) {
    return error == WEIR_JS_NO_MESSAGE || error == WEIR_JS_NO_STREAM || error == 404;
}

/* True: there is more to do. */
static bool after_get(struct weir_js_object_op *op, const struct weir_js_answer *a,
                      enum weir_status *ret) {
    if (a->error != 0) {
        *ret = !is_missing(a->error)     ? WEIR_UNAVAILABLE
               : op->step == STEP_RECORD ? WEIR_NOT_FOUND
                                         : WEIR_AGAIN;
        return false;
    }
    if (op->step == STEP_RECORD) {
        *ret = take_record(op, a->data);
        op->step = STEP_CHUNK;
    } else {
        op->n++;
        op->seq = a->seq;
        *ret = a->data.len > op->size - op->got ? WEIR_PROTOCOL : WEIR_OK;
        if (*ret != WEIR_OK)
            return false;
        op->got += a->data.len;
        weir_sha256_add(op->sha, a->data);
        op->sink->on_bytes(op->arg, a->data);
    }
    if (*ret != WEIR_OK)
        return false;
    if (op->n < op->chunks)
        return true;
    *ret = check(op);
    return false;
}

static bool after_put(struct weir_js_object_op *op, const struct weir_js_answer *a,
                      enum weir_status *ret) {
    bool ok = a->error == 0 || (op->step == STEP_BUCKET && a->error == WEIR_JS_STREAM_EXISTS) ||
              (op->step == STEP_RECORD && is_missing(a->error)) || op->step == STEP_PURGE;
    bool other = a->error == WEIR_JS_OTHER_LAST || a->error == WEIR_JS_OTHER_LAST_2;
    *ret = ok ? WEIR_OK : op->step == STEP_NEW_RECORD && other ? WEIR_EXISTS : WEIR_UNAVAILABLE;
    if (op->step == STEP_NEW_RECORD)
        op->ours_alone = !ok;
    if (!ok)
        return false;
    switch (op->step) {
    case STEP_BUCKET:
        op->step = STEP_RECORD;
        return true;
    case STEP_RECORD:
        if (a->error == 0)
            take_old(op, a->data);
        op->record_seq = a->error == 0 ? a->seq : 0;
        op->step = STEP_READY;
        return true;
    case STEP_READY: /* asks nothing */
        break;
    case STEP_CHUNK:
        if (++op->n == op->chunks)
            op->step = STEP_NEW_RECORD;
        return true;
    case STEP_NEW_RECORD:
        op->step = STEP_PURGE;
        return op->old[0] != '\0';
    case STEP_PURGE:
        break;
    }
    return false;
}

static void on_answer(void *arg, enum weir_status st, const struct weir_nats_msg *msg) {
    struct weir_js_object_op *op = arg;
    struct weir_js_answer a = {0};
    op->call = NULL;
    weir_arena_reset(&op->arena);
    if (st == WEIR_OK)
        st = weir_js_answer_decode(msg->payload, &op->arena, &a);
    if (st != WEIR_OK) {
        finish(op, st);
        return;
    }
    bool more = op->upload ? after_put(op, &a, &st) : after_get(op, &a, &st);
    if (more)
        ask(op);
    else
        finish(op, st);
}

/* ---- requests ----------------------------------------------------------------------------- */

struct text {
    char subject[SUBJECT_BYTES];
    struct weir_buf body;
    struct weir_span payload;
    bool replaces; /* what lies behind the subject, whose place is op->record_seq */
};

static enum weir_status record_subject(const struct weir_js_object_op *op, struct weir_buf *out) {
    enum weir_status st = weir_buf_printf(out, "$O.%s.M.", op->bucket);
    return st == WEIR_OK ? weir_js_base64url(weir_span_z(op->name), out) : st;
}

static enum weir_status put_new_record(struct weir_js_object_op *op, struct text *t) {
    struct weir_buf subject;
    weir_buf_init(&subject, sizeof(t->subject) - 1);
    enum weir_status st = record_subject(op, &subject);
    if (st == WEIR_OK) {
        memcpy(t->subject, subject.data, subject.len);
        t->subject[subject.len] = '\0';
        st = put_digest(op, op->digest);
    }
    weir_buf_fini(&subject);
    const struct weir_js_object o = {.name = weir_span_z(op->name),
                                     .bucket = weir_span_z(op->bucket),
                                     .nuid = weir_span_z(op->nuid),
                                     .digest = weir_span_z(op->digest),
                                     .size = weir_spool_size(op->bytes),
                                     .chunks = op->chunks,
                                     .mtime_ms = weir_wall_ms()};
    t->replaces = true;
    op->ours_alone = false; /* until it is refused */
    return st == WEIR_OK ? weir_js_object_encode(&o, &t->body) : st;
}

static enum weir_status put_chunk(struct weir_js_object_op *op, struct text *t) {
    t->payload = op->chunk;
    op->ours_alone = true;
    weir_sha256_add(op->sha, t->payload);
    snprintf(t->subject, sizeof(t->subject), "$O.%s.C.%s", op->bucket, op->nuid);
    return WEIR_OK;
}

static enum weir_status put_get(struct weir_js_object_op *op, struct text *t) {
    snprintf(t->subject, sizeof(t->subject), "$JS.API.STREAM.MSG.GET.OBJ_%s", op->bucket);
    if (op->step == STEP_CHUNK)
        return weir_buf_printf(&t->body, "{\"seq\":%" PRIu64 ",\"next_by_subj\":\"$O.%s.C.%s\"}",
                               op->seq + 1, op->bucket, op->nuid);
    enum weir_status st = weir_buf_append_z(&t->body, "{\"last_by_subj\":\"");
    if (st == WEIR_OK)
        st = record_subject(op, &t->body);
    return st == WEIR_OK ? weir_buf_append_z(&t->body, "\"}") : st;
}

static enum weir_status put_request(struct weir_js_object_op *op, struct text *t) {
    if (!op->upload || op->step == STEP_RECORD)
        return put_get(op, t);
    switch (op->step) {
    case STEP_BUCKET:
        snprintf(t->subject, sizeof(t->subject), "$JS.API.STREAM.CREATE.OBJ_%s", op->bucket);
        return weir_js_put_bucket(op->bucket, &t->body);
    case STEP_CHUNK:
        return put_chunk(op, t);
    case STEP_NEW_RECORD:
        return put_new_record(op, t);
    default:
        snprintf(t->subject, sizeof(t->subject), "$JS.API.STREAM.PURGE.OBJ_%s", op->bucket);
        return weir_buf_printf(&t->body, "{\"filter\":\"$O.%s.C.%s\"}", op->bucket, op->old);
    }
}

static enum weir_status send(struct weir_js_object_op *op) {
    struct text t = {.payload = {NULL, 0}};
    char seq[24];
    snprintf(seq, sizeof(seq), "%" PRIu64, op->record_seq);
    weir_buf_init(&t.body, 64 * 1024);
    enum weir_status st = put_request(op, &t);
    if (t.payload.data == NULL)
        t.payload = weir_buf_span(&t.body);
    const struct weir_js_request request = {
        .subject = t.subject,
        .payload = t.payload,
        .headers = {{"Nats-Rollup", "sub"}, {"Nats-Expected-Last-Subject-Sequence", seq}},
        .n_headers = t.replaces ? 2 : 0,
        .fn = on_answer,
        .arg = op};
    if (st == WEIR_OK)
        st = weir_js_ask(op->js, &request, &op->call);
    op->ours_alone |= st != WEIR_OK && t.replaces; /* nothing was sent */
    weir_buf_fini(&t.body);
    return st;
}

static void on_read(void *arg, enum weir_status st, struct weir_span bytes) {
    struct weir_js_object_op *op = arg;
    op->chunk = bytes;
    if (st == WEIR_OK)
        st = send(op);
    if (st != WEIR_OK)
        finish(op, st);
}

static void read_chunk(struct weir_js_object_op *op) {
    uint64_t from = op->n * CHUNK_BYTES, left = weir_spool_size(op->bytes) - from;
    weir_spool_read(op->bytes, from, left < CHUNK_BYTES ? (size_t)left : CHUNK_BYTES, on_read, op);
}

static void ask(struct weir_js_object_op *op) {
    if (op->step == STEP_READY) {
        op->on_ready(op->arg);
        return;
    }
    if (op->upload && op->step == STEP_CHUNK) {
        read_chunk(op);
        return;
    }
    enum weir_status st = send(op);
    if (st != WEIR_OK)
        finish(op, st);
}

/* ---- life --------------------------------------------------------------------------------- */

static struct weir_js_object_op *create(const struct weir_js_object_config *config,
                                        enum step first) {
    struct weir_js_object_op *op = weir_calloc(1, sizeof(*op));
    if (op == NULL)
        return NULL;
    op->js = config->js;
    op->step = first;
    op->on_ready = config->on_ready;
    op->fn = config->fn;
    op->arg = config->arg;
    op->max_bytes = config->max_bytes;
    snprintf(op->bucket, sizeof(op->bucket), "%s", config->bucket);
    snprintf(op->name, sizeof(op->name), "%s", config->name);
    op->sink = config->sink;
    weir_arena_init(&op->arena, ARENA_MAX);
    return op;
}

static enum weir_status start(struct weir_js_object_op *op, struct weir_js_object_op **ret_op) {
    enum weir_status st = weir_sha256_create(&op->sha);
    if (st == WEIR_OK)
        st = send(op);
    if (st == WEIR_OK)
        *ret_op = op;
    else
        free_op(op);
    return st;
}

enum weir_status weir_js_object_get(const struct weir_js_object_config *config,
                                    struct weir_js_object_op **ret_op) {
    struct weir_js_object_op *op = create(config, STEP_RECORD);
    return op != NULL ? start(op, ret_op) : WEIR_NOMEM;
}

enum weir_status weir_js_object_put(const struct weir_js_object_config *config,
                                    struct weir_js_object_op **ret_op) {
    char inbox[WEIR_NATS_INBOX_BYTES];
    struct weir_js_object_op *op = create(config, STEP_BUCKET);
    if (op == NULL)
        return WEIR_NOMEM;
    op->upload = true;
    weir_nats_inbox(weir_loop_rng(weir_js_loop(op->js)), inbox);
    snprintf(op->nuid, sizeof(op->nuid), "%s", strrchr(inbox, '.') + 1);
    return start(op, ret_op);
}

void weir_js_object_write(struct weir_js_object_op *op, struct weir_spool *take) {
    op->bytes = take;
    op->chunks = (weir_spool_size(take) + CHUNK_BYTES - 1) / CHUNK_BYTES;
    op->step = op->chunks > 0 ? STEP_CHUNK : STEP_NEW_RECORD;
    ask(op);
}

void weir_js_object_cancel(struct weir_js_object_op *op) {
    if (op != NULL)
        free_op(op);
}
