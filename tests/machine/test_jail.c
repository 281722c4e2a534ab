/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The jail from inside: each role makes forbidden and allowed system calls through the code that
 * the worker uses, each stage is looked at, and the self-check meets walls that are missing. A
 * child's role and mode are its arguments.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "jail_test.h"

long raw_call(long number, const unsigned long args[6]);
long i386_call(long number);

/* ---- the calls ---- */

#define DIES   (-1) /* killed with SIGSYS */
#define BAD_FD 999u
#define X32    0x40000000
#define I386   (-1) /* instead of a number: a 32-bit getpid */
#define NEW(n) (n)  /* numbers that the C library's headers may not know */

struct probe {
    const char *name;
    long number;
    unsigned long args[6];
    int io, vcpu, program; /* DIES, or the errno */
};

static const struct timespec no_time;
static const struct itimerspec no_timer;
static struct timespec now;
static struct epoll_event event;
static int pair[2];
static unsigned futex_word;

#define PTR(x) ((unsigned long)(x))
#define MEMORY PTR(4096)
#define ANON   (MAP_PRIVATE | MAP_ANONYMOUS)

static const struct probe probes[] = {
    /* files and programs */
    {"open", SYS_open, {PTR("/")}, DIES, DIES, 0},
    {"openat", SYS_openat, {PTR(AT_FDCWD), PTR("/")}, DIES, DIES, 0},
    {"openat2", NEW(437), {PTR(AT_FDCWD), PTR("/")}, DIES, DIES, ENOSYS},
    {"creat", SYS_creat, {PTR("/none"), 0600}, DIES, DIES, ENOSYS},
    {"open_by_handle_at", SYS_open_by_handle_at, {BAD_FD}, DIES, DIES, DIES},
    {"name_to_handle_at", SYS_name_to_handle_at, {BAD_FD}, DIES, DIES, ENOSYS},
    {"execve", SYS_execve, {PTR("/none")}, DIES, DIES, ENOENT},
    {"execveat", SYS_execveat, {BAD_FD, PTR("")}, DIES, DIES, ENOSYS},
    {"stat", SYS_stat, {PTR("/none")}, DIES, DIES, ENOENT},
    {"mkdir", SYS_mkdir, {PTR("/none"), 0700}, DIES, DIES, ENOSYS},
    {"unlink", SYS_unlink, {PTR("/none")}, DIES, DIES, ENOSYS},
    {"rename", SYS_rename, {PTR("/none"), PTR("/none2")}, DIES, DIES, ENOSYS},
    {"symlink", SYS_symlink, {PTR("none"), PTR("/none")}, DIES, DIES, ENOSYS},
    {"mknod", SYS_mknod, {PTR("/none"), S_IFIFO | 0600}, DIES, DIES, ENOSYS},
    {"chmod", SYS_chmod, {PTR("/none"), 0777}, DIES, DIES, ENOSYS},
    {"chown", SYS_chown, {PTR("/none")}, DIES, DIES, ENOSYS},
    {"chdir", SYS_chdir, {PTR("/")}, DIES, DIES, ENOSYS},
    {"memfd_create", SYS_memfd_create, {PTR("x")}, DIES, DIES, 0},
    {"dup2", SYS_dup2, {BAD_FD, BAD_FD}, DIES, DIES, EBADF},

    /* sockets */
    {"socket(AF_INET)", SYS_socket, {AF_INET, SOCK_STREAM}, DIES, DIES, ENOSYS},
    {"socket(AF_INET6)", SYS_socket, {AF_INET6, SOCK_DGRAM}, DIES, DIES, ENOSYS},
    {"socket(AF_UNIX)", SYS_socket, {AF_UNIX, SOCK_STREAM}, DIES, DIES, ENOSYS},
    {"socket(AF_NETLINK)", SYS_socket, {AF_NETLINK, SOCK_RAW}, DIES, DIES, ENOSYS},
    {"socket(AF_VSOCK)", SYS_socket, {AF_VSOCK, SOCK_STREAM}, DIES, DIES, ENOSYS},
    {"socketpair(AF_INET)", SYS_socketpair, {AF_INET, SOCK_STREAM}, DIES, DIES, ENOSYS},
    {"connect", SYS_connect, {BAD_FD}, DIES, DIES, ENOSYS},
    {"bind", SYS_bind, {BAD_FD}, DIES, DIES, ENOSYS},
    {"listen", SYS_listen, {BAD_FD}, DIES, DIES, ENOSYS},
    {"accept4", SYS_accept4, {BAD_FD}, DIES, DIES, ENOSYS},

    /* processes */
    {"fork", SYS_fork, {0}, DIES, DIES, ENOSYS},
    {"vfork", SYS_vfork, {0}, DIES, DIES, ENOSYS},
    {"clone", SYS_clone, {SIGCHLD}, DIES, DIES, ENOSYS},
    {"clone with a user namespace", SYS_clone, {CLONE_NEWUSER | SIGCHLD}, DIES, DIES, ENOSYS},
    {"clone of a thread", SYS_clone, {CLONE_THREAD}, DIES, DIES, EINVAL},
    {"clone3", SYS_clone3, {0, 0}, DIES, DIES, ENOSYS},
    {"ptrace", SYS_ptrace, {999}, DIES, DIES, DIES},
    {"process_vm_readv", SYS_process_vm_readv, {1}, DIES, DIES, DIES},
    {"process_vm_writev", SYS_process_vm_writev, {1}, DIES, DIES, DIES},
    {"pidfd_open", SYS_pidfd_open, {1}, DIES, DIES, ENOSYS},
    {"pidfd_getfd", NEW(438), {BAD_FD}, DIES, DIES, ENOSYS},
    {"kill", SYS_kill, {1, 0}, DIES, DIES, ENOSYS},
    {"tkill", SYS_tkill, {1, 0}, DIES, DIES, ENOSYS},
    {"rt_sigqueueinfo", SYS_rt_sigqueueinfo, {1, 0}, DIES, DIES, ENOSYS},
    {"rt_sigaction", SYS_rt_sigaction, {SIGUSR1, 0, 0, 8}, DIES, DIES, 0},
    {"prlimit64", SYS_prlimit64, {0, RLIMIT_CORE, 0, 0}, DIES, DIES, 0},
    {"setrlimit", SYS_setrlimit, {RLIMIT_CORE}, DIES, DIES, ENOSYS},
    {"personality", SYS_personality, {0xffffffff}, DIES, DIES, ENOSYS},
    {"setsid", SYS_setsid, {0}, DIES, DIES, ENOSYS},

    /* privileges and namespaces */
    {"setuid", SYS_setuid, {0}, DIES, DIES, ENOSYS},
    {"setresuid", SYS_setresuid, {0, 0, 0}, DIES, DIES, ENOSYS},
    {"setgroups", SYS_setgroups, {0, 0}, DIES, DIES, ENOSYS},
    {"capset", SYS_capset, {0}, DIES, DIES, ENOSYS},
    {"prctl(PR_SET_DUMPABLE)", SYS_prctl, {PR_SET_DUMPABLE, 1}, DIES, DIES, 0},
    {"prctl(PR_GET_SECCOMP) with high bits",
     SYS_prctl,
     {1ul << 32 | PR_GET_SECCOMP},
     DIES,
     DIES,
     0},
    {"seccomp", SYS_seccomp, {SECCOMP_SET_MODE_FILTER, 0, 0}, DIES, DIES, EFAULT},
    {"unshare", SYS_unshare, {CLONE_NEWUSER}, DIES, DIES, DIES},
    {"setns", SYS_setns, {BAD_FD}, DIES, DIES, DIES},
    {"mount", SYS_mount, {PTR("none"), PTR("/none"), PTR("tmpfs")}, DIES, DIES, DIES},
    {"umount2", SYS_umount2, {PTR("/none")}, DIES, DIES, DIES},
    {"pivot_root", SYS_pivot_root, {PTR("/none"), PTR("/none")}, DIES, DIES, DIES},
    {"chroot", SYS_chroot, {PTR("/none")}, DIES, DIES, DIES},
    {"open_tree", NEW(428), {BAD_FD, PTR("")}, DIES, DIES, ENOSYS},
    {"move_mount", NEW(429), {BAD_FD, PTR(""), BAD_FD, PTR("")}, DIES, DIES, ENOSYS},
    {"fsopen", NEW(430), {PTR("tmpfs")}, DIES, DIES, ENOSYS},
    {"mount_setattr", NEW(442), {BAD_FD, PTR("")}, DIES, DIES, ENOSYS},

    /* the kernel's wide doors */
    {"io_uring_setup", NEW(425), {1, 0}, DIES, DIES, ENOSYS},
    {"io_uring_enter", NEW(426), {BAD_FD}, DIES, DIES, ENOSYS},
    {"bpf", SYS_bpf, {0}, DIES, DIES, DIES},
    {"perf_event_open", SYS_perf_event_open, {0}, DIES, DIES, DIES},
    {"userfaultfd", SYS_userfaultfd, {0}, DIES, DIES, DIES},
    {"keyctl", SYS_keyctl, {BAD_FD}, DIES, DIES, DIES},
    {"add_key", SYS_add_key, {0}, DIES, DIES, DIES},
    {"request_key", SYS_request_key, {0}, DIES, DIES, DIES},
    {"shmget", SYS_shmget, {0, 0, 0}, DIES, DIES, ENOSYS},
    {"msgget", SYS_msgget, {0, 0}, DIES, DIES, ENOSYS},
    {"init_module", SYS_init_module, {0}, DIES, DIES, DIES},
    {"kexec_load", SYS_kexec_load, {0, 0, 0, ~0ul}, DIES, DIES, DIES},
    {"swapon", SYS_swapon, {PTR("/none")}, DIES, DIES, DIES},
    {"iopl", SYS_iopl, {99}, DIES, DIES, DIES},
    {"modify_ldt", SYS_modify_ldt, {99}, DIES, DIES, DIES},
    {"an x32 number", X32 + SYS_getpid, {0}, DIES, DIES, DIES},
    {"an i386 call", I386, {0}, DIES, DIES, DIES},
    {"a number of no call", 1000, {0}, DIES, DIES, ENOSYS},

    /* memory that could be executed */
    {"mmap(PROT_EXEC)", SYS_mmap, {0, MEMORY, PROT_EXEC, ANON, ~0ul}, DIES, DIES, 0},
    {"mmap(PROT_WRITE|PROT_EXEC)",
     SYS_mmap,
     {0, MEMORY, PROT_WRITE | PROT_EXEC, ANON, ~0ul},
     DIES,
     DIES,
     0},
    {"mprotect(PROT_EXEC)", SYS_mprotect, {0, 0, PROT_READ | PROT_EXEC}, DIES, DIES, 0},
    {"pkey_mprotect", SYS_pkey_mprotect, {0, 0, PROT_EXEC, ~0ul}, DIES, DIES, ENOSYS},
    {"remap_file_pages", SYS_remap_file_pages, {0}, DIES, DIES, ENOSYS},

    /* device requests */
    {"ioctl(TIOCSTI)", SYS_ioctl, {BAD_FD, TIOCSTI}, DIES, DIES, EBADF},
    {"ioctl(KVM_CREATE_VM)", SYS_ioctl, {BAD_FD, KVM_CREATE_VM}, DIES, DIES, EBADF},
    {"ioctl(KVM_CREATE_VCPU)", SYS_ioctl, {BAD_FD, KVM_CREATE_VCPU}, DIES, DIES, EBADF},
    {"ioctl(KVM_SET_USER_MEMORY_REGION)",
     SYS_ioctl,
     {BAD_FD, KVM_SET_USER_MEMORY_REGION},
     DIES,
     DIES,
     EBADF},
    {"ioctl(KVM_IRQFD)", SYS_ioctl, {BAD_FD, KVM_IRQFD}, DIES, DIES, EBADF},
    {"ioctl(KVM_RUN)", SYS_ioctl, {BAD_FD, KVM_RUN}, DIES, EBADF, EBADF},
    {"ioctl(KVM_GET_REGS)", SYS_ioctl, {BAD_FD, KVM_GET_REGS}, DIES, EBADF, EBADF},
    {"ioctl(KVM_SET_REGS)", SYS_ioctl, {BAD_FD, KVM_SET_REGS}, DIES, EBADF, EBADF},
    {"ioctl(KVM_GET_SREGS)", SYS_ioctl, {BAD_FD, KVM_GET_SREGS}, DIES, EBADF, EBADF},
    {"ioctl(KVM_SET_SREGS)", SYS_ioctl, {BAD_FD, KVM_SET_SREGS}, DIES, EBADF, EBADF},
    {"ioctl(KVM_SET_GSI_ROUTING)", SYS_ioctl, {BAD_FD, KVM_SET_GSI_ROUTING}, EBADF, EBADF, EBADF},

    /* what is needed */
    {"close", SYS_close, {BAD_FD}, EBADF, EBADF, EBADF},
    {"write", SYS_write, {BAD_FD}, EBADF, EBADF, EBADF},
    {"futex", SYS_futex, {PTR(&futex_word), FUTEX_WAKE}, 0, 0, 0},
    {"rt_sigprocmask", SYS_rt_sigprocmask, {SIG_BLOCK, 0, 0, 8}, 0, 0, 0},
    {"clock_gettime", SYS_clock_gettime, {CLOCK_MONOTONIC, PTR(&now)}, 0, 0, 0},
    {"munmap", SYS_munmap, {1, 1}, EINVAL, EINVAL, EINVAL},
    {"madvise", SYS_madvise, {0, 0, MADV_DONTNEED}, 0, 0, 0},
    {"prctl(PR_GET_SECCOMP)", SYS_prctl, {PR_GET_SECCOMP}, 0, 0, 0},
    {"read", SYS_read, {BAD_FD}, EBADF, DIES, EBADF},
    {"sendmsg", SYS_sendmsg, {BAD_FD}, EBADF, DIES, EBADF},
    {"recvmsg", SYS_recvmsg, {BAD_FD}, EBADF, DIES, EBADF},
    {"sendto", SYS_sendto, {BAD_FD}, EBADF, DIES, EBADF},
    {"shutdown", SYS_shutdown, {BAD_FD}, EBADF, DIES, EBADF},
    {"socketpair(AF_UNIX)", SYS_socketpair, {AF_UNIX, SOCK_STREAM, 0, PTR(pair)}, 0, DIES, 0},
    {"fcntl(F_GETFL)", SYS_fcntl, {BAD_FD, F_GETFL}, EBADF, DIES, EBADF},
    {"fcntl(F_SETFL)", SYS_fcntl, {BAD_FD, F_SETFL}, EBADF, DIES, EBADF},
    {"fcntl(F_DUPFD_CLOEXEC)", SYS_fcntl, {BAD_FD, F_DUPFD_CLOEXEC}, EBADF, DIES, EBADF},
    {"fcntl(F_SETOWN)", SYS_fcntl, {BAD_FD, F_SETOWN}, DIES, DIES, EBADF},
    {"poll", SYS_poll, {0, 0, 0}, 0, DIES, 0},
    {"ppoll", SYS_ppoll, {0, 0, PTR(&no_time), 0}, 0, DIES, 0},
    {"epoll_pwait", SYS_epoll_pwait, {BAD_FD, PTR(&event), 1}, EBADF, DIES, EBADF},
    {"epoll_ctl", SYS_epoll_ctl, {BAD_FD, EPOLL_CTL_DEL}, EBADF, DIES, EBADF},
    {"timerfd_create", SYS_timerfd_create, {CLOCK_MONOTONIC}, 0, DIES, 0},
    {"timerfd_settime", SYS_timerfd_settime, {BAD_FD, 0, PTR(&no_timer)}, EBADF, DIES, EBADF},
    {"eventfd2", SYS_eventfd2, {0, 0}, 0, DIES, 0},
    {"pread64", SYS_pread64, {BAD_FD}, EBADF, DIES, EBADF},
    {"pwrite64", SYS_pwrite64, {BAD_FD}, EBADF, DIES, EBADF},
    {"fdatasync", SYS_fdatasync, {BAD_FD}, EBADF, DIES, EBADF},
    {"brk", SYS_brk, {0}, 0, DIES, 0},
    {"mmap", SYS_mmap, {0, MEMORY, PROT_READ | PROT_WRITE, ANON, ~0ul}, 0, DIES, 0},
    {"mprotect", SYS_mprotect, {0, 0, PROT_READ}, 0, DIES, 0},
    {"mremap", SYS_mremap, {1}, EINVAL, DIES, EINVAL},
    {"mincore", SYS_mincore, {0, 0, 0}, 0, DIES, 0},
    {"pidfd_send_signal", SYS_pidfd_send_signal, {BAD_FD}, EBADF, DIES, ENOSYS},
    {"waitid", SYS_waitid, {P_ALL, 0, 0, WEXITED | WNOHANG}, ECHILD, DIES, ENOSYS},
    {"getrandom", SYS_getrandom, {PTR(&now), 1}, 0, DIES, 0},
    {"getpid", SYS_getpid, {0}, 0, DIES, 0},
    {"tgkill", SYS_tgkill, {1000000, 1000000, 0}, ESRCH, DIES, ESRCH},
    {"restart_syscall", SYS_restart_syscall, {0}, EINTR, DIES, EINTR},
};

/* ---- in the jailed process ---- */

void say(const char *fmt, ...)
{
    char line[400];
    va_list ap;

    va_start(ap, fmt);
    int n = vsnprintf(line, sizeof(line) - 1, fmt, ap);
    va_end(ap);
    if (n < 0 || (size_t)n >= sizeof(line) - 1)
        n = (int)sizeof(line) - 2;
    line[n] = '\n';
    if (write(CHANNEL, line, (size_t)n + 1) < 0)
        _exit(6);
}

int fall(const struct lum_error *err)
{
    say("error %s", err->text);
    return 3;
}

static void make_call(int number)
{
    const struct probe *p = &probes[number];

    say("sealed");
    long rc = p->number == I386 ? i386_call(SYS_getpid) : raw_call(p->number, p->args);
    say("returned %ld", rc < 0 && rc >= -4095 ? -rc : 0);
}

static int child_io(enum jail_mode mode, int number)
{
    struct lum_error err;

    if (jail_begin(mode, true, &err) < 0 || jail_enter(JAIL_SEALED, &err) < 0)
        return fall(&err);
    make_call(number);
    return 0;
}

/* As in a VM: the vCPU's thread is confined first, then the I/O thread, then the guest runs. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool confined, go;
    int number;
} duo = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void *vcpu_thread(void *arg)
{
    struct lum_error err;

    (void)arg;
    if (jail_enter_vcpu(&err) < 0)
        _exit(fall(&err));
    pthread_mutex_lock(&duo.lock);
    duo.confined = true;
    pthread_cond_broadcast(&duo.changed);
    while (!duo.go)
        pthread_cond_wait(&duo.changed, &duo.lock);
    pthread_mutex_unlock(&duo.lock);
    make_call(duo.number);
    syscall(SYS_exit, 0); /* all that the C library would do here is not the vCPU's to do */
    return NULL;
}

static int child_vcpu(enum jail_mode mode, int number)
{
    struct lum_error err;
    pthread_t thread;

    duo.number = number;
    if (jail_begin(mode, true, &err) < 0 || jail_enter(JAIL_CLOSED, &err) < 0)
        return fall(&err);
    if (pthread_create(&thread, NULL, vcpu_thread, NULL) != 0)
        return 4;
    pthread_mutex_lock(&duo.lock);
    while (!duo.confined)
        pthread_cond_wait(&duo.changed, &duo.lock);
    pthread_mutex_unlock(&duo.lock);
    if (jail_enter(JAIL_SEALED, &err) < 0)
        return fall(&err);
    pthread_mutex_lock(&duo.lock);
    duo.go = true;
    pthread_cond_broadcast(&duo.changed);
    pthread_mutex_unlock(&duo.lock);
    pthread_join(thread, NULL);
    return 0;
}

static int child_program(enum jail_mode mode, int number, char **argv)
{
    const char *const args[] = {argv[0], "call", "default", argv[3], argv[0], NULL};
    struct plat_start start = PLAT_START_INIT;
    struct plat_process *process;
    struct lum_error err;
    int status;

    (void)number;
    start.argv = args;
    start.fds = (const plat_fd[]){CHANNEL};
    start.n_fds = 1;
    start.err_fd = STDERR_FILENO;
    start.die_with_thread = true;
    if (jail_begin(mode, false, &err) < 0 || jail_start_program(&start, &process, &err) < 0 ||
        jail_enter(JAIL_SEALED, &err) < 0)
        return fall(&err);
    plat_process_wait(process, -1, &status);
    return status;
}

int child_seal(enum jail_mode mode, bool no_paths)
{
    struct lum_error err;

    if (fcntl(STRAY, F_GETFD) >= 0)
        say("a stray descriptor");
    if (jail_begin(mode, no_paths, &err) < 0 || jail_enter(JAIL_SEALED, &err) < 0)
        return fall(&err);
    say("sealed");
    return 0;
}

static int child_main(char **argv)
{
    enum jail_mode mode;
    struct lum_error err;
    int number = atoi(argv[3]);

    program_copy = argv[4];
    if (jail_mode_find(argv[2], &mode, &err) < 0 || number < 0)
        return 5;
    if (strcmp(argv[1], "stages") == 0)
        return child_stages(mode, number);
    if (strcmp(argv[1], "seal") == 0)
        return child_seal(mode, number == 1);
    if ((size_t)number >= ARRAY_LEN(probes))
        return 5;
    if (strcmp(argv[1], "io") == 0)
        return child_io(mode, number);
    if (strcmp(argv[1], "vcpu") == 0)
        return child_vcpu(mode, number);
    if (strcmp(argv[1], "program") == 0)
        return child_program(mode, number, argv);
    make_call(number); /* "call": a program that was started in the jail */
    return 0;
}

/* ---- the test of the calls ---- */

static bool has_i386(void)
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        const struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        _exit(i386_call(20 /* getpid */) == getpid() ? 0 : 1);
    }
    return waitpid(pid, &status, 0) == pid && status == 0;
}

static void check_call(const char *role, int number, int expected, bool plain, enum jail_mode mode)
{
    const struct probe *p = &probes[number];
    const struct setup s = {.role = role, .number = number, .mode = mode, .plain = plain};
    struct outcome o;
    char returned[32];

    run_jailed(&s, &o);
    snprintf(returned, sizeof(returned), "returned %d", expected);
    bool good = says(&o, "sealed") &&
                (expected == DIES ? o.status == 128 + SIGSYS && !strstr(o.text, "returned")
                                  : o.status == 0 && says(&o, returned));
    if (!ok(good, "%s%s: %s %s", role, mode == JAIL_DEFAULT ? "" : " (mode seccomp)", p->name,
            expected == DIES     ? "kills"
            : expected == ENOSYS ? "does not exist"
                                 : "passes")) {
        tap_note("expected %d, status %d", expected, o.status);
        show(&o);
    }
}

/* The filters are the same whoever calls and whatever else is there; so each way has its share. */
static void test_calls(void)
{
    bool i386 = has_i386();

    for (int i = 0; i < (int)ARRAY_LEN(probes); i++) {
        const struct probe *p = &probes[i];
        bool plain = i % 2 == 1;

        if (p->number == I386 && !i386) {
            tap_skip("a 32-bit call", "this kernel has none");
            continue;
        }
        check_call("io", i, p->io, plain, JAIL_DEFAULT);
        check_call("vcpu", i, p->vcpu, plain, JAIL_DEFAULT);
        check_call("program", i, p->program, plain, JAIL_DEFAULT);
        if (i % 8 == 0) {
            check_call("io", i, p->io, plain, JAIL_SECCOMP);
            check_call("vcpu", i, p->vcpu, plain, JAIL_SECCOMP);
            check_call("program", i, p->program, plain, JAIL_SECCOMP);
        }
    }
}

/* ---- main ---- */

const char *program_copy;
bool is_root;

static bool copy_self(const char *path)
{
    char buf[65536];
    ssize_t n;
    int in = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    int out = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);

    while (in >= 0 && out >= 0 && (n = read(in, buf, sizeof(buf))) > 0)
        if (write(out, buf, (size_t)n) != n)
            return false;
    bool good = in >= 0 && out >= 0 && fchmod(out, 0755) == 0;
    close(in);
    close(out);
    return good;
}

int main(int argc, char **argv)
{
    char dir[] = "/tmp/jailtest-XXXXXX", copy[64];

    if (argc == 5)
        return child_main(argv);
    is_root = geteuid() == 0;
    if (!mkdtemp(dir) || chmod(dir, 0755) < 0)
        return tap_skip_all("no folder in /tmp");
    snprintf(copy, sizeof(copy), "%s/test_jail", dir);
    program_copy = copy;
    if (ok(copy_self(copy), "a copy that everybody may execute")) {
        test_start();
        test_stages();
        test_self_check();
        test_calls();
    }
    unlink(copy);
    rmdir(dir);
    return tap_done();
}
