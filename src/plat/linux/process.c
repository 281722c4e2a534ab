/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starting helper processes from a threaded program: clone with CLONE_VM | CLONE_VFORK, so nothing
 * is copied however large the caller is, the child touches only its own stack, and an exec that
 * fails is seen by the parent in shared memory. A pidfd names the process from its first moment.
 */
#include "plat/plat.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
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

struct child_args {
    const char *const *argv, *const *env;
    const plat_fd *fds;
    size_t n_fds;
    plat_fd err_fd;
    bool die_with_thread;
    pid_t parent;
    int failed_errno;
    const char *failed_step;
};

#define CHILD_STACK (32u * 1024)
#define FIRST_FD    3

static int child_fail(struct child_args *a, const char *step)
{
    a->failed_errno = errno;
    a->failed_step = step;
    _exit(127);
}

/* Runs in the parent's memory while the parent's thread waits: plain system calls only. */
static int child_main(void *arg)
{
    struct child_args *a = arg;
    int moved[PLAT_MAX_FDS], err_fd = a->err_fd;
    int floor = FIRST_FD + (int)a->n_fds;

    if (a->die_with_thread) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != a->parent)
            _exit(127);
    }
    setpgid(0, 0);
    for (int s = 1; s < 65; s++) {
        struct sigaction sa;

        /* Handlers fall back by exec itself; what is ignored would stay so. */
        if (sigaction(s, NULL, &sa) == 0 && sa.sa_handler == SIG_IGN) {
            sa.sa_handler = SIG_DFL;
            sigaction(s, &sa, NULL);
        }
    }
    /* Out of the way first, then down to their places. */
    for (size_t i = 0; i < a->n_fds; i++) {
        moved[i] = fcntl(a->fds[i], F_DUPFD_CLOEXEC, floor);
        if (moved[i] < 0)
            return child_fail(a, "pass a descriptor");
    }
    if (err_fd >= 0 && err_fd < floor) {
        err_fd = fcntl(err_fd, F_DUPFD_CLOEXEC, floor);
        if (err_fd < 0)
            return child_fail(a, "pass a descriptor");
    }
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0)
        return child_fail(a, "open /dev/null");
    if (null < FIRST_FD)
        null = fcntl(null, F_DUPFD_CLOEXEC, floor);
    if (dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(err_fd >= 0 ? err_fd : null, 2) < 0)
        return child_fail(a, "set standard descriptors");
    for (size_t i = 0; i < a->n_fds; i++)
        if (dup2(moved[i], FIRST_FD + (int)i) < 0)
            return child_fail(a, "pass a descriptor");
    /* Close-on-exec rather than close: descriptors of the caller that are not ours to know end
     * here. */
    syscall(SYS_close_range, (unsigned)floor, ~0u, 4u /* CLOSE_RANGE_CLOEXEC */);

    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execve(a->argv[0], (char *const *)(uintptr_t)a->argv,
           (char *const *)(uintptr_t)(a->env ? a->env : (const char *const *)(uintptr_t)environ));
    return child_fail(a, "start");
}

int plat_process_start(const char *const *argv, const char *const *env, const plat_fd *fds,
                       size_t n_fds, plat_fd err_fd, bool die_with_thread,
                       struct plat_process **ret_process, struct lum_error *err)
{
    AUTO(auto_free) char *stack = NULL;
    struct child_args args = {.argv = argv,
                              .env = env,
                              .fds = fds,
                              .n_fds = n_fds,
                              .err_fd = err_fd,
                              .die_with_thread = die_with_thread,
                              .parent = getpid()};
    int pidfd = -1;

    if (n_fds > PLAT_MAX_FDS)
        return lum_fail(err, LUM_EINTERNAL, "%zu descriptors for %s", n_fds, argv[0]);
    struct plat_process *p = lum_calloc(1, sizeof(*p));
    stack = lum_calloc(1, CHILD_STACK);
    if (!p || !stack) {
        free(p);
        return lum_fail(err, LUM_ENOMEM, "start %s: out of memory", argv[0]);
    }

    /* No handler of the caller may run on the child's side of the shared memory. */
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    char *top = (char *)align_down((uint64_t)(uintptr_t)(stack + CHILD_STACK), 16);
    p->pid = clone(child_main, top, CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, &args, &pidfd);
    int e = errno;
    pthread_sigmask(SIG_SETMASK, &old, NULL);

    if (p->pid < 0) {
        free(p);
        return lum_fail_errno(err, e, "start %s: clone", argv[0]);
    }
    p->pidfd = pidfd;
    if (args.failed_errno) {
        plat_process_wait(p, -1, &e);
        plat_process_free(p);
        return lum_fail_errno(err, args.failed_errno, "%s %s", args.failed_step, argv[0]);
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

static void *reaper_main(void *arg)
{
    struct plat_process *p = arg;

    reap(p, true);
    plat_close(&p->pidfd);
    free(p);
    return NULL;
}

void plat_process_free(struct plat_process *p)
{
    pthread_attr_t attr;
    pthread_t id;

    if (!p)
        return;
    plat_process_kill(p);
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
