/* SPDX-License-Identifier: Apache-2.0 */
#include "test_linux_kit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WHOLE_RUN_S   1500
#define MAX_PROCESSES 4096

const int32_t boot_ms = 120000, run_ms = 60000;
const char *backend_name;
char scratch[64];

static int fds_before;
static bool nothing_to_leave;

/* ---- the host ---- */

static int count_entries(const char *path)
{
    DIR *dir = opendir(path);
    int n = 0;

    while (dir && readdir(dir))
        n++;
    if (dir)
        closedir(dir);
    return n;
}

static size_t read_text(const char *path, char *buf, size_t capacity)
{
    FILE *f = fopen(path, "re");
    size_t n = f ? fread(buf, 1, capacity - 1, f) : 0;

    if (f)
        fclose(f);
    buf[n] = '\0';
    return n;
}

struct process {
    int pid, parent;
    bool ours; /* a process below this one */
    char name[32];
};

static bool read_process(int pid, struct process *ret_process)
{
    char path[64], text[512];
    struct process p = {.pid = pid};

    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    if (read_text(path, text, sizeof(text)) == 0)
        return false;
    char *open = strchr(text, '('), *close = strrchr(text, ')');
    if (!open || !close || close[1] != ' ' || close[2] == '\0')
        return false;
    *close = '\0';
    snprintf(p.name, sizeof(p.name), "%.31s", open + 1);
    p.parent = (int)strtol(close + 3, NULL, 10);
    *ret_process = p;
    return true;
}

static size_t list_processes(struct process *list)
{
    DIR *dir = opendir("/proc");
    struct dirent *entry;
    size_t n = 0;

    while (dir && n < MAX_PROCESSES && (entry = readdir(dir))) {
        int pid = (int)strtol(entry->d_name, NULL, 10);
        if (pid > 0 && read_process(pid, &list[n]))
            n++;
    }
    if (dir)
        closedir(dir);
    for (bool more = true; more;) {
        more = false;
        for (size_t i = 0; i < n; i++) {
            bool below = list[i].parent == (int)getpid();
            for (size_t j = 0; j < n && !below; j++)
                below = list[j].ours && list[j].pid == list[i].parent;
            more |= below && !list[i].ours;
            list[i].ours |= below;
        }
    }
    return n;
}

/* Our mark is in the environment of all that comes from this process, also of orphans. */
static bool has_mark(int pid)
{
    static char text[131072];
    char path[64], mark[64];

    snprintf(path, sizeof(path), "/proc/%d/environ", pid);
    snprintf(mark, sizeof(mark), "LUMINA_HOSTILE_MARK=%d", (int)getpid());
    size_t n = read_text(path, text, sizeof(text));
    return memmem(text, n, mark, strlen(mark) + 1) != NULL;
}

static int count_left(bool tell)
{
    static struct process list[MAX_PROCESSES];
    size_t n = list_processes(list);
    int left = 0;

    for (size_t i = 0; i < n; i++) {
        if (list[i].pid == (int)getpid() || (!list[i].ours && !has_mark(list[i].pid)))
            continue;
        left++;
        if (tell)
            tap_note("left: process %d %s", list[i].pid, list[i].name);
    }
    return left;
}

unsigned process_fds(void)
{
    static struct process list[MAX_PROCESSES];
    size_t n = list_processes(list);
    unsigned total = 0;
    char path[64];

    for (size_t i = 0; i < n; i++) {
        snprintf(path, sizeof(path), "/proc/%d/fd", list[i].pid);
        if (list[i].ours)
            total += (unsigned)count_entries(path);
    }
    return total;
}

/* 0: another file, 1: open for reading, 2: for writing too. */
static int how_open(int pid, const char *fd, const char *path)
{
    char name[320], target[512], text[512];

    snprintf(name, sizeof(name), "/proc/%d/fd/%.255s", pid, fd);
    ssize_t n = readlink(name, target, sizeof(target) - 1);
    target[n > 0 ? n : 0] = '\0';
    if (strcmp(target, path) != 0)
        return 0;
    snprintf(name, sizeof(name), "/proc/%d/fdinfo/%.255s", pid, fd);
    read_text(name, text, sizeof(text));
    const char *flags = strstr(text, "flags:");
    return flags && (strtol(flags + 6, NULL, 8) & O_ACCMODE) == O_RDONLY ? 1 : 2;
}

bool only_read(const char *path)
{
    static struct process list[MAX_PROCESSES];
    size_t n = list_processes(list);
    int most = 0;
    char dir_name[64];

    for (size_t i = 0; i < n; i++) {
        snprintf(dir_name, sizeof(dir_name), "/proc/%d/fd", list[i].pid);
        DIR *dir = list[i].ours ? opendir(dir_name) : NULL;
        struct dirent *entry;
        while (dir && (entry = readdir(dir))) {
            int how = how_open(list[i].pid, entry->d_name, path);
            most = how > most ? how : most;
        }
        if (dir)
            closedir(dir);
    }
    return most == 1;
}

int host_sh(const char *fmt, ...)
{
    char script[1024];
    int status = -1;
    va_list ap;

    va_start(ap, fmt);
    int n = vsnprintf(script, sizeof(script), fmt, ap);
    va_end(ap);
    if (n < 0 || (size_t)n >= sizeof(script))
        return 255;
    pid_t pid = fork();
    if (pid == 0) {
        execl("/bin/sh", "sh", "-c", script, (char *)NULL);
        _exit(127);
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

bool one_line(const char *text)
{
    for (const char *p = text; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            return false;
    return text[0] != '\0';
}

const char *kit_path(const char *variable)
{
    const char *path = getenv(variable);

    ok(path && access(path, R_OK) == 0, "%s names a file", variable);
    return path;
}

/* ---- begin and end ---- */

static bool find_backend(void)
{
    struct lum_backend list[16];
    struct lum_error err;
    size_t n = 0;

    if (!ok(lum_backends(list, 16, &n, &err) == 0, "backends are listed"))
        return false;
    for (size_t i = 0; i < n; i++) {
        if (strcmp(list[i].name, backend_name) != 0)
            continue;
        if (list[i].usable)
            return true;
        tap_skip(backend_name, list[i].detail);
        return false;
    }
    tap_skip(backend_name, "not in this build");
    return false;
}

bool kit_begin(int argc, char **argv)
{
    const char *base = getenv("TMPDIR");
    char value[96];

    backend_name = argc > 1 ? argv[1] : "qemu";
    alarm(WHOLE_RUN_S); /* a hang ends the stream without a plan, which is a failure */
    fds_before = count_entries("/proc/self/fd");
    snprintf(scratch, sizeof(scratch), "%.30s/linux-hostile-XXXXXX", base ? base : "/tmp");
    nothing_to_leave = mkdtemp(scratch) == NULL;
    if (!ok(!nothing_to_leave, "a scratch folder"))
        return false;
    snprintf(value, sizeof(value), "%s/tmp", scratch);
    int rc = host_sh("mkdir %s %s/cache %s/out", value, scratch, scratch);
    snprintf(value, sizeof(value), "%s/tmp", scratch);
    setenv("TMPDIR", value, 1);
    snprintf(value, sizeof(value), "%s/cache", scratch);
    setenv("XDG_CACHE_HOME", value, 1);
    snprintf(value, sizeof(value), "%d", (int)getpid());
    setenv("LUMINA_HOSTILE_MARK", value, 1);
    return ok(rc == 0, "its folders") && find_backend();
}

int kit_end(void)
{
    char path[96];

    if (nothing_to_leave)
        return tap_done();
    /* Processes are reaped in the background, which closes the last descriptors. */
    for (int i = 0; i < 3000 && (count_left(false) || count_entries("/proc/self/fd") != fds_before);
         i++)
        usleep(10000);
    int fds = count_entries("/proc/self/fd"), left = count_left(true);
    ok(fds == fds_before, "no descriptor is left: %d, were %d", fds, fds_before);
    ok(left == 0, "no process is left: %d", left);
    snprintf(path, sizeof(path), "%s/tmp", scratch);
    int files = count_entries(path) - 2;
    ok(files == 0, "no temporary file is left: %d", files);
    ok(host_sh("chmod -R u+rwx %s && rm -rf %s", scratch, scratch) == 0, "cleared");
    return tap_done();
}

/* ---- machines ---- */

struct lum_vm_options vm_options(void)
{
    struct lum_vm_options o = LUM_VM_OPTIONS_INIT;

    o.backend = backend_name;
    return o;
}

lum_vm *vm_up(const struct lum_vm_options *opts)
{
    struct lum_error err;
    lum_vm *vm;

    if (lum_vm_create(opts, &vm, &err) < 0) {
        tap_note("create: %s", err.text);
        return NULL;
    }
    if (lum_vm_start(vm, boot_ms, &err) < 0) {
        tap_note("start: %s", err.text);
        lum_vm_free(vm);
        return NULL;
    }
    return vm;
}

void vm_down(lum_vm *vm)
{
    struct lum_error err;

    ok(lum_vm_stop(vm, 0, &err) == 0, "a stop ends it");
    ok(lum_vm_wait(vm, run_ms, NULL, 0, &err) == 0, "it has ended");
    lum_vm_free(vm);
}

void vm_ends(lum_vm *vm, const char *what, const char *reason)
{
    struct lum_error err = {0};
    char why[240] = "";
    int rc = lum_vm_wait(vm, run_ms, why, sizeof(why), &err);

    ok(rc == 0 && strstr(why, reason) && one_line(why), "%s: the VM ends: %s", what,
       rc < 0 ? err.text : why);
}

/* ---- commands ---- */

static lum_exec *start_sh(lum_vm *vm, const char *script, int32_t timeout_ms, struct lum_error *err,
                          int *ret_rc)
{
    const char *const argv[] = {"sh", "-c", script, NULL};
    struct lum_exec_options o = LUM_EXEC_OPTIONS_INIT;
    lum_exec *exec = NULL;

    o.argv = argv;
    o.timeout_ms = timeout_ms;
    *ret_rc = lum_vm_exec(vm, &o, &exec, err);
    return *ret_rc < 0 ? NULL : exec;
}

lum_exec *spawn(lum_vm *vm, const char *script)
{
    struct lum_error err;
    int rc;
    lum_exec *exec = start_sh(vm, script, 0, &err, &rc);

    if (!exec)
        tap_note("exec: %s", err.text);
    return exec;
}

static int read_all(lum_exec *exec, int32_t stream, char *buf, size_t capacity, int32_t timeout_ms,
                    struct lum_error *err)
{
    char rest[4096];
    size_t have = 0, n = 1;

    while (n > 0) {
        bool full = have == capacity;
        int rc = lum_exec_read(exec, stream, full ? rest : buf + have,
                               full ? sizeof(rest) : capacity - have, timeout_ms, &n, err);
        if (rc < 0)
            return rc;
        have += full ? 0 : n;
    }
    return 0;
}

int sh_within(lum_vm *vm, const char *script, int32_t timeout_ms, struct run *r)
{
    struct lum_exit_status status = {0};
    /* The guest is asked to kill it first; a guest that does not answer gets some more. */
    const int32_t wait_ms = timeout_ms + 10000;
    int rc;

    memset(r, 0, sizeof(*r));
    lum_exec *exec = start_sh(vm, script, timeout_ms, &r->err, &rc);
    if (!exec)
        return rc;
    rc = read_all(exec, LUM_STDOUT, r->out, sizeof(r->out) - 1, wait_ms, &r->err);
    if (rc == 0)
        rc = read_all(exec, LUM_STDERR, r->err_out, sizeof(r->err_out) - 1, wait_ms, &r->err);
    if (rc == 0)
        rc = lum_exec_wait(exec, wait_ms, &status, &r->err);
    r->code = status.exit_code;
    r->signal = status.signal;
    r->timed_out = status.timed_out;
    lum_exec_free(exec);
    return rc;
}

int sh(lum_vm *vm, const char *script, struct run *r)
{
    return sh_within(vm, script, run_ms, r);
}

void check_alive(lum_vm *vm, const char *after)
{
    struct run r;
    int rc = sh(vm, "echo alive | tr a-z A-Z", &r);

    ok(rc == 0 && strcmp(r.out, "ALIVE\n") == 0, "%s: the VM serves commands: %s%s%s", after, r.out,
       r.err_out, r.err.text);
}

/* ---- memory ---- */

static uint64_t anonymous_bytes(int pid)
{
    char path[64], text[4096];

    snprintf(path, sizeof(path), "/proc/%d/status", pid);
    read_text(path, text, sizeof(text));
    const char *line = strstr(text, "RssAnon:");
    return line ? strtoull(line + 8, NULL, 10) * 1024 : 0;
}

uint64_t monitor_bytes(lum_vm *vm)
{
    static struct process list[MAX_PROCESSES];
    struct lum_vm_stats stats = LUM_VM_STATS_INIT;
    struct lum_error err;
    uint64_t total = 0;

    if (lum_vm_stats(vm, &stats, &err) < 0) {
        tap_note("stats: %s", err.text);
        return UINT64_MAX / 2;
    }
    /* Guest memory and monitor share a process: what the guest touched is known. */
    if (stats.guest_touched_bytes)
        return stats.process_rss_bytes - stats.guest_touched_bytes;
    size_t n = list_processes(list);
    for (size_t i = 0; i < n; i++)
        if (list[i].ours && strncmp(list[i].name, "lumina", 6) == 0)
            total += anonymous_bytes(list[i].pid);
    return total;
}

void check_memory(lum_vm *vm, const char *after, uint64_t monitor_before)
{
    struct lum_vm_stats stats = LUM_VM_STATS_INIT;
    struct lum_error err;
    uint64_t monitor = monitor_bytes(vm);

    ok(monitor < monitor_before + 48 * MIB, "%s: the monitor holds %llu KiB, held %llu", after,
       (unsigned long long)monitor / 1024, (unsigned long long)monitor_before / 1024);
    /* Beyond the guest's memory QEMU has 128 MiB of translated code. */
    int rc = lum_vm_stats(vm, &stats, &err);
    ok(rc == 0 && stats.process_rss_bytes < stats.memory_bytes + 256 * MIB,
       "%s: its processes hold %llu KiB for a guest of %llu", after,
       (unsigned long long)stats.process_rss_bytes / 1024,
       (unsigned long long)stats.memory_bytes / 1024);
}

/* ---- guard ---- */

struct guard {
    lum_vm *vm;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct timespec deadline;
    bool off, fired;
};

static void *guard_main(void *arg)
{
    struct guard *g = arg;
    struct lum_error err;

    pthread_mutex_lock(&g->lock);
    while (!g->off && !g->fired)
        g->fired = pthread_cond_timedwait(&g->changed, &g->lock, &g->deadline) == ETIMEDOUT;
    pthread_mutex_unlock(&g->lock);
    if (g->fired && lum_vm_stop(g->vm, 0, &err) < 0)
        abort(); /* a stop never fails; whoever waits for it would wait for ever */
    return NULL;
}

struct guard *guard_start(lum_vm *vm, unsigned timeout_ms)
{
    struct guard *g = calloc(1, sizeof(*g));

    if (!g)
        abort();
    g->vm = vm;
    pthread_mutex_init(&g->lock, NULL);
    pthread_cond_init(&g->changed, NULL);
    clock_gettime(CLOCK_REALTIME, &g->deadline);
    g->deadline.tv_sec += timeout_ms / 1000;
    g->deadline.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (g->deadline.tv_nsec >= 1000000000) {
        g->deadline.tv_sec++;
        g->deadline.tv_nsec -= 1000000000;
    }
    if (pthread_create(&g->thread, NULL, guard_main, g) != 0)
        abort();
    return g;
}

bool guard_end(struct guard *g)
{
    pthread_mutex_lock(&g->lock);
    g->off = true;
    pthread_cond_signal(&g->changed);
    pthread_mutex_unlock(&g->lock);
    pthread_join(g->thread, NULL);
    bool fired = g->fired;
    pthread_cond_destroy(&g->changed);
    pthread_mutex_destroy(&g->lock);
    free(g);
    return fired;
}
