/* The block scanners against the scalar reference: every family, every instruction set that this
 * machine has, random texts at every alignment, cut at every place. */
#include "base/rng.h"
#include "base/utf8.h"
#include "test/check.h"
#include "tokenizer/blocks_priv.h"
#include "tokenizer/encode_priv.h"

enum { TEXT_MAX = 400 };

static const char *const atoms[] = {
    "a",
    "b",
    "Z",
    "foo",
    "Bar",
    "HTTP",
    "'",
    "'s",
    "'S",
    "'ll",
    "'re",
    "'x",
    "''",
    " ",
    "  ",
    "\t",
    "\n",
    "\r",
    "\n\n",
    " \n",
    "\n ",
    "0",
    "12",
    "345",
    "6789",
    "1234567",
    ".",
    ",",
    "(",
    "/",
    "\n/",
    "...",
    "!=",
    "_",
    "-",
    "\x01",
    "\x7F",
    "\x1C",
    "\xC3\xA9",         /* é */
    "\xC3\x89",         /* É */
    "\xC5\xBF",         /* ſ */
    "'\xC5\xBF",        /* 'ſ */
    "\xCC\x81",         /* combining acute */
    "\xE5\xAD\x97",     /* 字 */
    "\xE3\x81\x82",     /* あ */
    "\xE3\x83\xBB",     /* ・ */
    "\xE3\x80\x82",     /* 。 */
    "\xEF\xBC\x8C",     /* ， */
    "\xE2\x80\x9C",     /* “ */
    "\xC2\xA0",         /* no-break space */
    "\xE3\x80\x80",     /* ideographic space */
    "\xC2\x85",         /* next line */
    "\xD9\xA3",         /* Arabic digit three */
    "\xC7\x85",         /* a title-case letter */
    "\xCA\xB0",         /* a modifier letter */
    "\xF0\x9F\x98\x80", /* a smiley */
    "\xF0\x9D\x92\x9C", /* a mathematical capital */
    "\xE3\x82\x97",     /* unassigned */
    "\xE4\xB8\xAD",     /* 中 */
    "\xE4\xB7\x80",     /* a hexagram, beside the ideographs */
    "\xE9\xBF\xBF",     /* the last ideograph */
    "\xE3\x80\x85",     /* 々 */
    "\xE3\x80\x87",     /* 〇, a number */
    "\xE3\x80\x8A",     /* 《 */
    "\xE3\x82\x99",     /* combining voiced sound mark */
    "\xE3\x83\x80",     /* ダ */
    "\xE3\x83\xBC",     /* ー */
    "\xEF\xBC\x91",     /* fullwidth digit */
    "\xEF\xBC\xA1",     /* fullwidth capital */
    "\xEF\xBC\x88",     /* fullwidth parenthesis */
    "\xE2\x80\xA8",     /* line separator */
    "\xE2\x80\x8B",     /* zero-width space */
    "\xE2\x80\x94",     /* em dash */
    "\xE2\x94\x80",     /* ─ */
    "\xD0\xB4",         /* д */
    "\xD0\x94",         /* Д */
    "\xD2\x83",         /* a Cyrillic mark */
    "\xC3\x97",         /* × */
    "\xEB\x8B\xA4",     /* 다 */
};

static size_t random_text(struct weir_rng *rng, char *out) {
    size_t n = 0, want = weir_rng_below(rng, TEXT_MAX - 32);
    uint64_t style = weir_rng_below(rng, 4);
    while (n < want) {
        /* Long runs of one kind, and mixtures. */
        size_t span = style == 0 ? 12 : style == 1 ? 38 : WEIR_ARRAY_LEN(atoms);
        const char *atom = atoms[weir_rng_below(rng, span)];
        uint64_t repeat = weir_rng_below(rng, 8) == 0 ? weir_rng_below(rng, 90) : 1;
        size_t len = strlen(atom);
        for (uint64_t i = 0; i < repeat && n < want; i++, n += len)
            memcpy(out + n, atom, len);
        if (style == 3 && weir_rng_below(rng, 3) == 0) {
            unsigned c = (unsigned)weir_rng_below(rng, 0x30000);
            if (c < 0xD800 || c > 0xDFFF)
                n += weir_utf8_encode(c, out + n);
        }
    }
    return n;
}

static void compare(enum wtok_isa isa, enum wtok_family family, const unsigned char *p, size_t n) {
    const unsigned char *e = p + n, *at = p, *run = NULL, *want = p;
    while (at < e) {
        uint32_t ends[WTOK_BLOCK_WORDS];
        size_t k = wtok_scan_block(isa, family, at, e, e, ends);
        CHECK(k >= 1 && k <= WTOK_BLOCK_WORDS);
        for (size_t i = 0; i < k; i++) {
            want = wtok_scan_next(family, want, e, &run);
            CHECK_MSG(at + ends[i] == want,
                      "isa %d family %d: a word ends at %td, the reference says %td: \"%.*s\"",
                      (int)isa, (int)family, at + ends[i] - p, want - p, (int)n, (const char *)p);
        }
        at += ends[k - 1];
    }
}

static void case_blocks_equal_the_reference(void) {
    struct weir_rng rng;
    const char *rounds = getenv("WEIR_TEST_ROUNDS");
    unsigned n_rounds = rounds != NULL ? (unsigned)strtoul(rounds, NULL, 10) : 20000;
    static unsigned char room[64 + TEXT_MAX + 128];
    weir_rng_seed(&rng, check_seed());
    for (unsigned round = 0; round < n_rounds; round++) {
        char text[TEXT_MAX + 400];
        size_t n = random_text(&rng, text);
        unsigned char *p = room + round % 64;
        memset(room, '\'', sizeof(room));
        memcpy(p, text, n);
        for (int isa = 0; isa < WTOK_N_ISAS; isa++)
            for (int f = WTOK_GPT2; f <= WTOK_DEEPSEEK && wtok_isa_usable((enum wtok_isa)isa); f++)
                compare((enum wtok_isa)isa, (enum wtok_family)f, p, n);
    }
}

/* Ends of a text alone, by the scalar reference. */
static size_t reference_ends(enum wtok_family family, const unsigned char *p, size_t n,
                             uint32_t *ends) {
    const unsigned char *at = p, *run = NULL;
    size_t k = 0;
    while (at < p + n) {
        at = wtok_scan_next(family, at, p + n, &run);
        ends[k++] = (uint32_t)(at - p);
    }
    return k;
}

static bool same_ends(const struct wtok_scan *got, const uint32_t *want, size_t n) {
    for (size_t i = 0; i < n && i < got->n; i++)
        if (got->ends[i] != want[i])
            return false;
    return got->n == n;
}

/* Two texts in turns are as each alone, and what has too little room is told as far as it goes. */
static void compare_two(struct weir_rng *rng, enum wtok_isa isa, enum wtok_family family,
                        const unsigned char *p, size_t n) {
    enum { ENDS = TEXT_MAX + 400 + WTOK_BLOCK_ROOM };
    static uint32_t ends[2][ENDS], want[2][ENDS];
    size_t cut = n > 0 ? weir_rng_below(rng, n) : 0;
    while (cut > 0 && (p[cut] & 0xC0) == 0x80)
        cut--;
    size_t rooms[2] = {ENDS, ENDS}, n_want[2];
    rooms[weir_rng_below(rng, 2)] = WTOK_BLOCK_ROOM + weir_rng_below(rng, 100);
    struct wtok_scan a = {.p = p, .stop = p + cut, .e = p + cut, .ends = ends[0], .room = rooms[0]};
    struct wtok_scan b = {
        .p = p + cut, .stop = p + n, .e = p + n, .ends = ends[1], .room = rooms[1]};
    n_want[0] = reference_ends(family, p, cut, want[0]);
    n_want[1] = reference_ends(family, p + cut, n - cut, want[1]);
    wtok_scan_two(isa, family, &a, &b);
    CHECK_MSG(same_ends(&a, want[0], a.p == p + cut ? n_want[0] : a.n) &&
                  same_ends(&b, want[1], b.p == p + n ? n_want[1] : b.n),
              "isa %d family %d: in turns, cut at %zu: \"%.*s\"", (int)isa, (int)family, cut,
              (int)n, (const char *)p);
    CHECK(a.n <= rooms[0] && b.n <= rooms[1]);
    CHECK(a.p == p + cut || a.n + WTOK_BLOCK_ROOM > rooms[0]);
    CHECK(b.p == p + n || b.n + WTOK_BLOCK_ROOM > rooms[1]);
    CHECK(a.p == p + a.at && b.p == p + cut + b.at);
}

static void case_two_texts_in_turns(void) {
    struct weir_rng rng;
    static unsigned char text[TEXT_MAX + 400];
    weir_rng_seed(&rng, check_seed());
    for (unsigned round = 0; round < 4000; round++) {
        size_t n = random_text(&rng, (char *)text);
        for (int isa = 0; isa < WTOK_N_ISAS; isa++)
            for (int f = WTOK_GPT2; f <= WTOK_DEEPSEEK && wtok_isa_usable((enum wtok_isa)isa); f++)
                compare_two(&rng, (enum wtok_isa)isa, (enum wtok_family)f, text, n);
    }
}

/* The places where a text may be cut: no word of the whole reaches over one, and both sides alone
 * have the words that they have in the whole. */
static void case_cuts_change_no_word(void) {
    enum { ENDS = TEXT_MAX + 400 };
    static unsigned char text[ENDS];
    static uint32_t whole[ENDS], part[ENDS];
    struct weir_rng rng;
    size_t seen = 0;
    weir_rng_seed(&rng, check_seed());
    for (unsigned round = 0; round < 20000; round++) {
        size_t n = random_text(&rng, (char *)text);
        for (int f = WTOK_GPT2; f <= WTOK_DEEPSEEK; f++) {
            struct wtok_image image = {.family = (uint32_t)f};
            struct wtok_model m = {.image = &image};
            struct weir_span span = weir_span((const char *)text, n);
            size_t cut = wtok_next_cut(&m, span, n > 0 ? weir_rng_below(&rng, n) : 0);
            if (cut == n)
                continue;
            size_t k = reference_ends((enum wtok_family)f, text, n, whole);
            size_t left = reference_ends((enum wtok_family)f, text, cut, part);
            left += reference_ends((enum wtok_family)f, text + cut, n - cut, part + left);
            CHECK(k == left);
            for (size_t i = 0, from = 0; i < k && i < left; i++) {
                CHECK_MSG(whole[i] == from + part[i], "family %d, cut at %zu: \"%.*s\"", f, cut,
                          (int)n, (const char *)text);
                from = whole[i] >= cut ? cut : 0;
            }
            seen++;
        }
    }
    CHECK(seen > 1000);
}

/* The first place counts. */
static void case_first_cut(void) {
    static const struct {
        const char *text;
        size_t from, qwen, gpt2;
    } cuts[] = {
        {"12345\nabc def ghi", 0, 6, 6},
        {"12345\nabc def ghi", 6, 6, 6},
        {"12345\nabc def ghi", 7, 9, 9},
        {"1234 \nabc def ghi", 4, 6, 9},
        {"12345\n\nabc def gh", 3, 7, 10},
        {"1.3\n5 ab c\ndefghi", 3, 8, 8},
        {"\xE4\xB8\x80\xE3\x80\x82\n\xE4\xB8\x80\xEF\xBC\x8C\xE4\xB8\x80"
         "12",
         1, 10, 10},
        {"123456789 1 2 3 4", 0, 17, 17},
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(cuts); i++)
        for (int f = WTOK_GPT2; f <= WTOK_QWEN2; f++) {
            struct wtok_image image = {.family = (uint32_t)f};
            struct wtok_model m = {.image = &image};
            struct weir_span text = weir_span(cuts[i].text, strlen(cuts[i].text));
            CHECK_EQ_U64(wtok_next_cut(&m, text, cuts[i].from),
                         f == WTOK_GPT2 ? cuts[i].gpt2 : cuts[i].qwen);
        }
}

/* Every length of prefix of one text that has everything in it. */
static void case_every_length(void) {
    static unsigned char room[2048];
    size_t n = 0;
    for (size_t i = 0; i < WEIR_ARRAY_LEN(atoms); i++)
        for (size_t k = i; k < WEIR_ARRAY_LEN(atoms) && n < 1600; k += 7) {
            memcpy(room + n, atoms[k], strlen(atoms[k]));
            n += strlen(atoms[k]);
        }
    for (size_t len = 1; len <= n; len++)
        if ((room[len] & 0xC0) != 0x80)
            for (int isa = 0; isa < WTOK_N_ISAS; isa++)
                for (int f = 0; f <= WTOK_DEEPSEEK && wtok_isa_usable((enum wtok_isa)isa); f++)
                    compare((enum wtok_isa)isa, (enum wtok_family)f, room, len);
}

int main(void) {
    CHECK_RUN(case_blocks_equal_the_reference);
    CHECK_RUN(case_first_cut);
    CHECK_RUN(case_every_length);
    CHECK_RUN(case_two_texts_in_turns);
    CHECK_RUN(case_cuts_change_no_word);
    return check_finish();
}
