/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A helper program of the worker behind a fence like the worker's own: a mount and pid namespace of
 * its own inside the worker's others, a root that holds the system's read-only program folders and
 * a /proc of that pid namespace, no network, no capability, and a filter that it inherits.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "jail/jail_linux.h"
#include "jail/seccomp.h"

#define STAGING "/proc"

#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif
#define AT_RECURSIVE_ 0x8000u

/* Where programs, their libraries and their data are; what is a link stays one. */
static const char *const folders[] = {"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", NULL};
static const char *const files[] = {"/etc/ld.so.cache", "/dev/kvm", NULL};

/* STAGING followed by path. */
static const char *staged(char *buf, size_t size, const char *path)
{
    size_t n = strlen(path);

    if (sizeof(STAGING) + n > size)
        return STAGING;
    memcpy(buf, STAGING, sizeof(STAGING) - 1);
    memcpy(buf + sizeof(STAGING) - 1, path, n + 1);
    return buf;
}

static int bind(const char *path, const char *place, uint64_t attributes)
{
    const struct {
        uint64_t set, clear, propagation, user;
    } attr = {.set = attributes};

    if (mount(path, place, NULL, MS_BIND | MS_REC, NULL) < 0 ||
        syscall(SYS_mount_setattr, AT_FDCWD, place, AT_RECURSIVE_, &attr, sizeof(attr)) < 0)
        return -errno;
    return 0;
}

#define READ_ONLY  0x1u /* MOUNT_ATTR_RDONLY */
#define NO_SETUID  0x2u
#define NO_DEVICES 0x4u

static int show_folder(const char *path)
{
    char place[64], link[128];
    struct stat st;

    if (lstat(path, &st) < 0)
        return 0;
    staged(place, sizeof(place), path);
    if (S_ISLNK(st.st_mode)) {
        ssize_t n = readlink(path, link, sizeof(link) - 1);
        if (n < 0)
            return -errno;
        link[n] = '\0';
        return symlink(link, place) < 0 ? -errno : 0;
    }
    if (mkdir(place, 0555) < 0)
        return -errno;
    return bind(path, place, READ_ONLY | NO_SETUID | NO_DEVICES);
}

static int show_file(const char *path)
{
    char place[64];
    int fd;

    if (access(path, F_OK) < 0)
        return 0;
    fd = open(staged(place, sizeof(place), path), O_CREAT | O_WRONLY | O_CLOEXEC, 0444);
    if (fd < 0)
        return -errno;
    close(fd);
    /* A device is written through a read-only mount all the same. */
    return bind(path, place,
                READ_ONLY | NO_SETUID | (strncmp(path, "/dev/", 5) == 0 ? 0 : NO_DEVICES));
}

/* The system's folders, and the top one of a program that is kept elsewhere (/nix, /opt). */
static int show_folders(const char *program)
{
    char top[32];
    size_t n = strcspn(program + 1, "/") + 1;
    int rc = 0;

    for (int i = 0; folders[i] && rc == 0; i++) {
        rc = show_folder(folders[i]);
        if (strncmp(program, folders[i], n) == 0 && folders[i][n] == '\0')
            n = sizeof(top);
    }
    if (rc < 0 || n >= sizeof(top))
        return rc;
    memcpy(top, program, n);
    top[n] = '\0';
    return show_folder(top);
}

static int make_view(const char *program, const char **ret_step)
{
    int rc = 0;

    *ret_step = "mount a root of its own";
    if (mount("none", STAGING, "tmpfs", MS_NOSUID | MS_NODEV, "size=64k,nr_inodes=64,mode=755") < 0)
        return -errno;
    if (mkdir(STAGING "/etc", 0755) < 0 || mkdir(STAGING "/dev", 0755) < 0 ||
        mkdir(STAGING "/proc", 0555) < 0)
        return -errno;
    *ret_step = "show it the system's folders";
    rc = show_folders(program);
    for (int i = 0; files[i] && rc == 0; i++)
        rc = show_file(files[i]);
    if (rc < 0)
        return rc;
    *ret_step = "mount its /proc";
    /* Read-only: where the user is a container's root, settings of the whole machine are in it. */
    if (mount("proc", STAGING "/proc", "proc", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) <
        0)
        return -errno;
    rc = jail_pivot(ret_step);
    if (rc == 0 && mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV,
                         "size=64k,nr_inodes=64,mode=755") < 0)
        rc = -errno;
    return rc;
}

/*
 * What QEMU 7 to 10 uses on the way to its guest and while it runs one. A call that is not listed
 * does not exist for it, so that a later version falls back as on an old kernel; what only an
 * attacker would ask for kills it. No socket but those it was given, no new process (clone3, whose
 * flags no filter can see, does not exist), no other program's memory.
 */
/* seccomp program: default errno ENOSYS */
/* seccomp program: read, write, readv, writev, pread64, pwrite64, preadv, pwritev, close,
 * close_range, lseek, fcntl, ioctl, dup, dup2?, dup3, pipe?, pipe2, eventfd2, signalfd4,
 * memfd_create, ftruncate, fallocate, fsync, fdatasync, flock */
/* seccomp program: execve, open?, openat, access?, faccessat, faccessat2, readlink?, readlinkat,
 * stat?, fstat, lstat?, newfstatat, statx, statfs, fstatfs, getcwd, getdents64, umask, uname */
/* seccomp program: mmap, mprotect, munmap, mremap, brk, madvise, mincore, mlock, munlock,
 * membarrier, get_mempolicy, set_mempolicy, mbind */
/* seccomp program: rt_sigaction, rt_sigprocmask, rt_sigreturn, rt_sigtimedwait, rt_sigpending,
 * rt_sigsuspend, sigaltstack, tgkill, exit, exit_group, restart_syscall */
/* seccomp program: poll?, ppoll, select?, pselect6, epoll_create1, epoll_ctl, epoll_wait?,
 * epoll_pwait, timerfd_create, timerfd_settime, timerfd_gettime, timer_create, timer_settime,
 * timer_gettime, timer_delete, clock_gettime, clock_getres, clock_nanosleep, nanosleep,
 * gettimeofday, time? */
/* seccomp program: clone(0&CLONE_THREAD=CLONE_THREAD), futex, set_tid_address, set_robust_list,
 * rseq, arch_prctl?, prctl, seccomp, prlimit64, getrlimit?, getrusage, sysinfo, getpid, gettid,
 * getppid, getuid, geteuid, getgid, getegid, getresuid, getresgid, getgroups, getrandom,
 * sched_yield, sched_getaffinity, sched_setaffinity, sched_getparam, sched_getscheduler,
 * sched_setscheduler */
/* seccomp program: recvmsg, sendmsg, recvfrom, sendto, getsockname, getpeername, getsockopt,
 * setsockopt, shutdown, socketpair(0=AF_UNIX) */
/* seccomp program: kill ptrace, process_vm_readv, process_vm_writev, mount, umount2, pivot_root,
 * chroot, setns, unshare, bpf, perf_event_open, userfaultfd, keyctl, add_key, request_key,
 * init_module, finit_module, delete_module, kexec_load, reboot, swapon, swapoff, acct,
 * open_by_handle_at, clock_settime, settimeofday, adjtimex, iopl?, ioperm?, modify_ldt? */

struct view {
    const char *program;
    bool walled, entered; /* how far it came */
};

static int enter_view(void *ctx, const char **ret_step)
{
    struct view *view = ctx;
    struct lum_error err;
    int rc = jail_current_mode() == JAIL_DEFAULT ? make_view(view->program, ret_step) : 0;

    if (rc == 0)
        rc = jail_drop_capabilities(ret_step);
    if (rc < 0)
        return rc;
    view->walled = true;
    *ret_step = "filter its system calls";
    rc = seccomp_enter("program", &err) < 0 ? -(int)err.os_code : 0;
    view->entered = rc == 0;
    return rc;
}

int jail_start_program(const struct plat_start *start, struct plat_process **ret_process,
                       struct lum_error *err)
{
    struct plat_start fenced = *start;
    struct view view = {.program = start->argv[0]};
    enum jail_mode mode = jail_current_mode();

    if (mode == JAIL_OFF)
        return plat_process_start(start, ret_process, err);
    int rc = jail_enter(JAIL_OFFLINE, err);
    if (rc < 0)
        return rc;
    fenced.enter = enter_view;
    fenced.enter_ctx = &view;
    if (mode == JAIL_DEFAULT)
        fenced.clone_flags = CLONE_NEWNS | CLONE_NEWPID;
    rc = plat_process_start(&fenced, ret_process, err);
    if (rc == 0 || view.entered)
        return rc;
    return jail_refused(err, view.walled ? JAIL_OR_OFF : JAIL_OR_SECCOMP);
}
