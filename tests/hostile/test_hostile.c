/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hostile-guest campaign: guests that attack the native machine through vCPU, registers, ports
 * and memory, each in a VM of its own, through the public API.
 *
 *     test_hostile GUEST [ATTACK...]
 *
 * An attack has a documented end (the table below); the guest reports what it saw on the way.
 * Whatever it does: the worker answers or has ended for a stated reason, its memory stays bounded,
 * the files that the guest was given are unchanged, and the caller keeps no descriptor and no
 * process. Skips where /dev/kvm cannot be used.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "host.h"
#include "lumina.h"
#include "tap.h"

#define MEMORY       (32 * MIB)
#define DEADLINE_S   240u
#define BEAT_MS      250
#define SILENT_BEATS 20
/* What a worker may need beyond the guest's memory at its worst moment, its program included. */
#define WORKER_MAX (HOSTILE_WORKER_MIB * MIB)

/* How an attack may end. */
enum end {
    READY = 1, /* all devices work again: the guest has said HELLO as an agent does */
    RESET = 2,
    CRASHED = 4,
    STUCK = 8,   /* it goes on for ever, and the caller can still ask and stop */
    REASON = 16, /* with the given text, before or after READY */
    SILENT = 32, /* the vCPU stays in the hypervisor: as STUCK, but nobody can say so */
    ANY = READY | RESET | CRASHED | SILENT, /* what this is to a guest, the hypervisor decides */
};

struct attack {
    const char *name;
    unsigned ends;     /* enum end, any of them */
    unsigned vcpus;    /* 0: one */
    unsigned variants; /* 0: one, without a number in its name */
    const char *reason;
    const char *like; /* what went wrong elsewhere */
};

static const struct attack attacks[] = {
    {.name = "none", .ends = READY},
    {.name = "chain-loops", .ends = READY},
    {.name = "chain-indirect", .ends = READY},
    {.name = "chain-wrap", .ends = READY},
    {.name = "chain-order", .ends = READY},
    {.name = "avail-jump", .ends = READY},
    {.name = "event-index", .ends = READY},
    {.name = "ring-places", .ends = READY},
    {.name = "buffer-places", .ends = READY},
    {.name = "buffer-on-rings", .ends = READY},
    {.name = "rings-overlap", .ends = READY},
    {.name = "index-wrap", .ends = READY},
    {.name = "chain-race", .ends = READY, .vcpus = 2},
    {.name = "registers", .ends = READY},
    {.name = "config-writes", .ends = READY},
    {.name = "queue-frozen",
     .ends = READY,
     .like = "CVE-2026-5747: queues changed under a running device"},
    {.name = "queue-early",
     .ends = READY,
     .like = "CVE-2026-5747: queues changed under a running device"},
    {.name = "status-order",
     .ends = READY,
     .like = "CVE-2026-5747: queues changed under a running device"},
    {.name = "features", .ends = READY},
    {.name = "doorbells", .ends = READY},
    {.name = "reset-in-flight",
     .ends = READY,
     .like = "CVE-2026-45782: a block device reset under its own requests"},
    {.name = "reset-race",
     .ends = READY,
     .vcpus = 2,
     .like = "CVE-2026-45782: a block device reset under its own requests"},
    {.name = "posted-flood", .ends = READY, .vcpus = 4},
    {.name = "hammer", .ends = READY, .vcpus = 4},
    {.name = "blk-bounds", .ends = READY},
    {.name = "blk-read-only",
     .ends = READY,
     .like = "BoxLite's read-only bypass: the guest renegotiates or just writes"},
    {.name = "blk-direction", .ends = READY},
    {.name = "blk-segments", .ends = READY},
    {.name = "blk-aliases", .ends = READY},
    {.name = "console-flood", .ends = READY},
    {.name = "serial-flood", .ends = READY},
    {.name = "console-shapes", .ends = READY},
    {.name = "rng-shapes", .ends = READY},
    {.name = "vsock-short",
     .ends = READY,
     .like = "CVE-2019-18960: packets longer than their buffers"},
    {.name = "vsock-rx-buffers", .ends = READY},
    {.name = "vsock-addresses", .ends = READY},
    {.name = "vsock-flood", .ends = READY},
    {.name = "vsock-half-open", .ends = READY},
    {.name = "agent-half-open", .ends = STUCK},
    {.name = "agent-garbage",
     .ends = REASON,
     .reason = "its agent does not speak the agent protocol"},
    {.name = "agent-oversized", .ends = REASON, .reason = "oversized frame"},
    {.name = "agent-version", .ends = REASON, .reason = "another version"},
    {.name = "agent-slow", .ends = STUCK},
    {.name = "agent-hang-up", .ends = REASON, .reason = "powered off"},
    {.name = "agent-frames", .ends = REASON, .reason = "frame of no operation"},
    {.name = "agent-short",
     .ends = REASON,
     .reason = "powered off",
     .like = "CVE-2019-18960: packets longer than their buffers"},
    {.name = "agent-crowd", .ends = REASON, .reason = "powered off"},
    {.name = "agent-overrun", .ends = REASON, .reason = "frame of no operation"},
    {.name = "agent-credit", .ends = REASON, .reason = "reset"},
    {.name = "ports", .ends = READY},
    {.name = "keyboard", .ends = RESET},
    {.name = "serial-rtc", .ends = READY},
    {.name = "strings", .ends = READY},
    {.name = "string-for-ever", .ends = STUCK},
    {.name = "string-to-nowhere", .ends = STUCK},
    {.name = "ioapic", .ends = READY},
    {.name = "lapic", .ends = READY},
    {.name = "smi", .ends = ANY},
    {.name = "apic-base", .ends = READY},
    {.name = "msrs", .ends = READY},
    {.name = "msrs-unknown", .ends = ANY},
    {.name = "kvm-msrs", .ends = READY},
    {.name = "cpuid", .ends = READY},
    {.name = "instruction", .ends = ANY, .variants = 32},
    {.name = "no-memory", .ends = READY},
    {.name = "boot-data", .ends = READY},
    {.name = "mmio-instruction", .ends = ANY, .variants = 26},
    {.name = "fetch-device", .ends = READY | RESET | CRASHED},
    {.name = "fetch-lapic", .ends = READY | RESET | CRASHED},
    {.name = "fetch-nowhere", .ends = READY | RESET | CRASHED},
    {.name = "tables-device", .ends = RESET | CRASHED | SILENT},
    {.name = "tables-lapic", .ends = RESET | CRASHED | SILENT},
    {.name = "tables-nowhere", .ends = RESET | CRASHED | SILENT},
    {.name = "table-entry-device", .ends = READY | RESET | CRASHED},
    {.name = "stack-device", .ends = RESET | CRASHED},
    {.name = "idt-device", .ends = RESET | CRASHED},
    {.name = "triple-fault", .ends = RESET},
    {.name = "halt", .ends = STUCK},
    {.name = "spin", .ends = STUCK},
    {.name = "storm", .ends = STUCK},
    {.name = "storm-all", .ends = STUCK, .vcpus = 4},
    {.name = "ipi-storm", .ends = READY, .vcpus = 4},
    {.name = "changing-code", .ends = ANY, .vcpus = 2},
};

/* ---- one VM ---- */

struct trial {
    const struct attack *attack;
    char name[64];
    lum_vm *vm;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    char **lines; /* the guest's reports, and complaints of the worker */
    size_t n_lines, n_failed;
    size_t n_seen;     /* lines at the last beat */
    unsigned n_silent; /* beats without a line */
    uint64_t touched;  /* guest memory, at the last answer */
    bool begun, stuck, started;
    int start_rc;
    struct lum_error start_error;
};

static bool is_complaint(int32_t level, const char *line)
{
    return level == LUM_LOG_WARN &&
           (strstr(line, "Sanitizer") || strstr(line, "runtime error:") || strstr(line, "    #"));
}

static void on_line(void *ctx, int32_t level, const char *line)
{
    static const char mark[] = "hostile: ";
    struct trial *t = ctx;
    const char *report = strstr(line, mark);

    pthread_mutex_lock(&t->lock);
    if (is_complaint(level, line)) {
        t->n_failed++;
        report = line;
    } else if (level == LUM_LOG_CONSOLE && report) {
        report += sizeof(mark) - 1;
        t->n_failed += strncmp(report, "not ok", 6) == 0;
        t->begun = t->begun || strcmp(report, "at begin") == 0;
        t->stuck = t->stuck || strcmp(report, "at stuck") == 0;
    } else {
        report = NULL;
    }
    if (report) {
        t->lines = realloc(t->lines, (t->n_lines + 1) * sizeof(*t->lines));
        t->lines[t->n_lines++] = strdup(report);
    }
    pthread_cond_signal(&t->changed);
    pthread_mutex_unlock(&t->lock);
}

static void *starter(void *ctx)
{
    struct trial *t = ctx;
    struct lum_error err = {0};
    int rc = lum_vm_start(t->vm, DEADLINE_S * 1000, &err);

    pthread_mutex_lock(&t->lock);
    t->start_rc = rc;
    t->start_error = err;
    t->started = true;
    pthread_cond_signal(&t->changed);
    pthread_mutex_unlock(&t->lock);
    return NULL;
}

/* Waits a beat; true: the start has returned, or the guest says that it is where it stays. */
static bool beat(struct trial *t)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += BEAT_MS * 1000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&t->lock);
    if (!t->started && !t->stuck)
        pthread_cond_timedwait(&t->changed, &t->lock, &until);
    t->n_silent = t->n_lines == t->n_seen ? t->n_silent + 1 : 0;
    t->n_seen = t->n_lines;
    if ((t->attack->ends & SILENT) && t->n_silent > SILENT_BEATS)
        t->stuck = true;
    bool over = t->started || t->stuck;
    pthread_mutex_unlock(&t->lock);
    return over;
}

/* A call that has to succeed, and if not says why. */
static bool done(const struct trial *t, const char *what, int rc, const struct lum_error *err)
{
    return ok(rc == 0, "%s: %s%s%s", t->name, what, rc ? ": " : "", rc ? err->text : "");
}

/* The worker answers within its bounds, or the VM is gone for a reason. */
static bool answers(struct trial *t)
{
    struct lum_vm_stats stats = LUM_VM_STATS_INIT;
    struct lum_error err;
    int rc = lum_vm_stats(t->vm, &stats, &err);

    t->touched = rc == 0 ? stats.guest_touched_bytes : 0;
    if (rc == 0)
        return stats.process_rss_bytes > 0 &&
               stats.process_rss_bytes < stats.guest_touched_bytes + WORKER_MAX;
    tap_note("stats: %s", err.text);
    return rc == LUM_EGONE;
}

static void test_stuck(struct trial *t)
{
    const char *name = t->name;
    struct lum_error err = {0};

    ok(answers(t), "%s: the worker answers meanwhile", name);
    done(t, "it can be paused", lum_vm_pause(t->vm, &err), &err);
    done(t, "it can go on", lum_vm_resume(t->vm, &err), &err);
    ok(answers(t), "%s: the worker answers after that", name);
    done(t, "it can be stopped", lum_vm_stop(t->vm, 0, &err), &err);
}

static void show_lines(struct trial *t)
{
    const char *name = t->name;

    for (size_t i = 0; i < t->n_lines; i++) {
        const char *l = t->lines[i];

        if (strncmp(l, "ok - ", 5) == 0)
            ok(true, "%s: %s", name, l + 5);
        else if (strncmp(l, "not ok - ", 9) == 0)
            ok(false, "%s: %s", name, l + 9);
        else
            tap_note("%s: %s", name, l);
        free(t->lines[i]);
    }
    free(t->lines);
    t->lines = NULL;
}

static bool ended_so(const struct trial *t, const char *reason)
{
    unsigned ends = t->attack->ends;

    return ((ends & RESET) && strcmp(reason, "reset") == 0) ||
           ((ends & CRASHED) && strncmp(reason, "crashed: ", 9) == 0) ||
           ((ends & REASON) && strstr(reason, t->attack->reason));
}

static void test_end(struct trial *t)
{
    const char *name = t->name;
    unsigned ends = t->attack->ends;
    char reason[200] = "";
    struct lum_error err = {0};
    int rc = t->start_rc;

    if (rc == LUM_ETIMEDOUT) {
        ok(false, "%s: hangs: %s", name, t->start_error.text);
        return;
    }
    if (rc == 0 && !(ends & REASON)) {
        ok(ends & READY, "%s: the machine works afterwards", name);
        ok(answers(t), "%s: the worker answers afterwards", name);
        done(t, "it can be stopped", lum_vm_stop(t->vm, 0, &err), &err);
        return;
    }
    rc = lum_vm_wait(t->vm, DEADLINE_S * 1000, reason, sizeof(reason), &err);
    if (done(t, "the end comes", rc, &err))
        ok(ended_so(t, reason) && (t->start_rc == 0 || t->start_rc == LUM_EGUEST),
           "%s: ends as documented: %s", name, reason);
    ok(answers(t), "%s: the worker answers after the end", name);
}

static void run_trial(struct trial *t)
{
    const char *name = t->name;
    bool alive = true, stuck = false;
    pthread_t thread;

    if (!ok(pthread_create(&thread, NULL, starter, t) == 0, "%s: a thread to start it", name))
        return;
    while (!beat(t))
        alive = answers(t) && alive;
    pthread_mutex_lock(&t->lock);
    stuck = t->stuck && !t->started;
    pthread_mutex_unlock(&t->lock);
    ok(alive, "%s: the worker answers all the time, within its bounds", name);
    if (stuck)
        test_stuck(t);
    pthread_join(thread, NULL);
    if (stuck)
        ok((t->attack->ends & (STUCK | SILENT)) && t->start_rc == LUM_EGONE,
           "%s: the start returns: %s", name, t->start_error.text);
    else
        test_end(t);
    show_lines(t);
    ok(t->begun && t->n_failed == 0, "%s: it has begun, and no check of the guest has failed",
       name);
}

static void run_attack(const struct attack *a, const char *name, struct files *files, unsigned fds)
{
    struct trial t = {
        .attack = a, .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    struct lum_vm_options o = LUM_VM_OPTIONS_INIT;
    struct lum_error err = {0};
    char args[96];

    snprintf(t.name, sizeof(t.name), "%s", name);
    deadline(name, 2 * DEADLINE_S);
    snprintf(args, sizeof(args), "hostile.attack=%s", name);
    o.backend = "kvm";
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    o.jail = "off"; /* the sanitizers need what its walls take away */
#endif
    o.vcpus = a->vcpus ? a->vcpus : 1;
    o.memory_bytes = MEMORY;
    o.kernel = files->kernel.path;
    o.rootfs = files->root.path;
    o.kernel_args = args;
    o.log = on_line;
    o.log_ctx = &t;
    if (a->like)
        tap_note("%s: as in %s", name, a->like);
    if (!done(&t, "a machine for it", lum_vm_create(&o, &t.vm, &err), &err))
        return;
    run_trial(&t);
    uint64_t peak = children_peak(), guest = t.touched ? t.touched : MEMORY;
    ok(peak < guest + WORKER_MAX, "%s: at most %llu KiB were in use, %llu of them the guest's",
       name, (unsigned long long)(peak / KIB), (unsigned long long)(guest / KIB));
    lum_vm_free(t.vm);
    ok(nothing_left(fds), "%s: no descriptor and no process is left", name);
    ok(files_unchanged(files), "%s: kernel and root file are unchanged", name);
}

static void run_variants(const struct attack *a, struct files *files, unsigned fds)
{
    char name[64];

    if (!a->variants)
        run_attack(a, a->name, files, fds);
    for (unsigned i = 0; i < a->variants; i++) {
        snprintf(name, sizeof(name), "%s:%u", a->name, i);
        run_attack(a, name, files, fds);
    }
}

/* ---- all of them ---- */

static bool wanted(const char *name, char **only)
{
    if (!*only)
        return true;
    for (; *only; only++)
        if (strcmp(*only, name) == 0)
            return true;
    return false;
}

/* NULL: guests run here; else why not. */
static const char *why_not(void)
{
    static struct lum_error err;
    static struct lum_backend list[16];
    size_t n = 0;

    if (lum_backends(list, ARRAY_LEN(list), &n, &err) < 0)
        return err.text;
    for (size_t i = 0; i < n && i < ARRAY_LEN(list); i++)
        if (strcmp(list[i].name, "kvm") == 0)
            return list[i].max_vcpus > 0 ? NULL : list[i].detail;
    return "no kvm backend in this build";
}

int main(int argc, char **argv)
{
    struct files files;

    if (argc < 2)
        return tap_skip_all("no guest given");
    stage_library(argv);
    unsigned fds = count_fds();
    deadline("probe", 60);
    const char *why = why_not();
    if (why)
        return tap_skip_all(why);
    files_make(&files, argv[1]);
    for (size_t i = 0; i < ARRAY_LEN(attacks); i++)
        if (wanted(attacks[i].name, argv + 2))
            run_variants(&attacks[i], &files, fds);
    files_remove(&files);
    return tap_done();
}
