/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starting processes from a threaded program: clone with CLONE_VM | CLONE_VFORK, so nothing
 * is copied however large the caller is, the child touches only its own stack, and an exec that
 * fails is seen by the parent in shared memory. A pidfd names the process from its first moment.
 */
#include "plat/plat.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

struct plat_process {
    pid_t pid;
    plat_fd pidfd;
    bool ended;
    int status;
};

struct child {
    const struct plat_start *start;
    pid_t parent;
    int failed_errno;
    const char *failed_step;
};

#define CHILD_STACK (64u * 1024)
#define FIRST_FD    3

/* clone3_<arch>.S */
pid_t clone3_call(struct clone_args *args, size_t size, int (*fn)(void *), void *ctx);
pid_t clone_call(uint64_t flags, char *stack_top, int *ret_pidfd, int (*fn)(void *), void *ctx);

static int child_fail(struct child *c, int os_errno, const char *step)
{
    c->failed_errno = os_errno;
    c->failed_step = step;
    _exit(127);
}

/* Handlers fall back by exec itself; what is ignored would stay so. */
static void default_signals(void)
{
    sigset_t none;

    for (int s = 1; s < 32; s++) {
        struct sigaction sa;

        if (sigaction(s, NULL, &sa) == 0 && sa.sa_handler == SIG_IGN) {
            sa.sa_handler = SIG_DFL;
            sigaction(s, &sa, NULL);
        }
    }
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Out of the way of the low numbers that others are about to take. */
static int move_up(struct child *c, int fd, int floor)
{
    int moved = fd < floor ? fcntl(fd, F_DUPFD_CLOEXEC, floor) : fd;

    return moved < 0 ? child_fail(c, errno, "pass a descriptor") : moved;
}

/* Linux 5.11 does it in one call. */
static int mark_all_close_on_exec(int floor)
{
    uint64_t entries[64];
    long size;

    if (syscall(SYS_close_range, (unsigned)floor, ~0u, 4u /* CLOSE_RANGE_CLOEXEC */) == 0)
        return 0;
    int dir = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return -errno;
    while ((size = syscall(SYS_getdents64, dir, entries, sizeof(entries))) > 0) {
        for (long at = 0; at < size;) {
            const char *entry = (const char *)entries + at, *name = entry + 19;
            uint16_t step;
            int fd = 0;
            for (; *name >= '0' && *name <= '9'; name++)
                fd = fd * 10 + (*name - '0');
            if (fd >= floor)
                fcntl(fd, F_SETFD, FD_CLOEXEC);
            memcpy(&step, entry + 16, sizeof(step));
            at += step;
        }
    }
    close(dir);
    return size < 0 ? -EIO : 0;
}

static void place_descriptors(struct child *c, int *ret_program)
{
    const struct plat_start *s = c->start;
    int moved[PLAT_MAX_FDS], floor = FIRST_FD + (int)s->n_fds, err_fd = s->err_fd;

    for (size_t i = 0; i < s->n_fds; i++)
        moved[i] = move_up(c, s->fds[i], floor);
    if (err_fd >= 0)
        err_fd = move_up(c, err_fd, floor);
    *ret_program = s->program >= 0 ? move_up(c, s->program, floor) : -1;
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0)
        child_fail(c, errno, "open /dev/null");
    null = move_up(c, null, floor);
    if (dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(err_fd >= 0 ? err_fd : null, 2) < 0)
        child_fail(c, errno, "set standard descriptors");
    for (size_t i = 0; i < s->n_fds; i++)
        if (dup2(moved[i], FIRST_FD + (int)i) < 0)
            child_fail(c, errno, "pass a descriptor");
    /* Close-on-exec rather than close: descriptors of the caller that are not ours to know end
     * here. */
    int rc = mark_all_close_on_exec(floor);
    if (rc < 0)
        child_fail(c, -rc, "close the caller's descriptors");
}

/* Runs in the parent's memory while the parent's thread waits: plain system calls only. */
static int child_main(void *arg)
{
    struct child *c = arg;
    const struct plat_start *s = c->start;
    const char *const *env = s->env ? s->env : (const char *const *)(uintptr_t)environ;
    int program;

    if (s->die_with_thread) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        /* In a pid namespace of its own it sees no parent, and dies with that of the parent. */
        if (!(s->clone_flags & CLONE_NEWPID) && getppid() != c->parent)
            _exit(127);
    }
    setpgid(0, 0);
    place_descriptors(c, &program);
    if (s->enter) {
        const char *step = "enter the jail";
        int rc = s->enter(s->enter_ctx, &step);
        if (rc < 0)
            return child_fail(c, -rc, step);
    }
    default_signals();
    if (program >= 0)
        syscall(SYS_execveat, program, "", s->argv, env, AT_EMPTY_PATH);
    else
        execve(s->argv[0], (char *const *)(uintptr_t)s->argv, (char *const *)(uintptr_t)env);
    return child_fail(c, errno, "execute");
}

static pid_t start_child(struct child *c, char *stack, int *ret_pidfd)
{
    bool grouped = c->start->cgroup >= 0;
    uint64_t flags = c->start->clone_flags | (uint64_t)CLONE_VM | (uint64_t)CLONE_VFORK |
                     (uint64_t)CLONE_PIDFD | (grouped ? CLONE_INTO_CGROUP : 0);
    struct clone_args args = {.flags = flags,
                              .pidfd = (uintptr_t)ret_pidfd,
                              .exit_signal = SIGCHLD,
                              .stack = (uintptr_t)stack,
                              .stack_size = CHILD_STACK,
                              .cgroup = grouped ? (unsigned)c->start->cgroup : 0};
    sigset_t all, old;

    /* No handler of the caller may run on the child's side of the shared memory. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    pid_t pid = clone3_call(&args, sizeof(args), child_main, c);
    if (pid == -ENOSYS && !grouped)
        pid = clone_call(flags | SIGCHLD, stack + CHILD_STACK, ret_pidfd, child_main, c);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return pid;
}

int plat_process_start(const struct plat_start *start, struct plat_process **ret_process,
                       struct lum_error *err)
{
    AUTO(auto_free) char *stack = NULL;
    const char *name = start->argv[0];
    struct child child = {.start = start, .parent = getpid()};
    int pidfd = -1, status;

    if (start->n_fds > PLAT_MAX_FDS)
        return lum_fail(err, LUM_EINTERNAL, "%zu descriptors for %s", start->n_fds, name);
    struct plat_process *p = lum_calloc(1, sizeof(*p));
    stack = lum_calloc(1, CHILD_STACK);
    if (!p || !stack) {
        free(p);
        return lum_fail(err, LUM_ENOMEM, "start %s: out of memory", name);
    }
    p->pid = start_child(&child, stack, &pidfd);
    if (p->pid < 0) {
        int e = -p->pid;
        free(p);
        return lum_fail_errno(err, e, "start %s: clone%s", name,
                              e == EAGAIN ? " (remedy: a higher limit of processes, ulimit -u)"
                                          : "");
    }
    p->pidfd = pidfd;
    if (child.failed_errno) {
        plat_process_wait(p, -1, &status);
        plat_process_free(p);
        return lum_fail_errno(err, child.failed_errno, "start %s: %s", name, child.failed_step);
    }
    *ret_process = p;
    return 0;
}

int64_t plat_process_pid(const struct plat_process *process)
{
    return process->pid;
}

plat_fd plat_process_fd(const struct plat_process *process)
{
    return process->pidfd;
}

/* seccomp io: pidfd_send_signal, waitid, exit_group */

void plat_process_kill(struct plat_process *process)
{
    if (!process->ended)
        syscall(SYS_pidfd_send_signal, process->pidfd, SIGKILL, NULL, 0);
}

/* 1 reaped (or somebody else did), 0 not yet. */
static int reap(struct plat_process *p, bool block)
{
    siginfo_t info = {0};
    int rc;

    do {
        rc = waitid((idtype_t)P_PIDFD, (id_t)p->pidfd, &info, WEXITED | (block ? 0 : WNOHANG));
    } while (rc < 0 && errno == EINTR);
    if (rc == 0 && info.si_pid == 0)
        return 0;
    p->ended = true;
    if (rc < 0) /* the caller's own wait() took it */
        p->status = -1;
    else
        p->status = info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
    return 1;
}

int plat_process_wait(struct plat_process *p, int timeout_ms, int *ret_status)
{
    if (!p->ended) {
        if (timeout_ms >= 0 && plat_wait_fd(p->pidfd, false, PLAT_FD_NONE, timeout_ms) == 0)
            return 0;
        reap(p, true);
    }
    *ret_status = p->status;
    return 1;
}

void plat_process_leave(struct plat_process *p)
{
    if (!p)
        return;
    plat_process_kill(p);
    plat_close(&p->pidfd);
    free(p);
}

static void *reaper_main(void *arg)
{
    struct plat_process *p = arg;

    reap(p, true);
    plat_close(&p->pidfd);
    free(p);
    return NULL;
}

void plat_process_release(struct plat_process *p)
{
    pthread_attr_t attr;
    pthread_t id;

    if (!p)
        return;
    if (!p->ended && reap(p, false) == 0) {
        /*
         * The kernel needs 10 to 20 ms to take a VM apart; a thread that lives just as long waits
         * for it, so that the caller does not and no zombie stays.
         */
        pthread_attr_init(&attr);
        pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
        pthread_attr_setstacksize(&attr, 64 * 1024);
        sigset_t all, old;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &old);
        int rc = pthread_create(&id, &attr, reaper_main, p);
        pthread_sigmask(SIG_SETMASK, &old, NULL);
        pthread_attr_destroy(&attr);
        if (rc == 0)
            return;
        reap(p, true);
    }
    plat_close(&p->pidfd);
    free(p);
}

void plat_process_free(struct plat_process *p)
{
    if (p)
        plat_process_kill(p);
    plat_process_release(p);
}
