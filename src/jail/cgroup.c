/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A control group (v2) for each VM, where the caller may make one: beside the group that the caller
 * is in, when the folder above has been delegated to it with the controllers switched on, as a
 * systemd user session has it for its applications. Elsewhere a VM is limited by its own
 * configuration only, which `lumina doctor` tells.
 *
 * A group can only be removed from outside once its last process is gone, and the caller may be
 * killed before that. So a keeper, started before the group exists, waits for the end of a pipe
 * that nobody but the caller holds, kills what is left in the group and removes it.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/alloc.h"
#include "jail/jail.h"

#define CGROUPS "/sys/fs/cgroup"

/* What the processes need beside the guest's memory. QEMU alone takes about 100 MiB. */
#define MONITOR_MEMORY (64 * MIB)
#define PROGRAM_MEMORY (512 * MIB)
#define MONITOR_TASKS  16u
#define PROGRAM_TASKS  80u

struct jail_group {
    struct plat_process *keeper;
    plat_fd pipe;   /* its end is the keeper's signal */
    plat_fd parent; /* the folder that holds the group */
    plat_fd folder; /* the group */
    char name[48];
};

static ssize_t read_at(plat_fd dir, const char *name, char *buf, size_t size)
{
    int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return -errno;
    ssize_t n = plat_read(fd, buf, size - 1);
    close(fd);
    buf[n > 0 ? n : 0] = '\0';
    return n;
}

static int write_at(plat_fd dir, const char *name, const char *text)
{
    int fd = openat(dir, name, O_WRONLY | O_CLOEXEC);

    if (fd < 0)
        return -errno;
    ssize_t n = plat_write_pipe(fd, text, strlen(text));
    close(fd);
    return n < 0 ? (int)n : 0;
}

/* The folder above the caller's own group, or that itself where it is the top of what can be seen.
 */
static plat_fd open_parent(void)
{
    char text[4096], path[4200];
    struct statfs fs;

    if (statfs(CGROUPS, &fs) < 0 || fs.f_type != CGROUP2_SUPER_MAGIC ||
        read_at(AT_FDCWD, "/proc/self/cgroup", text, sizeof(text)) <= 0)
        return PLAT_FD_NONE;
    char *own = strstr(text, "0::/");
    if (!own)
        return PLAT_FD_NONE;
    own += 3;
    own[strcspn(own, "\n")] = '\0';
    *strrchr(own, '/') = '\0';
    snprintf(path, sizeof(path), CGROUPS "%s", own);
    return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* Delegated: a group can be made here and entered from our own, and has a memory limit. */
static bool delegated(plat_fd parent)
{
    char controllers[256];

    return faccessat(parent, ".", W_OK, AT_EACCESS) == 0 &&
           faccessat(parent, "cgroup.procs", W_OK, AT_EACCESS) == 0 &&
           read_at(parent, "cgroup.subtree_control", controllers, sizeof(controllers)) > 0 &&
           strstr(controllers, "memory");
}

static void set_limits(plat_fd group, const struct jail_limits *l)
{
    uint64_t memory = l->memory_bytes + (l->program ? PROGRAM_MEMORY : MONITOR_MEMORY);
    char text[48];

    /* Each where its controller is switched on. */
    snprintf(text, sizeof(text), "%" PRIu64, memory);
    write_at(group, "memory.max", text);
    write_at(group, "memory.oom.group", "1");
    snprintf(text, sizeof(text), "%u", l->vcpus + (l->program ? PROGRAM_TASKS : MONITOR_TASKS));
    write_at(group, "pids.max", text);
    snprintf(text, sizeof(text), "%u 100000", (l->vcpus + 1) * 100000u);
    write_at(group, "cpu.max", text);
}

static int start_keeper(struct jail_group *g, plat_fd program, struct lum_error *err)
{
    const char *const argv[] = {"lumina-vmm", "keeper", g->name, NULL};
    struct plat_start start = PLAT_START_INIT;
    plat_fd pipe[2];
    int rc = plat_pipe(pipe, err);

    if (rc < 0)
        return rc;
    g->pipe = pipe[1];
    start.argv = argv;
    start.program = program;
    start.fds = (const plat_fd[]){pipe[0], g->parent};
    start.n_fds = 2;
    rc = plat_process_start(&start, &g->keeper, err);
    plat_close(&pipe[0]);
    return rc;
}

static void auto_group(struct jail_group **g)
{
    jail_group_free(*g);
}

int jail_group_create(const struct jail_limits *limits, plat_fd keeper_program,
                      struct jail_group **ret_group, struct lum_error *err)
{
    static _Atomic unsigned serial;
    AUTO(plat_close) plat_fd parent = open_parent();

    *ret_group = NULL;
    if (parent < 0 || !delegated(parent))
        return 0;
    AUTO(auto_group) struct jail_group *g = lum_calloc(1, sizeof(*g));
    if (!g)
        return lum_fail(err, LUM_ENOMEM, "jail: control group: out of memory");
    g->pipe = g->folder = PLAT_FD_NONE;
    g->parent = STEAL_FD(parent);
    snprintf(g->name, sizeof(g->name), "lumina-%d-%u", (int)getpid(), atomic_fetch_add(&serial, 1));
    int rc = start_keeper(g, keeper_program, err);
    if (rc < 0)
        return rc;
    if (mkdirat(g->parent, g->name, 0755) < 0)
        return lum_fail_errno(err, errno, "jail: make control group %s", g->name);
    g->folder = openat(g->parent, g->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (g->folder < 0)
        return lum_fail_errno(err, errno, "jail: open control group %s", g->name);
    set_limits(g->folder, limits);
    *ret_group = STEAL(g);
    return 0;
}

plat_fd jail_group_fd(const struct jail_group *group)
{
    return group ? group->folder : PLAT_FD_NONE;
}

bool jail_group_out_of_memory(const struct jail_group *group)
{
    char text[512];

    if (!group || read_at(group->folder, "memory.events", text, sizeof(text)) <= 0)
        return false;
    const char *kills = strstr(text, "oom_kill ");
    return kills && strtoul(kills + strlen("oom_kill "), NULL, 10) > 0;
}

void jail_group_free(struct jail_group *g)
{
    if (!g)
        return;
    plat_close(&g->pipe);
    plat_close(&g->folder);
    plat_close(&g->parent);
    plat_process_release(g->keeper);
    free(g);
}

/* ---- the keeper ---- */

static bool is_empty(int events)
{
    char text[256] = "";
    ssize_t n = pread(events, text, sizeof(text) - 1, 0);

    return n <= 0 || strstr(text, "populated 0");
}

int jail_keep(plat_fd pipe, plat_fd parent, const char *name)
{
    char path[64];

    while (plat_wait_fd(pipe, false, PLAT_FD_NONE, -1) < 0)
        ;
    snprintf(path, sizeof(path), "%s/cgroup.kill", name);
    write_at(parent, path, "1");
    snprintf(path, sizeof(path), "%s/cgroup.events", name);
    int events = openat(parent, path, O_RDONLY | O_CLOEXEC);
    /* The file tells of each change by POLLPRI. */
    while (events >= 0 && !is_empty(events))
        poll(&(struct pollfd){.fd = events, .events = POLLPRI}, 1, -1);
    return unlinkat(parent, name, AT_REMOVEDIR) < 0 && errno != ENOENT ? 1 : 0;
}
