/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile agent against the worker and the library.
 *
 *     test_linux_agent BACKEND
 *
 * LUMINA_TEST_LIAR is a root file system, an initramfs, that puts test_linux_liar.c in the place of
 * the agent: that is what a hostile image can do to everybody. One machine for each lie, as a lie
 * ends the machine; lies in copies do not and share one.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test_linux_kit.h"

#define START_MS 20000

static const char *liar;

static lum_vm *lying_vm(const char *lie, int32_t start_ms, int *ret_rc, struct lum_error *err)
{
    struct lum_vm_options o = vm_options();
    char args[64];
    lum_vm *vm = NULL;

    snprintf(args, sizeof(args), "liar=%s", lie);
    o.rootfs = liar;
    o.kernel_args = args;
    o.memory_bytes = 64 * MIB;
    *ret_rc = lum_vm_create(&o, &vm, err);
    if (*ret_rc == 0)
        *ret_rc = lum_vm_start(vm, start_ms, err);
    return vm;
}

static lum_vm *started_vm(const char *lie)
{
    struct lum_error err;
    int rc;
    lum_vm *vm = lying_vm(lie, boot_ms, &rc, &err);

    if (!ok(rc == 0, "%s: the agent is taken for one", lie)) {
        tap_note("%s", err.text);
        lum_vm_free(vm);
        return NULL;
    }
    return vm;
}

/* ---- before the agent is ready ---- */

static const struct {
    const char *lie;
    int32_t start_ms;
    int rc;
    const char *text;
} boots[] = {
    {"silent", 3000, LUM_ETIMEDOUT, "not ready within"},
    {"half_header", 3000, LUM_ETIMEDOUT, "not ready within"},
    {"leave", START_MS, LUM_EGUEST, "ended while booting"},
    {"half_frame", START_MS, LUM_EGUEST, "ended while booting"},
    {"quit", START_MS, LUM_EGUEST, "Attempted to kill init! exitcode=0x00000300"},
    {"no_such_lie", START_MS, LUM_EGUEST, "Attempted to kill init! exitcode=0x00000200"},
    {"started_first", START_MS, LUM_EGUEST, "does not speak the agent protocol"},
    {"wrong_magic", START_MS, LUM_EGUEST, "does not speak the agent protocol"},
    {"wrong_version", START_MS, LUM_EGUEST, "another version of the protocol"},
    {"long_name", START_MS, LUM_EGUEST, "does not speak the agent protocol"},
    {"hello_with_id", START_MS, LUM_EGUEST, "does not speak the agent protocol"},
    {"empty_hello", START_MS, LUM_EGUEST, "does not speak the agent protocol"},
    {"largest_hello", START_MS, LUM_EGUEST, "does not speak the agent protocol"},
    {"oversized", START_MS, LUM_EGUEST, "oversized frame"},
    {"endless_size", START_MS, LUM_EGUEST, "oversized frame"},
    {"noise", START_MS, LUM_EGUEST, "oversized frame"},
};

static void test_boots(void)
{
    for (size_t i = 0; i < sizeof(boots) / sizeof(boots[0]); i++) {
        struct lum_error err = {0};
        char why[240] = "";
        int rc;
        lum_vm *vm = lying_vm(boots[i].lie, boots[i].start_ms, &rc, &err);

        ok(rc == boots[i].rc && one_line(err.text) && strstr(err.text, boots[i].text), "%s: %d %s",
           boots[i].lie, rc, err.text);
        rc = vm ? lum_vm_wait(vm, run_ms, why, sizeof(why), &err) : -1;
        ok(rc == 0 && one_line(why), "%s: the VM has ended: %s", boots[i].lie, why);
        lum_vm_free(vm);
    }
}

/* ---- commands ---- */

static const struct {
    const char *lie;
    int rc;
    const char *text;
} commands[] = {
    {"hello_twice", LUM_EGONE, "a frame of no operation"},
    {"unknown_id", LUM_EGONE, "a frame of no operation"},
    {"started_twice", LUM_EGONE, "started an operation twice"},
    {"started_short", LUM_EGONE, "started an operation twice"},
    {"done_first", LUM_EGONE, "malformed end"},
    {"done_large", LUM_EGONE, "malformed end"},
    {"done_signal", LUM_EGONE, "malformed end"},
    {"data_after_eof", LUM_EGONE, "more data than allowed"},
    {"data_first", LUM_EGONE, "wrote to an input"},
    {"data_empty", LUM_EGONE, "more data than allowed"},
    {"data_large", LUM_EGONE, "more data than allowed"},
    {"data_to_input", LUM_EGONE, "wrote to an input"},
    {"no_such_stream", LUM_EGONE, "a stream that does not exist"},
    {"no_such_type", LUM_EGONE, "unknown frame"},
    {"host_type", LUM_EGONE, "unknown frame"},
    {"credit_overflow", LUM_EGONE, "malformed credit"},
    {"credit_short", LUM_EGONE, "malformed credit"},
    {"credit_for_output", LUM_EGONE, "malformed credit"},
    {"failed_huge", LUM_EGONE, "malformed failure"},
    {"failed_late", LUM_EGONE, "malformed failure"},
    {"failed_lying_size", LUM_EGONE, "malformed failure"},
    {"cut_off", LUM_EGONE, "the VM has ended"},
    {"no_answer", LUM_EGUEST, "does not answer"},
    {"failed_ugly", LUM_ENOEXEC, "owned"},
    {"slow_hello", 0, "lied\n"},
    /* What comes for an operation that is over may have been on its way. */
    {"done_twice", 0, "lied\n"},
    {"data_after_done", 0, "lied\n"},
    {"bye_flood", 0, "lied\n"},
};

static void test_commands(void)
{
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        const char *lie = commands[i].lie;
        struct lum_error err;
        char why[240] = "";
        struct run r;
        lum_vm *vm = started_vm(lie);

        if (!vm)
            continue;
        struct guard *guard = guard_start(vm, 30000);
        int rc = sh_within(vm, "true", 3000, &r);
        const char *text = rc == 0 ? r.out : r.err.text;
        ok(!guard_end(guard) && rc == commands[i].rc && (rc == 0 || one_line(text)) &&
               strstr(text, commands[i].text),
           "%s: %d %s", lie, rc, text);
        if (rc == LUM_EGONE) {
            rc = lum_vm_wait(vm, run_ms, why, sizeof(why), &err);
            ok(rc == 0 && one_line(why), "%s: the VM has ended: %s", lie, why);
        } else {
            rc = sh_within(vm, "true", 3000, &r);
            ok(rc == commands[i].rc || rc == 0, "%s: and the next command: %d", lie, rc);
        }
        lum_vm_free(vm);
    }
}

/* ---- streams that stand still or never do ---- */

static void test_flood(void)
{
    static char buf[65536];
    struct lum_error err = {0};
    size_t n;
    lum_vm *vm = started_vm("data_flood");

    if (!vm)
        return;
    uint64_t before = monitor_bytes(vm);
    lum_exec *exec = spawn(vm, "true");
    struct guard *guard = guard_start(vm, 30000);
    int rc = exec ? lum_exec_wait(exec, -1, NULL, &err) : 0;
    ok(!guard_end(guard) && rc == LUM_EGONE && strstr(err.text, "more data than allowed"),
       "data_flood: with a reader that does not read: %d %s", rc, err.text);
    check_memory(vm, "data_flood", before);
    size_t got = 0;
    while (exec && lum_exec_read(exec, LUM_STDOUT, buf, sizeof(buf), run_ms, &n, &err) == 0 && n)
        got += n;
    ok(got >= 256 * 1024 && got < MIB, "what it was allowed to send can be read: %zu", got);
    lum_exec_free(exec);
    lum_vm_free(vm);
}

/* A guest that does not read, or a byte a second: the writer waits, what waits here is bounded. */
static void test_deaf(const char *lie)
{
    const char *const argv[] = {"cat", NULL};
    struct lum_exec_options o = LUM_EXEC_OPTIONS_INIT;
    static char block[65536];
    struct lum_error err = {0};
    struct run r;
    lum_exec *exec = NULL;
    lum_vm *vm = started_vm(lie);

    if (!vm)
        return;
    uint64_t before = monitor_bytes(vm);
    o.argv = argv;
    o.flags = LUM_EXEC_STDIN;
    if (!ok(lum_vm_exec(vm, &o, &exec, &err) == 0, "%s: a command starts", lie))
        tap_note("%s", err.text);
    for (int i = 0; exec && i < 100000; i++)
        if (lum_exec_signal(exec, SIGHUP, &err) < 0)
            break;
    int rc = sh_within(vm, "true", 500, &r);
    ok(rc == LUM_EGUEST, "%s: a command with a deadline keeps it: %d %s", lie, rc, r.err.text);
    struct guard *guard = guard_start(vm, 2000);
    size_t written = 0;
    rc = exec ? 0 : -1;
    while (rc == 0) {
        rc = lum_exec_write(exec, block, sizeof(block), &err);
        written += rc == 0 ? sizeof(block) : 0;
    }
    check_memory(vm, lie, before);
    ok(guard_end(guard) && rc == LUM_EGONE && written < 8 * MIB,
       "%s: a write waits, until the VM ends: %zu bytes, %d %s", lie, written, rc, err.text);
    lum_exec_free(exec);
    lum_vm_free(vm);
}

/* What nobody wants any more and the guest never ends is forgotten here. */
static void test_endless(void)
{
    enum { COMMANDS = 300 };
    lum_stream *stream = NULL;
    struct lum_error err = {0};
    int started = 0;
    lum_vm *vm = started_vm("endless");

    if (!vm)
        return;
    uint64_t before = monitor_bytes(vm);
    unsigned fds = process_fds();
    for (int i = 0; i < COMMANDS; i++) {
        lum_exec *exec = spawn(vm, "true");
        started += exec != NULL;
        lum_exec_free(exec);
    }
    ok(started == COMMANDS, "%d commands that never end are let go", started);
    for (int i = 0; i < 50; i++)
        if (lum_vm_dial(vm, 1, 10, &stream, &err) == 0)
            lum_stream_free(stream);
    struct guard *guard = guard_start(vm, 60000);
    int rc = lum_vm_dial(vm, 1, -1, &stream, &err);
    ok(!guard_end(guard) && rc < 0 && one_line(err.text),
       "a dial without a deadline has one: %d %s", rc, err.text);
    for (int i = 0; i < 100 && process_fds() > fds; i++)
        usleep(100000);
    ok(process_fds() <= fds, "all descriptors are given back: %u, were %u", process_fds(), fds);
    check_memory(vm, "endless", before);
    vm_down(vm);
}

static void test_endless_bye(void)
{
    struct lum_error err;
    struct run r;
    lum_vm *vm = started_vm("flood_after_bye");

    if (!vm)
        return;
    uint64_t before = monitor_bytes(vm);
    int rc = sh_within(vm, "true", 500, &r);
    ok(rc == LUM_EGUEST, "flood_after_bye: a command with a deadline: %d %s", rc, r.err.text);
    check_memory(vm, "flood_after_bye", before);
    rc = lum_vm_stop(vm, 1000, &err);
    ok(rc == 0, "flood_after_bye: a polite stop that is not heard ends it: %d", rc);
    lum_vm_free(vm);
}

static void test_dial(void)
{
    lum_stream *stream = NULL;
    struct lum_error err = {0};
    lum_vm *vm = started_vm("dial_data_first");

    if (vm) {
        struct guard *guard = guard_start(vm, 30000);
        int rc = lum_vm_dial(vm, 1, -1, &stream, &err);
        ok(!guard_end(guard) && rc < 0 && one_line(err.text), "dial_data_first: %d %s", rc,
           err.text);
        lum_vm_free(vm);
    }
}

static void test_put(void)
{
    struct lum_error err = {0};
    lum_vm *vm = started_vm("put_refuses");

    if (!vm)
        return;
    struct guard *guard = guard_start(vm, 30000);
    int rc = lum_vm_put(vm, "/proc/self/exe", "/x", &err);
    ok(!guard_end(guard) && rc == LUM_EGUEST && strstr(err.text, "gives no reason"),
       "put_refuses: %d %s", rc, err.text);
    vm_down(vm);
}

/* ---- copies ---- */

static const struct {
    const char *lie;
    int rc; /* 1: any error */
    const char *text;
} copies[] = {
    {"path_absolute", LUM_EGUEST, "malformed copy"},
    {"path_up", LUM_EGUEST, "malformed copy"},
    {"path_up_inside", LUM_EGUEST, "malformed copy"},
    {"path_up_alone", LUM_EGUEST, "malformed copy"},
    {"path_dot", LUM_EGUEST, "malformed copy"},
    {"path_trailing", LUM_EGUEST, "malformed copy"},
    {"path_no_parent", LUM_EGUEST, "malformed copy"},
    {"path_nul", LUM_EGUEST, "malformed copy"},
    {"path_long", LUM_EGUEST, "malformed copy"},
    {"name_long", LUM_EGUEST, "malformed copy"},
    {"through_link", LUM_EGUEST, "malformed copy"},
    {"folder_over_link", 1, "/folder_over_link/l: "},
    {"root_link", LUM_EGUEST, "malformed copy"},
    {"root_twice", LUM_EGUEST, "malformed copy"},
    {"no_root", LUM_EGUEST, "malformed copy"},
    {"twice", 1, "/twice/a: "},
    {"device", LUM_EGUEST, "malformed copy"},
    {"odd_mode", LUM_EGUEST, "malformed copy"},
    {"folder_with_size", LUM_EGUEST, "malformed copy"},
    {"file_shorter", LUM_EGUEST, "cut off"},
    {"file_longer", LUM_EGUEST, "malformed copy"},
    {"file_endless", 1, "/file_endless/f: File too large"},
    {"link_empty", LUM_EGUEST, "malformed copy"},
    {"link_huge", 1, "/link_huge/l: "},
    {"too_deep", 1, "/too_deep/d/d/d"},
    {"error_record", LUM_EGUEST, "the guest cannot read secret: Permission denied"},
    {"error_absurd", LUM_EGUEST, "the guest cannot read"},
    {"after_end", LUM_EGUEST, "malformed copy"},
    {"no_end", LUM_EGUEST, "cut off"},
    {"end_with_fields", LUM_EGUEST, "malformed copy"},
    {"file_over_link", 0, ""},
    {"set_id", 0, ""},
    {"no_such_lie", LUM_EGUEST, "gives no reason"},
};

/* Beside the copy nothing was made, and what a link pointed to is as it was. */
static bool nothing_outside(const char *name)
{
    return host_sh("cd %s/out && test \"$(ls -A | grep -vx %s)\" = victim &&"
                   " test \"$(cat victim)\" = untouched && test ! -e /escaped &&"
                   " test ! -e /tmp/escaped && test ! -e %s/escaped",
                   scratch, name, scratch) == 0;
}

static void test_copies(void)
{
    struct rlimit old, limit;
    struct lum_error err;
    char guest[64], path[128];
    struct stat st;
    lum_vm *vm = started_vm("trees");

    if (!vm)
        return;
    ok(host_sh("echo untouched >%s/out/victim", scratch) == 0, "a file beside the copies");
    uint64_t before = monitor_bytes(vm);
    /* Stands for a full disk. */
    (void)signal(SIGXFSZ, SIG_IGN);
    (void)getrlimit(RLIMIT_FSIZE, &old);
    limit = (struct rlimit){.rlim_cur = 4 * MIB, .rlim_max = old.rlim_max};
    (void)setrlimit(RLIMIT_FSIZE, &limit);
    for (size_t i = 0; i < sizeof(copies) / sizeof(copies[0]); i++) {
        const char *lie = copies[i].lie;

        err = (struct lum_error){0};
        snprintf(guest, sizeof(guest), "/%s", lie);
        snprintf(path, sizeof(path), "%s/out/%s", scratch, lie);
        struct guard *guard = guard_start(vm, 30000);
        int rc = lum_vm_get(vm, guest, path, &err);
        ok(!guard_end(guard) && (copies[i].rc == 1 ? rc < 0 : rc == copies[i].rc) &&
               (rc == 0 || (one_line(err.text) && strstr(err.text, copies[i].text))),
           "%s: %d %s", lie, rc, err.text);
        ok(nothing_outside(lie), "%s: nothing is written outside", lie);
        if (strcmp(lie, "set_id") == 0) {
            snprintf(path, sizeof(path), "%s/out/set_id/suid", scratch);
            ok(stat(path, &st) == 0 && (st.st_mode & 06000) == 0, "set_id: the bits are dropped");
        }
        (void)host_sh("chmod -R u+rwx %s/out/%s 2>/dev/null; rm -rf %s/out/%s", scratch, lie,
                      scratch, lie);
    }
    (void)setrlimit(RLIMIT_FSIZE, &old);
    check_memory(vm, "lies in copies", before);
    struct guard *guard = guard_start(vm, 1000);
    snprintf(path, sizeof(path), "%s/out/never_comes", scratch);
    int rc = lum_vm_get(vm, "/never_comes", path, &err);
    ok(guard_end(guard) && rc == LUM_EGONE, "never_comes: ends with the VM: %d %s", rc, err.text);
    lum_vm_free(vm);
}

int main(int argc, char **argv)
{
    liar = kit_path("LUMINA_TEST_LIAR");
    if (!kit_begin(argc, argv) || !liar)
        return kit_end();
    test_boots();
    test_commands();
    test_flood();
    test_deaf("deaf");
    test_deaf("hard_of_hearing");
    test_endless();
    test_endless_bye();
    test_dial();
    test_put();
    test_copies();
    return kit_end();
}
