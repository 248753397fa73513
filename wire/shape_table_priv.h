/* Words for tables of struct weir_shape, inner types before outer ones. */
#ifndef WEIR_WIRE_SHAPE_TABLE_PRIV_H
#define WEIR_WIRE_SHAPE_TABLE_PRIV_H

#include "wire/shape.h"

#define NEED(name, shape)                                                                          \
    { name, NULL, shape, false, false }
#define MAY(name, shape)                                                                           \
    { name, NULL, shape, true, false }
#define MAY_BE_LEFT_OUT(name, shape)                                                               \
    { name, NULL, shape, true, true }
#define END                                                                                        \
    { NULL, NULL, NULL, false, false }
#define STRUCT(text, list)                                                                         \
    { .kind = WEIR_SHAPE_STRUCT, .name = text, .members = list }
#define WORDS(list)                                                                                \
    { .kind = WEIR_SHAPE_WORDS, .variants = list }
#define LIST(of)                                                                                   \
    { .kind = WEIR_SHAPE_LIST, .item = of }
#define UNTAGGED(text, list)                                                                       \
    { .kind = WEIR_SHAPE_UNTAGGED, .name = text, .items = list }
#define TAGGED(text, by, list)                                                                     \
    { .kind = WEIR_SHAPE_TAGGED, .name = text, .tag = by, .variants = list }
#define CHECKED(how)                                                                               \
    { .kind = WEIR_SHAPE_CHECKED, .check = how }

#endif
