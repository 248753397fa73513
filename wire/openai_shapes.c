/* Tables only, inner types before outer ones. */
#include "wire/openai_shapes.h"

#include "base/buf.h"
#include "base/utf8.h"
#include "wire/openai_priv.h"
#include "wire/shape_table_priv.h"

#include <string.h>
#include <strings.h>

const struct weir_shape weir_openai_any_map = {.kind = WEIR_SHAPE_MAP, .item = &weir_shape_any};

/* ---- parts of a message ------------------------------------------------------------------- */

/* An absolute URL, or nothing at all: a scheme, and something where the scheme has a host. What is
 * passed on is read whole (media_url.c). */
static bool is_url(struct weir_span text) {
    static const char *const with_host[] = {"http", "https", "ws", "wss", "ftp"};
    size_t n = 0;
    text = weir_span_trim(text);
    while (n < text.len && ((text.data[n] | 0x20) >= 'a' && (text.data[n] | 0x20) <= 'z'))
        n++;
    while (n > 0 && n < text.len &&
           (((text.data[n] | 0x20) >= 'a' && (text.data[n] | 0x20) <= 'z') ||
            (text.data[n] >= '0' && text.data[n] <= '9') || strchr("+-.", text.data[n]) != NULL))
        n++;
    if (n == 0 || n >= text.len || text.data[n] != ':')
        return false;
    for (size_t i = 0; i < sizeof(with_host) / sizeof(with_host[0]); i++) {
        if (n != strlen(with_host[i]) || strncasecmp(text.data, with_host[i], n) != 0)
            continue;
        size_t at = n + 1;
        while (at < text.len && (text.data[at] == '/' || text.data[at] == '\\'))
            at++;
        return at < text.len && strchr("?# ", text.data[at]) == NULL;
    }
    return true;
}

/* The string's text fits. */
static bool text_fits(struct weir_span raw, bool (*fits)(struct weir_span text)) {
    struct weir_json j;
    struct weir_json_str s;
    struct weir_buf text;
    weir_json_init(&j, raw, 2);
    if (!weir_json_string(&j, &s))
        return false;
    if (!s.escaped) /* data: URLs have megabytes */
        return fits(s.raw);
    weir_buf_init(&text, raw.len + 16);
    bool ok = weir_json_unescape(s, &text) == WEIR_OK && fits(weir_buf_span(&text));
    weir_buf_fini(&text);
    return ok;
}

bool weir_openai_is_url(struct weir_span raw) {
    return text_fits(raw, is_url);
}

static bool check_url(struct weir_span raw, struct weir_shape_fault *fault) {
    return weir_shape_check(&weir_shape_string, raw, fault) &&
           (weir_openai_is_url(raw) ||
            weir_shape_fail(fault, raw.data, "relative URL without a base"));
}

static bool check_uuid(struct weir_span raw, struct weir_shape_fault *fault) {
    static const char form[] = "\"xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx\"";
    if (weir_json_type_of(raw) != WEIR_JSON_STRING)
        return weir_shape_fail_type(fault, raw, "a UUID string");
    bool ok = raw.len == sizeof(form) - 1;
    for (size_t i = 0; ok && i < raw.len; i++) {
        char c = raw.data[i];
        bool hex = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
        ok = form[i] == 'x' ? hex : c == form[i];
    }
    return ok || weir_shape_fail(fault, raw.data, "UUID parsing failed");
}

static const struct weir_shape url = CHECKED(check_url), uuid = CHECKED(check_uuid);
static const struct weir_shape_variant detail_words[] = {
    {"auto", NULL}, {"low", NULL}, {"high", NULL}, {"original", NULL}, {NULL, NULL}};
static const struct weir_shape detail = WORDS(detail_words);
static const struct weir_shape_member seen_members[] = {NEED("url", &url), MAY("detail", &detail),
                                                        MAY("uuid", &uuid), END};
static const struct weir_shape seen = STRUCT("ImageUrl", seen_members);
static const struct weir_shape_member heard_members[] = {NEED("url", &url), MAY("uuid", &uuid),
                                                         END};
static const struct weir_shape heard = STRUCT("AudioUrl", heard_members);

/* {"url": ""} is no media at all; everything else must be some. */
static bool check_media(const struct weir_shape *shape, struct weir_span raw,
                        struct weir_shape_fault *fault) {
    struct weir_span address;
    return (weir_json_member(raw, "url", &address) && weir_json_is(address, "")) ||
           weir_shape_check(shape, raw, fault);
}
static bool check_seen(struct weir_span raw, struct weir_shape_fault *fault) {
    return check_media(&seen, raw, fault);
}
static bool check_heard(struct weir_span raw, struct weir_shape_fault *fault) {
    return check_media(&heard, raw, fault);
}
static const struct weir_shape seen_or_none = CHECKED(check_seen),
                               heard_or_none = CHECKED(check_heard);

static const struct weir_shape_member text_members[] = {NEED("text", &weir_shape_string), END};
static const struct weir_shape text_part =
    STRUCT("ChatCompletionRequestMessageContentPartText", text_members);
static const struct weir_shape_member refusal_members[] = {NEED("refusal", &weir_shape_string),
                                                           END};
static const struct weir_shape refusal_part =
    STRUCT("ChatCompletionRequestMessageContentPartRefusal", refusal_members);
static const struct weir_shape_member image_members[] = {
    MAY_BE_LEFT_OUT("image_url", &seen_or_none), MAY("uuid", &weir_shape_string), END};
static const struct weir_shape image_part =
    STRUCT("ChatCompletionRequestMessageContentPartImage", image_members);
static const struct weir_shape_member video_members[] = {
    MAY_BE_LEFT_OUT("video_url", &seen_or_none), MAY("uuid", &weir_shape_string), END};
static const struct weir_shape video_part =
    STRUCT("ChatCompletionRequestMessageContentPartVideo", video_members);
static const struct weir_shape_member sound_members[] = {
    MAY_BE_LEFT_OUT("audio_url", &heard_or_none), MAY("uuid", &weir_shape_string), END};
static const struct weir_shape sound_part =
    STRUCT("ChatCompletionRequestMessageContentPartAudioUrl", sound_members);
static const struct weir_shape_variant format_words[] = {
    {"wav", NULL}, {"mp3", NULL}, {NULL, NULL}};
static const struct weir_shape sound_format = WORDS(format_words);
static const struct weir_shape_member input_members[] = {NEED("data", &weir_shape_string),
                                                         NEED("format", &sound_format), END};
static const struct weir_shape input = STRUCT("InputAudio", input_members);
static const struct weir_shape_member input_audio_members[] = {NEED("input_audio", &input), END};
static const struct weir_shape input_part =
    STRUCT("ChatCompletionRequestMessageContentPartAudio", input_audio_members);

static const struct weir_shape_variant user_parts[] = {
    {"text", &text_part},       {"image_url", &image_part},   {"video_url", &video_part},
    {"audio_url", &sound_part}, {"input_audio", &input_part}, {NULL, NULL}};
static const struct weir_shape_variant tool_parts[] = {{"text", &text_part},
                                                       {"image_url", &image_part},
                                                       {"video_url", &video_part},
                                                       {"audio_url", &sound_part},
                                                       {NULL, NULL}};
static const struct weir_shape_variant assistant_parts[] = {
    {"text", &text_part}, {"refusal", &refusal_part}, {NULL, NULL}};
static const struct weir_shape_variant plain_parts[] = {{"text", &text_part}, {NULL, NULL}};

#define CONTENT(role, parts, enum_name)                                                            \
    static const struct weir_shape role##_part = TAGGED(enum_name "Part", "type", parts);          \
    static const struct weir_shape role##_list = LIST(&role##_part);                               \
    static const struct weir_shape *const role##_contents[] = {&weir_shape_string, &role##_list,   \
                                                               NULL};                              \
    static const struct weir_shape role##_content = UNTAGGED(enum_name, role##_contents)
CONTENT(user, user_parts, "ChatCompletionRequestUserMessageContent");
CONTENT(tool, tool_parts, "ChatCompletionRequestToolMessageContent");
CONTENT(assistant, assistant_parts, "ChatCompletionRequestAssistantMessageContent");
CONTENT(system, plain_parts, "ChatCompletionRequestSystemMessageContent");
CONTENT(developer, plain_parts, "ChatCompletionRequestDeveloperMessageContent");

/* ---- messages ----------------------------------------------------------------------------- */

static bool check_arguments(struct weir_span raw, struct weir_shape_fault *fault) {
    enum weir_json_type type = weir_json_type_of(raw);
    return type == WEIR_JSON_STRING || type == WEIR_JSON_OBJECT ||
           weir_shape_fail(fault, raw.data, "expected string or object for `arguments`, got %.*s",
                           WEIR_SPAN_ARG(weir_utf8_cut(raw, 1024)));
}

static const struct weir_shape arguments = CHECKED(check_arguments);
static const struct weir_shape_member call_members[] = {NEED("name", &weir_shape_string),
                                                        NEED("arguments", &arguments), END};
static const struct weir_shape call = STRUCT("FunctionCall", call_members);
static const struct weir_shape_variant function_words[] = {{"function", NULL}, {NULL, NULL}};
static const struct weir_shape function_word = WORDS(function_words);
static const struct weir_shape_member tool_call_members[] = {
    NEED("id", &weir_shape_string),
    {"type", NULL, &function_word, false, true},
    NEED("function", &call),
    END};
static const struct weir_shape tool_call =
    STRUCT("ChatCompletionMessageToolCall", tool_call_members);
static const struct weir_shape tool_call_list = LIST(&tool_call);
static const struct weir_shape *const reasonings[] = {&weir_shape_string, &weir_shape_strings,
                                                      NULL};
static const struct weir_shape reasoning = UNTAGGED("ReasoningContent", reasonings);
static const struct weir_shape_member spoken_members[] = {NEED("id", &weir_shape_string), END};
static const struct weir_shape spoken =
    STRUCT("ChatCompletionRequestAssistantMessageAudio", spoken_members);
static const struct weir_shape any_list = LIST(&weir_shape_any);

/* Members that only some roles may have come first: they are looked at whatever they hold. */
#define FLAT(text, list)                                                                           \
    { .kind = WEIR_SHAPE_STRUCT, .name = text, .members = list, .flat = true }
#define TOOLS MAY("tools", &weir_shape_any)
#define PARTIAL MAY("partial", &weir_shape_any)
static const struct weir_shape_member developer_members[] = {
    NEED("content", &developer_content), MAY("name", &weir_shape_string), TOOLS, PARTIAL, END};
static const struct weir_shape_member system_members[] = {MAY("content", &system_content),
                                                          MAY("name", &weir_shape_string),
                                                          MAY("tools", &any_list), PARTIAL, END};
static const struct weir_shape_member user_members[] = {
    NEED("content", &user_content), MAY("name", &weir_shape_string), TOOLS, PARTIAL, END};
static const struct weir_shape_member assistant_members[] = {
    MAY("content", &assistant_content),
    {"reasoning_content", "reasoning", &reasoning, true, true},
    MAY("refusal", &weir_shape_string),
    MAY("name", &weir_shape_string),
    MAY("audio", &spoken),
    MAY("tool_calls", &tool_call_list),
    MAY("function_call", &call),
    MAY("partial", &weir_shape_bool),
    TOOLS,
    END};
static const struct weir_shape_member tool_members[] = {
    NEED("content", &tool_content), NEED("tool_call_id", &weir_shape_string), TOOLS, PARTIAL, END};
static const struct weir_shape_member function_members[] = {
    MAY("content", &weir_shape_string), NEED("name", &weir_shape_string), TOOLS, PARTIAL, END};
static const struct weir_shape developer_message = FLAT("ForbidToolsAndPartial", developer_members),
                               system_message = FLAT("ForbidPartial", system_members),
                               user_message = FLAT("ForbidToolsAndPartial", user_members),
                               assistant_message = FLAT("ForbidTools", assistant_members),
                               tool_message = FLAT("ForbidToolsAndPartial", tool_members),
                               function_message = FLAT("ForbidToolsAndPartial", function_members);
static const struct weir_shape_variant roles[] = {{"developer", &developer_message},
                                                  {"system", &system_message},
                                                  {"user", &user_message},
                                                  {"assistant", &assistant_message},
                                                  {"tool", &tool_message},
                                                  {"function", &function_message},
                                                  {NULL, NULL}};

static bool given(const struct weir_shape_entries *e, const char *key, struct weir_span *ret) {
    return weir_shape_entry(e, key, ret) && weir_json_type_of(*ret) != WEIR_JSON_NULL;
}

/* What only some roles may have; and a note of what has to be looked at further. */
static bool check_role(const struct weir_shape_entries *e, struct weir_shape_fault *fault) {
    struct weir_span role, content, tools = {NULL, 0}, partial;
    bool has_content = given(e, "content", &content), has_tools = given(e, "tools", &tools);
    weir_shape_entry(e, "role", &role);
    bool is_system = weir_json_is(role, "system"), is_assistant = weir_json_is(role, "assistant");
    struct weir_span word = weir_span(role.data + 1, role.len - 2);
    if (!is_system && has_tools)
        return weir_shape_fail(fault, role.data,
                               "`tools` is only accepted on system messages, not on role %.*s",
                               WEIR_SPAN_ARG(word));
    if (!is_assistant && given(e, "partial", &partial))
        return weir_shape_fail(fault, role.data,
                               "`partial` is only accepted on assistant messages, not on role %.*s",
                               WEIR_SPAN_ARG(word));
    if (is_system && !has_content && !(has_tools && tools.len > 2))
        return weir_shape_fail(fault, role.data,
                               "missing field `content`: a system message needs `content` unless "
                               "it declares non-empty Kimi-style `tools`");
    if (has_content && weir_json_type_of(content) == WEIR_JSON_ARRAY)
        fault->notes |= WEIR_OPENAI_NOTE_PARTS;
    if (is_assistant && given(e, "tool_calls", &tools))
        fault->notes |= WEIR_OPENAI_NOTE_CALLS;
    return true;
}

static const struct weir_shape message = {.kind = WEIR_SHAPE_TAGGED,
                                          .name = "Wire",
                                          .tag = "role",
                                          .variants = roles,
                                          .after = check_role};
const struct weir_shape weir_openai_messages = LIST(&message);

/* ---- tools and formats -------------------------------------------------------------------- */

static const struct weir_shape_member function_object_members[] = {
    NEED("name", &weir_shape_string), MAY("description", &weir_shape_string),
    MAY("parameters", &weir_shape_any), MAY("strict", &weir_shape_bool), END};
static const struct weir_shape function_object = STRUCT("FunctionObject", function_object_members);
static const struct weir_shape_member tool_object_members[] = {
    NEED("type", &function_word), NEED("function", &function_object), END};
static const struct weir_shape tool_object = STRUCT("ChatCompletionTool", tool_object_members);
const struct weir_shape weir_openai_tools = LIST(&tool_object);

static const struct weir_shape_variant choice_word_list[] = {
    {"none", NULL}, {"auto", NULL}, {"required", NULL}, {NULL, NULL}};
static const struct weir_shape choice_words = WORDS(choice_word_list);
static const struct weir_shape_member function_name_members[] = {NEED("name", &weir_shape_string),
                                                                 END};
static const struct weir_shape function_name = STRUCT("FunctionName", function_name_members);
static const struct weir_shape_member named_members[] = {NEED("type", &function_word),
                                                         NEED("function", &function_name), END};
static const struct weir_shape named_choice =
    STRUCT("ChatCompletionNamedToolChoice", named_members);
static const struct weir_shape *const choices[] = {&choice_words, &named_choice, NULL};
const struct weir_shape weir_openai_tool_choice =
    UNTAGGED("ChatCompletionToolChoiceOption", choices);

static const struct weir_shape_member schema_members[] = {
    MAY("description", &weir_shape_string), NEED("name", &weir_shape_string),
    NEED("schema", &weir_shape_any), MAY("strict", &weir_shape_bool), END};
static const struct weir_shape schema = STRUCT("ResponseFormatJsonSchema", schema_members);
static const struct weir_shape_member format_members[] = {NEED("json_schema", &schema), END};
static const struct weir_shape schema_format =
    STRUCT("variant ResponseFormat::JsonSchema", format_members);
static const struct weir_shape_variant formats[] = {
    {"text", NULL}, {"json_object", NULL}, {"json_schema", &schema_format}, {NULL, NULL}};
const struct weir_shape weir_openai_response_format = TAGGED("ResponseFormat", "type", formats);

/* Deprecated, still read. */
static const struct weir_shape_variant old_choice_list[] = {
    {"none", NULL}, {"auto", NULL}, {NULL, NULL}};
static const struct weir_shape old_choice_words = WORDS(old_choice_list);
static const struct weir_shape *const old_choices[] = {&old_choice_words, &function_name, NULL};
const struct weir_shape weir_openai_function_call =
    UNTAGGED("ChatCompletionFunctionCall", old_choices);
static const struct weir_shape_member old_function_members[] = {
    NEED("name", &weir_shape_string), MAY("description", &weir_shape_string),
    NEED("parameters", &weir_shape_any), END};
static const struct weir_shape old_function =
    STRUCT("ChatCompletionFunctions", old_function_members);
const struct weir_shape weir_openai_functions = LIST(&old_function);

/* ---- settings ----------------------------------------------------------------------------- */

static const struct weir_shape *const stops[] = {&weir_shape_string, &weir_shape_strings,
                                                 &weir_shape_u32s, NULL};
const struct weir_shape weir_openai_stop = UNTAGGED("Stop", stops);

static bool check_echo(struct weir_span raw, struct weir_shape_fault *fault) {
    enum weir_json_type type = weir_json_type_of(raw);
    return type == WEIR_JSON_TRUE || type == WEIR_JSON_FALSE ||
           weir_shape_fail_type(fault, raw,
                                "echo parameter to be a boolean (true or false) or null");
}
const struct weir_shape weir_openai_echo = CHECKED(check_echo);

static const struct weir_shape u32_lists = LIST(&weir_shape_u32s);
static const struct weir_shape *const prompts[] = {&weir_shape_string, &weir_shape_strings,
                                                   &weir_shape_u32s, &u32_lists, NULL};
const struct weir_shape weir_openai_prompt = UNTAGGED("Prompt", prompts);

static const struct weir_shape_member stream_members[] = {
    MAY_BE_LEFT_OUT("include_usage", &weir_shape_bool),
    MAY_BE_LEFT_OUT("continuous_usage_stats", &weir_shape_bool), END};
const struct weir_shape weir_openai_stream_options =
    STRUCT("ChatCompletionStreamOptions", stream_members);

static const struct weir_shape_variant effort_words[] = {
    {"none", NULL}, {"minimal", NULL}, {"low", NULL}, {"medium", NULL},
    {"high", NULL}, {"xhigh", NULL},   {"max", NULL}, {NULL, NULL}};
const struct weir_shape weir_openai_reasoning_effort = WORDS(effort_words);
static const struct weir_shape_variant tier_words[] = {
    {"auto", NULL},     {"default", NULL}, {"flex", NULL}, {"scale", NULL},
    {"priority", NULL}, {"fast", NULL},    {NULL, NULL}};
const struct weir_shape weir_openai_service_tier = WORDS(tier_words);
static const struct weir_shape_variant modality_words[] = {
    {"text", NULL}, {"audio", NULL}, {NULL, NULL}};
static const struct weir_shape modality = WORDS(modality_words);
const struct weir_shape weir_openai_modalities = LIST(&modality);

static const struct weir_shape text_parts = LIST(&text_part);
static const struct weir_shape *const predictions[] = {&weir_shape_string, &text_parts, NULL};
static const struct weir_shape predicted = UNTAGGED("PredictionContentContent", predictions);
static const struct weir_shape_variant prediction_words[] = {{"content", &predicted}, {NULL, NULL}};
const struct weir_shape weir_openai_prediction = {.kind = WEIR_SHAPE_ADJACENT,
                                                  .name = "PredictionContent",
                                                  .tag = "type",
                                                  .content = "content",
                                                  .variants = prediction_words};

static const struct weir_shape_variant audio_words[] = {
    {"wav", NULL},  {"aac", NULL},   {"mp3", NULL}, {"flac", NULL},
    {"opus", NULL}, {"pcm16", NULL}, {NULL, NULL}};
static const struct weir_shape audio_format = WORDS(audio_words);
/* Ten names, or any other. */
static const struct weir_shape *const voices[] = {&weir_shape_string, NULL};
static const struct weir_shape voice = UNTAGGED("ChatCompletionAudioVoice", voices);
static const struct weir_shape_member audio_members[] = {NEED("voice", &voice),
                                                         NEED("format", &audio_format), END};
const struct weir_shape weir_openai_audio = STRUCT("ChatCompletionAudio", audio_members);

static const struct weir_shape_variant size_words[] = {
    {"low", NULL}, {"medium", NULL}, {"high", NULL}, {NULL, NULL}};
static const struct weir_shape context_size = WORDS(size_words);
static const struct weir_shape_variant location_words[] = {{"approximate", NULL}, {NULL, NULL}};
static const struct weir_shape location_word = WORDS(location_words);
static const struct weir_shape_member place_members[] = {
    MAY("country", &weir_shape_string), MAY("region", &weir_shape_string),
    MAY("city", &weir_shape_string), MAY("timezone", &weir_shape_string), END};
static const struct weir_shape place = STRUCT("WebSearchLocation", place_members);
static const struct weir_shape_member location_members[] = {NEED("type", &location_word),
                                                            NEED("approximate", &place), END};
static const struct weir_shape location = STRUCT("WebSearchUserLocation", location_members);
static const struct weir_shape_member web_members[] = {MAY("search_context_size", &context_size),
                                                       MAY("user_location", &location), END};
const struct weir_shape weir_openai_web_search = STRUCT("WebSearchOptions", web_members);

/* ---- nvext -------------------------------------------------------------------------------- */

#define CLOSED(text, list)                                                                         \
    { .kind = WEIR_SHAPE_STRUCT, .name = text, .members = list, .closed = true }

static bool is_not_blank(struct weir_span text) {
    return weir_span_trim(text).len > 0;
}

static bool check_upload_url(struct weir_span raw, struct weir_shape_fault *fault) {
    return weir_shape_check(&weir_shape_string, raw, fault) &&
           (text_fits(raw, is_not_blank) ||
            weir_shape_fail(fault, raw.data + raw.len + 1,
                            "metadata_upload.url must not be empty"));
}

static const struct weir_shape upload_url = CHECKED(check_upload_url);
static const struct weir_shape_member upload_members[] = {NEED("url", &upload_url), END};
static const struct weir_shape upload = CLOSED("MetadataUpload", upload_members);
static const struct weir_shape_member hint_members[] = {
    MAY_BE_LEFT_OUT("priority", &weir_shape_i32),
    MAY_BE_LEFT_OUT("strict_priority", &weir_shape_u32),
    MAY_BE_LEFT_OUT("osl", &weir_shape_u32),
    MAY_BE_LEFT_OUT("speculative_prefill", &weir_shape_bool),
    MAY_BE_LEFT_OUT("latency_sensitivity", &weir_shape_f64),
    END};
static const struct weir_shape hints = CLOSED("AgentHints", hint_members);
static const struct weir_shape weights = {.kind = WEIR_SHAPE_MAP, .item = &weir_shape_f32};
static const struct weir_shape_member constraint_members[] = {
    {"required_taints", NULL, &weir_shape_strings, false, true},
    {"preferred_taints", NULL, &weights, false, true},
    END};
static const struct weir_shape constraints = CLOSED("RoutingConstraints", constraint_members);
static const struct weir_shape_member target_members[] = {
    MAY_BE_LEFT_OUT("ttft_target", &weir_shape_f64), MAY_BE_LEFT_OUT("itl_target", &weir_shape_f64),
    END};
static const struct weir_shape targets = CLOSED("RouterParams", target_members);
static const struct weir_shape_member nvext_members[] = {
    MAY_BE_LEFT_OUT("greed_sampling", &weir_shape_bool),
    MAY_BE_LEFT_OUT("use_raw_prompt", &weir_shape_bool),
    MAY_BE_LEFT_OUT("annotations", &weir_shape_strings),
    MAY_BE_LEFT_OUT("backend_instance_id", &weir_shape_u64),
    MAY_BE_LEFT_OUT("token_data", &weir_shape_u32s),
    MAY_BE_LEFT_OUT("max_thinking_tokens", &weir_shape_u32),
    MAY_BE_LEFT_OUT("cache_salt", &weir_shape_string),
    MAY_BE_LEFT_OUT("extra_fields", &weir_shape_strings),
    MAY_BE_LEFT_OUT("metadata_upload", &upload),
    MAY_BE_LEFT_OUT("prefill_worker_id", &weir_shape_u64),
    MAY_BE_LEFT_OUT("decode_worker_id", &weir_shape_u64),
    MAY_BE_LEFT_OUT("dp_rank", &weir_shape_u32),
    MAY_BE_LEFT_OUT("prefill_dp_rank", &weir_shape_u32),
    MAY_BE_LEFT_OUT("agent_hints", &hints),
    MAY_BE_LEFT_OUT("request_timestamp_ms", &weir_shape_f64),
    MAY_BE_LEFT_OUT("routing_constraints", &constraints),
    MAY_BE_LEFT_OUT("router", &targets),
    END};
const struct weir_shape weir_openai_nvext = CLOSED("NvExt", nvext_members);
