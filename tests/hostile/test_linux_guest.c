/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hostile programs, run as root in an honest guest.
 *
 *     test_linux_guest BACKEND
 *
 * LUMINA_TEST_TOOL is the tool for the guest, LUMINA_TEST_ECHO the vsock echo program. What a guest
 * survives is tried on one machine; after each attack that machine has to serve as before.
 */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "test_linux_kit.h"

static const char *tool;
static atomic_uint console_lines, panic_lines;
static atomic_bool line_seen, slow_reader;

static void on_log(void *ctx, int32_t level, const char *line)
{
    (void)ctx;
    if (level != LUM_LOG_CONSOLE)
        return;
    atomic_fetch_add(&console_lines, 1);
    if (strstr(line, "after the flood"))
        atomic_store(&line_seen, true);
    if (strstr(line, "Kernel panic"))
        atomic_fetch_add(&panic_lines, 1);
    if (atomic_load(&slow_reader))
        usleep(2000);
}

static lum_vm *armed_vm(const struct lum_vm_options *opts)
{
    struct lum_error err;
    lum_vm *vm = vm_up(opts);

    if (vm && !ok(lum_vm_put(vm, tool, "/run/tool", &err) == 0, "the tool is in the guest"))
        tap_note("%s", err.text);
    return vm;
}

/* A command that is known to have begun: its first line is there. */
static lum_exec *begun(lum_vm *vm, const char *script)
{
    struct lum_error err;
    char buf[256];
    size_t n = 0;
    lum_exec *exec = spawn(vm, script);

    if (!ok(exec && lum_exec_read(exec, LUM_STDOUT, buf, sizeof(buf), run_ms, &n, &err) == 0 &&
                n > 0,
            "begins: %s", script))
        tap_note("%s", exec ? err.text : "not started");
    return exec;
}

/* ---- floods ---- */

static void test_output_flood(lum_vm *vm)
{
    enum { COMMANDS = 16 };
    lum_exec *exec[COMMANDS];
    uint64_t before = monitor_bytes(vm);
    struct lum_error err;
    char buf[4096];
    size_t n;
    int started = 0, good = 0;

    for (int i = 0; i < COMMANDS; i++) {
        exec[i] = spawn(vm, "yes stderr >&2 & exec yes stdout");
        started += exec[i] != NULL;
    }
    ok(started == COMMANDS, "%d commands flood both streams, and nobody reads", started);
    check_alive(vm, "output flood");
    sleep(1);
    check_memory(vm, "output flood", before);
    /* Once read, every stream goes on, however long it stood still. */
    for (int i = 0; i < COMMANDS; i++) {
        size_t got = 0;
        int rc = 0;
        while (exec[i] && rc == 0 && got < 2 * MIB) {
            rc = lum_exec_read(exec[i], i % 2 ? LUM_STDERR : LUM_STDOUT, buf, sizeof(buf), run_ms,
                               &n, &err);
            got += rc == 0 ? n : 0;
        }
        good += got >= 2 * MIB;
        lum_exec_free(exec[i]);
    }
    ok(good == COMMANDS, "after a stand-still %d streams bring 2 MiB each", good);
    check_alive(vm, "output flood, drained");
}

/* CVE-2020-16843 (a flood stops a monitor's I/O for good), here: the console. */
static void test_console_flood(lum_vm *vm)
{
    uint64_t before = monitor_bytes(vm);
    struct lum_error err;
    struct run r;
    lum_exec *exec = spawn(vm, "for f in /dev/hvc0 /dev/ttyS0 /dev/kmsg /dev/console; do"
                               " [ -c $f ] && { yes '<1>flood flood flood' >$f & }; done; wait");

    ok(exec != NULL, "every console is flooded");
    /* The reader of the log is slower than the flood: deadlines hold all the same. */
    atomic_store(&slow_reader, true);
    struct timespec t0, t1;
    clock_gettime(CLOCK_MONOTONIC, &t0);
    struct guard *guard = guard_start(vm, 30000);
    int rc = exec ? lum_exec_wait(exec, 1000, NULL, &err) : 0;
    bool fired = guard_end(guard);
    clock_gettime(CLOCK_MONOTONIC, &t1);
    ok(rc == LUM_ETIMEDOUT && !fired,
       "a deadline holds although the console never rests: %d, waited %ld s", rc,
       (long)(t1.tv_sec - t0.tv_sec));
    atomic_store(&slow_reader, false);
    ok(sh(vm, "echo x", &r) == 0 && strcmp(r.out, "x\n") == 0, "a command runs meanwhile: %s",
       r.err.text);
    check_memory(vm, "console flood", before);
    lum_exec_free(exec);
    ok(sh(vm, "killall yes 2>/dev/null; sleep 0.5; echo 'after the flood' >/dev/hvc0", &r) == 0,
       "the flood ends");
    for (int i = 0; i < 100 && !atomic_load(&line_seen); i++)
        (void)sh(vm, "sleep 0.1", &r);
    ok(atomic_load(&line_seen), "the console still brings lines, after %u of the flood",
       atomic_load(&console_lines));
    check_alive(vm, "console flood");
}

/* ---- vsock ---- */

static bool echo_works(lum_vm *vm, uint32_t port)
{
    char script[64], buf[64] = "";
    struct lum_error err;
    lum_stream *stream = NULL;
    size_t n = 0;

    snprintf(script, sizeof(script), "exec /run/echo %u", port);
    lum_exec *exec = begun(vm, script);
    int rc = exec ? lum_vm_dial(vm, port, run_ms, &stream, &err) : LUM_EGUEST;
    if (rc == 0)
        rc = lum_stream_write(stream, "hello\n", 6, &err);
    if (rc == 0)
        rc = lum_stream_read(stream, buf, sizeof(buf) - 1, run_ms, &n, &err);
    if (rc < 0)
        tap_note("%s", err.text);
    lum_stream_free(stream);
    lum_exec_free(exec);
    return rc == 0 && strcmp(buf, "HELLO\n") == 0;
}

static void test_vsock_storm(lum_vm *vm)
{
    static const char *const storms[] = {
        "/run/tool storm 2 1 1 4000",    /* every low port of the host */
        "/run/tool storm 2 1024 0 4000", /* the agent's own, again and again */
        "/run/tool storm 1 1 1 4000",    /* and inside the guest */
    };
    uint64_t before = monitor_bytes(vm);
    unsigned fds = process_fds();
    struct run r;

    for (size_t i = 0; i < sizeof(storms) / sizeof(storms[0]); i++) {
        int rc = sh(vm, storms[i], &r);
        ok(rc == 0 && r.code == 0, "%s: %.60s%s", storms[i], r.out, r.err.text);
    }
    check_alive(vm, "storm of connections");
    check_memory(vm, "storm of connections", before);
    ok(process_fds() < fds + 64, "no descriptors pile up in the monitor: %u, were %u",
       process_fds(), fds);
    ok(echo_works(vm, 6000), "a connection from the host works after it");
}

static void test_half_open(lum_vm *vm)
{
    enum { DIALS = 300 };
    static lum_stream *stream[DIALS];
    struct lum_error err;
    uint64_t before = monitor_bytes(vm);
    unsigned fds = process_fds(), through = 0, refused = 0;
    lum_exec *exec = begun(vm, "exec /run/tool never-accept 6001");

    struct guard *guard = guard_start(vm, 120000);
    for (int i = 0; i < DIALS; i++) {
        stream[i] = NULL;
        int rc = lum_vm_dial(vm, 6001, 2000, &stream[i], &err);
        through += rc == 0;
        refused += rc < 0;
    }
    ok(!guard_end(guard), "every dial to a port that never accepts is answered");
    tap_note("%u went through, %u refused: %s", through, refused, refused ? err.text : "");
    check_memory(vm, "half open connections", before);
    for (int i = 0; i < DIALS; i++)
        lum_stream_free(stream[i]);
    lum_exec_free(exec);
    check_alive(vm, "half open connections");
    for (int i = 0; i < 100 && process_fds() > fds + 16; i++)
        usleep(100000);
    ok(process_fds() <= fds + 16, "their descriptors are given back: %u, were %u", process_fds(),
       fds);
    ok(echo_works(vm, 6002), "a connection from the host works after it");
}

/* CVE-2020-16843 again, here: a byte stream that stood still in both directions. */
static void test_stream_flood(lum_vm *vm)
{
    enum { POUR_MIB = 8 };
    static char block[65536];
    uint64_t before = monitor_bytes(vm);
    struct lum_error err;
    lum_stream *stream = NULL;
    size_t n = 1, total = 0;
    lum_exec *exec = begun(vm, "exec /run/tool pour 6003 8");

    if (!ok(lum_vm_dial(vm, 6003, run_ms, &stream, &err) == 0, "dial a flood"))
        tap_note("%s", err.text);
    sleep(1);
    check_memory(vm, "stream flood", before);
    check_alive(vm, "stream flood");
    int rc = stream ? 0 : -1;
    while (rc == 0 && n > 0 && total < POUR_MIB * MIB) {
        rc = lum_stream_read(stream, block, sizeof(block), run_ms, &n, &err);
        total += rc == 0 ? n : 0;
    }
    ok(total == POUR_MIB * MIB, "read at last, all of it arrives: %zu bytes", total);
    ok(stream && lum_stream_write(stream, "again", 5, &err) == 0 &&
           lum_stream_read(stream, block, sizeof(block), run_ms, &n, &err) == 0 && n == 5 &&
           memcmp(block, "again", 5) == 0,
       "and the same stream works on");
    lum_stream_free(stream);
    lum_exec_free(exec);

    exec = begun(vm, "exec /run/tool never-read 6004");
    stream = NULL;
    ok(lum_vm_dial(vm, 6004, run_ms, &stream, &err) == 0, "dial a port that never reads");
    /* A write blocks when all buffers are full; the VM serves others, and the end frees it. */
    lum_exec_free(exec);
    for (int i = 0; stream && i < 64 && rc >= 0; i++)
        rc = lum_stream_write(stream, block, sizeof(block), &err);
    ok(rc == LUM_EGONE, "its end is the end of a write: %d", rc);
    check_memory(vm, "a port that never reads", before);
    lum_stream_free(stream);
    check_alive(vm, "stream flood, drained");
}

/* ---- the agent, disks, copies ---- */

static void test_agent_signals(lum_vm *vm)
{
    struct run r;

    ok(sh(vm, "/run/tool signal-agent", &r) == 0 && strcmp(r.out, "signalled\n") == 0,
       "all signals but those of a shutdown go to the agent: %s", r.err.text);
    ok(sh(vm,
          "kill -STOP 1; kill -KILL 1; kill -SEGV 1; renice 19 1 >/dev/null; echo 1000 "
          ">/proc/1/oom_score_adj; echo done",
          &r) == 0,
       "and more that root may do to it: %s", r.out);
    check_alive(vm, "signals to the agent");
}

static void test_full_disks(lum_vm *vm)
{
    struct lum_error err;
    struct run r;

    ok(sh(vm, "dd if=/dev/zero of=/fill bs=64k", &r) == 0 && strstr(r.err_out, "No space"),
       "the writable layer fills up: %.60s", r.err_out);
    check_alive(vm, "full layer");
    int rc = lum_vm_put(vm, tool, "/full/", &err);
    ok(rc == LUM_EGUEST && one_line(err.text) && strstr(err.text, "No space"),
       "a copy into it says why: %d %s", rc, err.text);
    ok(sh(vm, "rm -rf /fill /full", &r) == 0, "emptied");
    ok(sh(vm, "dd if=/dev/zero of=/tmp/fill bs=64k", &r) == 0 && strstr(r.err_out, "No space"),
       "/tmp fills up: %.60s", r.err_out);
    check_alive(vm, "full /tmp");
    ok(sh(vm, "rm /tmp/fill; ls -A /tmp /full", &r) == 0, "emptied: %s", r.out);
}

static void test_hardware(lum_vm *vm)
{
    struct run r;

    ok(sh(vm, "/run/tool try-ports; /run/tool load-kernel", &r) == 0 && !strstr(r.out, ": done"),
       "no way to ports, physical memory or another kernel: %s", r.out);
    check_alive(vm, "ports and kexec");
}

static void test_memory_pressure(lum_vm *vm)
{
    struct lum_error err;
    struct lum_exit_status status = {0};
    uint64_t before = monitor_bytes(vm);
    lum_exec *exec = begun(vm, "exec /run/tool eat-memory");
    struct run r;

    int rc = exec ? lum_exec_wait(exec, run_ms, &status, &err) : -1;
    ok(rc == 0 && status.signal == SIGKILL, "who eats all memory is killed in the guest: signal %d",
       status.signal);
    lum_exec_free(exec);
    ok(sh(vm, "for i in 1 2 3 4; do /run/tool eat-memory & done; wait; echo over", &r) == 0,
       "and four at once: %s%s", r.out, r.err.text);
    check_alive(vm, "memory pressure");
    check_memory(vm, "memory pressure", before);
}

/* ---- one machine each ---- */

static void test_fork_bomb(void)
{
    struct lum_vm_options o = vm_options();
    struct lum_error err = {0};
    char why[160] = "";
    struct run r;

    o.memory_bytes = 96 * MIB;
    lum_vm *vm = armed_vm(&o);
    if (!ok(vm != NULL, "boots for a fork bomb"))
        return;
    lum_exec *exec = begun(vm, "exec /run/tool fork-bomb");
    sleep(4);
    struct guard *guard = guard_start(vm, 60000);
    int rc = sh_within(vm, "true", 30000, &r);
    /* Answered one way or the other: it ran, was killed at its deadline, or there was no room. */
    ok(!guard_end(guard) && (rc == 0 || (rc == LUM_EGUEST && one_line(r.err.text))),
       "a command is answered under a fork bomb: %d, timed out %d %s", rc, r.timed_out, r.err.text);
    lum_exec_free(exec);
    guard = guard_start(vm, 120000);
    do {
        rc = sh_within(vm, "echo again", 30000, &r);
    } while (rc == LUM_EGUEST || (rc == 0 && r.timed_out));
    ok(!guard_end(guard) && rc == 0 && strcmp(r.out, "again\n") == 0,
       "letting go of the bomb kills all of it: %s%s", r.out, r.err.text);

    /* Out of reach of its command's end: in sessions of its own. */
    exec = begun(vm, "setsid /run/tool fork-bomb & setsid /run/tool fork-bomb");
    sleep(4);
    guard = guard_start(vm, 60000);
    rc = lum_vm_stop(vm, 10000, &err);
    ok(!guard_end(guard) && rc == 0, "a polite stop ends it: %s", err.text);
    ok(lum_vm_wait(vm, run_ms, why, sizeof(why), &err) == 0, "the end: %s", why);
    lum_exec_free(exec);
    lum_vm_free(vm);
}

/* A stopped agent answers nothing: what has a deadline keeps it, the rest ends with the VM. */
static void test_stopped_agent(void)
{
    struct lum_vm_options o = vm_options();
    struct lum_error err = {0};
    struct run r;
    lum_vm *vm = armed_vm(&o);

    if (!ok(vm != NULL, "boots for a stopped agent"))
        return;
    lum_exec *exec = spawn(vm, "exec /run/tool stop-agent");
    sleep(1);
    uint64_t before = monitor_bytes(vm);
    struct guard *guard = guard_start(vm, 30000);
    int rc = sh_within(vm, "true", 500, &r);
    ok(!guard_end(guard) && rc == LUM_EGUEST && one_line(r.err.text),
       "a command with a deadline, when the agent is stopped: %d %s", rc, r.err.text);
    lum_stream *stream;
    guard = guard_start(vm, 30000);
    rc = lum_vm_dial(vm, 6005, 500, &stream, &err);
    ok(!guard_end(guard) && rc < 0, "a dial with a deadline: %d %s", rc, err.text);
    guard = guard_start(vm, 1000);
    rc = lum_vm_get(vm, "/etc", scratch, &err);
    ok(guard_end(guard) && rc == LUM_EGONE, "a copy ends with the VM: %d %s", rc, err.text);
    check_memory(vm, "stopped agent", before);
    lum_exec_free(exec);
    lum_vm_free(vm);
}

static void ends_by(const char *what, const char *script, const char *args, const char *reason)
{
    struct lum_vm_options o = vm_options();
    struct lum_error err = {0};

    o.log = on_log;
    o.kernel_args = args;
    o.memory_bytes = 96 * MIB;
    lum_vm *vm = armed_vm(&o);
    if (!ok(vm != NULL, "%s: boots", what))
        return;
    lum_exec *exec = spawn(vm, script);
    int rc = exec ? lum_exec_wait(exec, run_ms, NULL, &err) : 0;
    ok(rc == LUM_EGONE && one_line(err.text), "%s: the command's end: %d %s", what, rc, err.text);
    lum_exec_free(exec);
    vm_ends(vm, what, reason);
    lum_vm_free(vm);
}

static void test_ends(void)
{
    unsigned before = atomic_load(&panic_lines);

    ends_by("agent crashes", "/run/tool crash-agent; sleep 1000", NULL,
            "crashed: Kernel panic - not syncing: Attempted to kill init!");
    ok(atomic_load(&panic_lines) > before, "the panic is a line of the console");
    ends_by("panic for want of memory", "/run/tool eat-memory; sleep 1000",
            "sysctl.vm.panic_on_oom=2", "crashed: Kernel panic - not syncing: Out of memory");
    ends_by("rubbish in the agent's connection", "/run/tool garble-agent; sleep 1000", NULL, "");
}

/* More than there is memory, without a process to blame: the kernel may find no way out. */
static void test_full_everything(void)
{
    struct lum_vm_options o = vm_options();
    struct lum_error err;
    char why[240] = "";
    struct run r;

    o.memory_bytes = 96 * MIB;
    lum_vm *vm = vm_up(&o);
    if (!ok(vm != NULL, "boots to be filled up"))
        return;
    int rc = sh_within(
        vm, "for d in / /tmp /run /dev/shm; do dd if=/dev/zero of=$d/f bs=64k & done; wait", 30000,
        &r);
    if (rc == 0 && sh_within(vm, "true", 30000, &r) == 0)
        snprintf(why, sizeof(why), "it serves on");
    else if (lum_vm_wait(vm, 10000, why, sizeof(why), &err) < 0)
        snprintf(why, sizeof(why), "%s", err.text);
    ok(strcmp(why, "it serves on") == 0 || strstr(why, "crashed: Kernel panic"),
       "every file system is full: %s", why);
    vm_down(vm);
}

static void test_reboot_loop(void)
{
    for (int i = 0; i < 5; i++) {
        struct lum_vm_options o = vm_options();
        lum_vm *vm = vm_up(&o);
        if (!ok(vm != NULL, "boot %d of a guest that only reboots", i + 1))
            return;
        lum_exec *exec = spawn(vm, "reboot -f");
        vm_ends(vm, "reboot loop", "reset");
        lum_exec_free(exec);
        lum_vm_free(vm);
    }
}

static void test_shared(void)
{
    struct lum_vm_options o = vm_options();
    const char *echo = kit_path("LUMINA_TEST_ECHO");
    struct lum_error err;

    o.log = on_log;
    lum_vm *vm = armed_vm(&o);
    if (!ok(vm != NULL, "a VM boots"))
        return;
    ok(lum_vm_put(vm, echo, "/run/echo", &err) == 0, "the echo program is in the guest");
    test_output_flood(vm);
    test_console_flood(vm);
    test_vsock_storm(vm);
    test_half_open(vm);
    test_stream_flood(vm);
    test_agent_signals(vm);
    test_full_disks(vm);
    test_hardware(vm);
    test_memory_pressure(vm);
    vm_down(vm);
}

int main(int argc, char **argv)
{
    struct rlimit files = {4096, 4096};

    tool = kit_path("LUMINA_TEST_TOOL");
    if (!kit_begin(argc, argv) || !tool)
        return kit_end();
    (void)setrlimit(RLIMIT_NOFILE, &files);
    test_shared();
    test_fork_bomb();
    test_stopped_agent();
    test_ends();
    test_full_everything();
    test_reboot_loop();
    return kit_end();
}
