/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the Linux jail share. */
#ifndef LUM_JAIL_LINUX_H
#define LUM_JAIL_LINUX_H

#include "jail/jail.h"

/*
 * No access right at all, to no file, no TCP port, no abstract socket and no signal outside.
 * *ret_active is false where the kernel has no Landlock: the empty root and the filters stand
 * without it.
 */
int jail_landlock(bool *ret_active, struct lum_error *err);

enum jail_mode jail_current_mode(void);

/*
 * Makes the error of a wall that could not be built one that names its remedy, where what is around
 * this process is the reason.
 */
int jail_refused(struct lum_error *err, const char *weaker);
#define JAIL_OR_SECCOMP "seccomp"
#define JAIL_OR_OFF     "off"

/*
 * For the machine's root in a chroot, in a child that shares no file system state, around the
 * unshare of user and mount namespace. 0 or -errno; plain system calls only.
 */
int jail_leave_chroot(void);
int jail_restore_chroot(void);

/* 0 or -errno with the step that failed; plain system calls only. */
int jail_pivot(const char **ret_step); /* to what is mounted on the staging folder, /proc */
int jail_drop_capabilities(const char **ret_step); /* for good: not even an exec brings one back */

#endif
