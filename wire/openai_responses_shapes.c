/* What values of Responses requests must look like: tables, and items of `input`, whose kinds are
 * told apart by a member that messages may leave out. Source: OpenAI's API reference and probes of
 * the reference system 1.6.1. */
#include "wire/openai_responses_priv.h"
#include "wire/openai_shapes.h"
#include "wire/shape_table_priv.h"

/* ---- input -------------------------------------------------------------------------------- */

static const struct weir_shape any_list = LIST(&weir_shape_any);
static const struct weir_shape_member text_members[] = {NEED("text", &weir_shape_string), END};
static const struct weir_shape text_part = STRUCT("InputTextContent", text_members);
static const struct weir_shape_member said_members[] = {NEED("text", &weir_shape_string),
                                                        MAY("annotations", &any_list),
                                                        MAY("logprobs", &any_list), END};
static const struct weir_shape said_part = STRUCT("OutputTextContent", said_members);
static const struct weir_shape_member refusal_members[] = {NEED("refusal", &weir_shape_string),
                                                           END};
static const struct weir_shape refusal_part = STRUCT("RefusalContent", refusal_members);
static const struct weir_shape_variant detail_words[] = {
    {"auto", NULL}, {"low", NULL}, {"high", NULL}, {"original", NULL}, {NULL, NULL}};
static const struct weir_shape detail = WORDS(detail_words);
static const struct weir_shape_member image_members[] = {MAY("image_url", &weir_shape_string),
                                                         MAY("file_id", &weir_shape_string),
                                                         MAY("detail", &detail), END};
static const struct weir_shape image_part = STRUCT("InputImageContent", image_members);
static const struct weir_shape_variant part_words[] = {
    {"input_text", &text_part},   {"output_text", &said_part}, {"refusal", &refusal_part},
    {"input_image", &image_part}, {"input_file", NULL},        {NULL, NULL}};
static const struct weir_shape part = TAGGED("ContentPart", "type", part_words);
static const struct weir_shape parts = LIST(&part);
static const struct weir_shape *const content_kinds[] = {&weir_shape_string, &parts, NULL};
static const struct weir_shape content = UNTAGGED("Content", content_kinds);

static const struct weir_shape_variant role_words[] = {
    {"user", NULL}, {"assistant", NULL}, {"system", NULL}, {"developer", NULL}, {NULL, NULL}};
static const struct weir_shape role = WORDS(role_words);
static const struct weir_shape_variant status_words[] = {
    {"in_progress", NULL}, {"completed", NULL}, {"incomplete", NULL}, {NULL, NULL}};
static const struct weir_shape status = WORDS(status_words);
#define ITEM MAY("id", &weir_shape_string), MAY("status", &status), END
static const struct weir_shape_member message_members[] = {NEED("role", &role),
                                                           NEED("content", &content), ITEM};
static const struct weir_shape message = STRUCT("Message", message_members);
static const struct weir_shape_member call_members[] = {
    NEED("call_id", &weir_shape_string), NEED("name", &weir_shape_string),
    NEED("arguments", &weir_shape_string), ITEM};
static const struct weir_shape call = STRUCT("FunctionToolCall", call_members);
static const struct weir_shape_member result_members[] = {NEED("call_id", &weir_shape_string),
                                                          NEED("output", &content), ITEM};
static const struct weir_shape result = STRUCT("FunctionCallOutput", result_members);
static const struct weir_shape_variant summary_parts[] = {{"summary_text", &text_part},
                                                          {NULL, NULL}};
static const struct weir_shape summary_part = TAGGED("SummaryPart", "type", summary_parts);
static const struct weir_shape summaries = LIST(&summary_part), thoughts = LIST(&text_part);
static const struct weir_shape_member reasoning_members[] = {MAY_BE_LEFT_OUT("summary", &summaries),
                                                             MAY("content", &thoughts), ITEM};
static const struct weir_shape reasoning_item = STRUCT("ReasoningItem", reasoning_members);

/* Items that the API knows and a chat has no place for: refused by openai_responses_input.c. */
static const struct weir_shape_variant item_words[] = {{"message", &message},
                                                       {"function_call", &call},
                                                       {"function_call_output", &result},
                                                       {"reasoning", &reasoning_item},
                                                       {"item_reference", NULL},
                                                       {"file_search_call", NULL},
                                                       {"computer_call", NULL},
                                                       {"computer_call_output", NULL},
                                                       {"web_search_call", NULL},
                                                       {"image_generation_call", NULL},
                                                       {"code_interpreter_call", NULL},
                                                       {"local_shell_call", NULL},
                                                       {"local_shell_call_output", NULL},
                                                       {"shell_call", NULL},
                                                       {"shell_call_output", NULL},
                                                       {"apply_patch_call", NULL},
                                                       {"apply_patch_call_output", NULL},
                                                       {"mcp_list_tools", NULL},
                                                       {"mcp_approval_request", NULL},
                                                       {"mcp_approval_response", NULL},
                                                       {"mcp_call", NULL},
                                                       {"custom_tool_call", NULL},
                                                       {"custom_tool_call_output", NULL},
                                                       {"compaction", NULL},
                                                       {NULL, NULL}};
static const struct weir_shape typed_item = TAGGED("Item", "type", item_words);

static bool check_item(struct weir_span raw, struct weir_shape_fault *fault) {
    struct weir_span type;
    bool typed = weir_json_member(raw, "type", &type) && weir_json_type_of(type) != WEIR_JSON_NULL;
    return weir_shape_check(typed ? &typed_item : &message, raw, fault) ||
           weir_shape_fail(fault, raw.data,
                           "data did not match any variant of untagged enum InputItemWire");
}
static const struct weir_shape item = CHECKED(check_item);
static const struct weir_shape items = LIST(&item);

static bool check_input(struct weir_span raw, struct weir_shape_fault *fault) {
    enum weir_json_type type = weir_json_type_of(raw);
    if (type == WEIR_JSON_ARRAY)
        return weir_shape_check(&items, raw, fault);
    return type == WEIR_JSON_STRING ||
           weir_shape_fail(fault, raw.data, "input must be a string or an array of input items");
}
const struct weir_shape weir_responses_input = CHECKED(check_input);

/* ---- tools -------------------------------------------------------------------------------- */

static const struct weir_shape_member function_members[] = {
    NEED("name", &weir_shape_string), MAY("parameters", &weir_shape_any),
    MAY("strict", &weir_shape_bool), MAY("description", &weir_shape_string), END};
static const struct weir_shape function = STRUCT("FunctionTool", function_members);
static const struct weir_shape_variant tool_words[] = {{"function", &function},
                                                       {"file_search", NULL},
                                                       {"computer_use_preview", NULL},
                                                       {"web_search", NULL},
                                                       {"web_search_2025_08_26", NULL},
                                                       {"mcp", NULL},
                                                       {"code_interpreter", NULL},
                                                       {"programmatic_tool_calling", NULL},
                                                       {"image_generation", NULL},
                                                       {"local_shell", NULL},
                                                       {"shell", NULL},
                                                       {"custom", NULL},
                                                       {"computer", NULL},
                                                       {"namespace", NULL},
                                                       {"tool_search", NULL},
                                                       {"web_search_preview", NULL},
                                                       {"web_search_preview_2025_03_11", NULL},
                                                       {"apply_patch", NULL},
                                                       {NULL, NULL}};
static const struct weir_shape tool = TAGGED("Tool", "type", tool_words);
const struct weir_shape weir_responses_tools = LIST(&tool);

static const struct weir_shape_variant mode_words[] = {
    {"none", NULL}, {"auto", NULL}, {"required", NULL}, {NULL, NULL}};
static const struct weir_shape mode = WORDS(mode_words);
static const struct weir_shape_member named_members[] = {NEED("name", &weir_shape_string), END};
static const struct weir_shape named = STRUCT("ToolChoiceFunction", named_members);
static const struct weir_shape_variant allow_words[] = {
    {"auto", NULL}, {"required", NULL}, {NULL, NULL}};
static const struct weir_shape allow = WORDS(allow_words);
static const struct weir_shape_member allowed_members[] = {NEED("mode", &allow),
                                                           NEED("tools", &any_list), END};
static const struct weir_shape allowed = STRUCT("ToolChoiceAllowed", allowed_members);
static const struct weir_shape_member server_members[] = {NEED("server_label", &weir_shape_string),
                                                          NEED("name", &weir_shape_string), END};
static const struct weir_shape server = STRUCT("ToolChoiceMCP", server_members);
static const struct weir_shape_variant choice_words[] = {{"function", &named},
                                                         {"allowed_tools", &allowed},
                                                         {"mcp", &server},
                                                         {"custom", &named},
                                                         {"file_search", NULL},
                                                         {"web_search_preview", NULL},
                                                         {"web_search_preview_2025_03_11", NULL},
                                                         {"computer_use_preview", NULL},
                                                         {"computer", NULL},
                                                         {"code_interpreter", NULL},
                                                         {"image_generation", NULL},
                                                         {"apply_patch", NULL},
                                                         {"shell", NULL},
                                                         {NULL, NULL}};
static const struct weir_shape chosen = TAGGED("ToolChoice", "type", choice_words);
static const struct weir_shape *const choices[] = {&mode, &chosen, NULL};
const struct weir_shape weir_responses_tool_choice = UNTAGGED("ToolChoiceParam", choices);

/* ---- settings ----------------------------------------------------------------------------- */

static const struct weir_shape_member schema_members[] = {
    MAY("description", &weir_shape_string), NEED("name", &weir_shape_string),
    NEED("schema", &weir_shape_any), MAY("strict", &weir_shape_bool), END};
static const struct weir_shape schema = STRUCT("ResponseFormatJsonSchema", schema_members);
static const struct weir_shape_variant format_words[] = {
    {"text", NULL}, {"json_object", NULL}, {"json_schema", &schema}, {NULL, NULL}};
static const struct weir_shape format =
    TAGGED("TextResponseFormatConfiguration", "type", format_words);
static const struct weir_shape_variant verbosity_words[] = {
    {"low", NULL}, {"medium", NULL}, {"high", NULL}, {NULL, NULL}};
static const struct weir_shape verbosity = WORDS(verbosity_words);
static const struct weir_shape_member text_setting_members[] = {
    {"format", NULL, &format, false, true}, MAY("verbosity", &verbosity), END};
const struct weir_shape weir_responses_text = STRUCT("ResponseTextParam", text_setting_members);

static const struct weir_shape_variant summary_words[] = {
    {"auto", NULL}, {"concise", NULL}, {"detailed", NULL}, {NULL, NULL}};
static const struct weir_shape summary = WORDS(summary_words);
static const struct weir_shape_member reasoning_setting_members[] = {
    MAY("effort", &weir_openai_reasoning_effort), MAY("summary", &summary), END};
const struct weir_shape weir_responses_reasoning = STRUCT("Reasoning", reasoning_setting_members);

static const struct weir_shape_variant include_words[] = {
    {"file_search_call.results", NULL},
    {"web_search_call.results", NULL},
    {"web_search_call.action.sources", NULL},
    {"message.input_image.image_url", NULL},
    {"computer_call_output.output.image_url", NULL},
    {"code_interpreter_call.outputs", NULL},
    {"reasoning.encrypted_content", NULL},
    {"message.output_text.logprobs", NULL},
    {NULL, NULL}};
static const struct weir_shape include = WORDS(include_words);
const struct weir_shape weir_responses_include = LIST(&include);

const struct weir_shape weir_responses_metadata = {.kind = WEIR_SHAPE_MAP,
                                                   .item = &weir_shape_string};
static const struct weir_shape_variant tier_words[] = {
    {"auto", NULL},     {"default", NULL}, {"flex", NULL},      {"scale", NULL},
    {"priority", NULL}, {"fast", NULL},    {"ultrafast", NULL}, {NULL, NULL}};
const struct weir_shape weir_responses_service_tier = WORDS(tier_words);
static const struct weir_shape_variant truncation_words[] = {
    {"auto", NULL}, {"disabled", NULL}, {NULL, NULL}};
const struct weir_shape weir_responses_truncation = WORDS(truncation_words);
static const struct weir_shape_variant retention_words[] = {
    {"in_memory", NULL}, {"in-memory", NULL}, {"24h", NULL}, {NULL, NULL}};
const struct weir_shape weir_responses_retention = WORDS(retention_words);

static const struct weir_shape_member stream_members[] = {
    MAY("include_obfuscation", &weir_shape_bool), END};
const struct weir_shape weir_responses_stream_options =
    STRUCT("ResponseStreamOptions", stream_members);

static const struct weir_shape_member prompt_members[] = {
    NEED("id", &weir_shape_string), MAY("version", &weir_shape_string),
    MAY("variables", &weir_openai_any_map), END};
const struct weir_shape weir_responses_prompt = STRUCT("Prompt", prompt_members);
