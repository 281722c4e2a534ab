/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Filters made by tools/seccomp.py, installed for real: each probe is a child process that enters a
 * role and makes one system call. The roles are those of the comments below.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "jail/seccomp.h"
#include "tap.h"

/* seccomp plain arguments foreign: exit_group */
/* seccomp plain foreign: getppid, read, write */
/* seccomp foreign: default errno ENOSYS */
/* seccomp foreign: unshare(0&CLONE_NEWUSER=0) */
/* seccomp foreign: kill ptrace, mount */
/*
 * seccomp arguments: ioctl(1=TIOCGWINSZ|KVM_GET_REGS),
 *                    mmap(2&PROT_EXEC=0), openat(0=AT_FDCWD, 2&~(O_DIRECTORY|O_CLOEXEC)=0)
 */
/* seccomp arguments: ioctl(0=7, 1=FIONREAD) */

#define DIES     (-1) /* otherwise the expected errno, 0 for success */
#define NO_ENTRY 200  /* the child could not enter its role */
#define HIGH     ((unsigned long)1 << 32)
#define ALL_HIGH ((unsigned long)0xffffffff << 32)
#define X32      0x40000000

struct probe {
    const char *name, *role;
    long number;
    unsigned long args[6];
    int expected;
};

static const struct probe probes[] = {
    {"a listed call", "plain", SYS_getppid, {0}, 0},
    {"a call that is not listed", "plain", SYS_getuid, {0}, DIES},
    {"a listed call's x32 number", "plain", X32 + SYS_getppid, {0}, DIES},
    {"a number of no call", "plain", 1000, {0}, DIES},
    {"a second filter", "plain", SYS_seccomp, {SECCOMP_SET_MODE_FILTER}, DIES},

    {"a listed request", "arguments", SYS_ioctl, {999, TIOCGWINSZ}, EBADF},
    {"a listed request with high bits", "arguments", SYS_ioctl, {999, HIGH | TIOCGWINSZ}, DIES},
    {"a listed request with all high bits",
     "arguments",
     SYS_ioctl,
     {999, ALL_HIGH | TIOCGWINSZ},
     DIES},
    {"a request with its top bit", "arguments", SYS_ioctl, {999, KVM_GET_REGS}, EBADF},
    {"the same as a negative int", "arguments", SYS_ioctl, {999, ALL_HIGH | KVM_GET_REGS}, EBADF},
    {"the same with one high bit", "arguments", SYS_ioctl, {999, HIGH | KVM_GET_REGS}, DIES},
    {"another request", "arguments", SYS_ioctl, {999, KVM_RUN}, DIES},
    {"both conditions of two", "arguments", SYS_ioctl, {7, FIONREAD}, EBADF},
    {"one condition of two", "arguments", SYS_ioctl, {8, FIONREAD}, DIES},
    {"memory that cannot run",
     "arguments",
     SYS_mmap,
     {0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, (unsigned long)-1},
     0},
    {"memory that can",
     "arguments",
     SYS_mmap,
     {0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, (unsigned long)-1},
     DIES},
    {"a folder opened to read",
     "arguments",
     SYS_openat,
     {(unsigned long)AT_FDCWD, (unsigned long)"/", O_DIRECTORY | O_CLOEXEC},
     0},
    {"the same with the folder's number as an unsigned int",
     "arguments",
     SYS_openat,
     {(unsigned int)AT_FDCWD, (unsigned long)"/", O_DIRECTORY | O_CLOEXEC},
     0},
    {"a folder opened to write",
     "arguments",
     SYS_openat,
     {(unsigned long)AT_FDCWD, (unsigned long)"/", O_DIRECTORY | O_RDWR},
     DIES},
    {"open flags with high bits",
     "arguments",
     SYS_openat,
     {(unsigned long)AT_FDCWD, (unsigned long)"/", HIGH | O_DIRECTORY},
     DIES},
    {"another folder's number",
     "arguments",
     SYS_openat,
     {999, (unsigned long)"/", O_DIRECTORY},
     DIES},

    {"a listed call under an errno default", "foreign", SYS_getppid, {0}, 0},
    {"an unknown call under it", "foreign", SYS_getuid, {0}, ENOSYS},
    {"a conditional call under it", "foreign", SYS_unshare, {0}, 0},
    {"a refused argument under it", "foreign", SYS_unshare, {CLONE_NEWUSER}, ENOSYS},
    {"a call of the kill list", "foreign", SYS_ptrace, {0}, DIES},
    {"another call of the kill list", "foreign", SYS_mount, {0}, DIES},
};

static void prepare_child(void)
{
    const struct rlimit none = {0, 0};

    if (setrlimit(RLIMIT_CORE, &none) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        _exit(NO_ENTRY);
}

static int wait_for(pid_t child)
{
    int status;

    if (child < 0 || waitpid(child, &status, 0) != child)
        return NO_ENTRY;
    if (WIFSIGNALED(status))
        return WTERMSIG(status) == SIGSYS ? DIES : NO_ENTRY;
    return WEXITSTATUS(status);
}

static int run_probe(const struct probe *p)
{
    struct lum_error err;
    pid_t child = fork();

    if (child == 0) {
        prepare_child();
        if (seccomp_enter(p->role, &err) < 0)
            _exit(NO_ENTRY);
        long rc = syscall(p->number, p->args[0], p->args[1], p->args[2], p->args[3], p->args[4],
                          p->args[5]);
        syscall(SYS_exit_group, rc == -1 ? errno : 0);
    }
    return wait_for(child);
}

static void test_probes(void)
{
    for (size_t i = 0; i < ARRAY_LEN(probes); i++) {
        int result = run_probe(&probes[i]);

        ok(result == probes[i].expected, "%s: %s", probes[i].role, probes[i].name);
        if (result != probes[i].expected)
            tap_note("result %d, not %d", result, probes[i].expected);
    }
}

/* ---- one thread of two ---- */

struct pipes {
    int entered[2], proceed[2];
};

static void *confined_thread(void *arg)
{
    const struct pipes *pipes = arg;
    struct lum_error err;
    char byte = seccomp_enter("plain", &err) == 0;

    if (write(pipes->entered[1], &byte, 1) == 1 && read(pipes->proceed[0], &byte, 1) == 1)
        syscall(SYS_getuid);
    return NULL;
}

/* The main thread stays free; then, if asked to, it lets the other make a forbidden call. */
static void two_threads(bool provoke)
{
    struct pipes pipes;
    pthread_t thread;
    char byte = 0;

    prepare_child();
    if (pipe(pipes.entered) < 0 || pipe(pipes.proceed) < 0 ||
        pthread_create(&thread, NULL, confined_thread, &pipes) != 0 ||
        read(pipes.entered[0], &byte, 1) != 1 || byte != 1)
        _exit(NO_ENTRY);
    syscall(SYS_getuid);
    if (provoke && write(pipes.proceed[1], &byte, 1) == 1)
        pthread_join(thread, NULL);
    _exit(0);
}

static void test_threads(void)
{
    for (int provoke = 0; provoke <= 1; provoke++) {
        pid_t child = fork();

        if (child == 0)
            two_threads(provoke);
        ok(wait_for(child) == (provoke ? DIES : 0), "%s",
           provoke ? "a thread's forbidden call ends the process"
                   : "a filter on one thread leaves the other free");
    }
}

/* ---- refusals ---- */

/* A sandbox around the process that answers the seccomp call itself with an errno. */
static void enter_sandbox(unsigned refuse_errno)
{
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_seccomp, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | refuse_errno),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog prog = {.len = ARRAY_LEN(program), .filter = program};

    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog) < 0)
        _exit(NO_ENTRY);
}

static int refused_with(unsigned refuse_errno, const char *text)
{
    struct lum_error err;
    pid_t child = fork();

    if (child == 0) {
        if (refuse_errno) {
            prepare_child();
            enter_sandbox(refuse_errno);
        } else if (geteuid() == 0 && setresuid(65534, 65534, 65534) < 0) {
            _exit(NO_ENTRY); /* root may install a filter without no_new_privs */
        }
        _exit(seccomp_enter("plain", &err) < 0 && err.domain == LUM_DOMAIN_ERRNO &&
                      strncmp(err.text, "system call filter plain: ", 26) == 0 &&
                      strstr(err.text, text)
                  ? 0
                  : 1);
    }
    return wait_for(child);
}

static void test_refusals(void)
{
    struct lum_error err;

    ok(refused_with(EPERM, "a sandbox around this process forbids it") == 0,
       "refused by a sandbox");
    ok(refused_with(ENOSYS, "has no seccomp call") == 0, "a sandbox that hides the call");
    ok(refused_with(0, "no_new_privs is not set") == 0, "refused without no_new_privs");
    ok(seccomp_enter("nobody", &err) == LUM_EINTERNAL && strstr(err.text, "nobody"),
       "no such role");
}

static void test_table(void)
{
    static const char *const roles[] = {"arguments", "foreign", "plain"};
    static const unsigned calls[] = {4, 5, 4};

    for (size_t i = 0; i < ARRAY_LEN(roles); i++) {
        const struct seccomp_filter *f = seccomp_find(roles[i]);

        ok(f == &seccomp_filters[i] && f->calls == calls[i] && f->length > 4, "table: %s",
           roles[i]);
    }
    ok(!seccomp_filters[ARRAY_LEN(roles)].role, "table: end");
    ok(!seccomp_find("plai"), "table: no role by a part of its name");
}

int main(void)
{
    unsigned action = SECCOMP_RET_KILL_PROCESS;

    test_table();
    if (syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) < 0) {
        tap_skip("installed filters", "the kernel or a sandbox here has no seccomp filters");
        return tap_done();
    }
    test_probes();
    test_threads();
    test_refusals();
    return tap_done();
}
