/*
 * Attribute names that Python objects of templates have: X(name, types). In the order of strcmp.
 * Types: S str, D dict, L list, T tuple, I int and bool, F float, R range, V dict views,
 * G generators, C cycler, J joiner, Q groups of groupby, A all.
 */
#ifndef WEIR_TOKENIZER_JINJA_ATTR_PRIV_H
#define WEIR_TOKENIZER_JINJA_ATTR_PRIV_H

enum {
    WJ_TS = 1,
    WJ_TD = 2,
    WJ_TL = 4,
    WJ_TT = 8,
    WJ_TI = 16,
    WJ_TF = 32,
    WJ_TR = 64,
    WJ_TV = 128,
    WJ_TG = 256,
    WJ_TC = 512,
    WJ_TJ = 1024,
    WJ_TP = 2048, /* loop */
    WJ_TQ = 4096, /* what groupby yields */
    WJ_TA = 0xFFFF,
};
#define WJ_SEQ (WJ_TS | WJ_TL | WJ_TT)
#define WJ_HAS_LEN (WJ_SEQ | WJ_TD | WJ_TR | WJ_TV)

#define WJ_ATTR_MAP(X)                                                                             \
    X(__add__, WJ_SEQ | WJ_TI | WJ_TF)                                                             \
    X(__class__, WJ_TA)                                                                            \
    X(__contains__, WJ_HAS_LEN)                                                                    \
    X(__delattr__, WJ_TA)                                                                          \
    X(__dir__, WJ_TA)                                                                              \
    X(__doc__, WJ_TA)                                                                              \
    X(__eq__, WJ_TA)                                                                               \
    X(__format__, WJ_TA)                                                                           \
    X(__ge__, WJ_TA)                                                                               \
    X(__getattribute__, WJ_TA)                                                                     \
    X(__getitem__, WJ_SEQ | WJ_TD | WJ_TR)                                                         \
    X(__gt__, WJ_TA)                                                                               \
    X(__hash__, WJ_TA)                                                                             \
    X(__init__, WJ_TA)                                                                             \
    X(__init_subclass__, WJ_TA)                                                                    \
    X(__iter__, WJ_HAS_LEN | WJ_TG)                                                                \
    X(__le__, WJ_TA)                                                                               \
    X(__len__, WJ_HAS_LEN)                                                                         \
    X(__lt__, WJ_TA)                                                                               \
    X(__mod__, WJ_TS | WJ_TI | WJ_TF)                                                              \
    X(__mul__, WJ_SEQ | WJ_TI | WJ_TF)                                                             \
    X(__ne__, WJ_TA)                                                                               \
    X(__new__, WJ_TA)                                                                              \
    X(__reduce__, WJ_TA)                                                                           \
    X(__reduce_ex__, WJ_TA)                                                                        \
    X(__repr__, WJ_TA)                                                                             \
    X(__setattr__, WJ_TA)                                                                          \
    X(__sizeof__, WJ_TA)                                                                           \
    X(__str__, WJ_TA)                                                                              \
    X(__subclasshook__, WJ_TA)                                                                     \
    X(append, WJ_TL)                                                                               \
    X(as_integer_ratio, WJ_TI | WJ_TF)                                                             \
    X(bit_count, WJ_TI)                                                                            \
    X(bit_length, WJ_TI)                                                                           \
    X(capitalize, WJ_TS)                                                                           \
    X(casefold, WJ_TS)                                                                             \
    X(center, WJ_TS)                                                                               \
    X(changed, WJ_TP)                                                                              \
    X(clear, WJ_TD | WJ_TL)                                                                        \
    X(close, WJ_TG)                                                                                \
    X(conjugate, WJ_TI | WJ_TF)                                                                    \
    X(copy, WJ_TD | WJ_TL)                                                                         \
    X(count, WJ_SEQ | WJ_TR)                                                                       \
    X(current, WJ_TC)                                                                              \
    X(cycle, WJ_TP)                                                                                \
    X(denominator, WJ_TI)                                                                          \
    X(depth, WJ_TP)                                                                                \
    X(depth0, WJ_TP)                                                                               \
    X(encode, WJ_TS)                                                                               \
    X(endswith, WJ_TS)                                                                             \
    X(expandtabs, WJ_TS)                                                                           \
    X(extend, WJ_TL)                                                                               \
    X(find, WJ_TS)                                                                                 \
    X(first, WJ_TP)                                                                                \
    X(format, WJ_TS)                                                                               \
    X(format_map, WJ_TS)                                                                           \
    X(from_bytes, WJ_TI)                                                                           \
    X(fromhex, WJ_TF)                                                                              \
    X(fromkeys, WJ_TD)                                                                             \
    X(get, WJ_TD)                                                                                  \
    X(gi_code, WJ_TG)                                                                              \
    X(gi_frame, WJ_TG)                                                                             \
    X(gi_running, WJ_TG)                                                                           \
    X(gi_suspended, WJ_TG)                                                                         \
    X(gi_yieldfrom, WJ_TG)                                                                         \
    X(grouper, WJ_TQ)                                                                              \
    X(hex, WJ_TF)                                                                                  \
    X(imag, WJ_TI | WJ_TF)                                                                         \
    X(index, WJ_SEQ | WJ_TR | WJ_TP)                                                               \
    X(index0, WJ_TP)                                                                               \
    X(insert, WJ_TL)                                                                               \
    X(is_integer, WJ_TF)                                                                           \
    X(isalnum, WJ_TS)                                                                              \
    X(isalpha, WJ_TS)                                                                              \
    X(isascii, WJ_TS)                                                                              \
    X(isdecimal, WJ_TS)                                                                            \
    X(isdigit, WJ_TS)                                                                              \
    X(isdisjoint, WJ_TV)                                                                           \
    X(isidentifier, WJ_TS)                                                                         \
    X(islower, WJ_TS)                                                                              \
    X(isnumeric, WJ_TS)                                                                            \
    X(isprintable, WJ_TS)                                                                          \
    X(isspace, WJ_TS)                                                                              \
    X(istitle, WJ_TS)                                                                              \
    X(isupper, WJ_TS)                                                                              \
    X(items, WJ_TD | WJ_TC)                                                                        \
    X(join, WJ_TS)                                                                                 \
    X(keys, WJ_TD)                                                                                 \
    X(last, WJ_TP)                                                                                 \
    X(length, WJ_TP)                                                                               \
    X(list, WJ_TQ)                                                                                 \
    X(ljust, WJ_TS)                                                                                \
    X(lower, WJ_TS)                                                                                \
    X(lstrip, WJ_TS)                                                                               \
    X(maketrans, WJ_TS)                                                                            \
    X(mapping, WJ_TV)                                                                              \
    X(next, WJ_TC)                                                                                 \
    X(nextitem, WJ_TP)                                                                             \
    X(numerator, WJ_TI)                                                                            \
    X(partition, WJ_TS)                                                                            \
    X(pop, WJ_TD | WJ_TL)                                                                          \
    X(popitem, WJ_TD)                                                                              \
    X(pos, WJ_TC)                                                                                  \
    X(previtem, WJ_TP)                                                                             \
    X(real, WJ_TI | WJ_TF)                                                                         \
    X(remove, WJ_TL)                                                                               \
    X(removeprefix, WJ_TS)                                                                         \
    X(removesuffix, WJ_TS)                                                                         \
    X(replace, WJ_TS)                                                                              \
    X(reset, WJ_TC)                                                                                \
    X(reverse, WJ_TL)                                                                              \
    X(revindex, WJ_TP)                                                                             \
    X(revindex0, WJ_TP)                                                                            \
    X(rfind, WJ_TS)                                                                                \
    X(rindex, WJ_TS)                                                                               \
    X(rjust, WJ_TS)                                                                                \
    X(rpartition, WJ_TS)                                                                           \
    X(rsplit, WJ_TS)                                                                               \
    X(rstrip, WJ_TS)                                                                               \
    X(send, WJ_TG)                                                                                 \
    X(sep, WJ_TJ)                                                                                  \
    X(setdefault, WJ_TD)                                                                           \
    X(sort, WJ_TL)                                                                                 \
    X(split, WJ_TS)                                                                                \
    X(splitlines, WJ_TS)                                                                           \
    X(start, WJ_TR)                                                                                \
    X(startswith, WJ_TS)                                                                           \
    X(step, WJ_TR)                                                                                 \
    X(stop, WJ_TR)                                                                                 \
    X(strip, WJ_TS)                                                                                \
    X(swapcase, WJ_TS)                                                                             \
    X(throw, WJ_TG)                                                                                \
    X(title, WJ_TS)                                                                                \
    X(to_bytes, WJ_TI)                                                                             \
    X(translate, WJ_TS)                                                                            \
    X(update, WJ_TD)                                                                               \
    X(upper, WJ_TS)                                                                                \
    X(used, WJ_TJ)                                                                                 \
    X(values, WJ_TD)                                                                               \
    X(zfill, WJ_TS)

enum wj_attr {
    WJ_A_NONE,
#define X(name, types) WJ_A_##name,
    WJ_ATTR_MAP(X)
#undef X
};

#endif
