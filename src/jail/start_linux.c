/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The caller's side on Linux: a worker in user, mount, pid, ipc and uts namespaces of its own, from
 * its first instruction. (Its network namespace is made by itself, beside other work: the kernel
 * needs half a millisecond for one.) They are made by clone3 and never by unshare(CLONE_NEWPID) in
 * the process that runs vCPUs: KVM starts a kernel thread at the first run, and Linux refuses
 * threads to a process whose children would live in another pid namespace.
 *
 * Inside it is root of its user namespace, until JAIL_CLOSED. Outside it is the user who called; a
 * root caller's worker becomes nobody first, so that nothing in it is the machine's root.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "jail/jail_linux.h"

#define NOBODY 65534u

const char *const jail_mode_names[] = {"default", "seccomp", "off", NULL};

int jail_mode_find(const char *name, enum jail_mode *ret_mode, struct lum_error *err)
{
    for (int i = 0; jail_mode_names[i]; i++) {
        if (strcmp(name, jail_mode_names[i]) == 0) {
            *ret_mode = (enum jail_mode)i;
            return 0;
        }
    }
    return lum_fail(err, LUM_EINVAL, "jail %s: not one of default, seccomp, off", name);
}

/* ---- in the child ---- */

struct walls {
    bool drop_root; /* called by the machine's root */
    bool in_chroot; /* which is left, and made a root of its own again */
    gid_t device_group;
    uid_t uid;
    gid_t gid;
    int dumpable;
    bool entered; /* what fails later has another reason */
};

static int write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);

    if (fd < 0)
        return -errno;
    ssize_t n = write(fd, text, strlen(text));
    int rc = n < 0 ? -errno : 0;
    close(fd);
    return rc;
}

/* "0 <id> 1": the one id there is, as root inside. */
static int write_map(const char *path, unsigned id)
{
    char text[32], digits[12];
    int n = 0, at = 0;

    do
        digits[n++] = (char)('0' + id % 10);
    while (id /= 10);
    text[at++] = '0';
    text[at++] = ' ';
    while (n > 0)
        text[at++] = digits[--n];
    memcpy(text + at, " 1", 3);
    return write_file(path, text);
}

/*
 * To nobody, keeping only the group that may open the hypervisor's device. System calls and not
 * the C library's functions, which would change all threads of the caller. An id that does not
 * exist here (EINVAL), or groups that nobody may change (EPERM), mean that this root is not the
 * machine's: then it stays what it is.
 */
static int drop_root(struct walls *w, const char **ret_step)
{
    gid_t group = w->device_group;

    *ret_step = "become nobody";
    if (syscall(SYS_setgroups, group ? 1 : 0, &group) < 0)
        return errno == EINVAL || errno == EPERM ? 0 : -errno;
    if (syscall(SYS_setresgid, NOBODY, NOBODY, NOBODY) < 0)
        return errno == EINVAL ? 0 : -errno;
    if (syscall(SYS_setresuid, NOBODY, NOBODY, NOBODY) < 0)
        return errno == EINVAL ? 0 : -errno;
    /* Shared with the caller, as all memory is: put it back. */
    prctl(PR_SET_DUMPABLE, w->dumpable);
    w->uid = w->gid = NOBODY;
    return 0;
}

static int make_namespaces(struct walls *w, const char **ret_step)
{
    *ret_step = "leave the chroot";
    int rc = w->in_chroot ? jail_leave_chroot() : 0;
    if (rc == 0)
        rc = drop_root(w, ret_step);
    if (rc < 0)
        return rc;
    *ret_step = "make namespaces";
    if (syscall(SYS_unshare, CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS) < 0)
        return -errno;
    *ret_step = "make the chroot a root";
    return w->in_chroot ? jail_restore_chroot() : 0;
}

static int enter_walls(void *ctx, const char **ret_step)
{
    struct walls *w = ctx;
    int rc = w->drop_root ? make_namespaces(w, ret_step) : 0;

    if (rc < 0)
        return rc;
    *ret_step = "map the user";
    rc = write_file("/proc/self/setgroups", "deny");
    if (rc == 0)
        rc = write_map("/proc/self/uid_map", w->uid);
    if (rc == 0)
        rc = write_map("/proc/self/gid_map", w->gid);
    w->entered = rc == 0;
    return rc;
}

/* ---- in the caller ---- */

/*
 * Becoming nobody makes the memory that child and caller share undumpable for a moment, which the
 * child then puts back: one at a time, or one thread would take another's moment for the caller's
 * own choice. A fork of the caller waits until none is under way.
 */
static pthread_mutex_t dropping = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t dropping_once = PTHREAD_ONCE_INIT;

static void lock_dropping(void)
{
    pthread_mutex_lock(&dropping);
}

static void unlock_dropping(void)
{
    pthread_mutex_unlock(&dropping);
}

static void mind_forks(void)
{
    pthread_atfork(lock_dropping, unlock_dropping, unlock_dropping);
}

static bool has_root_powers(void)
{
    const uint32_t need = 1u << CAP_SYS_ADMIN | 1u << CAP_SETUID | 1u << CAP_SETGID;
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{0}, {0}};

    return geteuid() == 0 && syscall(SYS_capget, &head, data) == 0 &&
           (data[0].effective & need) == need;
}

static bool reads_as(const char *path, char digit)
{
    char text[4] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return false;
    ssize_t n = plat_read(fd, text, sizeof(text) - 1);
    close(fd);
    return n >= 1 && text[0] == digit && (n == 1 || text[1] == '\n');
}

#define OR_SECCOMP "or the weaker jail \"seccomp\""

static int refuse(struct lum_error *err, int os_errno, const char *fmt, ...) LUM_PRINTF(3, 4);

static int refuse(struct lum_error *err, int os_errno, const char *fmt, ...)
{
    char text[sizeof(err->text)];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    lum_fail(err, LUM_EACCES, "jail: %s", text);
    err->domain = LUM_DOMAIN_ERRNO;
    err->os_code = os_errno;
    return err->code;
}

/* Why there are no namespaces, and what to do. Other failures stay as they are. */
static int explain(struct lum_error *err, int os_errno)
{
    const char *sysctl = NULL;

    if ((os_errno == ENOENT || os_errno == EROFS) && access("/proc/self/uid_map", W_OK) < 0)
        return refuse(err, os_errno,
                      "/proc is %s; remedy: mount it (mount -t proc proc /proc), " OR_SECCOMP,
                      os_errno == ENOENT ? "missing" : "read-only");
    if (os_errno != EPERM && os_errno != EACCES && os_errno != ENOSPC && os_errno != EUSERS &&
        os_errno != EINVAL && os_errno != ENOSYS)
        return err->code;
    if (prctl(PR_GET_DUMPABLE) != 1)
        return refuse(err, os_errno,
                      "this process is not dumpable (it has changed its user, or asked for it), so "
                      "its /proc is root's; remedy: prctl(PR_SET_DUMPABLE, 1), " OR_SECCOMP);
    if (reads_as("/proc/sys/user/max_user_namespaces", '0'))
        sysctl = "user.max_user_namespaces=10000";
    else if (reads_as("/proc/sys/kernel/unprivileged_userns_clone", '0'))
        sysctl = "kernel.unprivileged_userns_clone=1";
    else if (reads_as("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", '1'))
        sysctl = "kernel.apparmor_restrict_unprivileged_userns=0";
    if (sysctl)
        return refuse(err, os_errno,
                      "this system forbids user namespaces; remedy: sudo sysctl %s, " OR_SECCOMP,
                      sysctl);
    return refuse(err, os_errno,
                  "a container, chroot or sandbox around us forbids namespaces (%s); remedy: allow "
                  "them there, " OR_SECCOMP,
                  strerror(os_errno));
}

int jail_start_worker(enum jail_mode mode, const struct plat_start *start,
                      struct plat_process **ret_process, struct lum_error *err)
{
    struct walls walls = {.uid = geteuid(), .gid = getegid()};
    struct plat_start walled = *start;
    struct stat device;

    if (mode != JAIL_DEFAULT)
        return plat_process_start(start, ret_process, err);
    walls.drop_root = has_root_powers();
    walled.enter = enter_walls;
    walled.enter_ctx = &walls;
    walled.clone_flags = CLONE_NEWPID;
    if (walls.drop_root) {
        if (stat("/dev/kvm", &device) == 0)
            walls.device_group = device.st_gid;
        pthread_once(&dropping_once, mind_forks);
        lock_dropping();
        walls.dumpable = prctl(PR_GET_DUMPABLE);
    } else {
        walled.clone_flags |= CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS;
    }
    int rc = plat_process_start(&walled, ret_process, err);
    if (rc < 0 && !walls.entered && walls.drop_root && err->os_code == EPERM) {
        walls.in_chroot = true;
        rc = plat_process_start(&walled, ret_process, err);
    }
    if (rc < 0 && !walls.entered && err->domain == LUM_DOMAIN_ERRNO)
        rc = explain(err, (int)err->os_code);
    if (walls.drop_root)
        unlock_dropping();
    return rc;
}
