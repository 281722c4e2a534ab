/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine on QEMU: portable, and the one that still works where there is no virtualization at
 * all. QEMU is a child of the worker, made in create() with its guest code held back, so that the
 * worker starts no program later on; start() lets the guest go. Everything between the two is a
 * descriptor: control (QMP), console, agent, kernel, initrd, root.
 *
 * The end of the guest is what QMP says, else how the process ended. It is reported from a timer
 * and never from inside another callback, so the owner may free the machine when it hears of it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "boot/boot.h"
#include "machine/machine.h"
#include "machine/qemu/qemu_args.h"
#include "machine/qemu/qemu_host.h"
#include "machine/qemu/qemu_tsc.h"
#include "machine/qemu/qmp.h"
#include "proto.h"

#define LINE_MAX_SIZE 256 /* of stderr; what is longer is cut */

/* How long QEMU may take to exit after it has closed its control connection. */
#define EXIT_GRACE_NS 500000000u

struct qemu_machine {
    struct machine base;
    struct machine_host host;
    struct plat_process *process;
    struct plat_watch *process_watch;
    struct plat_timer *end_timer;
    struct qmp qmp;
    plat_fd agent;
    plat_fd console;
    struct plat_watch *console_watch;
    plat_fd rss;
    plat_fd errors; /* QEMU's stderr */
    struct plat_watch *errors_watch;
    char line[LINE_MAX_SIZE]; /* of stderr, as far as it has come */
    size_t line_size;
    char last_line[LINE_MAX_SIZE];
    bool started;
    bool ending;  /* end and end_text are set, the timer runs or has run */
    bool certain; /* nothing that is still to come would say more */
    bool reported;
    enum machine_end end;
    char end_text[320];
};

static struct qemu_machine *of(struct machine *base)
{
    return container_of(base, struct qemu_machine, base);
}

static void qemu_probe(const char *driver, struct machine_probe *ret_probe)
{
    AUTO(auto_free) char *program = NULL;
    struct lum_error err;

    (void)driver;
    *ret_probe = (struct machine_probe){0};
    if (qemu_find(getenv("PATH"), &program, &err) < 0) {
        snprintf(ret_probe->detail, sizeof(ret_probe->detail), "%.*s",
                 (int)sizeof(ret_probe->detail) - 1, err.text);
        return;
    }
    bool hardware = qemu_has_kvm();

    ret_probe->usable = true;
    ret_probe->max_vcpus = LUM_VCPUS_MAX;
    ret_probe->features = LUM_FEATURE_PAUSE | LUM_FEATURE_DIAL;
    if (hardware)
        ret_probe->features |= LUM_FEATURE_HARDWARE;
    snprintf(ret_probe->detail, sizeof(ret_probe->detail), "%s (%.100s)",
             hardware ? "QEMU on KVM" : "QEMU's software CPU: correct but slow", program);
}

/* ---- the end ---- */

static void report_end(void *ctx)
{
    struct qemu_machine *m = ctx;

    m->reported = true;
    m->host.ended(m->host.ctx, m->end, m->end_text); /* may free m */
}

static void set_end(struct qemu_machine *m, uint64_t delay_ns, enum machine_end end,
                    const char *text)
{
    m->ending = true;
    m->end = end;
    snprintf(m->end_text, sizeof(m->end_text), "%s", text);
    plat_timer_set(m->end_timer, delay_ns);
}

/* For good; whatever was said with end_unless_more is overruled. */
static void end_now(struct qemu_machine *m, enum machine_end end, const char *text)
{
    if (m->certain || m->reported)
        return;
    m->certain = true;
    set_end(m, 1, end, text);
}

/* QEMU is about to exit, and how it does may say more. */
static void end_unless_more(struct qemu_machine *m, const char *text)
{
    if (!m->ending)
        set_end(m, EXIT_GRACE_NS, MACHINE_CRASHED, text);
}

/* ---- output ---- */

static void take_error_line(struct qemu_machine *m)
{
    m->line[m->line_size] = '\0';
    m->line_size = 0;
    /* Said of every feature of a CPU model that this QEMU leaves out; qemu_args.c wants it so. */
    if (m->line[0] == '\0' || strstr(m->line, "TCG doesn't support requested feature"))
        return;
    memcpy(m->last_line, m->line, sizeof(m->last_line));
    m->host.log(m->host.ctx, LUM_LOG_DEBUG, "%s", m->line);
}

static void on_errors(void *ctx, int events)
{
    struct qemu_machine *m = ctx;
    char buf[1024];
    ssize_t n = plat_read(m->errors, buf, sizeof(buf));

    (void)events;
    if (n == -EAGAIN)
        return;
    for (ssize_t i = 0; i < n; i++) {
        if (buf[i] == '\n')
            take_error_line(m);
        else if (m->line_size < sizeof(m->line) - 1)
            m->line[m->line_size++] = buf[i] >= 0x20 && buf[i] < 0x7f ? buf[i] : '?';
    }
    if (n <= 0) {
        take_error_line(m);
        plat_watch_free(STEAL(m->errors_watch));
    }
}

static void on_console(void *ctx, int events)
{
    struct qemu_machine *m = ctx;
    uint8_t buf[4096];
    ssize_t n = plat_read(m->console, buf, sizeof(buf));

    (void)events;
    if (n > 0)
        m->host.console(m->host.ctx, buf, (size_t)n);
    else if (n != -EAGAIN)
        plat_watch_free(STEAL(m->console_watch));
}

/* What a guest or a QEMU that is gone has left behind; bounded by what a socket holds. */
static void drain_output(struct qemu_machine *m)
{
    for (int i = 0; i < 256 && m->console_watch && plat_wait_fd(m->console, false, -1, 0) == 1; i++)
        on_console(m, PLAT_READ);
    for (int i = 0; i < 256 && m->errors_watch && plat_wait_fd(m->errors, false, -1, 0) == 1; i++)
        on_errors(m, PLAT_READ);
}

/* ---- control ---- */

static void on_greeted(void *ctx, const char *version)
{
    struct qemu_machine *m = ctx;

    m->host.log(m->host.ctx, LUM_LOG_DEBUG, "QEMU %s", version);
    m->host.stage(m->host.ctx, "qemu");
}

static void on_event(void *ctx, const char *name, const char *reason)
{
    struct qemu_machine *m = ctx;

    /*
     * The agent never closes its port while it lives: the guest is shutting down. One that halts
     * says nothing more, so the connection ends here for the host as well.
     */
    if (strcmp(name, "VSERPORT_CHANGE") == 0 && strcmp(reason, "closed") == 0)
        m->host.agent_closed(m->host.ctx);
    /* RESET, STOP, RESUME and the rest say nothing that is not known here. */
    if (strcmp(name, "SHUTDOWN") != 0)
        return;
    drain_output(m);
    if (strcmp(reason, "guest-shutdown") == 0)
        end_now(m, MACHINE_POWERED_OFF, "powered off");
    else if (strcmp(reason, "guest-reset") == 0)
        end_now(m, MACHINE_RESET, "reset");
    else if (strcmp(reason, "guest-panic") == 0)
        end_now(m, MACHINE_CRASHED, "the guest kernel panicked");
    else
        end_unless_more(m, "QEMU shut down by itself");
}

static void on_broken(void *ctx, const char *why)
{
    struct qemu_machine *m = ctx;

    end_unless_more(m, why);
}

static void on_process(void *ctx, int events)
{
    struct qemu_machine *m = ctx;
    char text[sizeof(m->end_text)];
    int status;

    (void)events;
    if (plat_process_wait(m->process, 0, &status) == 0)
        return;
    plat_watch_free(STEAL(m->process_watch));
    qmp_drain(&m->qmp);
    qmp_abort(&m->qmp, LUM_EGONE, "QEMU has ended");
    drain_output(m);
    if (status > 128)
        snprintf(text, sizeof(text), "QEMU was killed by signal %d%s%s", status - 128,
                 m->last_line[0] ? ": " : "", m->last_line);
    else
        snprintf(text, sizeof(text), "QEMU ended with status %d%s%s", status,
                 m->last_line[0] ? ": " : "", m->last_line);
    end_now(m, MACHINE_CRASHED, text);
}

/* ---- making ---- */

/*
 * QEMU takes one initrd. Linux unpacks archives that follow each other, each at a multiple of four
 * bytes.
 */
static int join_initrds(const struct vm_spec *spec, plat_fd *ret_fd, struct lum_error *err)
{
    AUTO(auto_free) uint8_t *both = NULL;
    uint64_t agent_size = 0, root_size = 0;
    int rc = plat_file_size(spec->agent, &agent_size, err);

    if (rc == 0)
        rc = plat_file_size(spec->root, &root_size, err);
    if (rc < 0)
        return rc;
    if (agent_size > spec->memory_bytes / 2 || root_size > spec->memory_bytes - agent_size)
        return lum_fail(
            err, LUM_EINVAL, "rootfs: a cpio of %llu MiB does not fit into %llu MiB of memory",
            (unsigned long long)(root_size / MIB), (unsigned long long)(spec->memory_bytes / MIB));
    uint64_t root_at = align_up(agent_size, 4);

    both = lum_calloc(1, (size_t)(root_at + root_size));
    if (!both)
        return lum_fail(err, LUM_ENOMEM, "rootfs: out of memory");
    rc = plat_file_pread(spec->agent, both, (size_t)agent_size, 0, "agent", err);
    if (rc == 0)
        rc = plat_file_pread(spec->root, both + root_at, (size_t)root_size, 0, "rootfs", err);
    if (rc < 0)
        return rc;
    return plat_memfile("initrd", both, (size_t)(root_at + root_size), ret_fd, err);
}

static int copy_kernel(const struct vm_spec *spec, plat_fd *ret_fd, struct lum_error *err)
{
    AUTO(auto_free) uint8_t *data = NULL;
    uint64_t size;
    int rc = plat_file_size(spec->kernel, &size, err);

    if (rc < 0)
        return rc;
    if (size > spec->memory_bytes)
        return lum_fail(err, LUM_EINVAL, "kernel %s: larger than the guest's memory",
                        spec->kernel_name);
    data = lum_calloc(1, (size_t)size);
    if (!data)
        return lum_fail(err, LUM_ENOMEM, "kernel: out of memory");
    rc = plat_file_pread(spec->kernel, data, (size_t)size, 0, spec->kernel_name, err);
    return rc < 0 ? rc : plat_memfile("kernel", data, (size_t)size, ret_fd, err);
}

/* One end for QEMU, the other one for us, which does not block. */
static int make_pair(plat_fd *ret_theirs, plat_fd *ret_ours, struct lum_error *err)
{
    plat_fd pair[2];
    int rc = plat_socketpair(pair, err);

    if (rc < 0)
        return rc;
    *ret_theirs = pair[0];
    *ret_ours = pair[1];
    return plat_set_nonblock(pair[1], err);
}

static void qemu_free(struct machine *base)
{
    if (!base)
        return;
    struct qemu_machine *m = of(base);

    /* Whoever still waits for a pause is told; for the rest there is nothing more to report. */
    m->ending = m->certain = m->reported = true;
    qmp_abort(&m->qmp, LUM_EGONE, "the VM has ended");
    plat_watch_free(m->process_watch);
    plat_watch_free(m->console_watch);
    plat_watch_free(m->errors_watch);
    plat_timer_free(m->end_timer);
    plat_process_leave(m->process);
    plat_close(&m->agent);
    plat_close(&m->console);
    plat_close(&m->errors);
    plat_close(&m->rss);
    free(m);
}

static void auto_machine(struct qemu_machine **m)
{
    if (*m)
        qemu_free(&(*m)->base);
}

/* What QEMU gets, and what of it has to be closed here once it has it. */
struct handover {
    plat_fd fds[QEMU_FD_COUNT];
    plat_fd errors;
    plat_fd joined; /* an initrd made here */
    plat_fd copied; /* the kernel, where QEMU may not open the file itself */
};

static void auto_handover(struct handover *h)
{
    plat_close(&h->fds[QEMU_FD_QMP]);
    plat_close(&h->fds[QEMU_FD_CONSOLE]);
    plat_close(&h->fds[QEMU_FD_AGENT]);
    plat_close(&h->errors);
    plat_close(&h->joined);
    plat_close(&h->copied);
}

static int launch(struct qemu_machine *m, const struct vm_spec *spec, plat_fd *ret_qmp,
                  struct lum_error *err)
{
    AUTO(auto_free) char *program = NULL;
    AUTO(auto_free) char *cmdline = NULL;
    AUTO(auto_handover)
    struct handover h = {
        .fds = {PLAT_FD_NONE, PLAT_FD_NONE, PLAT_FD_NONE, spec->kernel, spec->agent, spec->root},
        .errors = PLAT_FD_NONE,
        .joined = PLAT_FD_NONE,
        .copied = PLAT_FD_NONE};
    struct tsc_sample began = tsc_sample();
    char transport[QEMU_TRANSPORT_ARGS_SIZE];
    struct qemu_args args;
    plat_fd pipe[2] = {PLAT_FD_NONE, PLAT_FD_NONE};
    int rc = boot_check_kernel(spec->kernel, spec->kernel_name, err);

    if (rc == 0)
        rc = qemu_find(getenv("PATH"), &program, err);
    if (rc < 0)
        return rc;
    bool hardware = qemu_has_kvm();
    if (!hardware)
        m->host.log(m->host.ctx, LUM_LOG_WARN,
                    "backend qemu: QEMU's software CPU: correct but slow (%.100s)", program);
    struct qemu_launch what = {.program = program,
                               .vcpus = spec->vcpus,
                               .memory_bytes = spec->memory_bytes,
                               .hardware = hardware,
                               .root_disk = spec->root_kind != MACHINE_ROOT_INITRD};

    if (!what.root_disk && spec->root != PLAT_FD_NONE) {
        rc = join_initrds(spec, &h.joined, err);
        if (rc < 0)
            return rc;
        h.fds[QEMU_FD_INITRD] = h.joined;
    }
    if (!qemu_can_open(spec->kernel)) {
        rc = copy_kernel(spec, &h.copied, err);
        if (rc < 0)
            return rc;
        h.fds[QEMU_FD_KERNEL] = h.copied;
    }
    if (!what.hardware)
        what.tsc_khz = tsc_khz_since(&began);
    qemu_transport_args(&what, transport);
    rc = machine_cmdline(spec, transport, AGENT_SERIAL_NAME, &cmdline, err);
    if (rc < 0)
        return rc;
    what.cmdline = cmdline;
    qemu_args_make(&what, &args);

    rc = make_pair(&h.fds[QEMU_FD_QMP], ret_qmp, err);
    if (rc == 0)
        rc = make_pair(&h.fds[QEMU_FD_CONSOLE], &m->console, err);
    if (rc == 0)
        rc = make_pair(&h.fds[QEMU_FD_AGENT], &m->agent, err);
    if (rc == 0)
        rc = plat_pipe(pipe, err);
    if (rc < 0)
        return rc;
    m->errors = pipe[0];
    h.errors = pipe[1];
    rc = plat_set_nonblock(m->errors, err);
    if (rc < 0)
        return rc;
    struct plat_start start = PLAT_START_INIT;
    start.argv = args.argv;
    start.fds = h.fds;
    start.n_fds = what.root_disk ? QEMU_FD_COUNT : QEMU_FD_ROOT;
    start.err_fd = h.errors;
    start.die_with_thread = true;
    rc = m->host.start_program(m->host.ctx, &start, &m->process, err);
    if (rc == 0)
        m->rss = plat_rss_open(plat_process_fd(m->process));
    return rc < 0 ? rc : m->host.closed(m->host.ctx, err);
}

static int qemu_create(const char *driver, const struct vm_spec *spec, struct plat_loop *loop,
                       const struct machine_host *host, struct machine **ret_machine,
                       struct lum_error *err)
{
    AUTO(auto_machine) struct qemu_machine *m = lum_calloc(1, sizeof(*m));
    AUTO(plat_close) plat_fd qmp = PLAT_FD_NONE;

    (void)driver;
    if (!m)
        return lum_fail(err, LUM_ENOMEM, "qemu: out of memory");
    m->base.ops = &machine_qemu_ops;
    m->host = *host;
    m->agent = m->console = m->errors = m->rss = PLAT_FD_NONE;
    qmp_init(&m->qmp);

    int rc = launch(m, spec, &qmp, err);
    if (rc == 0)
        rc = plat_timer_create(loop, report_end, m, &m->end_timer, err);
    if (rc == 0)
        rc = plat_watch_create(loop, m->console, PLAT_READ, on_console, m, &m->console_watch, err);
    if (rc == 0)
        rc = plat_watch_create(loop, m->errors, PLAT_READ, on_errors, m, &m->errors_watch, err);
    if (rc == 0)
        rc = plat_watch_create(loop, plat_process_fd(m->process), PLAT_READ, on_process, m,
                               &m->process_watch, err);
    if (rc == 0) {
        const struct qmp_owner owner = {
            .ctx = m, .greeted = on_greeted, .event = on_event, .broken = on_broken};
        rc = qmp_open(&m->qmp, loop, &qmp, &owner, err);
    }
    if (rc < 0)
        return rc;
    *ret_machine = &STEAL(m)->base;
    return 0;
}

/* ---- running ---- */

static void on_started(void *ctx, int rc, const char *why)
{
    struct qemu_machine *m = ctx;

    if (rc < 0) {
        end_unless_more(m, why);
        return;
    }
    m->host.stage(m->host.ctx, "guest");
    /* The port exists from the first moment; what is written before the agent opens it waits. */
    m->host.agent(m->host.ctx, STEAL_FD(m->agent));
}

static int qemu_start(struct machine *base, struct lum_error *err)
{
    struct qemu_machine *m = of(base);

    if (m->reported)
        return lum_fail(err, LUM_EGONE, "qemu: %s", m->end_text);
    if (m->started)
        return lum_fail(err, LUM_EBUSY, "qemu: started before");
    m->started = true;
    if (m->ending) /* what is about to be reported knows better why */
        return 0;
    qmp_execute(&m->qmp, "cont", on_started, m);
    return 0;
}

static void control(struct machine *base, const char *command,
                    void (*done)(void *ctx, int rc, const char *why), void *ctx)
{
    struct qemu_machine *m = of(base);

    if (m->ending)
        done(ctx, LUM_EGONE, m->end_text);
    else if (!m->started)
        done(ctx, LUM_EBUSY, "not started");
    else
        qmp_execute(&m->qmp, command, done, ctx);
}

static void qemu_pause(struct machine *base, void (*done)(void *ctx, int rc, const char *why),
                       void *ctx)
{
    control(base, "stop", done, ctx);
}

static void qemu_resume(struct machine *base, void (*done)(void *ctx, int rc, const char *why),
                        void *ctx)
{
    control(base, "cont", done, ctx);
}

static void qemu_stats(struct machine *base, struct machine_stats *ret_stats)
{
    struct qemu_machine *m = of(base);

    *ret_stats = (struct machine_stats){.helper_rss_bytes = plat_rss_read(m->rss)};
}

const struct machine_ops machine_qemu_ops = {
    .kind = "qemu",
    .probe = qemu_probe,
    .create = qemu_create,
    .free = qemu_free,
    .start = qemu_start,
    .pause = qemu_pause,
    .resume = qemu_resume,
    .stats = qemu_stats,
};
