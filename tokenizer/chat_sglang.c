/*
 * A request as SGLang 0.5.23 hands it to the template (serving_chat.py, jinja_template_utils.py):
 * the members of its own classes, other joints, the last message of the assistant set apart.
 */
#include "tokenizer/chat_shape_priv.h"

/* A member of a class that wants a boolean, or MISSING: pydantic takes other things for one, too.
 */
static struct wj_val sglang_flag(struct wj_run *x, struct wj_val v, const char *name) {
    if (has(v) && v.kind != WJ_BOOL)
        wj_fail(x, WTOK_JINJA_ERR_UNSUPPORTED,
                "`%s` is no boolean: what the engine takes it for is unknown", name);
    return v;
}

/* ---- calls ---------------------------------------------------------------------------------- */

/* orjson reads them: an integer that 64 bits do not hold is a fraction. */
static struct wj_val orjson_number(struct wj_val v) {
    uint64_t u;
    double f;
    struct weir_span text = weir_span(v.u.s, v.kind == WJ_BIG ? v.len : 0);
    return v.kind != WJ_BIG || weir_span_u64(text, &u) || !weir_span_f64(text, &f) ? v
                                                                                   : wj_float(f);
}

/* Only of the assistant's calls the arguments are read. */
static struct wj_val sglang_arguments(struct wj_run *x, struct wj_val v) {
    if (v.kind != WJ_STR)
        return or_null(v);
    if (!wj_try_json(x, wj_text(x, v), &v))
        bad_message(x, "Assistant tool call function.arguments must be valid JSON.");
    if (v.kind != WJ_DICT)
        bad_message(x, "Assistant tool call function.arguments must be a JSON object.");
    return wtok_map_numbers(x, v, orjson_number);
}

static struct wj_val sglang_call(struct wj_run *x, struct wj_val call, bool assistant) {
    static const char *const members[] = {"id", "index", "type", "function"};
    struct wj_val out = wj_dict_new(x, 4), f = wtok_member(x, call, "function");
    if (f.kind != WJ_DICT)
        bad_message(x, "a tool call needs a function");
    struct wj_val inner = wj_dict_new(x, 2), index = wtok_member(x, call, "index");
    struct wj_val arguments = wtok_member(x, f, "arguments");
    if (has(index) && index.kind != WJ_INT)
        wj_fail(x, WTOK_JINJA_ERR_UNSUPPORTED,
                "the index of a tool call is no integer: what the engine takes it for is unknown");
    wtok_add(x, inner, "name", or_null(wtok_member(x, f, "name")));
    wtok_add(x, inner, "arguments",
             assistant ? sglang_arguments(x, arguments) : or_null(arguments));
    for (size_t i = 0; i < 3; i++) {
        struct wj_val v = wtok_member(x, call, members[i]);
        wtok_add(x, out, members[i], has(v) ? v : i == 2 ? wj_strz("function") : wj_none());
    }
    wtok_add(x, out, members[3], inner);
    return out;
}

static struct wj_val sglang_calls(struct wj_run *x, struct wj_val list, bool assistant) {
    struct wj_val *items = wj_alloc(x, list.len * sizeof(*items) + 1);
    for (uint32_t i = 0; i < list.len; i++)
        items[i] = sglang_call(x, list.u.items[i], assistant);
    return wj_list(items, list.len);
}

/* ---- messages ------------------------------------------------------------------------------- */

static struct wj_val sglang_reference(struct wj_run *x, struct wj_val part) {
    struct wj_val out = wj_dict_new(x, 2);
    wtok_add(x, out, "type", wj_strz("tool_reference"));
    wtok_add(x, out, "name", or_null(wtok_member(x, part, "name")));
    return out;
}

static struct wj_val sglang_parts(struct wj_run *x, struct wj_val content, bool parts) {
    struct wj_vec out = {0};
    for (uint32_t i = 0; i < content.len; i++) {
        struct wj_val part = content.u.items[i];
        const char *media;
        if (part.kind != WJ_DICT)
            bad_message(x, "a content part must be an object");
        struct wj_val text = wtok_part_text(x, part, true, &media);
        if (media == NULL && text.kind != WJ_STR)
            bad_message(x, "a text part needs a text");
        if (media == NULL)
            wj_push(x, &out, parts ? wtok_typed_part(x, "text", text) : text);
        else if (parts && media[0] != '\0')
            wj_push(x, &out, wtok_typed_part(x, media, (struct wj_val){.kind = WJ_MISSING}));
        else if (!parts && media[0] != '\0')
            wtok_refuse_part(x, part, media);
        else if (parts && is_text(wtok_member(x, part, "type"), "tool_reference"))
            wj_push(x, &out, sglang_reference(x, part));
    }
    return parts ? wj_list(out.at, out.n) : wtok_join_texts(x, &out, " ");
}

/* Roles but for the user's may be written in any case. */
static struct wj_val sglang_role(struct wj_run *x, struct wj_val role) {
    static const char *const known[] = {"system",    "assistant",       "tool", "function",
                                        "developer", "latest_reminder", "root"};
    struct weir_span text = wj_text(x, role);
    for (size_t i = 0; i < WEIR_ARRAY_LEN(known); i++)
        if (weir_span_ieq(text, weir_span_z(known[i])))
            return wj_strz(known[i]);
    return role;
}

static bool shows_its_tools(struct wj_val role) {
    return is_text(role, "system") || is_text(role, "developer") || is_text(role, "root");
}

static struct wj_val sglang_own_tools(struct wj_run *x, struct wj_val list, bool normal) {
    struct wj_val *items = wj_alloc(x, list.len * sizeof(*items) + 1);
    for (uint32_t i = 0; i < list.len; i++) {
        if (wtok_member(x, list.u.items[i], "function").kind != WJ_DICT)
            bad_message(x, "every tool must be an object with a function");
        items[i] = wtok_sglang_tool(x, list.u.items[i], normal);
    }
    return wj_list(items, list.len);
}

enum { M_CALL_ID, M_NAME, M_PHASE, M_REASONING, M_TOOL_CALLS, M_TOOLS, M_PREFIX, N_MEMBERS };

static struct wj_val sglang_member(struct wj_run *x, size_t which, struct wj_val v,
                                   struct wj_val role) {
    if (which == M_TOOL_CALLS && v.kind == WJ_LIST)
        return sglang_calls(x, v, is_text(role, "assistant"));
    if (which == M_TOOLS && v.kind == WJ_LIST)
        return sglang_own_tools(x, v, shows_its_tools(role));
    return which == M_PREFIX ? sglang_flag(x, v, "prefix") : v;
}

/* A list of contents that a template walks over comes last. */
struct wj_val wtok_sglang_message(struct wj_run *x, struct wj_val m, bool parts) {
    static const char *const members[N_MEMBERS] = {
        "tool_call_id", "name", "phase", "reasoning_content", "tool_calls", "tools", "prefix"};
    struct wj_val out = wj_dict_new(x, 8), role = sglang_role(x, wtok_member(x, m, "role"));
    struct wj_val content = wtok_member(x, m, "content");
    bool last = content.kind == WJ_LIST && parts;
    if (!has(content))
        content = wj_strz("");
    if (content.kind == WJ_LIST)
        content = sglang_parts(x, content, parts);
    else if (content.kind != WJ_STR)
        bad_message(x, "a message's content must be text or a list of parts");
    if (is_text(role, "tool") && content.kind == WJ_LIST && wtok_all_text(x, content))
        content = wtok_joined_texts(x, content, " ");
    wtok_add(x, out, "role", role);
    if (!last)
        wtok_add(x, out, "content", content);
    for (size_t i = 0; i < N_MEMBERS && !is_text(role, "user"); i++) {
        struct wj_val v = wtok_member(x, m, members[i]);
        if (has(v))
            wtok_add(x, out, members[i], sglang_member(x, i, v, role));
    }
    if (last)
        wtok_add(x, out, "content", content);
    return out;
}

struct weir_span wtok_shape_last(struct wj_run *x, struct wj_val *messages, bool continues) {
    struct weir_span prefix = {NULL, 0};
    if (messages->len == 0)
        return prefix;
    struct wj_val *items = wj_alloc(x, messages->len * sizeof(*items));
    memcpy(items, messages->u.items, messages->len * sizeof(*items));
    struct wj_val *last = &items[messages->len - 1], content = wtok_member(x, *last, "content");
    if (!is_text(wtok_member(x, *last, "role"), "assistant") || content.kind != WJ_STR)
        return prefix;
    if (continues) {
        messages->len--;
        return wj_text(x, content);
    }
    *last = wj_dict_new(x, 2);
    wtok_set(x, *last, "role", wj_strz("user"));
    wtok_set(x, *last, "content", content);
    messages->u.items = items;
    return prefix;
}

/* ---- tools ---------------------------------------------------------------------------------- */

/* What a type of a schema is called that other systems name otherwise (function_call/utils.py);
 * a null span: as it is. `base`: lower case. */
static struct weir_span standard_type(struct weir_span base) {
    static const char *const standard[] = {"null",   "boolean", "object", "array",
                                           "number", "string",  "integer"};
    static const char *const aliases[][2] = {
        {"str", "string"},       {"text", "string"},     {"varchar", "string"},
        {"char", "string"},      {"enum", "string"},     {"uuid", "string"},
        {"date", "string"},      {"datetime", "string"}, {"time", "string"},
        {"timestamp", "string"}, {"binary", "string"},   {"blob", "string"},
        {"bytea", "string"},     {"bytes", "string"},    {"varbinary", "string"},
        {"bool", "boolean"},     {"bigint", "integer"},  {"smallint", "integer"},
        {"tinyint", "integer"},  {"double", "number"},   {"decimal", "number"},
        {"real", "number"},      {"numeric", "number"},  {"arr", "array"},
        {"tuple", "array"},      {"set", "array"},       {"map", "object"}};
    static const char *const prefixes[][2] = {
        {"int", "integer"},   {"uint", "integer"},     {"long", "integer"},
        {"short", "integer"}, {"unsigned", "integer"}, {"num", "number"},
        {"float", "number"},  {"list", "array"},       {"dict", "object"}};
    const struct weir_span ends = WEIR_SPAN_LIT("0123456789[<( \t"); /* behind a prefix */
    for (size_t i = 0; i < WEIR_ARRAY_LEN(standard); i++)
        if (weir_span_eqz(base, standard[i]))
            return weir_span_z(standard[i]);
    for (size_t i = 0; i < WEIR_ARRAY_LEN(aliases); i++)
        if (weir_span_eqz(base, aliases[i][0]))
            return weir_span_z(aliases[i][1]);
    for (size_t i = 0; i < WEIR_ARRAY_LEN(prefixes); i++) {
        struct weir_span p = weir_span_z(prefixes[i][0]);
        if (weir_span_starts(base, p) &&
            (base.len == p.len || weir_span_find(ends, base.data[p.len]) >= 0))
            return weir_span_z(prefixes[i][1]);
    }
    return weir_span(NULL, 0);
}

static struct wj_val normal_type(struct wj_run *x, struct wj_val v) {
    char low[64];
    struct weir_span rest, base;
    if (v.kind != WJ_STR)
        return v;
    base = wj_strip(x, weir_span_split(wj_text(x, v), '(', &rest), wj_none(), 3);
    if (base.len > sizeof(low)) /* no name is as long, and a prefix is known by its beginning */
        base.len = sizeof(low);
    for (size_t i = 0; i < base.len; i++)
        low[i] =
            (char)(base.data[i] >= 'A' && base.data[i] <= 'Z' ? base.data[i] | 0x20 : base.data[i]);
    base = standard_type(weir_span(low, base.len));
    return base.data == NULL || is_text(v, base.data) ? v : wj_str(base);
}

/* Each once. */
static struct wj_val normal_types(struct wj_run *x, struct wj_val list) {
    struct wj_vec out = {0};
    for (uint32_t i = 0; i < list.len; i++) {
        struct wj_val t = normal_type(x, list.u.items[i]);
        bool there = false;
        wj_charge(x, out.n);
        for (uint32_t k = 0; k < out.n && !there; k++)
            there = wj_equal(x, out.at[k], t);
        if (!there)
            wj_push(x, &out, t);
    }
    return wj_list(out.at, out.n);
}

/* Somewhere in it, maybe. Most schemas do not, and stay as they are. */
static bool names_other_types(struct wj_run *x, struct wj_val v) {
    bool found = false;
    wj_enter(x);
    for (uint32_t i = 0; v.kind == WJ_LIST && i < v.len && !found; i++)
        found = names_other_types(x, v.u.items[i]);
    for (uint32_t i = 0; v.kind == WJ_DICT && i < v.u.dict->n && !found; i++) {
        struct wj_val value = v.u.dict->pairs[i].value;
        found = is_text(v.u.dict->pairs[i].key, "type") &&
                (value.kind == WJ_LIST || normal_type(x, value).u.s != value.u.s);
        found = found || names_other_types(x, value);
    }
    wj_leave(x);
    return found;
}

static struct wj_val normal_schema(struct wj_run *x, struct wj_val schema);

static struct wj_val normal_list(struct wj_run *x, struct wj_val list) {
    struct wj_val *items = wj_alloc(x, list.len * sizeof(*items) + 1);
    for (uint32_t i = 0; i < list.len; i++)
        items[i] = normal_schema(x, list.u.items[i]);
    return wj_list(items, list.len);
}

static struct wj_val normal_values(struct wj_run *x, struct wj_val dict) {
    struct wj_val out = wj_dict_new(x, dict.u.dict->n);
    for (uint32_t i = 0; i < dict.u.dict->n; i++)
        wj_dict_add(x, out.u.dict, dict.u.dict->pairs[i].key,
                    normal_schema(x, dict.u.dict->pairs[i].value));
    return out;
}

static bool among(struct weir_span name, const char *const *names, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (weir_span_eqz(name, names[i]))
            return true;
    return false;
}

static struct wj_val normal_member(struct wj_run *x, struct weir_span name, struct wj_val v) {
    static const char *const of_schemas[] = {"properties", "patternProperties", "$defs",
                                             "definitions", "dependentSchemas"};
    static const char *const lists[] = {"anyOf", "oneOf", "allOf", "prefixItems"};
    static const char *const schemas[] = {"items",
                                          "additionalProperties",
                                          "not",
                                          "if",
                                          "then",
                                          "else",
                                          "contains",
                                          "propertyNames",
                                          "unevaluatedItems",
                                          "unevaluatedProperties"};
    if (weir_span_eqz(name, "type"))
        return v.kind == WJ_LIST ? normal_types(x, v) : normal_type(x, v);
    if (v.kind == WJ_DICT && among(name, of_schemas, WEIR_ARRAY_LEN(of_schemas)))
        return normal_values(x, v);
    if (v.kind == WJ_LIST && among(name, lists, WEIR_ARRAY_LEN(lists)))
        return normal_list(x, v);
    return among(name, schemas, WEIR_ARRAY_LEN(schemas)) ? normal_schema(x, v) : v;
}

/* A schema with the names of its types as JSON Schema has them. */
static struct wj_val normal_schema(struct wj_run *x, struct wj_val schema) {
    if (schema.kind == WJ_LIST)
        return normal_list(x, schema);
    if (schema.kind != WJ_DICT)
        return schema;
    wj_enter(x);
    struct wj_val out = wj_dict_new(x, schema.u.dict->n);
    for (uint32_t i = 0; i < schema.u.dict->n; i++) {
        const struct wj_pair *p = &schema.u.dict->pairs[i];
        wj_dict_add(x, out.u.dict, p->key, normal_member(x, wj_text(x, p->key), p->value));
    }
    wj_leave(x);
    return out;
}

/* SGLang 0.5.23: the function's known members in the order of the request, then those that were
 * left out, as null; `strict` and `defer_loading` only where they say something. */
struct wj_val wtok_sglang_tool(struct wj_run *x, struct wj_val tool, bool normal) {
    enum { DESCRIPTION, NAME, PARAMETERS, STRICT, DEFER, N };
    static const struct weir_span names[N] = {WEIR_SPAN_LIT("description"), WEIR_SPAN_LIT("name"),
                                              WEIR_SPAN_LIT("parameters"), WEIR_SPAN_LIT("strict"),
                                              WEIR_SPAN_LIT("defer_loading")};
    struct wj_val out = wj_dict_new(x, 3), in = wj_dict_new(x, N), f[N];
    struct wj_val function = wtok_member(x, tool, "function"), type = wtok_member(x, tool, "type");
    struct wj_val defer = or_null(wtok_member(x, tool, "defer_loading"));
    members(x, function, names, N, f);
    if (!has(f[DEFER]))
        f[DEFER] = defer;
    sglang_flag(x, f[STRICT], "strict");
    sglang_flag(x, f[DEFER], "defer_loading");
    sglang_flag(x, defer, "defer_loading");
    if (normal && names_other_types(x, f[PARAMETERS]))
        f[PARAMETERS] = normal_schema(x, f[PARAMETERS]);
    for (uint32_t i = 0; i < function.u.dict->n; i++) {
        size_t which = name_of(x, function.u.dict->pairs[i].key, names, N);
        if (which < N && (which < STRICT || has(f[which])))
            wtok_set(x, in, (const char *)names[which].data, or_null(f[which]));
    }
    for (size_t i = 0; i < N; i++)
        if (wtok_member(x, in, (const char *)names[i].data).kind == WJ_MISSING &&
            (i < STRICT || has(f[i])))
            wtok_add(x, in, (const char *)names[i].data, or_null(f[i]));
    wtok_add(x, out, "type", has(type) ? type : wj_strz("function"));
    wtok_add(x, out, "function", in);
    wtok_add(x, out, "defer_loading", defer);
    return out;
}

struct wj_val wtok_choose_tools(struct wj_run *x, struct wj_val tools, struct wj_val choice) {
    if (is_text(choice, "none") || tools.kind != WJ_LIST || tools.len == 0)
        return wj_none();
    if (choice.kind != WJ_DICT)
        return tools;
    struct wj_val name = wtok_member(x, wtok_member(x, choice, "function"), "name");
    struct wj_val *items = wj_alloc(x, tools.len * sizeof(*items) + 1);
    uint32_t n = 0;
    for (uint32_t i = 0; i < tools.len; i++) {
        struct wj_val own = wtok_member(x, wtok_member(x, tools.u.items[i], "function"), "name");
        if (own.kind == WJ_STR && name.kind == WJ_STR && own.len == name.len &&
            wj_same_text(own.u.s, wj_text(x, name)))
            items[n++] = tools.u.items[i];
    }
    return n > 0 ? wj_list(items, n) : wj_none();
}

/* ---- efforts ----------------------------------------------------------------------------------
 */

unsigned wtok_sglang_reads_efforts(struct weir_span source) {
    static const char *const low[] = {"low_effort", "truncate_history_thinking"};
    static const char *const hunyuan[] = {"reasoning_effort", "reasoning_mode_token", "no_think"};
    unsigned found = WTOK_EFFORT_LOW | WTOK_EFFORT_HUNYUAN;
    for (size_t i = 0; i < WEIR_ARRAY_LEN(low); i++)
        if (wj_find(source, weir_span_z(low[i]), 0) < 0)
            found &= ~(unsigned)WTOK_EFFORT_LOW;
    for (size_t i = 0; i < WEIR_ARRAY_LEN(hunyuan); i++)
        if (wj_find(source, weir_span_z(hunyuan[i]), 0) < 0)
            found &= ~(unsigned)WTOK_EFFORT_HUNYUAN;
    return found;
}

/* `low_effort` is set by one of many rules for templates; Hunyuan's words are mapped where the
 * server's reasoning parser is its own. */
void wtok_sglang_efforts(struct wj_run *x, unsigned efforts, struct wj_val args) {
    struct wj_val effort = wtok_member(x, args, "reasoning_effort");
    bool low = (efforts & WTOK_EFFORT_LOW) != 0 && is_text(effort, "low") &&
               wtok_member(x, args, "low_effort").kind == WJ_MISSING;
    if (low || (efforts & WTOK_EFFORT_HUNYUAN) != 0)
        wj_fail(x, WTOK_JINJA_ERR_UNSUPPORTED,
                "what the engine makes of the effort for this template is not followed here");
}
