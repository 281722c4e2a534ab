/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worker's side on Linux. It starts as root of its own user, mount, pid, ipc and uts namespaces
 * (start_linux.c) and ends with an empty read-only root, no network, no capability, Landlock
 * without a rule, and for each thread a list of the system calls that it needs.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sched.h>
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

/* ---- early ---- */

static int limit(int resource, rlim_t value, const char *name, struct lum_error *err)
{
    struct rlimit r;

    if (getrlimit(resource, &r) < 0)
        return lum_fail_errno(err, errno, "jail: %s limit", name);
    r.rlim_cur = value < r.rlim_max ? value : r.rlim_max;
    if (value < r.rlim_max && resource != RLIMIT_NOFILE)
        r.rlim_max = value;
    if (setrlimit(resource, &r) < 0)
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

static int empty_root(struct lum_error *err)
{
    const char *step = "mount an empty root";
    int rc = 0;

    if (mount("none", STAGING, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
              "size=4k,nr_inodes=1,mode=555") < 0)
        rc = -errno;
    if (rc == 0)
        rc = jail_pivot(&step);
    return rc < 0 ? lum_fail_errno(err, -rc, "jail: %s", step) : 0;
}

/*
 * The network namespace is this thread's own until another enters it; the socket keeps it. The root
 * is that of all threads.
 */
static int build_walls(struct lum_error *err)
{
    int rc = 0;

    if (unshare(CLONE_NEWNET) < 0 ||
        (jail.net_socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) < 0)
        return lum_fail_errno(err, errno, "jail: network namespace");
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
    if (net < 0 || setns(net, CLONE_NEWNET) < 0)
        rc = lum_fail_errno(err, errno, "jail: enter the network namespace");
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

static int not_in_force(struct lum_error *err, const char *what)
{
    return lum_fail(err, LUM_EINTERNAL, "jail: self-check: %s; no guest is run", what);
}

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

    if (fd >= 0)
        close(fd);
    return dead;
}

static int check_walls(struct lum_error *err)
{
    if (getpid() != 1)
        return not_in_force(err, "the pid namespace is not in force");
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
    int rc = seccomp_enter(role, err);
    if (rc < 0)
        return rc;
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
