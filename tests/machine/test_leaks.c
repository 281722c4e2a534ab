/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What spawning leaves behind: nothing. Many VMs in a row and at once, callers and workers that are
 * killed in the middle. The test is the reaper of whatever its descendants leave, so "no child"
 * means that no process of any VM is left; where it may, it has a network of its own, so that its
 * socket table is of itself alone.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lumina.h"
#include "procs.h"
#include "tap.h"
#include "tiny_kernel.h"

#define BOOT_MS 120000
#define RUN_MS  60000
#define GONE_MS 10000

static char kernel[64];  /* path of the tiny one */
static bool has_network; /* of its own */
static unsigned random_at = 1;

static unsigned next_random(void)
{
    random_at = random_at * 1103515245u + 12345u;
    return random_at >> 16 & 0x7fff;
}

static int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void pause_us(unsigned us)
{
    const struct timespec t = {us / 1000000, (long)(us % 1000000) * 1000};

    nanosleep(&t, NULL);
}

/* ---- what there is ---- */

struct inventory {
    size_t descriptors, threads, children, sockets, groups;
    int dumpable;
    size_t heap, resident; /* bytes */
    size_t mounts_size;
    char mounts[65536];
};

static size_t groups_seen;

static int count_group(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    groups_seen += type == FTW_D && strstr(path + at->base, "lumina") != NULL;
    return 0;
}

static size_t count_lines(const char *name)
{
    static char text[1 << 20];
    size_t lines = 0;

    proc_read(getpid(), name, text, sizeof(text));
    for (const char *at = text; (at = strchr(at, '\n')); at++)
        lines++;
    return lines;
}

static void take_inventory(struct inventory *i)
{
    static char status[8192];
    char value[64] = "";

    memset(i, 0, sizeof(*i));
    i->descriptors = proc_numbers(getpid(), "fd", NULL, 0);
    i->threads = proc_numbers(getpid(), "task", NULL, 0);
    i->children = proc_children(getpid(), NULL, 0);
    i->sockets = has_network ? count_lines("net/unix") : 0;
    i->dumpable = prctl(PR_GET_DUMPABLE);
    groups_seen = 0;
    nftw("/sys/fs/cgroup", count_group, 16, FTW_PHYS);
    i->groups = groups_seen;
    i->mounts_size = proc_read(getpid(), "mountinfo", i->mounts, sizeof(i->mounts));
    proc_read(getpid(), "status", status, sizeof(status));
    if (proc_field(status, "VmRSS", value, sizeof(value)))
        i->resident = strtoul(value, NULL, 10) * 1024;
    struct mallinfo2 heap = mallinfo2();
    i->heap = heap.uordblks;
}

/* The last VMs are taken apart in the background; orphans are this process's to reap. */
static bool settle(bool reap)
{
    int64_t end = now_ms() + GONE_MS;

    for (;;) {
        int rc = 0;
        while (reap && (rc = waitpid(-1, NULL, WNOHANG)) > 0)
            ;
        if (proc_children(getpid(), NULL, 0) == 0 && proc_numbers(getpid(), "task", NULL, 0) == 1)
            return true;
        if (now_ms() > end)
            return false;
        pause_us(2000);
    }
}

/* Everything as before; memory may have grown by what allocators and stacks keep for next time. */
static void check_inventory(const char *what, const struct inventory *before)
{
    static struct inventory after;

    take_inventory(&after);
    ok(after.descriptors == before->descriptors, "%s: %zu descriptors, %zu before", what,
       after.descriptors, before->descriptors);
    ok(after.threads == before->threads, "%s: %zu threads", what, after.threads);
    ok(after.children == 0, "%s: %zu children", what, after.children);
    ok(after.dumpable == before->dumpable, "%s: as dumpable as before", what);
    ok(after.mounts_size == before->mounts_size && strcmp(after.mounts, before->mounts) == 0,
       "%s: the same mounts", what);
    ok(after.groups == before->groups, "%s: %zu control groups of ours", what, after.groups);
    if (has_network)
        ok(after.sockets == before->sockets, "%s: %zu lines in the table of sockets, %zu before",
           what, after.sockets, before->sockets);
    ok(after.heap < before->heap + 64 * 1024, "%s: %zu bytes allocated, %zu before", what,
       after.heap, before->heap);
    ok(after.resident < before->resident + 2 * MIB, "%s: %zu KiB resident, %zu before", what,
       after.resident / 1024, before->resident / 1024);
}

/* ---- VMs ---- */

static void on_log(void *ctx, int32_t level, const char *line)
{
    (void)ctx;
    (void)level;
    (void)line;
}

static int create(const char *backend, lum_vm **ret_vm, struct lum_error *err)
{
    struct lum_vm_options o = LUM_VM_OPTIONS_INIT;

    o.backend = backend;
    o.kernel = strcmp(backend, "kvm") == 0 ? kernel : NULL;
    o.memory_bytes = 128 * MIB;
    o.log = on_log; /* so that there is a log pipe as well */
    return lum_vm_create(&o, ret_vm, err);
}

static int start_command(lum_vm *vm, const char *script, lum_exec **ret_exec, struct lum_error *err)
{
    const char *const argv[] = {"sh", "-c", script, NULL};
    struct lum_exec_options o = LUM_EXEC_OPTIONS_INIT;

    o.argv = argv;
    return lum_vm_exec(vm, &o, ret_exec, err);
}

/* One whole life on the qemu backend. */
static int live(lum_vm **ret_vm, struct lum_error *err)
{
    struct lum_exit_status status;
    lum_exec *exec = NULL;
    char out[64] = "";
    size_t n = 0;
    int rc = create("qemu", ret_vm, err);

    if (rc == 0)
        rc = lum_vm_start(*ret_vm, BOOT_MS, err);
    if (rc == 0)
        rc = start_command(*ret_vm, "echo alive", &exec, err);
    if (rc == 0)
        rc = lum_exec_read(exec, LUM_STDOUT, out, sizeof(out) - 1, RUN_MS, &n, err);
    if (rc == 0)
        rc = lum_exec_wait(exec, RUN_MS, &status, err);
    lum_exec_free(exec);
    return rc < 0 ? rc : strcmp(out, "alive\n") == 0 ? 0 : -1;
}

static bool usable(const char *backend, char why[static 256])
{
    struct lum_error err = {0};
    lum_vm *vm;
    int rc = create(backend, &vm, &err);

    if (rc == 0)
        lum_vm_free(vm);
    settle(false);
    snprintf(why, 256, "%s", err.text);
    return rc == 0 || !(rc == LUM_ENOTSUP || rc == LUM_EACCES || rc == LUM_ENOENT);
}

/* ---- many ---- */

static unsigned spawn_in_a_row(const char *backend, unsigned count)
{
    unsigned good = 0;

    for (unsigned i = 0; i < count; i++) {
        struct lum_error err;
        lum_vm *vm = NULL;
        int rc = strcmp(backend, "kvm") == 0 ? create(backend, &vm, &err) : live(&vm, &err);
        if (rc < 0)
            tap_note("VM %u: %s", i, err.text);
        good += rc == 0;
        lum_vm_free(vm);
    }
    return good;
}

static void test_row(const char *backend, unsigned warm, unsigned count)
{
    static struct inventory before;
    char what[64];

    snprintf(what, sizeof(what), "%s, %u in a row", backend, count);
    spawn_in_a_row(backend, warm);
    settle(false);
    take_inventory(&before);
    unsigned good = spawn_in_a_row(backend, count);
    ok(good == count, "%s: %u lived", what, good);
    ok(settle(false), "%s: all gone", what);
    check_inventory(what, &before);
}

#define CROWD 64u

struct member {
    pthread_t thread;
    const char *backend;
    lum_vm *vm;
    struct lum_error err;
    int rc;
};

static void *member_main(void *arg)
{
    struct member *m = arg;

    m->rc = strcmp(m->backend, "kvm") == 0 ? create(m->backend, &m->vm, &m->err)
                                           : live(&m->vm, &m->err);
    return NULL;
}

static unsigned spawn_at_once(const char *backend, unsigned count)
{
    static struct member members[CROWD];
    unsigned good = 0, started = 0;

    memset(members, 0, sizeof(members));
    for (; started < count; started++) {
        members[started].backend = backend;
        if (pthread_create(&members[started].thread, NULL, member_main, &members[started]) != 0)
            break;
    }
    for (unsigned i = 0; i < started; i++) {
        pthread_join(members[i].thread, NULL);
        good += members[i].rc == 0;
        if (members[i].rc < 0)
            tap_note("VM %u: %s", i, members[i].err.text);
    }
    /* All of them live until here. */
    for (unsigned i = 0; i < started; i++)
        lum_vm_free(members[i].vm);
    return good;
}

static void test_at_once(const char *backend, unsigned count)
{
    static struct inventory before;
    char what[64];

    snprintf(what, sizeof(what), "%s, %u at once", backend, count);
    unsigned good = spawn_at_once(backend, count);
    settle(false);
    take_inventory(&before); /* now, as the stacks and arenas of that many threads stay */
    good += spawn_at_once(backend, count);
    ok(good == 2 * count, "%s: %u lived, in two rounds", what, good);
    ok(settle(false), "%s: all gone", what);
    check_inventory(what, &before);
}

/* ---- callers that are killed ---- */

static void caller_main(const char *backend)
{
    struct lum_exit_status status;
    struct lum_error err;
    lum_exec *exec;
    lum_vm *vm;

    for (;;) {
        if (create(backend, &vm, &err) < 0)
            _exit(1);
        if (strcmp(backend, "qemu") == 0 && (lum_vm_start(vm, BOOT_MS, &err) < 0 ||
                                             start_command(vm, "cat /dev/zero", &exec, &err) < 0 ||
                                             lum_exec_wait(exec, RUN_MS, &status, &err) < 0))
            _exit(1);
        lum_vm_free(vm);
    }
}

/* Moments spread over the span, so that every stage has its share. */
static void test_killed_callers(const char *backend, unsigned count, unsigned span_ms)
{
    static struct inventory before;
    unsigned good = 0;
    int64_t longest = 0;
    char what[64];

    snprintf(what, sizeof(what), "%s, %u killed callers", backend, count);
    settle(true);
    take_inventory(&before);
    for (unsigned i = 0; i < count; i++) {
        pid_t pid = fork();
        int status = 0;
        if (pid == 0)
            caller_main(backend);
        pause_us(1000 * (span_ms * i / count) + next_random() % 2000);
        kill(pid, SIGKILL);
        int64_t at = now_ms();
        bool killed = waitpid(pid, &status, 0) == pid && WIFSIGNALED(status);
        if (!killed)
            tap_note("caller %u ended by itself: %d", i, status);
        good += settle(true) && killed;
        longest = now_ms() - at > longest ? now_ms() - at : longest;
    }
    tap_note("%s: the longest wait for the end of everything was %d ms", what, (int)longest);
    ok(good == count, "%s: nothing was left of %u", what, good);
    check_inventory(what, &before);
}

/* ---- workers that are killed ---- */

static void kill_now(pid_t pid)
{
    if (pid > 0)
        kill(pid, SIGKILL);
}

static void *kill_worker(void *arg)
{
    int64_t end = now_ms() + GONE_MS;
    pid_t pid = 0;

    while (!(pid = proc_worker(getpid())) && now_ms() < end)
        ;
    pause_us(*(const unsigned *)arg);
    kill_now(pid);
    return NULL;
}

static bool is_clear(int rc, const struct lum_error *err)
{
    return rc == LUM_EGONE && strstr(err->text, "killed");
}

/* Either the VM was there first, and the next call says that it has gone, or create says so. */
static void test_killed_in_create(const char *backend)
{
    unsigned clear = 0;

    for (unsigned i = 0; i < 10; i++) {
        unsigned delay_us = i * 400;
        struct lum_error err = {0};
        lum_vm *vm = NULL;
        pthread_t thread;
        if (pthread_create(&thread, NULL, kill_worker, &delay_us) != 0)
            return;
        int rc = create(backend, &vm, &err);
        pthread_join(thread, NULL);
        if (rc == 0)
            rc = lum_vm_start(vm, RUN_MS, &err);
        clear += is_clear(rc, &err);
        if (!is_clear(rc, &err))
            tap_note("killed after %u us: %d: %s", delay_us, rc, err.text);
        lum_vm_free(vm);
        settle(false);
    }
    ok(clear == 10, "%s, killed in create: %u of 10 clear errors", backend, clear);
}

static void test_killed_before_start(const char *backend)
{
    struct lum_error err = {0};
    lum_vm *vm;
    char why[160] = "";

    if (!ok(create(backend, &vm, &err) == 0, "%s: created", backend))
        return;
    kill_now(proc_worker(getpid()));
    int rc = lum_vm_start(vm, RUN_MS, &err);
    ok(is_clear(rc, &err), "%s, killed before start: %s", backend, err.text);
    rc = lum_vm_wait(vm, RUN_MS, why, sizeof(why), &err);
    ok(rc == 0 && strstr(why, "killed"), "%s, killed before start: the wait says %s", backend, why);
    lum_vm_free(vm);
    settle(false);
}

/* Calls it all from the worker that is killed while they run. */
static void test_killed_while_running(bool in_start)
{
    const char *what = in_start ? "killed while booting" : "killed while a command runs";
    unsigned delay_us = in_start ? 20000 : 200000;
    struct lum_exit_status status;
    struct lum_error err = {0};
    lum_exec *exec = NULL;
    pthread_t thread;
    lum_vm *vm;

    if (!ok(create("qemu", &vm, &err) == 0, "qemu: created"))
        return;
    if (!in_start && !ok(lum_vm_start(vm, BOOT_MS, &err) == 0 &&
                             start_command(vm, "sleep 1000", &exec, &err) == 0,
                         "qemu: runs a command"))
        tap_note("%s", err.text);
    if (pthread_create(&thread, NULL, kill_worker, &delay_us) != 0)
        return;
    int rc =
        in_start ? lum_vm_start(vm, BOOT_MS, &err) : lum_exec_wait(exec, RUN_MS, &status, &err);
    pthread_join(thread, NULL);
    ok(is_clear(rc, &err), "qemu, %s: %s", what, err.text);
    rc = lum_vm_put(vm, "/etc/passwd", "/tmp/x", &err);
    ok(is_clear(rc, &err), "qemu, %s: what comes after: %s", what, err.text);
    lum_exec_free(exec);
    lum_vm_free(vm);
    settle(false);
}

/* The worker lives and says what became of its QEMU. */
static void test_killed_qemu(void)
{
    struct lum_error err = {0};
    lum_vm *vm;

    if (!ok(create("qemu", &vm, &err) == 0, "qemu: created"))
        return;
    pid_t worker = proc_worker(getpid()), qemu = 0;
    if (ok(worker && proc_children(worker, &qemu, 1) == 1, "qemu: one QEMU"))
        kill_now(qemu);
    int rc = lum_vm_start(vm, BOOT_MS, &err);
    ok(rc < 0 && strstr(err.text, "QEMU was killed by signal 9"), "QEMU killed: %d: %s", rc,
       err.text);
    lum_vm_free(vm);
    settle(false);
}

/* ---- main ---- */

static void test_kvm(void)
{
    char why[256];

    if (!usable("kvm", why)) {
        tap_skip("backend kvm", why);
        return;
    }
    test_row("kvm", 20, 1000);
    test_at_once("kvm", 64);
    test_killed_callers("kvm", 30, 15);
    test_killed_in_create("kvm");
    test_killed_before_start("kvm");
}

static void test_qemu(void)
{
    char why[256];

    if (!usable("qemu", why)) {
        tap_skip("backend qemu", why);
        return;
    }
    test_row("qemu", 1, 20);
    test_at_once("qemu", 8);
    test_killed_callers("qemu", 20, 2500);
    test_killed_in_create("qemu");
    test_killed_before_start("qemu");
    test_killed_while_running(true);
    test_killed_while_running(false);
    test_killed_qemu();
}

int main(void)
{
    int fd = tiny_kernel();

    if (!ok(fd >= 0, "a kernel"))
        return tap_done();
    snprintf(kernel, sizeof(kernel), "/proc/self/fd/%d", fd);
    has_network = unshare(CLONE_NEWNET) == 0;
    ok(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0, "orphans come to this process");
    test_kvm();
    test_qemu();
    close(fd);
    return tap_done();
}
