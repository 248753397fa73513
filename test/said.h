/* What a test has to say of what it read: a text that grows, compared as a whole. One a program. */
#ifndef WEIR_TEST_SAID_H
#define WEIR_TEST_SAID_H

#include "base/status.h"
#include "test/check.h"

#include <stdarg.h>
#include <stdio.h>

static char text[1 << 20];
static size_t len;

WEIR_PRINTF(1, 2) static void add(const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text + len, sizeof(text) - len, fmt, args);
    va_end(args);
    CHECK(n >= 0 && (size_t)n < sizeof(text) - len);
    len += (size_t)n;
}

#endif
