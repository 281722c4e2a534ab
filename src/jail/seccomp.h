/* SPDX-License-Identifier: Apache-2.0 */
/*
 * System call filters, one for each role. tools/seccomp.py makes the programs when the product is
 * built, from comments beside the code that needs the calls; nothing is computed at run time.
 */
#ifndef LUM_JAIL_SECCOMP_H
#define LUM_JAIL_SECCOMP_H

#include <linux/filter.h>
#include <stdint.h>

#include "base/err.h"

struct seccomp_filter {
    const char *role;
    const struct sock_filter *program;
    uint16_t length; /* instructions */
    uint16_t calls;  /* system calls it lets through, with conditions or without */
};

/* In alphabetical order; ends with a role of NULL. In the generated file. */
extern const struct seccomp_filter seccomp_filters[];

/* NULL: there is no such role. */
const struct seccomp_filter *seccomp_find(const char *role);

/*
 * Confines the calling thread, and what it starts from then on, to the role's calls. Other threads
 * are not touched. For ever: a second call can only take more away. Needs no_new_privs.
 */
int seccomp_enter(const char *role, struct lum_error *err);

#endif
