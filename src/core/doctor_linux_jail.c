/* SPDX-License-Identifier: Apache-2.0 */
/* What a VM's process needs to lock itself in: namespaces, system call filters, Landlock. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "core/doctor_linux.h"

#define CLONE_SYSCTL    "kernel.unprivileged_userns_clone"
#define APPARMOR_SYSCTL "kernel.apparmor_restrict_unprivileged_userns"

/* A sysctl that has this value; absent ones have none. */
static bool sysctl_is(const struct linux_host *h, const char *path, long long value)
{
    long long now;

    return host_number(h, path, &now) && now == value;
}

/* The first limit of namespaces that is zero, or NULL. */
static const char *zero_limit(const struct linux_host *h)
{
    static const char *const kinds[] = {"user", "mnt", "pid", "net", "ipc", "uts"};
    char path[64];

    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        snprintf(path, sizeof(path), "/proc/sys/user/max_%s_namespaces", kinds[i]);
        if (sysctl_is(h, path, 0))
            return kinds[i];
    }
    return NULL;
}

/* Value of a line of /proc/self/status; -1: not known. */
static long own_status(const struct linux_host *h, const char *key)
{
    AUTO(auto_free) char *text = host_slurp(h, "/proc/self/status");
    const char *value = text ? line_value(text, key) : NULL;

    return value ? strtol(value, NULL, 10) : -1;
}

static void namespaces_refused(const struct linux_host *h, bool clone_off, bool apparmor)
{
    const struct linux_facts *facts = h->facts;
    const char *zero = zero_limit(h);
    struct lum_finding *f =
        finding_add(h->out, "user namespaces", LUM_FINDING_BAD,
                    "the jail of a VM cannot be made: %s: %s%s%s", facts->jail_step,
                    strerror(facts->jail_errno), zero || clone_off || apparmor ? ", because " : "",
                    zero        ? "a limit of namespaces is 0"
                    : clone_off ? CLONE_SYSCTL " is 0"
                    : apparmor  ? APPARMOR_SYSCTL " is 1"
                                : "");

    if (zero)
        finding_remedy(f, "sudo sysctl user.max_%s_namespaces=16384", zero);
    else if (clone_off)
        finding_remedy(f, "sudo sysctl " CLONE_SYSCTL "=1");
    else if (apparmor)
        finding_remedy(f, "an AppArmor profile for lumina-vmm with the rule userns, or: "
                          "sudo sysctl " APPARMOR_SYSCTL "=0");
    else if (facts->jail_errno == ENOSPC || facts->jail_errno == EUSERS)
        finding_remedy(f, "a limit of namespaces is reached: raise user.max_*_namespaces (sysctl "
                          "user shows them)");
    else if (own_status(h, "Seccomp") == 2)
        finding_remedy(f, "the filter of this container or service forbids it: docker run "
                          "--security-opt seccomp=unconfined, or a profile that allows it");
    else
        finding_remedy(f,
                       "a security policy of this host or container forbids it: allow user "
                       "namespaces for user %s",
                       facts->user);
}

static void check_namespaces(const struct linux_host *h)
{
    bool clone_off = sysctl_is(h, "/proc/sys/kernel/unprivileged_userns_clone", 0);
    bool apparmor = sysctl_is(h, "/proc/sys/kernel/apparmor_restrict_unprivileged_userns", 1);

    if (h->facts->jail_errno)
        namespaces_refused(h, clone_off, apparmor);
    else if (h->facts->uid == 0 && (clone_off || apparmor))
        finding_remedy(finding_add(h->out, "user namespaces", LUM_FINDING_NOTE,
                                   "work for root, but not for others: %s is %d",
                                   clone_off ? CLONE_SYSCTL : APPARMOR_SYSCTL, !clone_off),
                       "sudo sysctl %s=%d", clone_off ? CLONE_SYSCTL : APPARMOR_SYSCTL, clone_off);
    else
        finding_add(h->out, "user namespaces", LUM_FINDING_GOOD,
                    "user, mount, pid, net, ipc and uts namespaces and their mounts work (tried)");
}

static void check_seccomp(const struct linux_host *h)
{
    long mode = own_status(h, "Seccomp"), no_new_privs = own_status(h, "NoNewPrivs");

    if (h->facts->seccomp_errno)
        finding_remedy(finding_add(h->out, "seccomp", LUM_FINDING_BAD,
                                   "filters of system calls are not to be had: %s",
                                   strerror(h->facts->seccomp_errno)),
                       "a kernel with CONFIG_SECCOMP_FILTER (Linux 4.14 or later)");
    else if (mode < 0 || no_new_privs < 0)
        finding_add(h->out, "seccomp", LUM_FINDING_GOOD,
                    "filters are available; whether this process is in one could not be read");
    else if (mode > 0 || no_new_privs > 0)
        finding_add(h->out, "seccomp", LUM_FINDING_NOTE,
                    "filters are available; this process is confined already, by its container or "
                    "service: %s%s%s",
                    mode > 0 ? "a filter" : "", mode > 0 && no_new_privs > 0 ? " and " : "",
                    no_new_privs > 0 ? "no_new_privs" : "");
    else
        finding_add(h->out, "seccomp", LUM_FINDING_GOOD, "filters are available");
}

static void check_landlock(const struct linux_host *h)
{
    int abi = h->facts->landlock;
    char lsm[256];

    if (abi > 0) {
        finding_add(h->out, "landlock", LUM_FINDING_GOOD, "ABI %d", abi);
    } else if (abi == -EOPNOTSUPP) {
        bool readable = host_read(h, "/sys/kernel/security/lsm", lsm, sizeof(lsm));
        struct lum_finding *f = finding_add(h->out, "landlock", LUM_FINDING_NOTE,
                                            "in this kernel, but switched off at boot%s%s",
                                            readable ? "; on are: " : "", readable ? lsm : "");

        finding_remedy(f, "boot with lsm=landlock,%s",
                       readable ? lsm : "... (the list in /sys/kernel/security/lsm)");
    } else if (abi == -ENOSYS) {
        struct lum_finding *f =
            finding_add(h->out, "landlock", LUM_FINDING_NOTE, "this kernel has none");

        finding_remedy(f, "a kernel of 5.13 or later with CONFIG_SECURITY_LANDLOCK");
    } else {
        finding_add(h->out, "landlock", LUM_FINDING_NOTE, "could not be asked: %s", strerror(-abi));
    }
}

void linux_check_jail(const struct linux_host *h)
{
    check_namespaces(h);
    check_seccomp(h);
    check_landlock(h);
}
