/* SPDX-License-Identifier: Apache-2.0 */
/* Installing a system call filter that was made at build time. */
#include "jail/seccomp.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

const struct seccomp_filter *seccomp_find(const char *role)
{
    for (const struct seccomp_filter *f = seccomp_filters; f->role; f++)
        if (strcmp(f->role, role) == 0)
            return f;
    return NULL;
}

/* What the kernel itself never answers to a good filter comes from a filter around this process. */
static const char *refusal(int os_errno)
{
    switch (os_errno) {
    case EACCES: return "no_new_privs is not set";
    case EINVAL: return "this kernel has no system call filters, or not this kind";
    case ENOSYS: return "this kernel or a sandbox around this process has no seccomp call";
    case EPERM: return "a sandbox around this process forbids it";
    default: return "the kernel refuses it";
    }
}

int seccomp_enter(const char *role, struct lum_error *err)
{
    const struct seccomp_filter *filter = seccomp_find(role);

    if (!filter)
        return lum_fail(err, LUM_EINTERNAL, "system call filter %s: no such role", role);

    /* The kernel copies the program; its type only lacks the const. */
    struct sock_fprog program = {
        .len = filter->length,
        .filter = (struct sock_filter *)(uintptr_t)filter->program,
    };
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0) {
        int os_errno = errno;
        return lum_fail_errno(err, os_errno, "system call filter %s: %s", role, refusal(os_errno));
    }
    return 0;
}
