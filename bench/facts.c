/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Facts about VMs that are up: exits so far, memory of their processes, memory charged to them. All
 * of it counts, none of it times.
 *
 *     facts [options]
 *
 * Prints JSON. The VMs are started one after the other in a control group of their own, where there
 * is cgroup v2 with the memory controller and the right to use it; otherwise "cgroup" is null.
 */
#include <lumina.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "smaps.h"

#define MAX_VMS   64u
#define MAX_PROCS 256u
#define WAIT_MS   120000
#define WATCH_US  10000
#define CGROUP    "/sys/fs/cgroup"

static const char usage[] =
    "usage: facts [-n VMS] [--backend NAME] [--jail MODE] [--memory MIB] [--kernel FILE]\n"
    "             [--rootfs FILE] [--only-create|--until-end] [--wait]\n"
    "  --only-create   look at VMs that are created and not started, so that any /dev/kvm will "
    "do\n";

static lum_vm *vms[MAX_VMS];

static int fail(const char *what, const char *why)
{
    fprintf(stderr, "facts: %s: %s\n", what, why);
    return -1;
}

/* ---- the control group ---- */

static bool write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool good = fd >= 0 && write(fd, text, strlen(text)) >= 0;

    if (fd >= 0)
        close(fd);
    return good;
}

static char group[64];

/*
 * A group of our own that counts memory, with us in one of its groups: those of the VMs are made
 * beside that one. False where it cannot be had.
 */
static bool enter_group(void)
{
    char path[96];

    (void)write_text(CGROUP "/cgroup.subtree_control", "+memory");
    snprintf(group, sizeof(group), CGROUP "/lumina-facts-%d", (int)getpid());
    if (mkdir(group, 0755) < 0)
        return false;
    snprintf(path, sizeof(path), "%s/cgroup.subtree_control", group);
    bool good = write_text(path, "+memory");
    snprintf(path, sizeof(path), "%s/caller", group);
    good = good && mkdir(path, 0755) == 0;
    snprintf(path, sizeof(path), "%s/caller/cgroup.procs", group);
    if (good && write_text(path, "0"))
        return true;
    snprintf(path, sizeof(path), "%s/caller", group);
    rmdir(path);
    rmdir(group);
    return false;
}

static void leave_group(void)
{
    char path[96];

    (void)write_text(CGROUP "/cgroup.procs", "0");
    snprintf(path, sizeof(path), "%s/caller", group);
    for (int i = 0; i < 100 && rmdir(path) < 0 && errno == EBUSY; i++)
        usleep(50000); /* the keepers are not gone yet */
    for (int i = 0; i < 100 && rmdir(group) < 0 && errno == EBUSY; i++)
        usleep(50000); /* the VMs' processes are being taken apart */
}

/* A number of the group in KiB; of memory.stat when key is given. -1: not there. */
static int64_t group_kib(const char *file, const char *key)
{
    char path[128], line[128];
    int64_t value = -1;

    snprintf(path, sizeof(path), "%s/%s", group, file);
    FILE *f = fopen(path, "re");
    if (!f)
        return -1;
    while (value < 0 && fgets(line, sizeof(line), f)) {
        size_t skip = key ? strlen(key) : 0;
        if (!key || (strncmp(line, key, skip) == 0 && line[skip] == ' '))
            value = strtoll(line + skip, NULL, 10) / 1024;
    }
    fclose(f);
    return value;
}

/* ---- processes ---- */

struct process {
    pid_t pid, parent;
    char name[32];
    char role[16]; /* its first argument */
    uint64_t faults, threads;
    bool ours;
};

static void read_role(struct process *p)
{
    char path[32], line[256] = "";

    snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)p->pid);
    FILE *f = fopen(path, "re");
    size_t n = f ? fread(line, 1, sizeof(line) - 1, f) : 0;
    size_t at = strlen(line) + 1;
    snprintf(p->role, sizeof(p->role), "%s", at < n ? line + at : "");
    if (f)
        fclose(f);
}

static bool read_process(pid_t pid, struct process *p)
{
    char path[32], line[1024];
    int parent;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "re");
    if (!f)
        return false;
    bool good = fgets(line, sizeof(line), f) != NULL;
    fclose(f);
    const char *open = good ? strchr(line, '(') : NULL, *close = good ? strrchr(line, ')') : NULL;
    if (!open || !close)
        return false;
    p->pid = pid;
    snprintf(p->name, sizeof(p->name), "%.*s", (int)(close - open - 1), open + 1);
    /* state, parent, four others, flags, minor faults, ..., threads (field 20) */
    if (sscanf(close + 1,
               " %*c %d %*s %*s %*s %*s %*s %" SCNu64 " %*s %*s %*s %*s %*s %*s %*s "
               "%*s %*s %" SCNu64,
               &parent, &p->faults, &p->threads) != 3)
        return false;
    p->parent = parent;
    read_role(p);
    return true;
}

/* All that come from us, directly or not. */
static size_t find_processes(struct process *list)
{
    DIR *dir = opendir("/proc");
    size_t n = 0;
    bool more = true;

    if (!dir)
        return 0;
    for (struct dirent *e; n < MAX_PROCS && (e = readdir(dir));)
        if (e->d_name[0] >= '1' && e->d_name[0] <= '9' &&
            read_process((pid_t)strtol(e->d_name, NULL, 10), &list[n]))
            n++;
    closedir(dir);
    while (more) {
        more = false;
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j <= n && !list[i].ours; j++)
                if (list[i].parent == getpid() ||
                    (j < n && list[j].ours && list[i].parent == list[j].pid))
                    more = list[i].ours = true;
    }
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (list[i].ours)
            list[kept++] = list[i];
    return kept;
}

static void print_memory(const char *name, const struct memory *m)
{
    printf("\"%s\": {\"rss_kib\": %" PRIu64 ", \"pss_kib\": %" PRIu64 ", \"private_kib\": %" PRIu64
           ", \"shared_kib\": %" PRIu64 "}",
           name, m->rss_kib, m->pss_kib, m->private_kib, m->shared_kib);
}

static int print_processes(uint64_t guest_bytes)
{
    static struct process list[MAX_PROCS];
    size_t n = find_processes(list);

    printf("\"processes\": [");
    for (size_t i = 0; i < n; i++) {
        struct memory own, guest;
        /* QEMU lays out its guest in its own way: all of it counts as the process then. */
        bool is_qemu = strncmp(list[i].name, "qemu-", 5) == 0;
        int rc = smaps_read(list[i].pid, is_qemu ? 0 : guest_bytes, &own, &guest);
        if (rc < 0)
            return fail("smaps", strerror(-rc));
        printf("%s{\"name\": \"%s\", \"role\": \"%s\", \"threads\": %" PRIu64
               ", \"page_faults\": %" PRIu64 ", ",
               i ? ", " : "", list[i].name, list[i].role, list[i].threads, list[i].faults);
        print_memory("own", &own);
        printf(", ");
        print_memory("guest", &guest);
        printf("}");
    }
    printf("]");
    return 0;
}

/* ---- VMs ---- */

static int bring_up(const struct lum_vm_options *options, unsigned n, bool only_create)
{
    struct lum_error err;

    for (unsigned i = 0; i < n; i++) {
        if (lum_vm_create(options, &vms[i], &err) < 0)
            return fail("create", err.text);
        if (!only_create && lum_vm_start(vms[i], WAIT_MS, &err) < 0)
            return fail("start", err.text);
    }
    return 0;
}

static int print_vms(unsigned n)
{
    struct lum_error err;

    printf("\"vms\": [");
    for (unsigned i = 0; i < n; i++) {
        struct lum_vm_stats stats = LUM_VM_STATS_INIT;
        if (lum_vm_stats(vms[i], &stats, &err) < 0)
            return fail("stats", err.text);
        printf("%s{\"exits\": %" PRIu64 ", \"guest_touched_kib\": %" PRIu64 "}", i ? ", " : "",
               stats.exits, stats.guest_touched_bytes / 1024);
    }
    printf("], ");
    return 0;
}

struct watch {
    lum_vm *vm;
    atomic_bool over;
    uint64_t exits;
};

static void *watch_exits(void *ctx)
{
    struct watch *w = ctx;
    struct lum_error err;

    while (!atomic_load(&w->over)) {
        struct lum_vm_stats stats = LUM_VM_STATS_INIT;
        if (lum_vm_stats(w->vm, &stats, &err) == 0 && stats.exits > w->exits)
            w->exits = stats.exits;
        usleep(WATCH_US);
    }
    return NULL;
}

/* A guest whose init cannot reach us ends by itself; what it took to get there is in the exits. */
static int report_end(const struct lum_vm_options *options)
{
    struct watch watch = {.exits = 0};
    struct lum_error err;
    pthread_t thread;

    if (lum_vm_create(options, &watch.vm, &err) < 0)
        return fail("create", err.text);
    if (pthread_create(&thread, NULL, watch_exits, &watch) != 0)
        return fail("thread", "cannot be started");
    int rc = lum_vm_start(watch.vm, WAIT_MS, &err);
    atomic_store(&watch.over, true);
    pthread_join(thread, NULL);
    lum_vm_free(watch.vm);
    if (rc == 0)
        return fail("start", "the guest is ready instead of ending");
    printf("{\"end\": \"%s\", \"exits\": %" PRIu64 "}\n", err.text, watch.exits);
    return 0;
}

static int report(const struct lum_vm_options *options, unsigned n, bool only_create, bool wait)
{
    bool grouped = enter_group();
    int64_t before = grouped ? group_kib("memory.current", NULL) : 0;
    int64_t kernel_before = grouped ? group_kib("memory.stat", "kernel") : 0;
    int rc = bring_up(options, n, only_create);

    if (rc == 0) {
        printf("{");
        rc = print_vms(n);
    }
    if (rc == 0)
        rc = print_processes(options->memory_bytes);
    if (rc == 0 && grouped)
        printf(", \"cgroup\": {\"vms\": %u, \"before_kib\": %" PRId64 ", \"current_kib\": %" PRId64
               ", \"peak_kib\": %" PRId64 ", \"kernel_kib\": %" PRId64 "}}\n",
               n, before, group_kib("memory.current", NULL), group_kib("memory.peak", NULL),
               group_kib("memory.stat", "kernel") - kernel_before);
    else if (rc == 0)
        printf(", \"cgroup\": null}\n");
    fflush(stdout);
    while (rc == 0 && wait && getchar() != EOF)
        ;
    for (unsigned i = 0; i < n; i++)
        lum_vm_free(vms[i]);
    if (grouped)
        leave_group();
    return rc;
}

static const struct option long_options[] = {
    {"backend", required_argument, NULL, 'b'}, {"jail", required_argument, NULL, 'j'},
    {"memory", required_argument, NULL, 'm'},  {"kernel", required_argument, NULL, 'k'},
    {"rootfs", required_argument, NULL, 'r'},  {"only-create", no_argument, NULL, 'c'},
    {"until-end", no_argument, NULL, 'e'},     {"wait", no_argument, NULL, 'w'},
    {"help", no_argument, NULL, 'h'},          {NULL, 0, NULL, 0},
};

int main(int argc, char **argv)
{
    struct lum_vm_options options = LUM_VM_OPTIONS_INIT;
    bool only_create = false, wait = false, until_end = false;
    unsigned long n = 1;
    int option;

    options.memory_bytes = (uint64_t)128 << 20;
    while ((option = getopt_long(argc, argv, "n:", long_options, NULL)) != -1) {
        switch (option) {
        case 'n': n = strtoul(optarg, NULL, 10); break;
        case 'b': options.backend = optarg; break;
        case 'j': options.jail = optarg; break;
        case 'm': options.memory_bytes = (uint64_t)strtoul(optarg, NULL, 10) << 20; break;
        case 'k': options.kernel = optarg; break;
        case 'r': options.rootfs = optarg; break;
        case 'c': only_create = true; break;
        case 'e': until_end = true; break;
        case 'w': wait = true; break;
        case 'h': fputs(usage, stdout); return 0;
        default: fputs(usage, stderr); return 125;
        }
    }
    if (n < 1 || n > MAX_VMS || optind != argc) {
        fputs(usage, stderr);
        return 125;
    }
    if (until_end)
        return report_end(&options) < 0 ? 1 : 0;
    return report(&options, (unsigned)n, only_create, wait) < 0 ? 1 : 0;
}
