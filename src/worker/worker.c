/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The per-VM process. It follows its caller (end of file on the control socket ends it), owns one
 * machine and one agent connection, and answers typed requests (ctl.h). Everything but the vCPUs
 * happens on one loop.
 */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "hv/hv.h"
#include "jail/jail.h"
#include "proto.h"
#include "worker/agent.h"
#include "worker/console.h"
#include "worker/ctl.h"
#include "worker/worker.h"

#define MAX_STAGES  32u
#define MAX_WAITERS 32u
/* A guest whose agent has gone is shutting down; one that does not get there is ended. */
#define GONE_GRACE_NS (300u * 1000000ull)

struct stage {
    char name[32];
    uint64_t at_ns;
};

struct worker {
    struct plat_loop *loop;
    plat_fd control;
    struct plat_watch *control_watch;
    /* the request being received */
    uint8_t header[FRAME_HEADER];
    uint8_t *payload;
    uint32_t payload_size, payload_have;
    plat_fd fds[PLAT_MAX_FDS];
    size_t n_fds;
    bool in_payload;

    struct vm_spec spec;
    const struct machine_backend *backend;
    struct machine *machine;
    struct agent *agent;
    struct console console;

    plat_fd rss;
    bool started, paused, ended, agent_gone;
    char noted[160];  /* why the VM is about to end */
    bool noted_reset; /* which is a power-off when the guest had announced it */
    char reason[160];
    plat_fd start_channel;
    plat_fd waiters[MAX_WAITERS]; /* CTL_WAIT and polite CTL_STOP */
    size_t n_waiters;
    struct plat_timer *end_timer;
    struct stage stages[MAX_STAGES];
    size_t n_stages;
};

/* A request's channel that is answered later, once. */
struct pending {
    struct worker *w;
    plat_fd channel;
};

static void worker_log(void *ctx, int level, const char *fmt, ...) LUM_PRINTF(3, 4);

static void worker_log(void *ctx, int level, const char *fmt, ...)
{
    char text[512];
    va_list ap;

    (void)ctx;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (n > 0)
        log_line(level, text, strlen(text));
}

static void add_stage(void *ctx, const char *name)
{
    struct worker *w = ctx;

    for (size_t i = 0; i < w->n_stages; i++)
        if (strcmp(w->stages[i].name, name) == 0)
            return; /* the ledger is of the first command */
    if (w->n_stages == MAX_STAGES)
        return;
    struct stage *s = &w->stages[w->n_stages++];
    snprintf(s->name, sizeof(s->name), "%s", name);
    s->at_ns = plat_now_ns();
}

/* ---- answers ---- */

/* Without memory too: a caller that hears nothing would wait. */
static void answer_error(plat_fd *channel, const struct lum_error *error)
{
    uint8_t raw[CTL_ERROR_MAX];
    struct wbuf out = wbuf_fixed(raw, sizeof(raw));
    struct lum_error err;

    ctl_put_error(&out, error);
    (void)plat_send_fds(*channel, out.data, out.size, NULL, 0, &err);
    plat_close(channel);
}

static void answer(plat_fd *channel, const struct wbuf *body)
{
    uint8_t raw[2048]; /* more than the stages' times take */
    struct wbuf out = wbuf_fixed(raw, sizeof(raw));
    struct lum_error err;

    frame_put(&out, CTL_OK, 0, 0, body ? body->data : NULL, body ? body->size : 0);
    if (out.failed || (body && body->failed)) {
        lum_fail(&err, LUM_ENOMEM, "answer: out of memory");
        answer_error(channel, &err);
        return;
    }
    (void)plat_send_fds(*channel, out.data, out.size, NULL, 0, &err);
    plat_close(channel);
}

static void answer_reason(struct worker *w, plat_fd *channel)
{
    AUTO(wbuf_done) struct wbuf body = {0};

    wbuf_str(&body, w->reason);
    answer(channel, &body);
}

/* ---- the end of a VM ---- */

static void free_machine(void *ctx)
{
    struct worker *w = ctx;
    struct machine *m = STEAL(w->machine);

    if (m)
        m->ops->free(m);
}

/*
 * Answers everybody, then takes the machine apart: nobody waits for the teardown. Only called from
 * the loop's top level (a timer, a post or a request), never from inside an agent or machine call.
 */
static void end_vm(struct worker *w, int code, const char *reason)
{
    struct lum_error err;

    if (w->ended)
        return;
    w->ended = true;
    if (agent_drain(w->agent) && w->noted_reset)
        reason = "powered off";
    snprintf(w->reason, sizeof(w->reason), "%s", reason);
    console_flush(&w->console);
    lum_fail(&err, LUM_EGONE, "the VM has ended: %s", reason);
    agent_end(w->agent, &err);
    if (w->start_channel >= 0) {
        lum_fail(&err, code, "the guest ended while booting: %s", reason);
        answer_error(&w->start_channel, &err);
    }
    for (size_t i = 0; i < w->n_waiters; i++)
        answer_reason(w, &w->waiters[i]);
    w->n_waiters = 0;
    plat_timer_set(w->end_timer, 0);
    if (plat_loop_post(w->loop, free_machine, w, &err) < 0)
        free_machine(w);
}

static void end_noted(void *ctx)
{
    struct worker *w = ctx;

    end_vm(w, LUM_EGUEST, w->noted);
}

/* Notes why and ends the VM from the loop's top level. The first reason counts. */
static void end_soon(struct worker *w, const char *reason)
{
    struct lum_error err;

    if (w->ended || w->noted[0])
        return;
    snprintf(w->noted, sizeof(w->noted), "%s", reason);
    if (plat_loop_post(w->loop, end_noted, w, &err) < 0)
        _exit(1);
}

static void on_end_timer(void *ctx)
{
    struct worker *w = ctx;

    /* The agent has gone, or a polite stop took too long; the machine is still there. */
    end_vm(w, LUM_EGUEST, w->agent_gone ? "powered off" : "stopped");
}

static void machine_ended(void *ctx, enum machine_end end, const char *text)
{
    struct worker *w = ctx;
    char reason[160];

    if (end == MACHINE_CRASHED)
        snprintf(reason, sizeof(reason), "crashed: %s", text);
    else if (console_panic(&w->console))
        snprintf(reason, sizeof(reason), "crashed: %s", console_panic(&w->console));
    else
        snprintf(reason, sizeof(reason), end == MACHINE_POWERED_OFF ? "powered off" : "reset");
    w->noted_reset = end == MACHINE_RESET && strcmp(reason, "reset") == 0;
    end_soon(w, reason);
}

static void agent_ready(void *ctx)
{
    struct worker *w = ctx;

    add_stage(w, "agent ready");
    if (w->start_channel >= 0)
        answer(&w->start_channel, NULL);
}

static void agent_is_gone(void *ctx, const char *why)
{
    struct worker *w = ctx;

    w->agent_gone = true;
    if (why)
        end_soon(w, why);
    else if (!w->ended)
        plat_timer_set(w->end_timer, GONE_GRACE_NS);
}

static void agent_connected(void *ctx, plat_fd stream)
{
    struct worker *w = ctx;

    agent_connect(w->agent, stream);
}

static void agent_closed(void *ctx)
{
    struct worker *w = ctx;

    agent_hang_up(w->agent);
}

static void console_bytes(void *ctx, const uint8_t *data, size_t size)
{
    struct worker *w = ctx;

    console_write(&w->console, data, size);
}

/* ---- requests ---- */

static int fence_closed(void *ctx, struct lum_error *err)
{
    (void)ctx;
    return jail_enter(JAIL_CLOSED, err);
}

static int fence_vcpu(void *ctx, struct lum_error *err)
{
    (void)ctx;
    return jail_enter_vcpu(err);
}

static int fence_program(void *ctx, const struct plat_start *start,
                         struct plat_process **ret_process, struct lum_error *err)
{
    (void)ctx;
    return jail_start_program(start, ret_process, err);
}

static int do_create(struct worker *w, struct rbuf *in, struct lum_error *err)
{
    if (w->backend)
        return lum_fail(err, LUM_EBUSY, "created before");
    int rc = ctl_get_spec(in, &w->spec, err);
    if (rc < 0)
        return rc;
    if (w->n_fds < 3 || (w->n_fds < 4 && w->spec.root_kind != MACHINE_ROOT_INITRD))
        return lum_fail(err, LUM_EINTERNAL, "create message without its files");
    w->spec.kernel = STEAL_FD(w->fds[1]);
    w->spec.agent = STEAL_FD(w->fds[2]);
    w->spec.root = w->n_fds > 3 ? STEAL_FD(w->fds[3]) : PLAT_FD_NONE;
    w->backend = machine_find(w->spec.backend);
    if (!w->backend)
        return lum_fail(err, LUM_EINTERNAL, "backend %s: not in this program", w->spec.backend);

    const struct machine_host host = {.ctx = w,
                                      .log = worker_log,
                                      .console = console_bytes,
                                      .agent = agent_connected,
                                      .agent_closed = agent_closed,
                                      .ended = machine_ended,
                                      .stage = add_stage,
                                      .closed = fence_closed,
                                      .vcpu_sealed = fence_vcpu,
                                      .start_program = fence_program};
    rc = w->backend->ops->create(w->backend->driver, &w->spec, w->loop, &host, &w->machine, err);
    if (rc == LUM_ENOTSUP || rc == LUM_EACCES || rc == LUM_ENOENT)
        return lum_context(err, "backend %s", w->spec.backend);
    if (rc < 0)
        return rc;
    plat_close(&w->spec.kernel);
    plat_close(&w->spec.agent);
    rc = jail_enter(JAIL_SEALED, err);
    add_stage(w, "sealed");
    return rc;
}

static void request_create(struct worker *w, struct rbuf *in, plat_fd *channel)
{
    AUTO(wbuf_done) struct wbuf body = {0};
    struct lum_error err;

    if (do_create(w, in, &err) < 0) {
        answer_error(channel, &err);
        return;
    }
    wbuf_str(&body, w->spec.backend);
    answer(channel, &body);
}

static int do_start(struct worker *w, struct lum_error *err)
{
    if (!w->machine || w->started)
        return lum_fail(err, LUM_EBUSY, w->started ? "started before" : "not created");
    w->started = true;
    return w->machine->ops->start(w->machine, err);
}

static void request_start(struct worker *w, plat_fd *channel)
{
    struct lum_error err;

    if (do_start(w, &err) < 0)
        answer_error(channel, &err);
    else
        w->start_channel = STEAL_FD(*channel);
}

static void pause_done(void *ctx, int rc, const char *why)
{
    struct pending *p = ctx;
    struct lum_error err;

    if (rc < 0) {
        p->w->paused = !p->w->paused;
        lum_fail(&err, rc, "%s", why);
        answer_error(&p->channel, &err);
    } else {
        answer(&p->channel, NULL);
    }
    free(p);
}

static void request_pause(struct worker *w, bool pause, plat_fd *channel)
{
    struct lum_error err = {0};
    struct pending *p = NULL;

    if (!w->started || w->paused == pause)
        lum_fail(&err, LUM_EBUSY, pause ? "not running" : "not paused");
    else if (!(p = lum_calloc(1, sizeof(*p))))
        lum_fail(&err, LUM_ENOMEM, "out of memory");
    if (!p) {
        answer_error(channel, &err);
        return;
    }
    p->w = w;
    p->channel = STEAL_FD(*channel);
    w->paused = pause;
    if (pause)
        w->machine->ops->pause(w->machine, pause_done, p);
    else
        w->machine->ops->resume(w->machine, pause_done, p);
}

static void request_stop(struct worker *w, struct rbuf *in, plat_fd *channel)
{
    uint32_t grace_ms = rbuf_u32(in);

    if (w->started && grace_ms > 0 && agent_is_ready(w->agent) && w->n_waiters < MAX_WAITERS) {
        agent_shutdown(w->agent, grace_ms);
        plat_timer_set(w->end_timer, (uint64_t)grace_ms * 1000000);
        w->waiters[w->n_waiters++] = STEAL_FD(*channel);
        return;
    }
    end_vm(w, LUM_EGONE, "stopped");
    answer_reason(w, channel);
}

/* Callers that waited with a deadline have closed their end; nothing else makes it readable. */
static void drop_gone_waiters(struct worker *w)
{
    size_t kept = 0;

    for (size_t i = 0; i < w->n_waiters; i++) {
        if (plat_wait_fd(w->waiters[i], false, PLAT_FD_NONE, 0) == 1)
            plat_close(&w->waiters[i]);
        else
            w->waiters[kept++] = w->waiters[i];
    }
    w->n_waiters = kept;
}

static void request_wait(struct worker *w, plat_fd *channel)
{
    struct lum_error err;

    drop_gone_waiters(w);
    if (w->n_waiters == MAX_WAITERS) {
        lum_fail(&err, LUM_EBUSY, "too many threads wait for one VM");
        answer_error(channel, &err);
        return;
    }
    w->waiters[w->n_waiters++] = STEAL_FD(*channel);
}

static void request_stats(struct worker *w, plat_fd *channel)
{
    AUTO(wbuf_done) struct wbuf body = {0};
    struct machine_stats stats = {0};

    if (w->machine)
        w->machine->ops->stats(w->machine, &stats);
    wbuf_u64(&body, stats.guest_touched_bytes);
    wbuf_u64(&body, plat_rss_read(w->rss) + stats.helper_rss_bytes);
    wbuf_u64(&body, stats.exits);
    answer(channel, &body);
}

static void request_timings(struct worker *w, plat_fd *channel)
{
    AUTO(wbuf_done) struct wbuf body = {0};

    wbuf_u32(&body, (uint32_t)w->n_stages);
    for (size_t i = 0; i < w->n_stages; i++) {
        wbuf_str(&body, w->stages[i].name);
        wbuf_u64(&body, w->stages[i].at_ns);
    }
    answer(channel, &body);
}

static void dial_done(void *ctx, int rc)
{
    struct pending *p = ctx;
    struct lum_error err;

    if (rc < 0) {
        lum_fail(&err, rc,
                 rc == LUM_ENOENT ? "nobody listens on that port of the guest"
                                  : "the guest did not answer");
        answer_error(&p->channel, &err);
    } else {
        answer(&p->channel, NULL);
    }
    free(p);
}

static void request_dial(struct worker *w, struct rbuf *in, plat_fd *channel)
{
    uint32_t port = rbuf_u32(in);
    struct lum_error err = {0};
    struct pending *p = NULL;

    if (in->bad || w->n_fds != 2)
        lum_fail(&err, LUM_EINTERNAL, "malformed dial");
    else if (!agent_is_ready(w->agent))
        lum_fail(&err, LUM_EBUSY, "the guest is not ready");
    else if (!(p = lum_calloc(1, sizeof(*p))))
        lum_fail(&err, LUM_ENOMEM, "out of memory");
    if (!p) {
        answer_error(channel, &err);
        return;
    }
    p->w = w;
    p->channel = STEAL_FD(*channel);
    if (w->machine->ops->dial)
        w->machine->ops->dial(w->machine, port, STEAL_FD(w->fds[1]), dial_done, p);
    else
        agent_dial(w->agent, port, STEAL_FD(w->fds[1]), dial_done, p);
}

static void request_op(struct worker *w, struct rbuf *in, plat_fd *channel)
{
    uint16_t type = rbuf_u16(in);
    int32_t timeout_ms = (int32_t)rbuf_u32(in);
    uint8_t mask = rbuf_u8(in);
    plat_fd streams[3] = {PLAT_FD_NONE, PLAT_FD_NONE, PLAT_FD_NONE};
    size_t next = 1;
    struct lum_error err = {0};

    if (w->paused)
        lum_fail(&err, LUM_EBUSY, "the VM is paused");
    else if (in->bad || mask > 7 || type < PROTO_EXEC || type > PROTO_GET)
        lum_fail(&err, LUM_EINTERNAL, "malformed operation");
    for (int i = 0; i < 3 && !err.code; i++) {
        if (!(mask & 1 << i))
            continue;
        if (next < w->n_fds) {
            streams[i] = STEAL_FD(w->fds[next]);
            next++;
        } else {
            lum_fail(&err, LUM_EINTERNAL, "operation without its streams");
        }
    }
    if (err.code) {
        for (int i = 0; i < 3; i++)
            plat_close(&streams[i]);
        answer_error(channel, &err);
        return;
    }
    agent_op(w->agent, type, in->data + in->at, in->size - in->at, timeout_ms, STEAL_FD(*channel),
             streams);
}

static void handle_request(struct worker *w, uint16_t type, struct rbuf *in)
{
    plat_fd *channel = &w->fds[0];
    struct lum_error err;

    if (w->ended && type != CTL_STATS && type != CTL_TIMINGS) {
        if (type == CTL_STOP || type == CTL_WAIT) {
            answer_reason(w, channel);
            return;
        }
        lum_fail(&err, LUM_EGONE, "the VM has ended: %s", w->reason);
        answer_error(channel, &err);
        return;
    }
    switch (type) {
    case CTL_CREATE: request_create(w, in, channel); break;
    case CTL_START: request_start(w, channel); break;
    case CTL_PAUSE: request_pause(w, true, channel); break;
    case CTL_RESUME: request_pause(w, false, channel); break;
    case CTL_STOP: request_stop(w, in, channel); break;
    case CTL_WAIT: request_wait(w, channel); break;
    case CTL_STATS: request_stats(w, channel); break;
    case CTL_TIMINGS: request_timings(w, channel); break;
    case CTL_DIAL: request_dial(w, in, channel); break;
    case CTL_OP: request_op(w, in, channel); break;
    default: lum_fail(&err, LUM_EINTERNAL, "unknown request %u", type); answer_error(channel, &err);
    }
}

/* ---- receiving requests ---- */

static void request_complete(struct worker *w)
{
    struct rbuf in = rbuf_of(w->payload, w->payload_size);

    if (w->n_fds > 0)
        handle_request(w, le16_load(w->header + 4), &in);
    for (size_t i = 0; i < w->n_fds; i++)
        plat_close(&w->fds[i]);
    w->n_fds = 0;
    free(w->payload);
    w->payload = NULL;
    w->in_payload = false;
}

/* The header in one piece with its descriptors: the sender writes it so, and a stream socket never
 * merges across them. */
static ssize_t receive_header(struct worker *w)
{
    size_t n_fds = ARRAY_LEN(w->fds);
    ssize_t n = plat_recv_fds(w->control, w->header, sizeof(w->header), w->fds, &n_fds);

    if (n <= 0)
        return n;
    w->n_fds = n_fds;
    w->payload_size = le32_load(w->header);
    w->payload_have = 0;
    if (n != FRAME_HEADER || w->payload_size > FRAME_MAX_PAYLOAD)
        return 0;
    w->payload = lum_calloc(1, (size_t)w->payload_size + 1);
    w->in_payload = true;
    return w->payload ? n : 0;
}

static ssize_t receive(struct worker *w)
{
    if (!w->in_payload)
        return receive_header(w);
    ssize_t n =
        plat_read(w->control, w->payload + w->payload_have, w->payload_size - w->payload_have);
    if (n > 0)
        w->payload_have += (uint32_t)n;
    return n;
}

static void on_control(void *ctx, int events)
{
    struct worker *w = ctx;

    (void)events;
    for (;;) {
        ssize_t n = receive(w);

        if (n == -EAGAIN)
            return;
        if (n <= 0)
            _exit(0); /* the caller is gone: the kernel takes everything apart */
        if (w->payload_have == w->payload_size)
            request_complete(w);
    }
}

static int worker_init(struct worker *w, struct lum_error *err)
{
    const struct agent_host host = {.ctx = w,
                                    .log = worker_log,
                                    .ready = agent_ready,
                                    .gone = agent_is_gone,
                                    .stage = add_stage};
    int rc = plat_loop_create(&w->loop, err);

    if (rc < 0)
        return rc;
    w->agent = agent_create(w->loop, &host);
    if (!w->agent)
        return lum_fail(err, LUM_ENOMEM, "worker: out of memory");
    rc = plat_timer_create(w->loop, on_end_timer, w, &w->end_timer, err);
    if (rc == 0)
        rc = plat_set_nonblock(w->control, err);
    if (rc == 0)
        rc = plat_watch_create(w->loop, w->control, PLAT_READ, on_control, w, &w->control_watch,
                               err);
    return rc;
}

/* Before there is a loop: the first request is answered with the reason. */
static int refuse_work(struct worker *w, const struct lum_error *err)
{
    w->n_fds = ARRAY_LEN(w->fds);
    if (plat_recv_fds(w->control, w->header, sizeof(w->header), w->fds, &w->n_fds) > 0 &&
        w->n_fds > 0)
        answer_error(&w->fds[0], err);
    else
        log_line(LUM_LOG_WARN, err->text, strlen(err->text));
    return 1;
}

int worker_main(const char *jail)
{
    static struct worker worker; /* large, and one per process */
    struct worker *w = &worker;
    enum jail_mode mode;
    struct lum_error err;

    (void)signal(SIGPIPE, SIG_IGN);
    w->control = CTL_FD;
    w->start_channel = PLAT_FD_NONE;
    vm_spec_init(&w->spec);
    add_stage(w, "worker started");
    bool device = plat_is_open(DEVICE_FD); /* before anything else takes the number */
    hv_use_device(device ? DEVICE_FD : PLAT_FD_NONE);
    w->rss = plat_rss_open(PLAT_FD_NONE);
    if (jail_mode_find(jail, &mode, &err) < 0 || jail_begin(mode, device, &err) < 0 ||
        worker_init(w, &err) < 0)
        return refuse_work(w, &err);
    plat_loop_run(w->loop);
    return 0;
}
