/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The conformance suite: what every backend must do, through the public API alone, with a real
 * Linux guest.
 *
 *     conformance BACKEND
 *
 * Skips with the probe's reason where the backend cannot run. LUMINA_TEST_ECHO names the vsock_echo
 * program, LUMINA_TEST_BUSYBOX a static busybox for the tests that build root file systems.
 */
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conformance.h"

const char *backend_name;
/* A software CPU inside a software CPU is slow: generous, and only a deadline. */
const int32_t boot_ms = 120000, run_ms = 60000;

lum_vm *vm_up(const struct lum_vm_options *base)
{
    struct lum_vm_options o = LUM_VM_OPTIONS_INIT;
    struct lum_error err;
    lum_vm *vm;

    if (base)
        o = *base;
    o.backend = backend_name;
    if (lum_vm_create(&o, &vm, &err) < 0) {
        printf("# create: %s\n", err.text);
        return NULL;
    }
    if (lum_vm_start(vm, boot_ms, &err) < 0) {
        printf("# start: %s\n", err.text);
        lum_vm_free(vm);
        return NULL;
    }
    return vm;
}

static size_t read_stream(lum_exec *exec, int32_t stream, char *buf, size_t capacity)
{
    struct lum_error err;
    size_t have = 0, n;
    char rest[4096];

    for (;;) {
        bool full = have == capacity;
        if (lum_exec_read(exec, stream, full ? rest : buf + have,
                          full ? sizeof(rest) : capacity - have, run_ms, &n, &err) < 0) {
            printf("# read: %s\n", err.text);
            return have;
        }
        if (n == 0)
            return have;
        if (!full)
            have += n;
    }
}

int run_opts(lum_vm *vm, const struct lum_exec_options *opts, const char *input, struct run *r)
{
    struct lum_exit_status status = {0};
    lum_exec *exec;
    int rc;

    memset(r, 0, sizeof(*r));
    rc = lum_vm_exec(vm, opts, &exec, &r->err);
    if (rc < 0)
        return rc;
    if (input && lum_exec_write(exec, input, strlen(input), &r->err) < 0)
        printf("# write: %s\n", r->err.text);
    if (opts->flags & LUM_EXEC_STDIN && lum_exec_close_stdin(exec, &r->err) < 0)
        printf("# close: %s\n", r->err.text);
    r->out_size = read_stream(exec, LUM_STDOUT, r->out, sizeof(r->out) - 1);
    if (!(opts->flags & LUM_EXEC_TTY))
        r->err_size = read_stream(exec, LUM_STDERR, r->err_out, sizeof(r->err_out) - 1);
    rc = lum_exec_wait(exec, run_ms, &status, &r->err);
    r->code = status.exit_code;
    r->signal = status.signal;
    r->timed_out = status.timed_out;
    lum_exec_free(exec);
    return rc;
}

int sh(lum_vm *vm, const char *script, struct run *r)
{
    const char *const argv[] = {"sh", "-c", script, NULL};
    struct lum_exec_options o = LUM_EXEC_OPTIONS_INIT;

    o.argv = argv;
    return run_opts(vm, &o, NULL, r);
}

/* ---- commands ---- */

static void test_output(lum_vm *vm)
{
    struct run r;

    ok(sh(vm, "echo out; echo err >&2; exit 7", &r) == 0, "a command runs");
    ok(strcmp(r.out, "out\n") == 0, "stdout: %s", r.out);
    ok(strcmp(r.err_out, "err\n") == 0, "stderr: %s", r.err_out);
    ok(r.code == 7 && r.signal == 0, "exit code 7, got %d", r.code);
    ok(sh(vm, "uname -s; uname -m; id -u", &r) == 0 && strncmp(r.out, "Linux\n", 6) == 0,
       "uname and id: %s", r.out);
    ok(sh(vm, "kill -9 $$", &r) == 0 && r.signal == 9 && r.code == 137, "killed by signal 9");
    ok(sh(vm, "sleep 1000 & echo left behind", &r) == 0 && r.code == 0 &&
           strcmp(r.out, "left behind\n") == 0,
       "a process left behind does not hold the streams");
    ok(sh(vm, "cat", &r) == 0 && r.code == 0 && r.out_size == 0, "stdin not asked for is empty");
}

static void test_exec_options(lum_vm *vm)
{
    struct lum_exec_options o = LUM_EXEC_OPTIONS_INIT;
    const char *const pwd[] = {"sh", "-c", "pwd; echo $A-$B; echo $HOME; id -u; id -g", NULL};
    const char *const env[] = {"A=one", "B=two words", NULL};
    const char *const nosuch[] = {"no-such-command", NULL};
    const char *const noexec[] = {"/etc/passwd", NULL};
    const char *const tr[] = {"tr", "a-z", "A-Z", NULL};
    struct run r;

    o.argv = pwd;
    o.env = env;
    o.cwd = "/tmp";
    ok(run_opts(vm, &o, NULL, &r) == 0 && strcmp(r.out, "/tmp\none-two words\n/root\n0\n0\n") == 0,
       "working directory and environment: %s", r.out);
    o.user = "1000:1000";
    ok(run_opts(vm, &o, NULL, &r) == 0 && strstr(r.out, "\n1000\n1000\n"), "user: %s", r.out);
    o.user = "nosuchuser";
    ok(run_opts(vm, &o, NULL, &r) == LUM_ENOENT, "unknown user: %s", r.err.text);
    o.user = NULL;
    o.cwd = "/no/such/dir";
    ok(run_opts(vm, &o, NULL, &r) == LUM_ENOENT, "unknown folder: %s", r.err.text);
    o.cwd = NULL;
    o.argv = nosuch;
    ok(run_opts(vm, &o, NULL, &r) == LUM_ENOCMD, "unknown command: %s", r.err.text);
    o.argv = noexec;
    ok(run_opts(vm, &o, NULL, &r) == LUM_ENOEXEC, "not executable: %s", r.err.text);
    o.argv = tr;
    o.flags = LUM_EXEC_STDIN;
    ok(run_opts(vm, &o, "hi\n", &r) == 0 && strcmp(r.out, "HI\n") == 0, "stdin through tr: %s",
       r.out);
    o.env = nosuch;
    ok(run_opts(vm, &o, NULL, &r) == LUM_EINVAL, "bad environment refused: %s", r.err.text);
}

struct feeder {
    lum_exec *exec;
    size_t size;
    int rc;
};

static void *feed(void *arg)
{
    struct feeder *f = arg;
    struct lum_error err;
    static char block[65536];

    for (size_t done = 0; done < f->size && f->rc == 0; done += sizeof(block))
        f->rc = lum_exec_write(f->exec, block, sizeof(block), &err);
    if (f->rc == 0)
        f->rc = lum_exec_close_stdin(f->exec, &err);
    return NULL;
}

static void test_bulk(lum_vm *vm)
{
    enum { SIZE = 8 << 20 };
    const char *const argv[] = {"cat", NULL};
    struct lum_exec_options o = LUM_EXEC_OPTIONS_INIT;
    struct lum_exit_status status;
    struct lum_error err;
    static char buf[65536];
    pthread_t thread;
    size_t total = 0, n = 1;

    o.argv = argv;
    o.flags = LUM_EXEC_STDIN;
    struct feeder f = {.size = SIZE};
    if (!ok(lum_vm_exec(vm, &o, &f.exec, &err) == 0, "cat starts"))
        return;
    pthread_create(&thread, NULL, feed, &f);
    while (n > 0 && lum_exec_read(f.exec, LUM_STDOUT, buf, sizeof(buf), run_ms, &n, &err) == 0)
        total += n;
    pthread_join(thread, NULL);
    ok(f.rc == 0 && total == SIZE, "8 MiB through cat and back: %zu", total);
    ok(lum_exec_wait(f.exec, run_ms, &status, &err) == 0 && status.exit_code == 0, "cat ends");
    lum_exec_free(f.exec);

    /* A reader that reads nothing must stop the writer in the guest, and nothing else. */
    struct run r;
    const char *const yes[] = {"yes", NULL};
    lum_exec *exec;
    o.argv = yes;
    o.flags = 0;
    ok(lum_vm_exec(vm, &o, &exec, &err) == 0, "yes starts");
    ok(sh(vm, "echo alive", &r) == 0 && strcmp(r.out, "alive\n") == 0,
       "a full stream holds up no other command");
    lum_exec_free(exec);
    ok(sh(vm,
          "for i in 1 2 3 4 5 6 7 8 9 10; do pidof yes >/dev/null || exit 0; sleep 0.5; done; "
          "exit 1",
          &r) == 0 &&
           r.code == 0,
       "freeing a command kills it");
}

static void test_tty(lum_vm *vm)
{
    const char *const argv[] = {
        "sh", "-c", "test -t 0 && test -t 1 && stty size; read x; stty size; tty", NULL};
    struct lum_exec_options o = LUM_EXEC_OPTIONS_INIT;
    struct lum_exit_status status;
    struct lum_error err;
    lum_exec *exec;
    char text[512] = "";
    size_t have = 0, n = 1;
    bool asked = false;

    o.argv = argv;
    o.flags = LUM_EXEC_TTY | LUM_EXEC_STDIN;
    o.rows = 33;
    o.cols = 99;
    if (!ok(lum_vm_exec(vm, &o, &exec, &err) == 0, "a command on a terminal starts"))
        return;
    while (n > 0 && have < sizeof(text) - 1 &&
           lum_exec_read(exec, LUM_STDOUT, text + have, sizeof(text) - 1 - have, run_ms, &n,
                         &err) == 0) {
        have += n;
        text[have] = '\0';
        if (!asked && strstr(text, "33 99")) {
            asked = true;
            ok(lum_exec_resize(exec, 44, 111, &err) == 0, "resize");
            ok(lum_exec_write(exec, "go\r", 3, &err) == 0, "type a line");
        }
    }
    ok(asked, "first size seen");
    ok(strstr(text, "44 111") != NULL, "second size seen: %s", text);
    ok(strstr(text, "/dev/pts/") != NULL, "it is a pseudo terminal");
    ok(lum_exec_wait(exec, run_ms, &status, &err) == 0 && status.exit_code == 0, "it ends with 0");
    lum_exec_free(exec);
}

static void test_signals(lum_vm *vm)
{
    const char *const trap[] = {
        "sh", "-c", "trap 'echo got; exit 5' INT; echo ready; while :; do sleep 0.1; done", NULL};
    const char *const sleeper[] = {"sleep", "1000", NULL};
    struct lum_exec_options o = LUM_EXEC_OPTIONS_INIT;
    struct lum_exit_status status = {0};
    struct lum_error err;
    lum_exec *exec;
    struct run r;
    char buf[64];
    size_t n;

    o.argv = trap;
    if (!ok(lum_vm_exec(vm, &o, &exec, &err) == 0, "a command with a trap starts"))
        return;
    ok(lum_exec_read(exec, LUM_STDOUT, buf, sizeof(buf), run_ms, &n, &err) == 0, "it is ready");
    ok(lum_exec_wait(exec, 10, &status, &err) == LUM_ETIMEDOUT, "waiting has a deadline");
    ok(lum_exec_signal(exec, SIGINT, &err) == 0, "send SIGINT");
    ok(lum_exec_wait(exec, run_ms, &status, &err) == 0 && status.exit_code == 5, "trap ran: %d",
       status.exit_code);
    ok(lum_exec_signal(exec, SIGINT, &err) == 0, "a signal after the end is harmless");
    ok(lum_exec_signal(exec, 0, &err) == LUM_EINVAL, "signal 0 refused");
    lum_exec_free(exec);

    o.argv = sleeper;
    o.timeout_ms = 300;
    ok(run_opts(vm, &o, NULL, &r) == 0 && r.timed_out && r.signal == SIGKILL,
       "the time limit kills: code %d signal %d", r.code, r.signal);
}

static void *parallel(void *arg)
{
    lum_vm *vm = arg;
    struct run *r = calloc(1, sizeof(*r));
    intptr_t good = 0;

    for (int i = 0; r && i < 4; i++)
        good +=
            sh(vm, "head -c 100000 /dev/zero | wc -c", r) == 0 && strcmp(r->out, "100000\n") == 0;
    free(r);
    return (void *)good;
}

static void test_parallel(lum_vm *vm)
{
    pthread_t thread[8];
    intptr_t good = 0;

    for (int i = 0; i < 8; i++)
        pthread_create(&thread[i], NULL, parallel, vm);
    for (int i = 0; i < 8; i++) {
        void *ret;
        pthread_join(thread[i], &ret);
        good += (intptr_t)ret;
    }
    ok(good == 32, "32 commands from 8 threads: %d", (int)good);
}

/* As many as the guest takes; one more is refused, and a place is free again when one ends. */
static void test_many(lum_vm *vm)
{
    enum { MANY = 256 };
    const char *const argv[] = {"sleep", "1000", NULL};
    struct lum_exec_options o = LUM_EXEC_OPTIONS_INIT;
    struct rlimit files = {4096, 4096};
    static lum_exec *exec[MANY];
    struct lum_error err = {0};
    lum_exec *more;
    struct run r;
    int n = 0;

    if (setrlimit(RLIMIT_NOFILE, &files) < 0) {
        tap_skip("256 commands", "the descriptor limit cannot be raised");
        return;
    }
    o.argv = argv;
    o.flags = LUM_EXEC_STDIN;
    while (n < MANY && lum_vm_exec(vm, &o, &exec[n], &err) == 0)
        n++;
    ok(n == MANY, "256 commands at the same time: %d %s", n, err.text);
    ok(lum_vm_exec(vm, &o, &more, &err) == LUM_EBUSY, "one more is refused: %s", err.text);
    for (int i = 0; i < n; i++)
        lum_exec_free(exec[i]);
    int rc;
    do {
        rc = sh(vm, "echo free", &r);
    } while (rc == LUM_EBUSY);
    ok(rc == 0 && strcmp(r.out, "free\n") == 0, "then there is room again: %s", r.out);
}

/* ---- the machine ---- */

static void test_pause(lum_vm *vm)
{
    const char *const argv[] = {"sh", "-c", "while :; do echo tick; sleep 0.05; done", NULL};
    struct lum_exec_options o = LUM_EXEC_OPTIONS_INIT;
    struct lum_error err;
    lum_exec *exec;
    struct run r;
    char buf[4096];
    size_t n;

    ok(lum_vm_resume(vm, &err) == LUM_EBUSY, "resume of a running VM: %s", err.text);
    o.argv = argv;
    if (!ok(lum_vm_exec(vm, &o, &exec, &err) == 0, "a ticking command"))
        return;
    ok(lum_exec_read(exec, LUM_STDOUT, buf, sizeof(buf), run_ms, &n, &err) == 0, "it ticks");
    ok(lum_vm_pause(vm, &err) == 0, "pause");
    ok(lum_vm_pause(vm, &err) == LUM_EBUSY, "pause twice: %s", err.text);
    ok(sh(vm, "true", &r) == LUM_EBUSY, "no command while paused: %s", r.err.text);
    /* What was on its way arrives; then nothing comes. */
    int rc;
    do {
        rc = lum_exec_read(exec, LUM_STDOUT, buf, sizeof(buf), 500, &n, &err);
    } while (rc == 0 && n > 0);
    ok(rc == LUM_ETIMEDOUT, "a paused guest is silent");
    ok(lum_vm_resume(vm, &err) == 0, "resume");
    ok(lum_exec_read(exec, LUM_STDOUT, buf, sizeof(buf), run_ms, &n, &err) == 0 && n > 0,
       "it ticks again");
    lum_exec_free(exec);
}

/*
 * Counted, because time on a test machine says little: what a boot costs the monitor until the
 * agent is ready. A backend that cannot count says 0.
 */
static void test_exits(lum_vm *vm)
{
    struct lum_vm_stats stats = LUM_VM_STATS_INIT;
    struct lum_error err;
    int rc = lum_vm_stats(vm, &stats, &err);

    ok(rc == 0 && stats.exits <= 150, "at most 150 exits until the agent is ready: %llu",
       (unsigned long long)stats.exits);
}

static void test_figures(lum_vm *vm)
{
    struct lum_vm_stats stats = LUM_VM_STATS_INIT;
    struct lum_timing t[40];
    struct lum_error err;
    size_t n = 0;
    bool ordered = true, ready = false, first = false;

    int rc = lum_vm_timings(vm, t, 40, &n, &err);
    ok(rc == 0 && n >= 6, "the ledger has %zu stages", n);
    for (size_t i = 0; i < n && i < 40; i++) {
        ordered &= i == 0 || t[i].at_ns >= t[i - 1].at_ns;
        ready |= strcmp(t[i].stage, "agent ready") == 0;
        first |= strcmp(t[i].stage, "first output") == 0;
        printf("# %10.3f ms  %s\n", (double)t[i].at_ns / 1e6, t[i].stage);
    }
    ok(ordered && ready && first, "the ledger is ordered and whole");
    rc = lum_vm_stats(vm, &stats, &err);
    ok(rc == 0 && stats.process_rss_bytes > 0 && stats.memory_bytes == 256u << 20,
       "figures: rss %llu KiB, touched %llu KiB, exits %llu",
       (unsigned long long)stats.process_rss_bytes / 1024,
       (unsigned long long)stats.guest_touched_bytes / 1024, (unsigned long long)stats.exits);
    int timeouts = 0;
    for (int i = 0; i < 100; i++)
        timeouts += lum_vm_wait(vm, 0, NULL, 0, &err) == LUM_ETIMEDOUT;
    ok(timeouts == 100, "100 waits with a deadline: %d, %s", timeouts, err.text);
    ok(lum_vm_start(vm, 100, &err) == LUM_EBUSY, "start twice: %s", err.text);
    ok(strcmp(lum_vm_backend(vm), backend_name) == 0, "the backend is %s", lum_vm_backend(vm));
}

static void test_dial(lum_vm *vm)
{
    const char *echo = getenv("LUMINA_TEST_ECHO");
    const char *const argv[] = {"/tmp/vsock_echo", "5000", NULL};
    struct lum_exec_options o = LUM_EXEC_OPTIONS_INIT;
    struct lum_error err;
    lum_exec *exec;
    lum_stream *stream;
    char buf[64] = "";
    size_t n = 0;

    ok(lum_vm_dial(vm, 4999, run_ms, &stream, &err) == LUM_ENOENT, "nobody listens: %s", err.text);
    if (!echo) {
        tap_skip("dial", "LUMINA_TEST_ECHO is not set");
        return;
    }
    ok(lum_vm_put(vm, echo, "/tmp/vsock_echo", &err) == 0, "put the echo program");
    o.argv = argv;
    if (!ok(lum_vm_exec(vm, &o, &exec, &err) == 0, "echo starts"))
        return;
    ok(lum_exec_read(exec, LUM_STDOUT, buf, sizeof(buf), run_ms, &n, &err) == 0 && n > 0,
       "it listens");
    if (ok(lum_vm_dial(vm, 5000, run_ms, &stream, &err) == 0, "dial")) {
        ok(lum_stream_write(stream, "hello\n", 6, &err) == 0, "write");
        memset(buf, 0, sizeof(buf));
        ok(lum_stream_read(stream, buf, sizeof(buf), run_ms, &n, &err) == 0 &&
               strcmp(buf, "HELLO\n") == 0,
           "read: %s", buf);
        ok(lum_stream_shutdown(stream, &err) == 0, "half close");
        ok(lum_stream_read(stream, buf, sizeof(buf), run_ms, &n, &err) == 0 && n == 0,
           "the peer closes");
        lum_stream_free(stream);
    }
    struct lum_exit_status status;
    ok(lum_exec_wait(exec, run_ms, &status, &err) == 0 && status.exit_code == 0, "echo ends");
    lum_exec_free(exec);
}

static int count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int n = 0;

    while (dir && readdir(dir))
        n++;
    if (dir)
        closedir(dir);
    return n;
}

/* What the host can do, and that the sum of it is what a start of a VM showed. */
static void test_doctor(void)
{
    struct lum_finding list[64], first;
    struct lum_error err;
    size_t n = 0, n_again = 0;

    ok(lum_doctor(NULL, 1, &n, &err) == LUM_EINVAL && lum_doctor(list, 1, NULL, NULL) == LUM_EINVAL,
       "doctor: wrong arguments");
    int rc = lum_doctor(list, 64, &n, &err);
    if (!ok(rc == 0 && n > 10 && n <= 64, "doctor: %zu findings", n))
        return;
    ok(strcmp(list[0].name, "run") == 0 && list[0].state != LUM_FINDING_BAD, "doctor: %s: %s",
       list[0].name, list[0].found);
    memset(&first, 0, sizeof(first));
    ok(lum_doctor(&first, 1, &n_again, NULL) == 0 && n_again == n && strcmp(first.name, "run") == 0,
       "doctor: a short list holds the sum");
}

int main(int argc, char **argv)
{
    struct lum_backend list[16];
    struct lum_error err;
    size_t n = 0;

    backend_name = argc > 1 ? argv[1] : "qemu";
    int fds = count_fds();
    if (!ok(lum_backends(list, 16, &n, &err) == 0, "backends are listed"))
        return tap_done();
    const struct lum_backend *mine = NULL;
    for (size_t i = 0; i < n; i++)
        if (strcmp(list[i].name, backend_name) == 0)
            mine = &list[i];
    if (!mine || !mine->usable) {
        tap_skip(backend_name, mine ? mine->detail : "not in this build");
        return tap_done();
    }
    printf("# %s: %s\n", mine->name, mine->detail);

    lum_vm *vm = vm_up(NULL);
    if (!ok(vm != NULL, "a VM boots"))
        return tap_done();
    test_exits(vm);
    test_output(vm);
    test_exec_options(vm);
    test_bulk(vm);
    test_tty(vm);
    test_signals(vm);
    test_parallel(vm);
    test_many(vm);
    test_files(vm);
    test_dial(vm);
    if (mine->features & LUM_FEATURE_PAUSE)
        test_pause(vm);
    test_figures(vm);
    test_ends(vm);
    test_shapes();
    test_doctor();
    /* The last VM's process is reaped in the background, which closes the last descriptor. */
    for (int i = 0; i < 1000 && count_fds() != fds; i++)
        usleep(10000);
    ok(count_fds() == fds, "no descriptor is left: %d, were %d", count_fds(), fds);
    return tap_done();
}
