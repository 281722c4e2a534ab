/* SPDX-License-Identifier: Apache-2.0 */
/* Starts this program again in a jail; see jail_test.h. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "jail_test.h"

bool says(const struct outcome *o, const char *line)
{
    size_t n = strlen(line);

    for (const char *at = o->text; (at = strstr(at, line)); at += n)
        if ((at == o->text || at[-1] == '\n') && at[n] == '\n')
            return true;
    return false;
}

void show(const struct outcome *o)
{
    const char *at = o->text;

    tap_note("status %d", o->status);
    while (*at) {
        size_t n = strcspn(at, "\n");
        tap_note("| %.*s", (int)n, at);
        at += n + (at[n] == '\n');
    }
}

/* ---- in the starter ---- */

/* Dumpable again, as after an exec: else its /proc would be root's. */
static bool become_plain(void)
{
    return setgroups(0, NULL) == 0 && setresgid(NOBODY, NOBODY, NOBODY) == 0 &&
           setresuid(NOBODY, NOBODY, NOBODY) == 0 && prctl(PR_SET_DUMPABLE, 1) == 0;
}

static bool pretend(const struct pretence *p)
{
    const bool any = p->argument == ANY_ARGUMENT;
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)p->number, 0, any ? 2 : 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)p->argument, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)p->with_errno),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog prog = {.len = ARRAY_LEN(program), .filter = program};

    if (any) { /* the answer follows the number */
        memmove(&program[2], &program[4], 2 * sizeof(program[0]));
        program[1].jf = 1;
        prog.len -= 2;
    }
    if (p->number == 0)
        return true;
    if (geteuid() != 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return false;
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog) == 0;
}

static int write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : write(fd, text, strlen(text));
    int rc = n < 0 ? -errno : 0;

    if (fd >= 0)
        close(fd);
    return rc;
}

/* What jail_start_worker does in the child, less what is missing. */
static int enter_bare(void *ctx, const char **ret_step)
{
    const char *map = ctx;

    *ret_step = "test: map the user";
    if (!map)
        return 0;
    int rc = write_text("/proc/self/setgroups", "deny");
    if (rc == 0)
        rc = write_text("/proc/self/uid_map", map);
    return rc < 0 ? rc : write_text("/proc/self/gid_map", map);
}

/* Whatever a missing wall lets through must not reach the machine's own mounts. */
static bool shelter(void)
{
    return geteuid() != 0 ||
           (unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
}

static int start_jailed(const struct setup *s, int channel)
{
    char number[16], map[32];
    const char *const argv[] = {program_copy, s->role,      jail_mode_names[s->mode],
                                number,       program_copy, NULL};
    struct plat_start start = PLAT_START_INIT;
    struct plat_process *process;
    struct lum_error err;
    int status = -1;

    snprintf(number, sizeof(number), "%d", s->number);
    snprintf(map, sizeof(map), "0 %u 1", geteuid());
    start.argv = argv;
    start.fds = (const plat_fd[]){channel};
    start.n_fds = 1;
    start.err_fd = STDERR_FILENO;
    if (s->bare) {
        start.clone_flags = s->namespaces;
        start.enter = enter_bare;
        start.enter_ctx = s->namespaces & CLONE_NEWUSER ? map : NULL;
    }
    int rc = s->bare ? plat_process_start(&start, &process, &err)
                     : jail_start_worker(s->mode, &start, &process, &err);
    if (rc < 0)
        dprintf(channel, "error %s\n", err.text);
    else
        plat_process_wait(process, -1, &status);
    dprintf(channel, "status %d\n", status);
    return 0;
}

static int starter(const struct setup *s, int channel)
{
    bool good = !s->bare || shelter();

    /* Not close-on-exec, as those of careless libraries. */
    int folder = open("/", O_RDONLY | O_DIRECTORY);
    good &= dup2(folder, STRAY) == STRAY;

    if (good && s->plain && is_root)
        good = become_plain();
    for (size_t i = 0; i < PRETENCES && good; i++)
        good = pretend(&s->pretend[i]);
    if (good && s->undumpable)
        good = prctl(PR_SET_DUMPABLE, 0) == 0;
    if (good)
        return start_jailed(s, channel);
    dprintf(channel, "error test: %s\nstatus -1\n", strerror(errno));
    return 1;
}

/* ---- in the test ---- */

void run_jailed(const struct setup *s, struct outcome *o)
{
    size_t size = 0;
    int channel[2];
    ssize_t n;

    memset(o, 0, sizeof(*o));
    o->status = -1;
    if (pipe2(channel, O_CLOEXEC) < 0)
        return;
    pid_t pid = fork();
    if (pid == 0) {
        close(channel[0]);
        _exit(starter(s, channel[1]));
    }
    close(channel[1]);
    while ((n = read(channel[0], o->text + size, sizeof(o->text) - 1 - size)) > 0)
        size += (size_t)n;
    close(channel[0]);
    waitpid(pid, NULL, 0);
    const char *at = strstr(o->text, "status ");
    if (at)
        o->status = (int)strtol(at + 7, NULL, 10);
}
