/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Failures on purpose: the linker gives every host call of the product to a function in inject.c
 * (wrap.txt lists them), which counts it and, when its turn has come, fails it, interrupts it or
 * does half of it. The product knows nothing of this.
 */
#ifndef LUM_TESTS_INJECT_H
#define LUM_TESTS_INJECT_H

#include <stdbool.h>

enum inject_mode {
    INJECT_NONE,
    INJECT_NO_MEMORY, /* one allocation finds no memory */
    INJECT_ERROR,     /* one host call fails, with one of the errors that it may have */
    INJECT_INTERRUPT, /* one host call that can wait is interrupted by a signal */
    INJECT_SHORT,     /* one call moves only a part of the bytes */
    INJECT_MODES
};

struct injected {
    bool done;         /* its turn came */
    unsigned variants; /* how many errors that call may have */
    int error;         /* the one it got */
    char call[24];     /* its name */
};

/*
 * Keeps the state in this file, so that another process takes part that calls the same: an executed
 * one finds it as "inject" beside its program. only_others: the calls of this process do not count.
 */
void inject_share(const char *path, bool only_others);

/* From now on, in all threads: the call number `at`, counted from 1, of those that the mode is
 * about. */
void inject_arm(enum inject_mode mode, unsigned at, unsigned variant);
struct injected inject_disarm(void);

/* What this thread does in between is the test's own and neither counted nor touched. */
void inject_pause(void);
void inject_resume(void);

#endif
