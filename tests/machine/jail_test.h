/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shared by the files of the jail's test. Everything that is jailed is this program again, started
 * by a starter: a forked process that may first become a plain user or hide a system call from what
 * comes after it. What the jailed process says on CHANNEL comes back as text.
 */
#ifndef LUM_TESTS_JAIL_TEST_H
#define LUM_TESTS_JAIL_TEST_H

#include <stddef.h>

#include "jail/jail.h"
#include "tap.h"

#define CHANNEL 3
#define STRAY   100 /* a folder of the caller */
#define NOBODY  65534u

/* What a sandbox around the jail answers to a call instead of making it. */
struct pretence {
    long number;    /* 0: none */
    long argument;  /* the first one's value; ANY_ARGUMENT */
    int with_errno; /* 0: claims success and does nothing */
};
#define ANY_ARGUMENT (-1)
#define PRETENCES    2

struct setup {
    const char *role; /* see roles in test_jail.c */
    int number;       /* the role's own argument */
    enum jail_mode mode;
    bool plain; /* as nobody, where the test itself is root */
    bool bare;  /* without jail_start_worker, but with these: */
    uint64_t namespaces;
    bool undumpable; /* the caller is */
    struct pretence pretend[PRETENCES];
};

struct outcome {
    char text[8192]; /* lines on the channel */
    int status;      /* of the jailed process: exit code or 128 + signal; -1: not started */
};

void run_jailed(const struct setup *setup, struct outcome *ret_outcome);
bool says(const struct outcome *outcome, const char *line); /* as a whole line */
void show(const struct outcome *outcome);                   /* as notes */

/* In the jailed process. */
void say(const char *fmt, ...) LUM_PRINTF(1, 2);
int fall(const struct lum_error *err); /* says the error; the exit code for it */

extern const char *program_copy; /* of this test, where everybody may execute it */
extern bool is_root;

int child_stages(enum jail_mode mode, int port);
int child_seal(enum jail_mode mode, bool no_paths);
void test_stages(void);
void test_self_check(void);
void test_start(void);

#endif
