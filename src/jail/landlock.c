/* SPDX-License-Identifier: Apache-2.0 */
/* Landlock by system call; the numbers of rights are those of the kernel's documentation. */
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "jail/jail_linux.h"

#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_restrict_self  446
#endif

#define CREATE_VERSION 1u

struct ruleset {
    uint64_t fs, net, scoped;
};

/* All file rights that a version of the interface knows: 13, then refer, truncate, ioctl. */
static uint64_t file_rights(long version)
{
    return version >= 5 ? 0xffff : version >= 3 ? 0x7fff : version >= 2 ? 0x3fff : 0x1fff;
}

int jail_landlock(bool *ret_active, struct lum_error *err)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, CREATE_VERSION);
    struct ruleset all = {.fs = file_rights(version),
                          .net = version >= 4 ? 3 : 0,     /* bind and connect of TCP */
                          .scoped = version >= 6 ? 3 : 0}; /* abstract sockets, signals */
    size_t size = version >= 6 ? 24 : version >= 4 ? 16 : 8;

    *ret_active = false;
    if (version < 0) /* not in the kernel, switched off, or refused by an outer sandbox */
        return 0;
    long rules = syscall(SYS_landlock_create_ruleset, &all, size, 0);
    if (rules < 0)
        return lum_fail_errno(err, errno, "jail: Landlock");
    int rc = 0;
    if (syscall(SYS_landlock_restrict_self, rules, 0) < 0)
        rc = lum_fail_errno(err, errno, "jail: Landlock");
    close((int)rules);
    *ret_active = rc == 0;
    return rc;
}
