/* SPDX-License-Identifier: Apache-2.0 */
/* The floor's caller: starts floor_child as the library starts its worker, and reads its report. */
#include "floor.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kinds.h"

#define CHILD_STACK 65536u
#define JAIL_SPACES (CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS)

struct child {
    char *argv[4];
    int report_fd;
    bool jailed;
    char uid_map[24], gid_map[24];
    uint64_t cloned_ns, mapped_ns;
};

static bool write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : write(fd, text, strlen(text));

    if (fd >= 0)
        close(fd);
    return n >= 0;
}

/* In the caller's memory, which waits: system calls only. */
static int start(void *arg)
{
    struct child *c = arg;
    char *env[] = {NULL};

    c->cloned_ns = bench_now_ns();
    /* Before exec: without a name in its namespace a process keeps no capability over one. */
    if (c->jailed) {
        if (!write_file("/proc/self/setgroups", "deny") ||
            !write_file("/proc/self/uid_map", c->uid_map) ||
            !write_file("/proc/self/gid_map", c->gid_map))
            _exit(126);
        c->mapped_ns = bench_now_ns();
    }
    if (dup2(c->report_fd, FLOOR_FD) == FLOOR_FD)
        execve(c->argv[0], c->argv, env);
    _exit(127);
}

static int read_report(int fd, struct floor_report *report)
{
    size_t have = 0;

    while (have < sizeof(*report)) {
        ssize_t n = read(fd, (char *)report + have, sizeof(*report) - have);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        have += (size_t)n;
    }
    return report->n_marks <= FLOOR_MARKS ? 0 : -1;
}

static int spawn(const struct spawn_config *config, int spaces, const char *kind,
                 struct sample *sample, char why[WHY_SIZE])
{
    static char stack[CHILD_STACK] __attribute__((aligned(16)));
    char program[4096], mode[8], insns[16];
    struct child child = {.argv = {program, mode, insns, NULL}};
    struct floor_report report = {0};
    int pipe_fds[2], status;

    snprintf(program, sizeof(program), "%s", config->floor);
    snprintf(mode, sizeof(mode), "%s", kind);
    snprintf(insns, sizeof(insns), "%u", config->filter_insns);
    if (pipe2(pipe_fds, O_CLOEXEC) < 0) {
        snprintf(why, WHY_SIZE, "pipe: %s", strerror(errno));
        return -1;
    }
    child.report_fd = pipe_fds[1];
    child.jailed = spaces != 0;
    snprintf(child.uid_map, sizeof(child.uid_map), "0 %u 1", geteuid());
    snprintf(child.gid_map, sizeof(child.gid_map), "0 %u 1", getegid());

    uint64_t t0 = bench_now_ns();
    pid_t pid =
        clone(start, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | SIGCHLD | spaces, &child);
    int failed = errno;
    close(pipe_fds[1]);
    int rc = pid < 0 ? -1 : read_report(pipe_fds[0], &report);
    close(pipe_fds[0]);
    if (pid < 0) {
        snprintf(why, WHY_SIZE, "clone: %s", strerror(failed));
        return -1;
    }
    waitpid(pid, &status, 0);
    if (rc < 0 || report.failed || report.n_marks == 0) {
        snprintf(why, WHY_SIZE, "%s: %s: %s", config->floor,
                 rc == 0 && report.n_marks ? report.marks[report.n_marks - 1].name : "no report",
                 strerror((int)report.failed));
        return -1;
    }
    sample_mark(sample, "clone", child.cloned_ns - t0);
    if (child.jailed)
        sample_mark(sample, "id maps", child.mapped_ns - t0);
    for (uint32_t i = 0; i < report.n_marks; i++)
        sample_mark(sample, report.marks[i].name, report.marks[i].at_ns - t0);
    return 0;
}

int spawn_floor(const struct spawn_config *config, struct sample *sample, char why[WHY_SIZE])
{
    return spawn(config, 0, "open", sample, why);
}

int spawn_floor_jail(const struct spawn_config *config, struct sample *sample, char why[WHY_SIZE])
{
    return spawn(config, JAIL_SPACES, "jail", sample, why);
}

int spawn_floor_net(const struct spawn_config *config, struct sample *sample, char why[WHY_SIZE])
{
    return spawn(config, JAIL_SPACES | CLONE_NEWNET, "jail", sample, why);
}
