/* What values of Messages requests must look like. What is in a block of content is looked at where
 * it is translated (anthropic_messages.c). Source: Anthropic's API reference (types of its SDKs)
 * and recordings of the reference system 1.6.1. */
#include "wire/anthropic_priv.h"
#include "wire/openai_shapes.h"
#include "wire/shape_table_priv.h"

static const struct weir_shape_variant role_words[] = {
    {"user", NULL}, {"assistant", NULL}, {"system", NULL}, {NULL, NULL}};
static const struct weir_shape role = WORDS(role_words);

/* The role is a word; the content a text or a list of blocks. */
static bool check_message(struct weir_span raw, struct weir_shape_fault *fault) {
    struct weir_span member;
    if (weir_json_type_of(raw) != WEIR_JSON_OBJECT)
        return weir_shape_fail_type(fault, raw, "struct AnthropicMessage");
    if (!weir_json_member(raw, "role", &member))
        return weir_shape_fail(fault, raw.data + raw.len, "missing field `role`");
    if (weir_json_type_of(member) != WEIR_JSON_STRING)
        return weir_shape_fail_type(fault, member, "a string");
    if (!weir_shape_check(&role, member, fault))
        return false;
    if (weir_json_member(raw, "content", &member) &&
        (weir_json_type_of(member) == WEIR_JSON_STRING ||
         weir_json_type_of(member) == WEIR_JSON_ARRAY))
        return true;
    return weir_shape_fail(fault, raw.data + raw.len,
                           "data did not match any variant of untagged enum "
                           "AnthropicMessageContent");
}
static const struct weir_shape message = CHECKED(check_message);
const struct weir_shape weir_messages_list = LIST(&message);

static const struct weir_shape_member text_members[] = {NEED("text", &weir_shape_string), END};
static const struct weir_shape text_block = STRUCT("TextBlock", text_members);
static const struct weir_shape texts = LIST(&text_block);
static const struct weir_shape *const system_kinds[] = {&weir_shape_string, &texts, NULL};
const struct weir_shape weir_messages_system = UNTAGGED("SystemPrompt", system_kinds);

static const struct weir_shape_member tool_members[] = {
    NEED("name", &weir_shape_string), MAY("type", &weir_shape_string),
    MAY("description", &weir_shape_string), MAY("input_schema", &weir_shape_any), END};
static const struct weir_shape tool = STRUCT("AnthropicTool", tool_members);
const struct weir_shape weir_messages_tools = LIST(&tool);

static const struct weir_shape_member choice_members[] = {
    MAY("disable_parallel_tool_use", &weir_shape_bool), END};
static const struct weir_shape choice = STRUCT("ToolChoice", choice_members);
static const struct weir_shape_member named_members[] = {
    NEED("name", &weir_shape_string), MAY("disable_parallel_tool_use", &weir_shape_bool), END};
static const struct weir_shape named = STRUCT("ToolChoiceTool", named_members);
static const struct weir_shape_variant choice_words[] = {
    {"auto", &choice}, {"any", &choice}, {"tool", &named}, {"none", NULL}, {NULL, NULL}};
const struct weir_shape weir_messages_tool_choice = TAGGED("ToolChoice", "type", choice_words);

static const struct weir_shape_member enabled_members[] = {MAY("budget_tokens", &weir_shape_u32),
                                                           END};
static const struct weir_shape enabled = STRUCT("ThinkingEnabled", enabled_members);
static const struct weir_shape_variant thinking_words[] = {
    {"enabled", &enabled}, {"disabled", NULL}, {"adaptive", NULL}, {NULL, NULL}};
const struct weir_shape weir_messages_thinking = TAGGED("Thinking", "type", thinking_words);

static const struct weir_shape_member format_members[] = {NEED("schema", &weir_openai_any_map),
                                                          END};
static const struct weir_shape schema = STRUCT("JsonSchemaFormat", format_members);
static const struct weir_shape_variant format_words[] = {{"json_schema", &schema}, {NULL, NULL}};
static const struct weir_shape format = TAGGED("OutputFormat", "type", format_words);
static const struct weir_shape_member config_members[] = {
    MAY("format", &format), MAY("effort", &weir_openai_reasoning_effort), END};
const struct weir_shape weir_messages_output_config = STRUCT("OutputConfig", config_members);
