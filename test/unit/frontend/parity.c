/* What two lists of tokens, or two counts, say about why they differ; which requests prove nothing.
 */
#include "frontend/parity.h"

#include "base/json.h"
#include "test/check.h"

enum { MAX = 16 };

/* Lists are written as ids, 0 ends one. */
struct row {
    enum weir_parity_shape shape;
    uint32_t ours[MAX], theirs[MAX];
    enum weir_parity_cause cause;
    size_t at;
    enum { STILL, DATED } time;
};

static const struct row rows[] = {
    {WEIR_PARITY_TEXT, {5, 6, 7, STILL}, {5, 6, 7, STILL}, WEIR_PARITY_SAME, 3, STILL},
    {WEIR_PARITY_CHAT, {0}, {0}, WEIR_PARITY_SAME, 0, STILL},
    /* bare text: nothing but the vocabulary can differ */
    {WEIR_PARITY_TEXT, {5, 6, 7, STILL}, {5, 8, STILL}, WEIR_PARITY_VOCABULARY, 1, STILL},
    {WEIR_PARITY_TEXT, {5, 6, 7, STILL}, {1, 5, 6, 7, STILL}, WEIR_PARITY_VOCABULARY, 0, STILL},
    /* an id that we do not have, whatever the shape */
    {WEIR_PARITY_TOOLS, {5, 6, 7, STILL}, {5, 6, 99, 7, STILL}, WEIR_PARITY_VOCABULARY, 2, STILL},
    /* begin of sequence: who has it, and how often */
    {WEIR_PARITY_PROMPT, {5, 6, STILL}, {1, 5, 6, STILL}, WEIR_PARITY_BOS_MISSING_HERE, 0, STILL},
    {WEIR_PARITY_PROMPT, {1, 5, 6, STILL}, {5, 6, STILL}, WEIR_PARITY_BOS_MISSING_THERE, 0, STILL},
    {WEIR_PARITY_PROMPT,
     {1, 5, 6, STILL},
     {1, 1, 5, 6, STILL},
     WEIR_PARITY_BOS_TWICE_THERE,
     1,
     STILL},
    {WEIR_PARITY_PROMPT,
     {1, 1, 5, 6, STILL},
     {1, 5, 6, STILL},
     WEIR_PARITY_BOS_TWICE_HERE,
     1,
     STILL},
    {WEIR_PARITY_CHAT, {1, 1, 5, 6, STILL}, {1, 5, 6, STILL}, WEIR_PARITY_BOS_TWICE_HERE, 1, STILL},
    {WEIR_PARITY_CHAT, {5, 6, STILL}, {1, 5, 6, STILL}, WEIR_PARITY_BOS_MISSING_HERE, 0, STILL},
    /* other things around a prompt */
    {WEIR_PARITY_PROMPT, {5, 6, STILL}, {5, 6, 2, STILL}, WEIR_PARITY_AROUND, 2, STILL},
    {WEIR_PARITY_PROMPT, {1, 5, 6, STILL}, {3, 5, 6, STILL}, WEIR_PARITY_AROUND, 0, STILL},
    {WEIR_PARITY_PROMPT, {5, 6, STILL}, {3, 4, 5, 6, STILL}, WEIR_PARITY_AROUND, 0, STILL},
    /* conversations: more at one end */
    {WEIR_PARITY_CHAT,
     {3, 5, 4, STILL},
     {3, 9, 8, 4, 3, 5, 4, STILL},
     WEIR_PARITY_SYSTEM_PROMPT,
     1,
     STILL},
    {WEIR_PARITY_CHAT,
     {1, 3, 9, 8, 4, 3, 5, STILL},
     {1, 3, 5, STILL},
     WEIR_PARITY_SYSTEM_PROMPT,
     2,
     STILL},
    {WEIR_PARITY_CHAT,
     {1, 5, 4, STILL},
     {1, 9, 8, 7, 5, 4, STILL},
     WEIR_PARITY_SYSTEM_PROMPT,
     1,
     STILL},
    {WEIR_PARITY_CHAT,
     {3, 5, 4, STILL},
     {3, 5, 4, 10, 11, 12, STILL},
     WEIR_PARITY_GENERATION_PROMPT,
     3,
     STILL},
    {WEIR_PARITY_TOOLS,
     {3, 5, 4, 10, STILL},
     {3, 5, 4, STILL},
     WEIR_PARITY_GENERATION_PROMPT,
     3,
     STILL},
    /* in the middle: what the shape adds to those before it */
    {WEIR_PARITY_CHAT, {3, 5, 6, 4, STILL}, {3, 7, 7, 4, STILL}, WEIR_PARITY_TEMPLATE, 1, STILL},
    {WEIR_PARITY_CONTENT,
     {3, 5, 6, 4, STILL},
     {3, 5, 7, 6, 4, STILL},
     WEIR_PARITY_CONTENT_FORM,
     2,
     STILL},
    {WEIR_PARITY_TOOLS, {3, 5, 6, 4, STILL}, {3, 5, 7, 4, STILL}, WEIR_PARITY_TOOLS_FORM, 2, STILL},
    {WEIR_PARITY_CHAT, {3, 5, 6, 4, STILL}, {3, 7, 7, 4, STILL}, WEIR_PARITY_DATE, 1, DATED},
    {WEIR_PARITY_CHAT,
     {3, 5, 4, STILL},
     {3, 5, 4, 10, STILL},
     WEIR_PARITY_GENERATION_PROMPT,
     3,
     DATED},
};

static size_t length(const uint32_t ids[MAX]) {
    size_t n = 0;
    while (n < MAX && ids[n] != 0)
        n++;
    return n;
}

static void case_lists(void) {
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        const struct row *r = &rows[i];
        struct weir_parity_facts facts = {.vocab_size = 50, .prints_time = r->time == DATED};
        size_t at = 1000;
        enum weir_parity_cause got = weir_parity_compare(r->shape, &facts, r->ours, length(r->ours),
                                                         r->theirs, length(r->theirs), &at);
        CHECK_MSG(got == r->cause && at == r->at, "row %zu: %s at %zu, want %s at %zu", i,
                  weir_parity_cause_name(got), at, weir_parity_cause_name(r->cause), r->at);
    }
}

/* A date is a few tokens; more is another template even where the template writes a date. */
static void case_long_difference_is_no_date(void) {
    uint32_t ours[100], theirs[100];
    struct weir_parity_facts facts = {.vocab_size = 1000, .prints_time = true};
    for (unsigned i = 0; i < 100; i++) {
        ours[i] = 100 + i;
        theirs[i] = i < 20 || i >= 80 ? 100 + i : 300 + i;
    }
    CHECK(weir_parity_compare(WEIR_PARITY_CHAT, &facts, ours, 100, theirs, 100, NULL) ==
          WEIR_PARITY_TEMPLATE);
    for (unsigned i = 30; i < 80; i++)
        theirs[i] = ours[i];
    CHECK(weir_parity_compare(WEIR_PARITY_CHAT, &facts, ours, 100, theirs, 100, NULL) ==
          WEIR_PARITY_DATE);
}

static void case_counts(void) {
    static const struct {
        struct weir_parity_count count;
        enum weir_parity_cause cause;
    } table[] = {
        {{.ours = 7, .theirs = 7}, WEIR_PARITY_SAME},
        {{.ours = 7, .theirs = 8}, WEIR_PARITY_ONE_MORE_THERE},
        {{.ours = 8, .theirs = 7, .chat = true}, WEIR_PARITY_ONE_MORE_HERE},
        {{.ours = 7, .theirs = 11}, WEIR_PARITY_VOCABULARY},
        {{.ours = 7, .theirs = 11, .chat = true}, WEIR_PARITY_TEMPLATE},
        {{.ours = 7, .theirs = 11, .chat = true, .tools = true}, WEIR_PARITY_TOOLS_FORM},
        {{.ours = 7, .theirs = 8, .sent_ids = true}, WEIR_PARITY_NOT_AS_SENT},
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(table); i++)
        CHECK_MSG(weir_parity_count_cause(&table[i].count) == table[i].cause, "row %zu", i);
}

static void case_excused(void) {
    static const struct {
        const char *body;
        bool excused;
    } table[] = {
        {"{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"chat_template\"}]}",
         false},
        {"{\"metadata\":{\"documents\":[]},\"prompt\":\"x\"}", false},
        {"{\"tool_choice\":\"auto\"}", false},
        {"{\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"f\"}}}", true},
        {"{\"tool_choice\":\"none\",\"x\":1}", true},
        {"{\"prompt\":\"x\",\"add_special_tokens\":false}", true},
        {"{\"prompt\":\"x\",\"truncate_prompt_tokens\":5}", true},
        {"{\"messages\":[],\"chat_template\":\"{{ 1 }}\"}", true},
        {"{\"messages\":[],\"reasoning_effort\":\"high\"}", true},
        {"[1]", true},
        {"{\"prompt\":", true},
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(table); i++)
        CHECK_MSG(weir_parity_excused(weir_span_z(table[i].body)) == table[i].excused, "row %zu",
                  i);
}

static bool is_json(const char *text, enum weir_json_type type) {
    struct weir_json j;
    weir_json_init(&j, weir_span_z(text), 32);
    return weir_json_peek(&j) == type && weir_json_skip(&j, NULL) && weir_json_finish(&j);
}

/* Each conversation can be sent, and the order of shapes is that from which causes are read. */
static void case_canned(void) {
    enum weir_parity_shape last = WEIR_PARITY_TEXT;
    unsigned n[WEIR_PARITY_TOOLS + 1] = {0};
    CHECK(weir_parity_n_canned >= 15 && weir_parity_n_canned <= 24);
    for (size_t i = 0; i < weir_parity_n_canned; i++) {
        const struct weir_parity_canned *c = &weir_parity_canned[i];
        CHECK_MSG(c->shape >= last, "%s", c->name);
        CHECK_MSG((c->prompt != NULL) == (c->shape <= WEIR_PARITY_PROMPT), "%s", c->name);
        CHECK_MSG((c->tools != NULL) == (c->shape == WEIR_PARITY_TOOLS), "%s", c->name);
        CHECK_MSG(c->prompt != NULL || is_json(c->messages, WEIR_JSON_ARRAY), "%s", c->name);
        CHECK_MSG(c->tools == NULL || is_json(c->tools, WEIR_JSON_ARRAY), "%s", c->name);
        last = c->shape;
        n[c->shape]++;
    }
    for (size_t i = 0; i < WEIR_ARRAY_LEN(n); i++)
        CHECK(n[i] > 0);
    for (unsigned i = 0; i < WEIR_PARITY_N_CAUSES; i++)
        CHECK(weir_parity_cause_name(i) != NULL && weir_parity_cause_text(i) != NULL);
}

int main(void) {
    CHECK_RUN(case_lists);
    CHECK_RUN(case_long_difference_is_no_date);
    CHECK_RUN(case_counts);
    CHECK_RUN(case_excused);
    CHECK_RUN(case_canned);
    return check_finish();
}
