/* SPDX-License-Identifier: Apache-2.0 */
/* The worker's isolation on Linux. */
#include "jail/jail.h"

#include <errno.h>
#include <sys/prctl.h>
#include <sys/resource.h>

/* Four descriptors for each of the 256 commands a guest may run, and some. */
#define DESCRIPTORS 4096u

/*
 * Should: make it impossible to gain privileges by exec, and keep guest memory out of core files.
 * Mustn't: touch what opening devices and files still needs.
 */
static int enter_early(struct lum_error *err)
{
    const struct rlimit none = {0, 0};
    struct rlimit files;

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return lum_fail_errno(err, errno, "jail: no_new_privs");
    if (setrlimit(RLIMIT_CORE, &none) < 0)
        return lum_fail_errno(err, errno, "jail: core limit");
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < DESCRIPTORS) {
        files.rlim_cur = files.rlim_max < DESCRIPTORS ? files.rlim_max : DESCRIPTORS;
        if (setrlimit(RLIMIT_NOFILE, &files) < 0)
            return lum_fail_errno(err, errno, "jail: descriptor limit");
    }
    return 0;
}

int jail_enter(enum jail_stage stage, struct lum_error *err)
{
    switch (stage) {
    case JAIL_EARLY: return enter_early(err);
    case JAIL_RESOURCES_OPEN: return 0; /* nothing is given up here on Linux */
    case JAIL_SEALED: return 0;         /* the qemu backend starts its process after this */
    }
    return lum_fail(err, LUM_EINTERNAL, "jail: unknown stage");
}
