/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TAP output for test programs, all of it: each check is one line, the plan comes at the end, so
 * that nobody counts checks by hand. A program that dies before tap_done() has printed no plan and
 * is a failure to every reader of TAP. Checks are made from one thread.
 *
 *     int main(void)
 *     {
 *         ok(1 + 1 == 2, "addition of %d", 1);
 *         return tap_done();
 *     }
 */
#ifndef LUM_TESTS_TAP_H
#define LUM_TESTS_TAP_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

#include "base/util.h"

/* Weak: a program of several files counts once. */
struct tap_state {
    unsigned checks, failures;
};
__attribute__((weak)) struct tap_state tap_state;

/* Names must not hold '#' or a newline: TAP gives them a meaning. */
static inline void tap_name(const char *fmt, va_list ap) LUM_PRINTF(1, 0);

static inline void tap_name(const char *fmt, va_list ap)
{
    char name[512];

    if (vsnprintf(name, sizeof(name), fmt, ap) < 0)
        name[0] = '\0';
    for (char *p = name; *p; p++)
        putchar(*p == '#' || *p == '\n' || *p == '\r' ? ' ' : *p);
}

static inline bool tap_check(const char *file, int line, const char *text, bool good,
                             const char *fmt, ...) LUM_PRINTF(5, 6);

static inline bool tap_check(const char *file, int line, const char *text, bool good,
                             const char *fmt, ...)
{
    va_list ap;

    tap_state.checks++;
    if (!good)
        tap_state.failures++;
    printf("%sok %u - ", good ? "" : "not ", tap_state.checks);
    va_start(ap, fmt);
    tap_name(fmt, ap);
    va_end(ap);
    putchar('\n');
    if (!good)
        printf("# failed at %s:%d: %s\n", file, line, text);
    fflush(stdout);
    return good;
}

/* One check: ok(condition, format, ...). Yields the condition, so that a test can stop early. */
#define ok(cond, ...) tap_check(__FILE__, __LINE__, #cond, (cond), __VA_ARGS__)

/* A line for the human reader. */
static inline void tap_note(const char *fmt, ...) LUM_PRINTF(1, 2);

static inline void tap_note(const char *fmt, ...)
{
    va_list ap;

    fputs("# ", stdout);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
    fflush(stdout);
}

/* Stands for one check that cannot be made here: tap_skip("name", "why not"). */
static inline void tap_skip(const char *name, const char *reason)
{
    tap_state.checks++;
    printf("ok %u - %s # SKIP %s\n", tap_state.checks, name, reason);
    fflush(stdout);
}

/* Nothing in this program can be checked here: return tap_skip_all("why not") from main. */
static inline int tap_skip_all(const char *reason)
{
    printf("1..0 # SKIP %s\n", reason);
    return 0;
}

/* Prints the plan; the result is main's. No check at all is a failure. */
static inline int tap_done(void)
{
    printf("1..%u\n", tap_state.checks);
    if (tap_state.failures)
        printf("# %u of %u failed\n", tap_state.failures, tap_state.checks);
    return tap_state.failures || !tap_state.checks ? 1 : 0;
}

#endif
