/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The library's calls block, so each stream has a thread: the main thread moves stdout and waits,
 * one moves stdin, one moves stderr. The watch thread takes the signals and draws the progress
 * line; it calls nothing that a guest could delay, so that a second Ctrl-C always works. What it
 * wants from the command it leaves to the courier.
 *
 * A stdin thread may sit in read() when everything is over. It is never waited for: threads other
 * than the main one use the command only between enter() and leave(), and shut_gate() keeps them
 * out and waits for those inside before the command is freed.
 */
#include "session.h"

#include "advice.h"
#include "json.h"
#include "ledger.h"
#include "os.h"
#include "ui.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Of each stream of a command under --json; what is more is dropped and told. */
#define CAPTURE_MAX ((size_t)16 << 20)

#define KILL_WITHIN_MS 2000

enum stage {
    STAGE_START,   /* no command yet: a signal ends the run */
    STAGE_COMMAND, /* signals are the command's */
    STAGE_END      /* copying out and tidying up: a signal ends the run */
};

/* Where a stream of the command goes. */
struct sink {
    int32_t stream; /* enum lum_stream_id */
    int fd;
    int write_errno; /* not 0: nothing is written any more */
    char *data;      /* under --json */
    size_t size, capacity;
    bool truncated;
};

struct session {
    const struct run_plan *plan;
    lum_vm *vm;
    enum advice_stage reached;
    struct sink out, err;
    struct lum_exit_status status;

    pthread_mutex_t lock; /* everything below */
    pthread_cond_t idle;  /* users became 0 */
    pthread_cond_t work;  /* for the courier */
    enum stage stage;
    lum_exec *exec;   /* not NULL in STAGE_COMMAND */
    unsigned users;   /* threads between enter() and leave() */
    uint32_t signals; /* bits by number, for the courier */
    bool resized;
    unsigned interrupts; /* SIGINT and SIGTERM so far */
    int64_t last_interrupt_ms;
};

/* There is one per process, and threads that nobody waits for look at it to the end. */
static struct session session = {
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .idle = PTHREAD_COND_INITIALIZER,
    .work = PTHREAD_COND_INITIALIZER,
};

/* ---- the gate ---- */

/* NULL: the command is over. */
static lum_exec *enter(struct session *s)
{
    lum_exec *exec;

    (void)pthread_mutex_lock(&s->lock);
    exec = s->exec;
    if (exec)
        s->users++;
    (void)pthread_mutex_unlock(&s->lock);
    return exec;
}

static void leave(struct session *s)
{
    (void)pthread_mutex_lock(&s->lock);
    s->users--;
    if (s->users == 0)
        (void)pthread_cond_signal(&s->idle);
    (void)pthread_mutex_unlock(&s->lock);
}

static void open_gate(struct session *s, lum_exec *exec)
{
    (void)pthread_mutex_lock(&s->lock);
    s->exec = exec;
    s->stage = STAGE_COMMAND;
    (void)pthread_mutex_unlock(&s->lock);
}

/* The command has ended or its VM has, so whoever is inside comes out by itself. */
static lum_exec *shut_gate(struct session *s)
{
    lum_exec *exec;

    (void)pthread_mutex_lock(&s->lock);
    exec = s->exec;
    s->exec = NULL;
    s->stage = STAGE_END;
    while (s->users > 0)
        (void)pthread_cond_wait(&s->idle, &s->lock);
    (void)pthread_mutex_unlock(&s->lock);
    return exec;
}

/* ---- signals ---- */

static void send_later(struct session *s, int signo)
{
    (void)pthread_mutex_lock(&s->lock);
    s->signals |= (uint32_t)1 << signo;
    (void)pthread_cond_signal(&s->work);
    (void)pthread_mutex_unlock(&s->lock);
}

/* For calls that only fail when the command is over, which the main thread learns by itself. */
static void ignore(int rc)
{
    (void)rc;
}

/* Delivers to the command what others left. Started when there is a command. */
static void *courier_main(void *ctx)
{
    struct session *s = ctx;

    for (;;) {
        struct lum_error err;
        lum_exec *exec;
        uint32_t signals, rows, cols;
        bool resized;

        (void)pthread_mutex_lock(&s->lock);
        while (s->signals == 0 && !s->resized)
            (void)pthread_cond_wait(&s->work, &s->lock);
        signals = s->signals;
        resized = s->resized;
        s->signals = 0;
        s->resized = false;
        (void)pthread_mutex_unlock(&s->lock);

        exec = enter(s);
        if (!exec)
            return NULL;
        for (int n = 1; n < 32; n++) {
            if (signals & (uint32_t)1 << n)
                ignore(lum_exec_signal(exec, n, &err));
        }
        if (resized && os_raw_active() && os_terminal_size(0, &rows, &cols))
            ignore(lum_exec_resize(exec, rows, cols, &err));
        leave(s);
    }
}

/* Whether this signal is the user's way of saying: now. */
static bool is_impatient(struct session *s, int signo)
{
    int64_t now = os_now_ms();
    bool soon;

    if (signo != OS_SIGINT && signo != OS_SIGTERM)
        return false;
    soon = s->interrupts > 0 && now - s->last_interrupt_ms < KILL_WITHIN_MS;
    s->interrupts++;
    s->last_interrupt_ms = now;
    return soon || s->interrupts > 2;
}

static void on_signal(struct session *s, int signo)
{
    bool forward;

    (void)pthread_mutex_lock(&s->lock);
    if (signo == OS_SIGWINCH) {
        s->resized = true;
        (void)pthread_cond_signal(&s->work);
        (void)pthread_mutex_unlock(&s->lock);
        return;
    }
    forward = s->stage == STAGE_COMMAND && !is_impatient(s, signo);
    (void)pthread_mutex_unlock(&s->lock);
    if (forward) {
        send_later(s, signo);
        return;
    }
    /* The VM's process ends with ours: nothing to wait for, so nothing that could keep us. */
    ui_phase_end();
    os_exit_now(STATUS_SIGNAL + signo);
}

static void *watch_main(void *ctx)
{
    for (;;) {
        int signo = os_signal_wait(ui_tick() ? 1000 : -1);

        if (signo != 0)
            on_signal(ctx, signo);
    }
    return NULL;
}

/* ---- streams ---- */

static void capture(struct sink *sink, const char *data, size_t size)
{
    if (size > CAPTURE_MAX - sink->size) {
        size = CAPTURE_MAX - sink->size;
        sink->truncated = true;
    }
    if (size > sink->capacity - sink->size) {
        size_t capacity = sink->capacity * 2 + size;
        char *grown = realloc(sink->data, capacity);

        if (!grown) {
            sink->truncated = true;
            return;
        }
        sink->data = grown;
        sink->capacity = capacity;
    }
    memcpy(sink->data + sink->size, data, size);
    sink->size += size;
}

/*
 * Moves a stream until it ends. When nobody can take its bytes any more the command is killed, as a
 * plain command would be by SIGPIPE, and the rest is read and dropped.
 */
static void pump(struct session *s, struct sink *sink, lum_exec *exec)
{
    char buf[32768];

    for (;;) {
        struct lum_error err;
        size_t size;

        /* An error here is the end of the VM; lum_exec_wait() will say why. */
        if (lum_exec_read(exec, sink->stream, buf, sizeof(buf), -1, &size, &err) < 0 || size == 0)
            return;
        if (s->plan->json) {
            capture(sink, buf, size);
        } else if (sink->write_errno == 0) {
            sink->write_errno = os_write(sink->fd, buf, size);
            if (sink->write_errno != 0)
                send_later(s, OS_SIGKILL);
        }
    }
}

static void *stderr_main(void *ctx)
{
    struct session *s = ctx;
    lum_exec *exec = enter(s);

    if (exec) {
        pump(s, &s->err, exec);
        leave(s);
    }
    return NULL;
}

static void *stdin_main(void *ctx)
{
    struct session *s = ctx;
    char buf[32768];

    for (;;) {
        struct lum_error err;
        size_t size = 0;
        lum_exec *exec;
        int rc = os_read(0, buf, sizeof(buf), &size);

        if (rc != 0 && rc != EBADF && rc != EIO)
            ui_error("read from stdin: %s", strerror(rc));
        exec = enter(s);
        if (!exec)
            return NULL;
        /* Both fail only when the command reads no more: then there is nothing left to do here. */
        if (rc != 0 || size == 0)
            rc = lum_exec_close_stdin(exec, &err) < 0 ? -1 : 1;
        else
            rc = lum_exec_write(exec, buf, size, &err);
        leave(s);
        if (rc != 0)
            return NULL;
    }
}

/* ---- the run ---- */

static int start_thread(void *(*entry)(void *), struct session *s, pthread_t *ret_thread,
                        struct lum_error *err)
{
    pthread_t thread;
    int rc = pthread_create(&thread, NULL, entry, s);

    if (rc != 0) {
        *err = (struct lum_error){.code = LUM_EOS, .domain = LUM_DOMAIN_ERRNO, .os_code = rc};
        (void)ui_format(err->text, sizeof(err->text), "create a thread: %s%s", strerror(rc),
                        rc == EAGAIN  ? "; remedy: a higher limit of processes (ulimit -u)"
                        : rc == EPERM ? "; remedy: a sandbox around us has to let clone3 pass, or "
                                        "answer ENOSYS to it"
                                      : "");
        return LUM_EOS;
    }
    if (ret_thread)
        *ret_thread = thread;
    else
        (void)pthread_detach(thread);
    return 0;
}

/* Says what failed, in the form asked for; returns the exit status. */
static int fail(struct session *s, int status, const struct lum_error *err, const char *name)
{
    char text[512];

    if (status == STATUS_NO_COMMAND)
        (void)ui_format(text, sizeof(text), "%s: not found in the guest", name);
    else if (status == STATUS_NO_EXEC && err->domain == LUM_DOMAIN_GUEST_ERRNO)
        (void)ui_format(text, sizeof(text), "%s: cannot be executed in the guest: %s", name,
                        strerror((int)err->os_code));
    else
        advice(text, sizeof(text), err, s->plan, s->reached);
    os_raw_leave();
    ui_phase_end();
    ui_error("%s", text);
    if (s->plan->json) {
        (void)printf("{\"error\": {\"code\": %d, \"text\": ", (int)err->code);
        json_text(stdout, text);
        (void)printf("}, \"exit_code\": %d}\n", status);
    }
    return status;
}

static int fail_exec(struct session *s, const struct lum_error *err)
{
    int status = STATUS_OURS;

    if (err->code == LUM_ENOCMD)
        status = STATUS_NO_COMMAND;
    else if (err->code == LUM_ENOEXEC)
        status = STATUS_NO_EXEC;
    return fail(s, status, err, s->plan->exec.argv[0]);
}

/* A software CPU takes seconds where hardware takes milliseconds. */
static int32_t boot_timeout_ms(const struct session *s)
{
    if (s->plan->boot_timeout_ms > 0)
        return s->plan->boot_timeout_ms;
    return strcmp(lum_vm_backend(s->vm), "qemu") == 0 ? 120000 : 30000;
}

static uint64_t copied(const void *vm)
{
    return lum_vm_copied(vm);
}

/* At the end of the command: what its status alone does not tell. */
static void explain_status(const struct session *s)
{
    char line[128];

    if (s->status.timed_out)
        (void)ui_format(line, sizeof(line), "the command was killed after %d ms, as --timeout said",
                        (int)s->plan->exec.timeout_ms);
    else if (s->status.out_of_memory)
        (void)ui_format(line, sizeof(line), "the guest ran out of memory (--memory gives it more)");
    else
        return;
    ui_log(NULL, LUM_LOG_WARN, line);
}

static int boot(struct session *s, struct lum_error *err)
{
    struct lum_vm_options options = s->plan->vm;
    int rc;

    options.log = ui_log;
    if (options.rootfs && os_is_folder(options.rootfs))
        ui_phase("packing %s", options.rootfs);
    else
        ui_phase("starting");
    rc = lum_vm_create(&options, &s->vm, err);
    if (rc < 0)
        return rc;
    s->reached = ADVICE_BOOT;
    ui_phase("booting with %s", lum_vm_backend(s->vm));
    rc = lum_vm_start(s->vm, boot_timeout_ms(s), err);
    if (rc < 0)
        return rc;
    s->reached = ADVICE_RUN;
    for (size_t i = 0; i < s->plan->put_count; i++) {
        ui_phase("copying in %s", s->plan->puts[i].host);
        ui_phase_bytes(copied, s->vm);
        rc = lum_vm_put(s->vm, s->plan->puts[i].host, s->plan->puts[i].guest, err);
        if (rc < 0)
            return rc;
    }
    ui_phase("starting the command");
    return 0;
}

/* From the running command to its end; 0, or the error of lum_exec_wait(). */
static int attend(struct session *s, lum_exec *exec, struct lum_error *err)
{
    bool tty = (s->plan->exec.flags & LUM_EXEC_TTY) != 0;
    pthread_t stderr_thread;
    int rc;

    if (start_thread(courier_main, s, NULL, err) < 0 ||
        start_thread(stdin_main, s, NULL, err) < 0 ||
        (!tty && start_thread(stderr_main, s, &stderr_thread, err) < 0)) {
        /* Without its streams the command may never end. */
        ignore(lum_vm_stop(s->vm, 0, NULL));
        return LUM_EOS;
    }
    if (s->plan->json)
        ui_phase("running %s", s->plan->exec.argv[0]);
    pump(s, &s->out, exec);
    if (!tty)
        (void)pthread_join(stderr_thread, NULL);
    /* Its output has ended, so the terminal is free for the line; a raw one stays the command's. */
    if (!tty && !s->plan->json)
        ui_phase("waiting for %s to end", s->plan->exec.argv[0]);
    rc = lum_exec_wait(exec, -1, &s->status, err);
    ui_phase_end();
    return rc;
}

static void complain(const struct session *s, const struct lum_error *err)
{
    char text[512];

    advice(text, sizeof(text), err, s->plan, s->reached);
    ui_error("%s", text);
}

static int collect(struct session *s, struct lum_error *err)
{
    int first = 0;

    /* One that fails does not keep back the others. */
    for (size_t i = 0; i < s->plan->get_count; i++) {
        struct lum_error here;

        ui_phase("copying out %s", s->plan->gets[i].guest);
        ui_phase_bytes(copied, s->vm);
        int rc = lum_vm_get(s->vm, s->plan->gets[i].guest, s->plan->gets[i].host, &here);

        if (rc < 0 && first < 0)
            complain(s, err);
        if (rc < 0) {
            first = rc;
            *err = here;
        }
    }
    ui_phase_end();
    return first;
}

static int exit_status(const struct session *s)
{
    const struct sink *sinks[] = {&s->out, &s->err};

    for (size_t i = 0; i < 2; i++) {
        if (sinks[i]->write_errno == EPIPE)
            return STATUS_SIGNAL + OS_SIGPIPE;
        if (sinks[i]->write_errno != 0) {
            ui_error("write to %s: %s", i == 0 ? "stdout" : "stderr",
                     strerror(sinks[i]->write_errno));
            return STATUS_OURS;
        }
    }
    return s->status.timed_out ? STATUS_TIMED_OUT : s->status.exit_code;
}

/* ---- what is told at the end ---- */

static size_t timings(struct session *s, struct lum_timing *list, size_t capacity)
{
    struct lum_error err;
    size_t count;

    if (!s->vm || lum_vm_timings(s->vm, list, capacity, &count, &err) < 0)
        return 0;
    return count < capacity ? count : capacity;
}

/* All 0 when the VM's process is not there to tell. */
static struct lum_vm_stats figures(struct session *s)
{
    struct lum_vm_stats stats = LUM_VM_STATS_INIT;
    struct lum_error err;

    if (!s->vm || lum_vm_stats(s->vm, &stats, &err) < 0)
        stats = (struct lum_vm_stats)LUM_VM_STATS_INIT;
    return stats;
}

static void show_timings(struct session *s)
{
    struct lum_vm_stats stats = figures(s);
    struct lum_timing list[64];

    ledger_show(list, timings(s, list, sizeof(list) / sizeof(list[0])), &stats);
}

static void show_json(struct session *s, int status)
{
    struct lum_vm_stats stats = figures(s);
    struct lum_timing list[64];
    size_t count = timings(s, list, sizeof(list) / sizeof(list[0]));

    (void)printf("{\"exit_code\": %d, \"signal\": %d, \"timed_out\": ", status,
                 (int)s->status.signal);
    json_bool(stdout, s->status.timed_out != 0);
    (void)printf(", \"out_of_memory\": ");
    json_bool(stdout, s->status.out_of_memory != 0);
    (void)printf(", \"backend\": ");
    json_text(stdout, lum_vm_backend(s->vm));
    (void)printf(",\n \"stdout\": ");
    json_string(stdout, s->out.data, s->out.size);
    (void)printf(", \"stdout_truncated\": ");
    json_bool(stdout, s->out.truncated);
    (void)printf(",\n \"stderr\": ");
    json_string(stdout, s->err.data, s->err.size);
    (void)printf(", \"stderr_truncated\": ");
    json_bool(stdout, s->err.truncated);
    (void)printf(",\n \"timings\": [");
    for (size_t i = 0; i < count; i++) {
        (void)printf("%s{\"stage\": ", i == 0 ? "" : ", ");
        json_text(stdout, list[i].stage);
        (void)printf(", \"at_ns\": %llu}", (unsigned long long)list[i].at_ns);
    }
    (void)printf("],\n \"memory_bytes\": %llu, \"process_rss_bytes\": %llu, "
                 "\"guest_touched_bytes\": %llu, \"exits\": %llu}\n",
                 (unsigned long long)stats.memory_bytes,
                 (unsigned long long)stats.process_rss_bytes,
                 (unsigned long long)stats.guest_touched_bytes, (unsigned long long)stats.exits);
}

static int go(struct session *s)
{
    struct lum_exec_options options = s->plan->exec;
    struct lum_error err;
    lum_exec *exec;
    int rc, status;

    if (boot(s, &err) < 0)
        return fail(s, STATUS_OURS, &err, NULL);
    if (options.flags & LUM_EXEC_TTY)
        (void)os_terminal_size(0, &options.rows, &options.cols);
    if (lum_vm_exec(s->vm, &options, &exec, &err) < 0)
        return fail_exec(s, &err);
    ui_phase_end();
    if (options.flags & LUM_EXEC_TTY) {
        rc = os_raw_enter();
        if (rc != 0)
            ui_log(NULL, LUM_LOG_WARN, "the terminal cannot be made raw");
    }
    open_gate(s, exec);
    rc = attend(s, exec, &err);
    os_raw_leave();
    lum_exec_free(shut_gate(s));
    if (rc < 0)
        return fail(s, STATUS_OURS, &err, NULL);

    explain_status(s);
    status = exit_status(s);
    if (collect(s, &err) < 0) {
        /* The command's own failure tells more than the file that is missing because of it. */
        if (status == 0)
            return fail(s, STATUS_OURS, &err, NULL);
        complain(s, &err);
    }
    if (s->plan->json)
        show_json(s, status);
    return status;
}

int session_run(const struct run_plan *plan)
{
    struct session *s = &session;
    struct lum_error err;
    int status;
    int rc = os_signals_open();

    if (rc != 0) {
        ui_error("prepare for signals: %s", strerror(rc));
        return STATUS_OURS;
    }
    s->plan = plan;
    s->out = (struct sink){.stream = LUM_STDOUT, .fd = 1};
    s->err = (struct sink){.stream = LUM_STDERR, .fd = 2};
    if (start_thread(watch_main, s, NULL, &err) < 0)
        return fail(s, STATUS_OURS, &err, NULL);
    status = go(s);
    if (plan->timing)
        show_timings(s);
    lum_vm_free(s->vm);
    free(s->out.data);
    free(s->err.data);
    return status;
}
