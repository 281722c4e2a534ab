/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worker's side on Linux. It starts as root of its own user, mount, pid, ipc and uts namespaces
 * (start_linux.c) and ends with an empty read-only root, no network, no capability, Landlock
 * without a rule, and for each thread a list of the system calls that it needs.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/nsfs.h>
#include <linux/securebits.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "jail/jail.h"
#include "jail/jail_linux.h"
#include "jail/seccomp.h"

/* Four descriptors for each of the 256 commands a guest may run, and some. */
#define DESCRIPTORS 4096u

static struct {
    enum jail_mode mode;
    enum jail_stage stage;
    struct plat_thread *mason; /* builds walls beside other work */
    bool mason_closes;         /* the root too */
    bool root_closed;
    int net_socket; /* lives in the new network namespace */
    int mason_rc;
    struct lum_error mason_error;
} jail = {.mode = JAIL_OFF, .net_socket = -1};

int jail_refused(struct lum_error *err, const char *weaker)
{
    struct lum_error inner = *err;

    if (err->domain != LUM_DOMAIN_ERRNO || (err->os_code != EPERM && err->os_code != EACCES &&
                                            err->os_code != ENOSYS && err->os_code != ENOSPC))
        return err->code;
    err->code = LUM_EACCES;
    snprintf(err->text, sizeof(err->text),
             "%s%.110s: a container or sandbox around us forbids it, or this kernel is old; "
             "remedy: allow it there, or the weaker jail \"%s\"",
             strncmp(inner.text, "jail: ", 6) == 0 ? "" : "jail: ", inner.text, weaker);
    return err->code;
}

/* ---- early ---- */

/* The C libraries do not agree on a type for the resource. */
static int limit(int resource, rlim_t value, const char *name, struct lum_error *err)
{
    struct rlimit r;

    if (syscall(SYS_prlimit64, 0, resource, NULL, &r) < 0)
        return lum_fail_errno(err, errno, "jail: %s limit", name);
    r.rlim_cur = value < r.rlim_max ? value : r.rlim_max;
    if (value < r.rlim_max && resource != RLIMIT_NOFILE)
        r.rlim_max = value;
    if (syscall(SYS_prlimit64, 0, resource, &r, NULL) < 0)
        return lum_fail_errno(err, errno, "jail: %s limit", name);
    return 0;
}

/* The folder below which the new root is put together; what it holds is not needed any more. */
#define STAGING "/proc"

int jail_pivot(const char **ret_step)
{
    *ret_step = "change the root";
    if (chdir(STAGING) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0)
        return -errno;
    return chdir("/") < 0 ? -errno : 0;
}

static int not_in_force(struct lum_error *err, const char *what)
{
    return lum_fail(err, LUM_EINTERNAL, "jail: self-check: %s; no guest is run", what);
}

/*
 * The one user of the map is this one; the whole machine's has more. Whoever is root there could do
 * to the machine what is done next to a namespace.
 */
static bool user_is_alone(void)
{
    char map[64];
    int fd = open("/proc/self/uid_map", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : plat_read(fd, map, sizeof(map) - 1);

    if (fd >= 0)
        close(fd);
    while (n > 0 && (map[n - 1] == '\n' || map[n - 1] == ' '))
        n--;
    return n > 1 && map[n - 1] == '1' && map[n - 2] == ' ' && !memchr(map, '\n', (size_t)n);
}

/* Made by this user namespace: of an outer one the kernel names no owner. */
static bool namespace_is_own(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC), owner = -1;

    if (fd >= 0) {
        owner = ioctl(fd, NS_GET_USERNS);
        close(fd);
    }
    if (owner >= 0)
        close(owner);
    return owner >= 0;
}

/* While there is a /proc, and before anything is mounted. */
static int check_namespaces(struct lum_error *err)
{
    if (!user_is_alone())
        return not_in_force(err, "the user namespace is not in force");
    if (getpid() != 1)
        return not_in_force(err, "the pid namespace is not in force");
    if (!namespace_is_own("/proc/self/ns/mnt"))
        return not_in_force(err, "the mount namespace is not in force");
    if (!namespace_is_own("/proc/self/ns/ipc"))
        return not_in_force(err, "the ipc namespace is not in force");
    if (!namespace_is_own("/proc/self/ns/uts"))
        return not_in_force(err, "the uts namespace is not in force");
    return 0;
}

static int empty_root(struct lum_error *err)
{
    const char *step = "mount an empty root";
    int rc = check_namespaces(err);

    if (rc < 0)
        return rc;
    if (mount("none", STAGING, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
              "size=4k,nr_inodes=1,mode=555") < 0)
        rc = -errno;
    if (rc == 0)
        rc = jail_pivot(&step);
    if (rc == 0)
        return 0;
    lum_fail_errno(err, -rc, "jail: %s", step);
    return jail_refused(err, JAIL_OR_SECCOMP);
}

/*
 * The network namespace is this thread's own until another enters it; the socket keeps it. The root
 * is that of all threads.
 */
static int build_walls(struct lum_error *err)
{
    int rc = 0;

    if (unshare(CLONE_NEWNET) < 0 ||
        (jail.net_socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) < 0) {
        lum_fail_errno(err, errno, "jail: network namespace");
        return jail_refused(err, JAIL_OR_SECCOMP);
    }
    if (jail.mason_closes)
        rc = empty_root(err);
    jail.root_closed = rc == 0 && jail.mason_closes;
    return rc;
}

static void mason_main(void *ctx)
{
    (void)ctx;
    jail.mason_rc = build_walls(&jail.mason_error);
}

/*
 * Should: make it impossible to gain privileges by exec, keep guest memory out of core files, and
 * let the kernel begin with the network namespace, which takes it half a millisecond.
 * Mustn't: touch what opening devices and files still needs.
 */
static int enter_early(struct lum_error *err)
{
    prctl(PR_SET_NAME, program_invocation_short_name); /* it was executed by descriptor */
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return lum_fail_errno(err, errno, "jail: no_new_privs");
    int rc = limit(RLIMIT_CORE, 0, "core", err);
    if (rc == 0)
        rc = limit(RLIMIT_NOFILE, DESCRIPTORS, "descriptor", err);
    if (rc == 0)
        rc = limit(RLIMIT_MSGQUEUE, 0, "message queue", err);
    if (rc == 0 && jail.mode == JAIL_DEFAULT)
        rc = plat_thread_start(&jail.mason, "jail", mason_main, NULL, err);
    return rc;
}

/* ---- offline ---- */

/*
 * Should: leave the caller's network for one without any interface that is up.
 * Mustn't: leave the folders of the system, where a helper program is still to be found.
 */
static int enter_offline(struct lum_error *err)
{
    int rc = 0;

    if (jail.mode != JAIL_DEFAULT)
        return 0;
    plat_thread_join(STEAL(jail.mason));
    if (jail.mason_rc < 0) {
        *err = jail.mason_error;
        return jail.mason_rc;
    }
    int net = ioctl(jail.net_socket, SIOCGSKNS);
    if (net < 0 || setns(net, CLONE_NEWNET) < 0) {
        lum_fail_errno(err, errno, "jail: enter the network namespace");
        rc = jail_refused(err, JAIL_OR_SECCOMP);
    }
    plat_close(&net);
    plat_close(&jail.net_socket);
    return rc;
}

/* ---- closed ---- */

int jail_drop_capabilities(const char **ret_step)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    const struct __user_cap_data_struct none[2] = {{0}, {0}};

    *ret_step = "give up capabilities";
    for (unsigned long cap = 0; prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) == 0; cap++)
        ; /* ends with the first that the kernel does not know, or at once without the right to */
    prctl(PR_SET_SECUREBITS, SECURE_ALL_BITS | SECURE_ALL_LOCKS);
    return syscall(SYS_capset, &head, none) < 0 ? -errno : 0;
}

/* ---- self-check ---- */

static bool capabilities_left(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{0}, {0}};

    return syscall(SYS_capget, &head, data) < 0 || data[0].effective || data[1].effective ||
           data[0].permitted || data[1].permitted || data[0].inheritable || data[1].inheritable;
}

/* Nothing but the two names of itself. */
static bool root_is_empty(void)
{
    uint64_t entries[32];
    size_t dots = 0;
    int fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    long size = fd < 0 ? -1 : syscall(SYS_getdents64, fd, entries, sizeof(entries));

    if (fd >= 0)
        close(fd);
    for (long at = 0; at < size; dots++) {
        uint16_t step;
        memcpy(&step, (const char *)entries + at + 16, sizeof(step));
        if (step == 0)
            return false;
        at += step;
    }
    return dots == 2;
}

static bool network_is_dead(void)
{
    struct ifreq lo = {.ifr_name = "lo"};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool dead = fd >= 0 && ioctl(fd, SIOCGIFFLAGS, &lo) == 0 && !(lo.ifr_flags & IFF_UP);
    int net = dead ? ioctl(fd, SIOCGSKNS) : -1; /* which is refused for an outer one */

    if (fd >= 0)
        close(fd);
    if (net >= 0)
        close(net);
    return net >= 0;
}

static int check_walls(struct lum_error *err)
{
    if (!root_is_empty())
        return not_in_force(err, "the root folder is not empty");
    if (!network_is_dead())
        return not_in_force(err, "a network is within reach");
    return 0;
}

static int check_closed(bool landlocked, struct lum_error *err)
{
    if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
        return not_in_force(err, "no_new_privs is not in force");
    if (capabilities_left())
        return not_in_force(err, "capabilities are left");
    if (landlocked && open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC) >= 0)
        return not_in_force(err, "Landlock is not in force");
    return 0;
}

/*
 * Should: take every path, every capability and the rest of the caller's system away, from this
 * thread and all that it starts from here on; then look whether it is so.
 * Mustn't: need anything but open descriptors afterwards.
 */
static int enter_closed(struct lum_error *err)
{
    const char *step;
    bool landlocked = false;
    int rc = 0;

    if (jail.mode == JAIL_OFF)
        return 0;
    if (jail.mode == JAIL_DEFAULT && !jail.root_closed)
        rc = empty_root(err);
    if (rc == 0 && jail.mode == JAIL_DEFAULT)
        rc = check_walls(err);
    if (rc == 0)
        rc = jail_landlock(&landlocked, err);
    if (rc < 0)
        return rc;
    rc = jail_drop_capabilities(&step);
    if (rc < 0)
        return lum_fail_errno(err, -rc, "jail: %s", step);
    return check_closed(landlocked, err);
}

/* ---- sealed ---- */

/*
 * Should: leave this thread the system calls of its role only; any other kills the process.
 * Mustn't: come before the last thread, file or descriptor of the kinds that the role never makes.
 */
static int seal(const char *role, struct lum_error *err)
{
    if (jail.mode == JAIL_OFF)
        return 0;
    if (seccomp_enter(role, err) < 0)
        return jail_refused(err, JAIL_OR_OFF);
    /* seccomp io vcpu: prctl(0=PR_GET_SECCOMP) */
    if (prctl(PR_GET_SECCOMP, 0, 0, 0, 0) != 2)
        return not_in_force(err, "the system call filter is not in force");
    return 0;
}

int jail_enter_vcpu(struct lum_error *err)
{
    return seal("vcpu", err);
}

enum jail_mode jail_current_mode(void)
{
    return jail.mode;
}

int jail_begin(enum jail_mode mode, bool no_paths, struct lum_error *err)
{
    jail.mode = mode;
    jail.mason_closes = no_paths;
    jail.stage = JAIL_EARLY;
    return enter_early(err);
}

int jail_enter(enum jail_stage stage, struct lum_error *err)
{
    int rc = 0;

    while (jail.stage < stage && rc == 0) {
        switch (++jail.stage) {
        case JAIL_EARLY: break;
        case JAIL_OFFLINE: rc = enter_offline(err); break;
        case JAIL_CLOSED: rc = enter_closed(err); break;
        case JAIL_SEALED: rc = seal("io", err); break;
        }
    }
    return rc;
}
