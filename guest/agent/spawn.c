/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The child shares the agent's memory until it executes (CLONE_VM with CLONE_VFORK): no page table
 * is copied, no page of the agent is copied on write afterwards, and when clone returns the exec
 * has happened or has failed with the reason in memory, so that no pipe is needed to report it. The
 * price is that the agent waits for a file system that does not answer an exec; its own file
 * transfers do that as well. The child has a stack of its own and calls nothing that keeps state.
 */
#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define STACK_SIZE (32u * 1024)

/* A sanitizer must not keep notes about this stack: the child leaves its frames without returning.
 */
#define ON_OWN_STACK __attribute__((no_sanitize("address"), noinline))

static _Alignas(16) uint8_t child_stack[STACK_SIZE];

ON_OWN_STACK static int failed(struct spawn *spawn, enum proto_fail fail, const char *what)
{
    spawn->error = errno;
    spawn->fail = fail;
    spawn->what = what;
    return -1;
}

/*
 * Raw system calls: the C library's functions want to change all threads and keep a lock for it,
 * which a child in borrowed memory must not touch.
 */
ON_OWN_STACK static int become(const struct user *user)
{
    if (syscall(SYS_setgroups, (size_t)user->group_count, user->groups) < 0 ||
        syscall(SYS_setresgid, user->gid, user->gid, user->gid) < 0 ||
        syscall(SYS_setresuid, user->uid, user->uid, user->uid) < 0)
        return -1;
    return 0;
}

/* Like execve, but a file that is there and does not execute counts as such, whatever is missing.
 */
ON_OWN_STACK static int execute(struct spawn *spawn, const char *file)
{
    struct stat st;

    execve(file, spawn->argv, spawn->envp);

    int error = errno;
    bool missing = (error == ENOENT || error == ENOTDIR) && stat(file, &st) < 0;
    errno = error;
    return failed(spawn, missing ? PROTO_FAIL_NO_COMMAND : PROTO_FAIL_NO_EXEC, "execute");
}

ON_OWN_STACK static int search(struct spawn *spawn)
{
    const char *name = spawn->argv[0];
    size_t name_len = strlen(name);
    bool denied = false;
    char file[PATH_MAX];

    if (name_len == 0) {
        errno = ENOENT;
        return failed(spawn, PROTO_FAIL_NO_COMMAND, "execute");
    }
    if (strchr(name, '/'))
        return execute(spawn, name);

    for (const char *p = spawn->path;;) {
        size_t len = strcspn(p, ":");

        if (name_len < sizeof(file) - 1 && len < sizeof(file) - 1 - name_len) {
            memcpy(file, p, len);
            if (len > 0) /* an empty entry is the working directory */
                file[len++] = '/';
            memcpy(file + len, name, name_len + 1);
            execute(spawn, file);
            if (spawn->fail == PROTO_FAIL_NO_EXEC && spawn->error != EACCES)
                return -1;
            denied |= spawn->fail == PROTO_FAIL_NO_EXEC;
        }
        p += strcspn(p, ":");
        if (*p++ == '\0')
            break;
    }
    errno = denied ? EACCES : ENOENT;
    return failed(spawn, denied ? PROTO_FAIL_NO_EXEC : PROTO_FAIL_NO_COMMAND, "execute");
}

ON_OWN_STACK static int prepare(struct spawn *spawn)
{
    sigset_t none;

    if (setsid() < 0)
        return failed(spawn, PROTO_FAIL_OTHER, "make a session");
    if (spawn->tty && ioctl(spawn->in, TIOCSCTTY, 0) < 0)
        return failed(spawn, PROTO_FAIL_OTHER, "take the terminal");
    if (dup2(spawn->in, 0) < 0 || dup2(spawn->out, 1) < 0 || dup2(spawn->err, 2) < 0)
        return failed(spawn, PROTO_FAIL_OTHER, "set up its streams");
    if (become(spawn->user) < 0)
        return failed(spawn, PROTO_FAIL_USER, "become the user");
    if (chdir(spawn->cwd) < 0 && !(spawn->cwd_optional && chdir("/") == 0))
        return failed(spawn, PROTO_FAIL_CWD, "change to the working directory");
    umask(022);
    sigemptyset(&none);
    if (sigprocmask(SIG_SETMASK, &none, NULL) < 0)
        return failed(spawn, PROTO_FAIL_OTHER, "unblock signals");
    return 0;
}

ON_OWN_STACK static int child_main(void *arg)
{
    struct spawn *spawn = arg;

    if (prepare(spawn) == 0)
        search(spawn);
    spawn->failed = true; /* still here */
    _exit(127);
}

pid_t spawn_run(struct spawn *spawn)
{
    spawn->failed = false;
    /* Neither CLONE_FS nor CLONE_FILES: umask, working directory and descriptors are the child's.
     */
    pid_t pid = clone(child_main, child_stack + sizeof(child_stack),
                      CLONE_VM | CLONE_VFORK | SIGCHLD, spawn);

    if (pid < 0)
        return failed(spawn, PROTO_FAIL_OTHER, "start a process");
    if (spawn->failed) {
        (void)waitpid(pid, NULL, 0);
        return -1;
    }
    return pid;
}
