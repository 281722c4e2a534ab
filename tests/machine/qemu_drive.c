/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The qemu machine with real guests, driven as a worker would drive it but without one: boot to the
 * agent's HELLO, pause, resume, each way in which it can end, and what is left behind.
 *
 *     LUMINA_TEST_KERNEL   guest kernel; without it everything is skipped
 *     LUMINA_TEST_AGENT    cpio with lumina-init
 *     LUMINA_TEST_ROOT     EROFS image; without it the agent's cpio is the root as well
 *     qemu_drive [N]       boots N times instead and prints the medians
 */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "machine/machine.h"
#include "proto.h"
#include "no_fence.h"
#include "tap.h"

#define BOOT_MS 60000 /* a loaded machine without virtualization */

/* What the callbacks tell the test, one byte each through a pipe. */
enum happening {
    QEMU_READY = 'q',
    GUEST_RUNS = 'g',
    AGENT_GIVEN = 'a',
    DONE = 'd',
    ENDED = 'e',
    CALLED = 'c',
};

struct rig {
    struct plat_loop *loop;
    struct plat_thread *thread;
    plat_fd pipe[2];
    struct vm_spec spec;
    struct machine *machine;
    struct machine_stats stats;
    plat_fd agent;
    int rc;
    struct lum_error err;
    unsigned seen[256];
    uint64_t created_ns, qemu_ns, guest_ns, hello_ns;
    enum machine_end end;
    char end_text[320], console[4096];
    size_t console_size;
    bool verbose;
};

static void must(int rc, const struct lum_error *err)
{
    if (rc < 0) {
        printf("Bail out! %s\n", err->text);
        exit(1);
    }
}

/* ---- the loop's side ---- */

static void tell(struct rig *r, enum happening what)
{
    char c = (char)what;

    if (plat_write(r->pipe[1], &c, 1) != 1)
        abort();
}

static void host_log(void *ctx, int level, const char *fmt, ...) LUM_PRINTF(3, 4);

static void host_log(void *ctx, int level, const char *fmt, ...)
{
    struct rig *r = ctx;
    char line[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    if (r->verbose)
        tap_note("log %d: %s", level, line);
}

static void host_console(void *ctx, const uint8_t *data, size_t size)
{
    struct rig *r = ctx;
    size_t room = sizeof(r->console) - 1 - r->console_size;

    memcpy(r->console + r->console_size, data, size < room ? size : room);
    r->console_size += size < room ? size : room;
}

static void host_agent_closed(void *ctx)
{
    (void)ctx; /* the end of QEMU that follows is what the test waits for */
}

static void host_agent(void *ctx, plat_fd stream)
{
    struct rig *r = ctx;

    r->agent = stream;
    tell(r, AGENT_GIVEN);
}

static void host_ended(void *ctx, enum machine_end end, const char *text)
{
    struct rig *r = ctx;

    r->end = end;
    snprintf(r->end_text, sizeof(r->end_text), "%s", text);
    tell(r, ENDED);
}

static void host_stage(void *ctx, const char *name)
{
    struct rig *r = ctx;
    bool guest = strcmp(name, "guest") == 0;

    *(guest ? &r->guest_ns : &r->qemu_ns) = plat_now_ns();
    tell(r, guest ? GUEST_RUNS : QEMU_READY);
}

static void on_done(void *ctx, int rc, const char *why)
{
    struct rig *r = ctx;

    r->rc = rc;
    if (rc < 0)
        snprintf(r->err.text, sizeof(r->err.text), "%s", why);
    tell(r, DONE);
}

static void call_create(void *ctx)
{
    struct rig *r = ctx;
    const struct machine_host host = {.ctx = r,
                                      .log = host_log,
                                      .console = host_console,
                                      .agent = host_agent,
                                      .agent_closed = host_agent_closed,
                                      .ended = host_ended,
                                      .stage = host_stage,
                                      NO_FENCE};

    r->created_ns = plat_now_ns();
    r->rc = machine_qemu_ops.create(NULL, &r->spec, r->loop, &host, &r->machine, &r->err);
    tell(r, CALLED);
}

static void call_start(void *ctx)
{
    struct rig *r = ctx;

    r->rc = machine_qemu_ops.start(r->machine, &r->err);
    tell(r, CALLED);
}

static void call_pause(void *ctx)
{
    struct rig *r = ctx;

    machine_qemu_ops.pause(r->machine, on_done, r);
    tell(r, CALLED);
}

static void call_resume(void *ctx)
{
    struct rig *r = ctx;

    machine_qemu_ops.resume(r->machine, on_done, r);
    tell(r, CALLED);
}

static void call_stats(void *ctx)
{
    struct rig *r = ctx;

    machine_qemu_ops.stats(r->machine, &r->stats);
    tell(r, CALLED);
}

static void call_free(void *ctx)
{
    struct rig *r = ctx;

    machine_qemu_ops.free(r->machine);
    r->machine = NULL;
    tell(r, CALLED);
}

static void run_loop(void *ctx)
{
    struct rig *r = ctx;

    plat_loop_run(r->loop);
}

/* ---- the test's side ---- */

/* True when it happens (or has happened since the last time it was asked for) within the time. */
static bool await(struct rig *r, enum happening what, int timeout_ms)
{
    uint64_t deadline = plat_now_ns() + (uint64_t)timeout_ms * 1000000;

    while (r->seen[what] == 0) {
        uint64_t now = plat_now_ns();
        unsigned char c;

        if (now >= deadline)
            return false;
        if (plat_wait_fd(r->pipe[0], false, PLAT_FD_NONE, (int)((deadline - now) / 1000000) + 1) ==
                1 &&
            plat_read(r->pipe[0], &c, 1) == 1)
            r->seen[c]++;
    }
    r->seen[what]--;
    return true;
}

static int call(struct rig *r, void (*fn)(void *ctx))
{
    struct lum_error err;

    must(plat_loop_post(r->loop, fn, r, &err), &err);
    if (!await(r, CALLED, 20000))
        abort();
    return r->rc;
}

static void open_file(const char *path, plat_fd *ret_fd)
{
    struct lum_error err;
    uint64_t size;

    must(plat_file_open(path, ret_fd, &size, &err), &err);
}

static void rig_open(struct rig *r)
{
    const char *root = getenv("LUMINA_TEST_ROOT");
    struct lum_error err;

    *r = (struct rig){.pipe = {PLAT_FD_NONE, PLAT_FD_NONE}, .agent = PLAT_FD_NONE};
    r->verbose = getenv("LUMINA_TEST_VERBOSE") != NULL;
    vm_spec_init(&r->spec);
    snprintf(r->spec.backend, sizeof(r->spec.backend), "qemu");
    r->spec.vcpus = 1;
    r->spec.memory_bytes = 256 * MIB;
    r->spec.hostname = strdup("lumina");
    r->spec.cmdline_extra = strdup("");
    open_file(getenv("LUMINA_TEST_KERNEL"), &r->spec.kernel);
    open_file(getenv("LUMINA_TEST_AGENT"), &r->spec.agent);
    open_file(root ? root : getenv("LUMINA_TEST_AGENT"), &r->spec.root);
    r->spec.root_kind = root ? MACHINE_ROOT_EROFS : MACHINE_ROOT_INITRD;
    must(plat_pipe(r->pipe, &err), &err);
    must(plat_loop_create(&r->loop, &err), &err);
    must(plat_thread_start(&r->thread, "io", run_loop, r, &err), &err);
}

static void rig_close(struct rig *r)
{
    call(r, call_free);
    plat_loop_quit(r->loop);
    plat_thread_join(r->thread);
    plat_loop_free(r->loop);
    plat_close(&r->agent);
    plat_close(&r->pipe[0]);
    plat_close(&r->pipe[1]);
    vm_spec_done(&r->spec);
    /* The machine kills its QEMU and leaves it: a worker ends soon after, this program does not. */
    while (waitpid(-1, NULL, 0) > 0)
        ;
}

static bool read_all(plat_fd fd, uint8_t *buf, size_t size, int timeout_ms)
{
    size_t have = 0;

    while (have < size) {
        if (plat_wait_fd(fd, false, PLAT_FD_NONE, timeout_ms) != 1)
            return false;
        ssize_t n = plat_read(fd, buf + have, size - have);
        if (n <= 0 && n != -EAGAIN)
            return false;
        have += n > 0 ? (size_t)n : 0;
    }
    return true;
}

/* A whole HELLO frame with the right magic. */
static bool hear_hello(struct rig *r, int timeout_ms)
{
    uint8_t frame[PROTO_HEADER + 512];

    if (!read_all(r->agent, frame, PROTO_HEADER, timeout_ms))
        return false;
    uint32_t size = le32_load(frame);
    if (size < 20 || size > sizeof(frame) - PROTO_HEADER || le16_load(frame + 4) != PROTO_HELLO)
        return false;
    if (!read_all(r->agent, frame + PROTO_HEADER, size, timeout_ms))
        return false;
    r->hello_ns = plat_now_ns();
    return le32_load(frame + PROTO_HEADER) == PROTO_MAGIC;
}

/* The only child of any thread of this process: QEMU. 0 when there is none. */
static pid_t qemu_pid(void)
{
    DIR *tasks = opendir("/proc/self/task");
    const struct dirent *d;
    int pid = 0;

    while (tasks && pid == 0 && (d = readdir(tasks))) {
        char path[sizeof("/proc/self/task//children") + sizeof(d->d_name)];

        snprintf(path, sizeof(path), "/proc/self/task/%s/children", d->d_name);
        FILE *f = fopen(path, "re");
        if (f && fscanf(f, "%d", &pid) != 1)
            pid = 0;
        if (f)
            fclose(f);
    }
    if (tasks)
        closedir(tasks);
    return pid;
}

/* Ended, though perhaps nobody has asked for its status yet. */
static bool is_gone(pid_t pid)
{
    char path[64], line[512] = "";

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "re");
    if (!f)
        return true;
    const char *text = fgets(line, sizeof(line), f);
    const char *after = text ? strrchr(text, ')') : NULL;
    fclose(f);
    return !after || strncmp(after, ") Z", 3) == 0 || strncmp(after, ") X", 3) == 0;
}

static bool goes_away(pid_t pid, int timeout_ms)
{
    uint64_t deadline = plat_now_ns() + (uint64_t)timeout_ms * 1000000;

    while (!is_gone(pid)) {
        if (plat_now_ns() > deadline)
            return false;
        usleep(2000);
    }
    return true;
}

static unsigned count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned n = 0;

    while (dir && readdir(dir))
        n++;
    if (dir)
        closedir(dir);
    return n;
}

/* Killed processes are reaped in the background by a thread that holds a descriptor meanwhile. */
static unsigned count_fds_at_rest(void)
{
    for (int i = 0; i < 500 && qemu_pid() > 0; i++)
        usleep(10000);
    usleep(50000);
    return count_fds();
}

static double ms(uint64_t from, uint64_t to)
{
    return (double)(to - from) / 1e6;
}

/* Up to the agent's first word. */
static bool boot(struct rig *r)
{
    return call(r, call_create) == 0 && call(r, call_start) == 0 &&
           await(r, AGENT_GIVEN, BOOT_MS) && hear_hello(r, BOOT_MS);
}

/* ---- the tests ---- */

static void test_boot_and_reset(void)
{
    struct rig r;

    rig_open(&r);
    ok(call(&r, call_create) == 0, "create");
    pid_t pid = qemu_pid();
    ok(pid > 0, "QEMU runs");
    call(&r, call_pause);
    ok(await(&r, DONE, 1000) && r.rc == LUM_EBUSY, "pause before start is refused");
    ok(await(&r, QEMU_READY, BOOT_MS), "QEMU is ready");
    ok(!await(&r, AGENT_GIVEN, 300), "but the guest does not run");
    uint64_t started = plat_now_ns();
    ok(call(&r, call_start) == 0, "start");
    ok(call(&r, call_start) == LUM_EBUSY, "a second start is refused");
    ok(await(&r, GUEST_RUNS, BOOT_MS) && await(&r, AGENT_GIVEN, BOOT_MS), "the guest runs");
    if (!ok(hear_hello(&r, BOOT_MS), "the agent says HELLO"))
        tap_note("console: %s", r.console);
    tap_note("start to HELLO %.0f ms", ms(started, r.hello_ns));
    call(&r, call_stats);
    ok(r.stats.helper_rss_bytes > 20 * MIB && r.stats.helper_rss_bytes < GIB, "QEMU holds %llu MiB",
       (unsigned long long)(r.stats.helper_rss_bytes / MIB));

    /* The agent powers off when the host hangs up. */
    plat_close(&r.agent);
    ok(await(&r, ENDED, BOOT_MS), "the guest ends");
    ok(r.end == MACHINE_RESET || r.end == MACHINE_POWERED_OFF, "by itself: %s", r.end_text);
    call(&r, call_pause);
    ok(await(&r, DONE, 1000) && r.rc == LUM_EGONE, "pause after the end is refused");
    ok(!await(&r, ENDED, 300), "the end is told once");
    rig_close(&r);
    ok(goes_away(pid, 5000), "QEMU is gone");
}

static void test_pause(void)
{
    struct rig r;

    rig_open(&r);
    if (call(&r, call_create) == 0 && call(&r, call_start) == 0)
        await(&r, AGENT_GIVEN, BOOT_MS);
    call(&r, call_pause);
    ok(await(&r, DONE, 5000) && r.rc == 0, "pause while it boots");
    ok(!hear_hello(&r, 3000), "a paused guest says nothing");
    call(&r, call_resume);
    ok(await(&r, DONE, 5000) && r.rc == 0, "resume");
    ok(hear_hello(&r, BOOT_MS), "then it goes on");
    rig_close(&r);
}

static void test_killed(void)
{
    struct rig r;

    rig_open(&r);
    ok(boot(&r), "boot");
    pid_t pid = qemu_pid();
    uint64_t before = plat_now_ns();
    kill(pid, SIGKILL);
    ok(await(&r, ENDED, 5000), "SIGKILL to QEMU is noticed");
    tap_note("after %.1f ms", ms(before, plat_now_ns()));
    ok(r.end == MACHINE_CRASHED && strcmp(r.end_text, "QEMU was killed by signal 9") == 0,
       "as what it is: %s", r.end_text);
    rig_close(&r);

    rig_open(&r);
    ok(boot(&r), "boot");
    kill(qemu_pid(), SIGTERM);
    ok(await(&r, ENDED, 5000) && r.end == MACHINE_CRASHED, "so is SIGTERM: %s", r.end_text);
    rig_close(&r);
}

static void test_bad_kernel(void)
{
    static const char text[] = "not a kernel, only a line of text\n";
    struct lum_error err;
    struct rig r;

    rig_open(&r);
    plat_close(&r.spec.kernel);
    must(plat_memfile("kernel", text, sizeof(text), &r.spec.kernel, &err), &err);
    ok(call(&r, call_create) == LUM_EFORMAT && !r.machine && qemu_pid() == 0,
       "a kernel that is none is refused before QEMU sees it: %s", r.err.text);
    rig_close(&r);
}

static void test_no_room(void)
{
    static const char block[1024];
    struct lum_error err;
    struct rig r;

    rig_open(&r);
    plat_close(&r.spec.root);
    must(plat_memfile("root", block, sizeof(block), &r.spec.root, &err), &err);
    r.spec.root_kind = MACHINE_ROOT_INITRD;
    r.spec.memory_bytes = 1024;
    ok(call(&r, call_create) == LUM_EINVAL && strstr(r.err.text, "does not fit"),
       "an initrd larger than the memory: %s", r.err.text);
    ok(r.machine == NULL && qemu_pid() == 0, "nothing was made");
    rig_close(&r);
}

static void test_agent_only(void)
{
    struct rig r;

    rig_open(&r);
    plat_close(&r.spec.root);
    r.spec.root_kind = MACHINE_ROOT_INITRD;
    r.spec.vcpus = 2;
    r.spec.memory_bytes = 64 * MIB;
    ok(boot(&r), "2 processors, 64 MiB, no root but the agent's cpio");
    rig_close(&r);
}

static void test_free(void)
{
    unsigned before = count_fds_at_rest(), after;
    struct rig r;

    rig_open(&r);
    ok(call(&r, call_create) == 0, "create");
    pid_t pid = qemu_pid();
    rig_close(&r);
    ok(goes_away(pid, 5000), "free right after create");

    rig_open(&r);
    ok(call(&r, call_create) == 0 && call(&r, call_start) == 0, "create and start");
    pid = qemu_pid();
    uint64_t began = plat_now_ns();
    rig_close(&r);
    tap_note("free took %.1f ms", ms(began, plat_now_ns()));
    ok(goes_away(pid, 5000), "free right after start");
    after = count_fds_at_rest();
    ok(after == before, "no descriptor is left (%u before, %u after)", before, after);
}

/* In a process of its own: boots, names QEMU on its error output and waits to be killed. */
static int be_victim(void)
{
    struct rig r;

    rig_open(&r);
    if (!boot(&r))
        return 1;
    dprintf(2, "%d\n", (int)qemu_pid());
    for (;;)
        pause();
}

static void test_owner_killed(void)
{
    const char *const argv[] = {"/proc/self/exe", "--victim", NULL};
    struct plat_process *victim;
    struct lum_error err;
    char text[32] = "";
    plat_fd pipe[2];

    must(plat_pipe(pipe, &err), &err);
    struct plat_start start = PLAT_START_INIT;
    start.argv = argv;
    start.err_fd = pipe[1];
    must(plat_process_start(&start, &victim, &err), &err);
    plat_close(&pipe[1]);
    bool told = plat_wait_fd(pipe[0], false, PLAT_FD_NONE, BOOT_MS) == 1 &&
                plat_read(pipe[0], text, sizeof(text) - 1) > 0;
    pid_t pid = told ? (pid_t)strtol(text, NULL, 10) : 0;
    ok(pid > 0 && !is_gone(pid), "another process owns a QEMU");
    plat_process_kill(victim);
    ok(pid > 0 && goes_away(pid, 5000), "SIGKILL to the owner takes QEMU with it");
    plat_process_free(victim);
    plat_close(&pipe[0]);
}

static void test_missing_program(void)
{
    AUTO(auto_free) char *path = lum_strdup(getenv("PATH"));
    struct machine_probe probe;
    struct rig r;

    machine_qemu_ops.probe(NULL, &probe);
    ok(probe.usable && (probe.features & LUM_FEATURE_PAUSE), "probe: %s", probe.detail);
    setenv("PATH", "/nonexistent:relative::", 1);
    machine_qemu_ops.probe(NULL, &probe);
    ok(!probe.usable && strstr(probe.detail, "apt-get install"), "without QEMU: %s", probe.detail);
    rig_open(&r);
    ok(call(&r, call_create) == LUM_ENOENT, "create: %s", r.err.text);
    rig_close(&r);
    setenv("PATH", path, 1);
}

/* ---- measuring ---- */

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static int measure(unsigned runs)
{
    double *taken = lum_calloc((size_t)runs * 3, sizeof(*taken));

    if (!taken)
        return 1;
    for (unsigned i = 0; i < runs; i++) {
        struct rig r;

        rig_open(&r);
        if (!boot(&r)) {
            printf("run %u: no HELLO; %s%s\n", i, r.end_text, r.console);
            return 1;
        }
        taken[i] = ms(r.created_ns, r.guest_ns);
        taken[runs + i] = ms(r.guest_ns, r.hello_ns);
        taken[2 * runs + i] = ms(r.created_ns, r.hello_ns);
        rig_close(&r);
    }
    for (unsigned part = 0; part < 3; part++)
        qsort(taken + (size_t)part * runs, runs, sizeof(*taken), compare);
    printf("%u boots, ms, median (least): create to guest %.0f (%.0f), guest to HELLO %.0f (%.0f), "
           "all %.0f (%.0f)\n",
           runs, taken[runs / 2], taken[0], taken[runs + runs / 2], taken[runs],
           taken[2 * runs + runs / 2], taken[2 * runs]);
    free(taken);
    return 0;
}

int main(int argc, char **argv)
{
    struct machine_probe probe;

    if (!getenv("LUMINA_TEST_KERNEL") || !getenv("LUMINA_TEST_AGENT"))
        return tap_skip_all("LUMINA_TEST_KERNEL and LUMINA_TEST_AGENT are not set");
    machine_qemu_ops.probe(NULL, &probe);
    if (!probe.usable)
        return tap_skip_all(probe.detail);
    if (argc > 1 && strcmp(argv[1], "--victim") == 0)
        return be_victim();
    if (argc > 1)
        return measure((unsigned)strtoul(argv[1], NULL, 10));
    alarm(600);
    test_missing_program();
    test_boot_and_reset();
    test_pause();
    test_killed();
    test_bad_kernel();
    test_no_room();
    test_agent_only();
    test_free();
    test_owner_killed();
    return tap_done();
}
