/*
 * Media of a request. Outside references: URLs as Dynamo 1.6.1 passes them on, or does not
 * (test/data/media-urls-1.6.1.jsonl, captured by interop_media.py's way), and requests that its
 * workers were sent.
 */
#include "wire/media.h"

#include "base/json.h"
#include "base/msgpack.h"
#include "test/check.h"
#include "wire/request.h"

static struct weir_arena arena;

static struct weir_span member(struct weir_span row, const char *name) {
    struct weir_span raw;
    struct weir_json j;
    struct weir_json_str s;
    CHECK(weir_json_member(row, name, &raw));
    if (weir_json_type_of(raw) != WEIR_JSON_STRING)
        return weir_span(NULL, 0);
    weir_json_init(&j, raw, 2);
    CHECK(weir_json_string(&j, &s));
    return weir_json_text(s, &arena);
}

/* Members: url; sent, as it is passed on, or null for what is no URL; refused, by the guard. */
static void case_urls(void) {
    char line[4096];
    unsigned n = 0;
    FILE *f = fopen("test/data/media-urls-1.6.1.jsonl", "rb");
    CHECK(f != NULL);
    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        struct weir_span row = weir_span_z(line), raw, url = {NULL, 0};
        const char *why = NULL;
        struct weir_span text = member(row, "url"), want = member(row, "sent");
        enum weir_status st = weir_media_url(text, &arena, &url, &why);
        CHECK_MSG(st == (want.data != NULL ? WEIR_OK : WEIR_INVALID), "%.*s: %s",
                  WEIR_SPAN_ARG(text), why != NULL ? why : "");
        n++;
        if (st != WEIR_OK || want.data == NULL)
            continue;
        CHECK_MSG(weir_span_eq(url, want), "%.*s became %.*s, not %.*s", WEIR_SPAN_ARG(text),
                  WEIR_SPAN_ARG(url), WEIR_SPAN_ARG(want));
        CHECK(weir_json_member(row, "refused", &raw));
        CHECK_MSG((weir_media_url_refused(url) != NULL) == weir_span_eqz(raw, "true"),
                  "the guard at %.*s", WEIR_SPAN_ARG(url));
        /* What is written so stays so. */
        struct weir_span again = {NULL, 0};
        CHECK(weir_media_url(url, &arena, &again, &why) == WEIR_OK && weir_span_eq(again, url));
    }
    if (f != NULL)
        fclose(f);
    CHECK(n > 100);
}

/* As in the standard's own tests. (Failed before: what was a path became a host.) */
static void case_a_path_that_looks_like_a_host(void) {
    struct weir_span url = {NULL, 0};
    const char *why = NULL;
    CHECK(weir_media_url(WEIR_SPAN_LIT("web+demo:/..//not-a-host/"), &arena, &url, &why) ==
              WEIR_OK &&
          weir_span_eqz(url, "web+demo:/.//not-a-host/"));
}

static void case_data_is_not_copied(void) {
    struct weir_span url = {NULL, 0}, data = WEIR_SPAN_LIT("data:image/png;base64,AAAA/+==");
    const char *why = NULL;
    CHECK(weir_media_url(data, &arena, &url, &why) == WEIR_OK && url.data == data.data);
    CHECK(weir_media_url_holds_data(url));
    CHECK(weir_media_url(WEIR_SPAN_LIT("http://m\xc3\xbcnchen.de/"), &arena, &url, &why) ==
          WEIR_INVALID);
    CHECK(strstr(why, "xn--") != NULL);
}

/* Media in several kinds and forms, through both codecs, in the reference's words. */
static void case_there_and_back(void) {
    static const char json[] =
        "{\"token_ids\":[1],\"multi_modal_data\":{\"image_url\":[{\"Url\":\"http://h/a\"},"
        "{\"UuidOnly\":\"u\"},{\"Decoded\":{\"shape\":[1,2],\"x\":\"y\"}}],\"video_url\":[{\"Url\":"
        "\"data:,\\\"\"}]},\"multi_modal_uuids\":{\"image_url\":[null,\"u\",null],\"video_url\":["
        "null]},\"mm_routing_info\":{\"routing_token_ids\":[7,8,0,0],\"block_mm_infos\":[],"
        "\"expanded_prompt_len\":2}}";
    for (int codec = 0; codec < 2; codec++)
        for (int other = 0; other < 2; other++) {
            struct weir_prep_request q;
            struct weir_err err = {.text = ""};
            struct weir_buf in, out, back;
            weir_buf_init(&in, 1 << 20);
            weir_buf_init(&out, 1 << 20);
            weir_buf_init(&back, 1 << 20);
            CHECK((codec == WEIR_CODEC_MSGPACK ? weir_mp_from_json(weir_span_z(json), &in)
                                               : weir_buf_append_z(&in, json)) == WEIR_OK);
            CHECK_MSG(weir_prep_request_decode(weir_buf_span(&in), (enum weir_codec)codec, 8,
                                               &arena, &q, &err) == WEIR_OK,
                      "%s", err.text);
            CHECK(q.media.n == 4 && q.media.items[1].form == WEIR_MEDIA_UUID);
            CHECK(q.media.items[2].form == WEIR_MEDIA_OTHER);
            CHECK(weir_span_eqz(q.media.items[3].value, "data:,\""));
            CHECK(q.mm_routing_ids.n == 2 && q.mm_routing_ids.ids[1] == 8);
            CHECK(weir_prep_request_encode(&q, (enum weir_codec)other, &out) == WEIR_OK);
            CHECK(weir_prep_request_decode(weir_buf_span(&out), (enum weir_codec)other, 8, &arena,
                                           &q, &err) == WEIR_OK);
            CHECK(weir_prep_request_encode(&q, WEIR_CODEC_JSON, &back) == WEIR_OK);
            const char *want = strstr(json, "\"multi_modal_data\"");
            CHECK(weir_buf_append_c(&back, '\0') == WEIR_OK);
            const char *got = strstr(back.data, "\"multi_modal_data\"");
            size_t n = strlen(want) - 1; /* without the last brace */
            CHECK_MSG(got != NULL && strncmp(got, want, n) == 0, "%s", back.data);
            weir_buf_fini(&in);
            weir_buf_fini(&out);
            weir_buf_fini(&back);
        }
}

/* Ids for routing are those that say all of their blocks; where there are none the prompt's length
 * is that of its own. (Failed before: no ids were a prompt of none, and blocks whose images
 * `block_mm_infos` names were looked for by their ids alone.) */
static void case_routing_ids(void) {
    static const struct {
        const char *info;
        size_t n;
    } rows[] = {{"{\"routing_token_ids\":[],\"block_mm_infos\":[],\"expanded_prompt_len\":0}", 0},
                {"{\"routing_token_ids\":[1,2],\"expanded_prompt_len\":0}", 0},
                {"{\"routing_token_ids\":[1,2],\"block_mm_infos\":[null,{\"mm_objects\":[]}]}", 0},
                {"{\"routing_token_ids\":[1,2],\"block_mm_infos\":[null,null]}", 2},
                {"{\"routing_token_ids\":[1,2],\"block_mm_infos\":null}", 2}};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        struct weir_prep_request q;
        struct weir_err err = {.text = ""};
        char json[256];
        snprintf(json, sizeof(json), "{\"token_ids\":[1],\"mm_routing_info\":%s}", rows[i].info);
        CHECK_MSG(weir_prep_request_decode(weir_span_z(json), WEIR_CODEC_JSON, 8, &arena, &q,
                                           &err) == WEIR_OK,
                  "%s", json);
        CHECK_MSG(q.mm_routing_ids.n == rows[i].n &&
                      (q.mm_routing_ids.ids != NULL) == (rows[i].n > 0),
                  "%s: %zu ids", json, q.mm_routing_ids.n);
    }
}

/* Names of one kind in several lists, among other kinds. */
static void case_names(void) {
    static const char json[] =
        "{\"token_ids\":[1],\"multi_modal_data\":{\"image_url\":[{\"Url\":\"a\"}],\"video_url\":[{"
        "\"Url\":\"b\"}],\"image_url\":[{\"Url\":\"c\"}]},\"multi_modal_uuids\":{\"video_url\":["
        "\"v\""
        "],\"image_url\":[null,\"i\",null]}}";
    struct weir_prep_request q;
    struct weir_err err = {.text = ""};
    CHECK(weir_prep_request_decode(weir_span_z(json), WEIR_CODEC_JSON, 8, &arena, &q, &err) ==
          WEIR_OK);
    CHECK(q.media.n == 3 && q.media.items[0].uuid.data == NULL);
    CHECK(weir_span_eqz(q.media.items[1].uuid, "v") && weir_span_eqz(q.media.items[2].uuid, "i"));
}

/* What does not fit is no fault of the sender's. (Failed before.) */
static void case_no_room(void) {
    char json[2][512];
    snprintf(json[0], sizeof(json[0]),
             "{\"token_ids\":[1],\"multi_modal_data\":{\"image_url\":[{\"Url\":\"a\"}]},"
             "\"multi_modal_uuids\":{\"image_url\":[\"\\u0041%300d\"]}}",
             1);
    snprintf(json[1], sizeof(json[1]),
             "{\"token_ids\":[1],\"mm_routing_info\":{\"routing_token_ids\":[%300d]}}", 1);
    for (int i = 0; i < 2; i++) {
        struct weir_prep_request q;
        struct weir_err err = {.text = ""};
        struct weir_arena small;
        weir_arena_init(&small, 300);
        enum weir_status st =
            weir_prep_request_decode(weir_span_z(json[i]), WEIR_CODEC_JSON, 64, &small, &q, &err);
        weir_arena_fini(&small);
        CHECK_MSG(st == WEIR_NOMEM, "%s", err.text);
    }
}

static void case_refused(void) {
    static const char *const rows[] = {
        "{\"token_ids\":[1],\"multi_modal_data\":[]}",
        "{\"token_ids\":[1],\"multi_modal_data\":{\"image\\\"url\":[]}}",
        "{\"token_ids\":[1],\"multi_modal_data\":{\"image_url\":{}}}",
        "{\"token_ids\":[1],\"multi_modal_data\":{\"image_url\":[7]}}",
        "{\"token_ids\":[1],\"multi_modal_data\":{\"image_url\":[{\"Url\":\"a\",\"b\":1}]}}",
        ("{\"token_ids\":[1],\"multi_modal_data\":{\"a\":[],\"b\":[],\"c\":[],\"d\":[],\"e\":[],"
         "\"f\":[],\"g\":[],\"h\":[],\"i\":[]}}"),
        "{\"token_ids\":[1],\"multi_modal_uuids\":{\"image_url\":[\"u\"]}}",
        "{\"token_ids\":[1],\"multi_modal_uuids\":[]}",
        "{\"token_ids\":[1],\"mm_routing_info\":{\"routing_token_ids\":[-1]}}",
        "{\"token_ids\":[1],\"mm_routing_info\":{\"routing_token_ids\":[1,2,3,4,5,6,7,8,9]}}",
        "{\"token_ids\":[1],\"mm_routing_info\":{}}"};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        struct weir_prep_request q;
        struct weir_err err = {.text = ""};
        CHECK_MSG(weir_prep_request_decode(weir_span_z(rows[i]), WEIR_CODEC_JSON, 8, &arena, &q,
                                           &err) == WEIR_INVALID,
                  "%s", rows[i]);
    }
}

int main(void) {
    weir_arena_init(&arena, 64 << 20);
    CHECK_RUN(case_urls);
    CHECK_RUN(case_a_path_that_looks_like_a_host);
    CHECK_RUN(case_data_is_not_copied);
    CHECK_RUN(case_there_and_back);
    CHECK_RUN(case_routing_ids);
    CHECK_RUN(case_names);
    CHECK_RUN(case_no_room);
    CHECK_RUN(case_refused);
    weir_arena_fini(&arena);
    return check_finish();
}
