/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operations in the guest: their streams, credit, deadline and answers. An operation ends for the
 * guest with DONE; it lives on here until what the guest sent has reached the caller.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "proto.h"
#include "worker/agent_internal.h"
#include "worker/ctl.h"

#define CREDIT_STEP  (64u * 1024)
#define GUEST_ENOMEM 12u /* of Linux, whatever the host is */
/* A guest that does not even answer a kill gets this long; then the caller is answered without it.
 */
#define KILL_ANSWER_NS (2000u * 1000000ull)
/* The same for what nobody waits for, and for a port: Linux answers that one within two seconds. */
#define LATE_ANSWER_NS (10000u * 1000000ull)

struct stream {
    struct op *op;
    plat_fd fd; /* non-blocking; PLAT_FD_NONE: no such stream, or over */
    struct plat_watch *watch;
    bool from_caller, to_caller; /* neither: the operation has no such stream */
    /* from the caller */
    uint32_t credit;
    /* to the caller */
    uint32_t unacked;  /* received and not credited: at most PROTO_WINDOW */
    uint32_t consumed; /* part of it that has left */
    struct wbuf pending;
    bool guest_eof;
};

struct op {
    struct agent *agent;
    uint32_t id;
    uint16_t type;
    bool started, answered, timed_out, out_of_memory;
    plat_fd channel;
    struct plat_watch *channel_watch;
    struct wbuf channel_in;
    struct stream stream[3];
    struct plat_timer *timer;
    void (*dial_done)(void *ctx, int rc);
    void *dial_ctx;
    struct op *next;
};

struct op *op_find(struct agent *a, uint32_t id)
{
    struct op *op = a->ops;

    while (op && (op->id != id || op->answered))
        op = op->next;
    return op;
}

static void stream_close(struct stream *s)
{
    plat_watch_free(s->watch);
    s->watch = NULL;
    plat_close(&s->fd);
    wbuf_done(&s->pending);
}

void op_free(struct op *op)
{
    struct op **link = &op->agent->ops;

    while (*link != op)
        link = &(*link)->next;
    *link = op->next;
    for (int i = 0; i < 3; i++)
        stream_close(&op->stream[i]);
    plat_watch_free(op->channel_watch);
    plat_close(&op->channel);
    wbuf_done(&op->channel_in);
    plat_timer_free(op->timer);
    free(op);
}

/* Frees an answered operation whose output has all left. */
static void op_settle(struct op *op)
{
    if (!op->answered)
        return;
    for (int i = 0; i < 3; i++)
        if (op->stream[i].fd >= 0)
            return;
    op_free(op);
}

/* A few bytes into a socket that carries a handful of messages in its life: it fits, or the caller
 * is gone. */
static void channel_send(struct op *op, const struct wbuf *out)
{
    if (op->channel >= 0 && !out->failed)
        (void)plat_write(op->channel, out->data, out->size);
}

static void channel_close(struct op *op)
{
    plat_watch_free(op->channel_watch);
    op->channel_watch = NULL;
    plat_close(&op->channel);
}

/*
 * The last word on an operation: DONE (error NULL) or an error. Input streams end here; output
 * streams when they are empty.
 */
static void op_answer(struct op *op, const struct lum_error *error, uint32_t code, uint32_t signal)
{
    uint8_t raw[CTL_ERROR_MAX];
    struct wbuf out = wbuf_fixed(raw, sizeof(raw)); /* whoever waits is told, memory or not */

    if (op->answered)
        return;
    op->answered = true;
    plat_timer_free(op->timer);
    op->timer = NULL;
    if (op->dial_done && !op->started) {
        op->dial_done(op->dial_ctx, error ? error->code : LUM_EGUEST);
    } else if (error) {
        ctl_put_error(&out, error);
    } else {
        uint8_t body[16];
        le32_store(body, code);
        le32_store(body + 4, signal);
        le32_store(body + 8, op->timed_out);
        le32_store(body + 12, op->out_of_memory);
        frame_put(&out, CTL_DONE, 0, 0, body, sizeof(body));
    }
    if (out.size)
        channel_send(op, &out);
    channel_close(op);
    for (int i = 0; i < 3; i++) {
        struct stream *s = &op->stream[i];
        s->guest_eof = true;
        if (s->from_caller || s->pending.size == 0)
            stream_close(s);
    }
}

static void op_cancel(struct op *op)
{
    if (!op->answered)
        agent_send(op->agent, PROTO_CANCEL, 0, op->id, NULL, 0);
}

/* ---- streams towards the caller ---- */

/* A guest that does not read gets no credit either, so what waits for it here stays bounded. */
static void give_credit(struct stream *s, uint32_t bytes)
{
    s->consumed += bytes;
    if (s->consumed < CREDIT_STEP || s->op->answered || s->op->agent->out.size >= AGENT_OUT_HIGH)
        return;
    uint8_t body[4];
    le32_store(body, s->consumed);
    s->unacked -= s->consumed;
    s->consumed = 0;
    agent_send(s->op->agent, PROTO_CREDIT, (uint16_t)(s - s->op->stream), s->op->id, body,
               sizeof(body));
}

/* Writes pending bytes; on a reader that is gone the rest is dropped and counts as consumed. */
static void stream_drain(struct stream *s)
{
    size_t done = 0;

    while (s->fd >= 0 && done < s->pending.size) {
        ssize_t n = plat_write(s->fd, s->pending.data + done, s->pending.size - done);
        if (n == -EAGAIN)
            break;
        if (n < 0) {
            done = s->pending.size;
            plat_watch_free(s->watch);
            s->watch = NULL;
            plat_close(&s->fd);
            break;
        }
        done += (size_t)n;
    }
    wbuf_drop(&s->pending, done);
    give_credit(s, (uint32_t)done);
    if (s->fd < 0)
        return;
    if (s->guest_eof && s->pending.size == 0) {
        plat_shutdown_write(s->fd);
        stream_close(s);
    } else {
        plat_watch_set(s->watch, s->pending.size ? PLAT_WRITE : 0);
    }
}

static const char *stream_data(struct stream *s, const struct frame *f)
{
    if (f->size == 0 || f->size > PROTO_MAX_DATA || s->guest_eof ||
        f->size > PROTO_WINDOW - s->unacked)
        return "its agent sent more data than allowed";
    s->unacked += (uint32_t)f->size;
    if (s->fd < 0) { /* the caller has closed it */
        give_credit(s, (uint32_t)f->size);
        return NULL;
    }
    wbuf_put(&s->pending, f->data, f->size);
    if (s->pending.failed)
        return "out of memory on the host";
    stream_drain(s);
    return NULL;
}

/* ---- streams from the caller ---- */

static void stream_pump(struct stream *s)
{
    struct agent *a = s->op->agent;
    uint8_t buf[PROTO_MAX_DATA];

    while (s->fd >= 0 && s->credit > 0 && a->out.size < AGENT_OUT_HIGH) {
        size_t want = s->credit < sizeof(buf) ? s->credit : sizeof(buf);
        ssize_t n = plat_read(s->fd, buf, want);
        if (n == -EAGAIN) {
            plat_watch_set(s->watch, PLAT_READ);
            return;
        }
        uint16_t index = (uint16_t)(s - s->op->stream);
        if (n <= 0) {
            agent_send(a, PROTO_EOF, index, s->op->id, NULL, 0);
            stream_close(s);
            return;
        }
        s->credit -= (uint32_t)n;
        agent_send(a, PROTO_DATA, index, s->op->id, buf, (size_t)n);
    }
    if (s->fd >= 0)
        plat_watch_set(s->watch, 0);
}

void ops_resume(struct agent *a)
{
    for (struct op *op = a->ops; op; op = op->next) {
        for (int i = 0; i < 3 && op->started; i++) {
            if (op->stream[i].from_caller)
                stream_pump(&op->stream[i]);
            else
                give_credit(&op->stream[i], 0);
        }
    }
}

static void on_timer(void *ctx)
{
    struct op *op = ctx;
    struct lum_error silent;

    if (!op->timed_out) {
        op->timed_out = true;
        op_cancel(op);
        plat_timer_set(op->timer, KILL_ANSWER_NS);
        return;
    }
    op->agent->host.log(op->agent->host.ctx, LUM_LOG_WARN,
                        "the guest did not answer a kill of operation %u", op->id);
    lum_fail(&silent, op->type == PROTO_DIAL ? LUM_ETIMEDOUT : LUM_EGUEST,
             "the guest does not answer");
    op_answer(op, op->started ? NULL : &silent, 137, 9);
    op_settle(op);
}

static int op_timer(struct op *op, uint64_t ns, struct lum_error *err)
{
    int rc = op->timer ? 0 : plat_timer_create(op->agent->loop, on_timer, op, &op->timer, err);

    if (rc == 0)
        plat_timer_set(op->timer, ns);
    return rc;
}

/* Nobody here wants it any more. The guest is not waited for without end, as it may never answer.
 */
static void op_abandon(struct op *op)
{
    struct lum_error err;

    op_cancel(op);
    op->timed_out = true;
    if (!op->answered)
        (void)op_timer(op, LATE_ANSWER_NS, &err);
}

static void on_stream(void *ctx, int events)
{
    struct stream *s = ctx;
    struct op *op = s->op;

    (void)events;
    if (s->from_caller) {
        stream_pump(s);
    } else {
        /* A hang-up with nothing to write means that the reader went away. */
        if (s->pending.size == 0 && (events & PLAT_HANGUP)) {
            plat_watch_free(s->watch);
            s->watch = NULL;
            plat_close(&s->fd);
            if (op->type == PROTO_DIAL)
                op_abandon(op);
        } else {
            stream_drain(s);
        }
    }
    op_settle(op);
}

/* ---- the caller's side of an operation ---- */

static void channel_frame(struct op *op, const struct frame *f)
{
    bool fits = (f->type == PROTO_SIGNAL && f->size == 4) ||
                (f->type == PROTO_RESIZE && f->size == 8) ||
                (f->type == PROTO_CANCEL && f->size == 0);

    if (fits && op->type == PROTO_EXEC && op->agent->out.size < AGENT_OUT_MAX)
        agent_send(op->agent, f->type, 0, op->id, f->data, f->size);
}

static void on_channel(void *ctx, int events)
{
    struct op *op = ctx;
    uint8_t buf[512];
    ssize_t n = plat_read(op->channel, buf, sizeof(buf));

    (void)events;
    if (n == -EAGAIN)
        return;
    if (n <= 0) { /* the caller has let go of the operation */
        channel_close(op);
        for (int i = 0; i < 3; i++)
            if (!op->stream[i].from_caller)
                stream_close(&op->stream[i]);
        op_abandon(op);
        return;
    }
    wbuf_put(&op->channel_in, buf, (size_t)n);
    size_t at = 0;
    struct frame f;
    while (frame_next(&op->channel_in, &at, &f) > 0)
        channel_frame(op, &f);
    wbuf_drop(&op->channel_in, at);
}

/* ---- the guest's side ---- */

static int fail_code(uint32_t where)
{
    switch (where) {
    case PROTO_FAIL_NO_COMMAND: return LUM_ENOCMD;
    case PROTO_FAIL_NO_EXEC: return LUM_ENOEXEC;
    case PROTO_FAIL_CWD:
    case PROTO_FAIL_USER: return LUM_ENOENT;
    case PROTO_FAIL_BUSY: return LUM_EBUSY;
    default: return LUM_EGUEST;
    }
}

static const char *reason_of(const char *text)
{
    return text[0] ? text : "the guest gives no reason";
}

static const char *op_failed(struct op *op, const struct frame *f)
{
    struct lum_error error;
    struct rbuf in = rbuf_of(f->data, f->size);
    uint32_t guest_errno = rbuf_u32(&in), where = rbuf_u32(&in);
    AUTO(auto_free) char *text = rbuf_str(&in, 1024);

    if (!rbuf_done(&in) || op->started)
        return "its agent sent a malformed failure";
    int code = fail_code(where);
    if (op->type == PROTO_DIAL)
        code = LUM_ENOENT;
    lum_fail(&error, code, "%s", reason_of(text));
    error.domain = LUM_DOMAIN_GUEST_ERRNO;
    error.os_code = guest_errno;
    op_answer(op, &error, 0, 0);
    return NULL;
}

static const char *op_started(struct op *op, const struct frame *f)
{
    uint8_t raw[FRAME_HEADER];
    struct wbuf out = wbuf_fixed(raw, sizeof(raw));

    if (op->started || f->size != (op->type == PROTO_EXEC ? 4u : 0u))
        return "its agent started an operation twice";
    op->started = true;
    if (op->type == PROTO_DIAL) {
        plat_timer_free(op->timer);
        op->timer = NULL;
    }
    if (op->type == PROTO_EXEC)
        op->agent->host.stage(op->agent->host.ctx, "exec started");
    if (op->dial_done) {
        op->dial_done(op->dial_ctx, 0);
    } else {
        frame_put(&out, CTL_STARTED, 0, 0, NULL, 0);
        channel_send(op, &out);
    }
    for (int i = 0; i < 3; i++)
        if (op->stream[i].from_caller)
            stream_pump(&op->stream[i]);
    return NULL;
}

static const char *op_done(struct op *op, const struct frame *f)
{
    struct lum_error error;
    struct rbuf in = rbuf_of(f->data, f->size);
    uint32_t code = rbuf_u32(&in), signal = rbuf_u32(&in), guest_errno = rbuf_u32(&in);
    AUTO(auto_free) char *text = rbuf_str(&in, 1024);

    if (!rbuf_done(&in) || !op->started || code > 255 || signal > 64)
        return "its agent sent a malformed end";
    if (op->type == PROTO_EXEC)
        op->agent->host.stage(op->agent->host.ctx, "exit");
    op->out_of_memory = op->type == PROTO_EXEC && guest_errno == GUEST_ENOMEM;
    if (guest_errno && !op->out_of_memory) {
        lum_fail(&error, LUM_EGUEST, "%s", reason_of(text));
        error.domain = LUM_DOMAIN_GUEST_ERRNO;
        error.os_code = guest_errno;
        op_answer(op, &error, 0, 0);
    } else {
        op_answer(op, NULL, code, signal);
    }
    return NULL;
}

const char *op_frame(struct op *op, const struct frame *f)
{
    struct stream *s = f->stream < 3 ? &op->stream[f->stream] : NULL;
    const char *wrong = NULL;

    if (!s)
        return "its agent named a stream that does not exist";
    switch (f->type) {
    case PROTO_STARTED: wrong = op_started(op, f); break;
    case PROTO_FAILED: wrong = op_failed(op, f); break;
    case PROTO_DONE: wrong = op_done(op, f); break;
    case PROTO_DATA:
        wrong = !s->to_caller || !op->started ? "its agent wrote to an input" : stream_data(s, f);
        break;
    case PROTO_EOF:
        if (s->to_caller) {
            s->guest_eof = true;
            stream_drain(s);
        }
        break;
    case PROTO_CREDIT:
        if (f->size != 4 || !s->from_caller || le32_load(f->data) > PROTO_WINDOW - s->credit)
            return "its agent sent a malformed credit";
        s->credit += le32_load(f->data);
        stream_pump(s);
        break;
    case PROTO_CLOSED:
        if (s->from_caller)
            stream_close(s);
        break;
    default: wrong = "its agent sent an unknown frame"; break;
    }
    if (!wrong)
        op_settle(op);
    return wrong;
}

/* ---- starting ---- */

static int stream_open(struct op *op, int index, plat_fd fd, bool from_caller,
                       struct lum_error *err)
{
    struct stream *s = &op->stream[index];

    s->fd = fd;
    s->from_caller = from_caller;
    s->to_caller = !from_caller;
    s->credit = from_caller ? PROTO_WINDOW : 0;
    int rc = plat_set_nonblock(fd, err);
    if (rc < 0)
        return rc;
    return plat_watch_create(op->agent->loop, fd, 0, on_stream, s, &s->watch, err);
}

static struct op *op_new(struct agent *a, uint16_t type)
{
    struct op *op = lum_calloc(1, sizeof(*op));

    if (!op)
        return NULL;
    op->agent = a;
    op->type = type;
    do {
        op->id = ++a->next_id;
    } while (op->id == 0 || op_find(a, op->id));
    op->channel = PLAT_FD_NONE;
    for (int i = 0; i < 3; i++) {
        op->stream[i].op = op;
        op->stream[i].fd = PLAT_FD_NONE;
    }
    op->next = a->ops;
    a->ops = op;
    return op;
}

/*
 * An operation that comes when the guest has gone, but its VM has not ended yet, waits for that
 * like those before it: its answer names the reason.
 */
static int op_check(const struct agent *a, struct lum_error *err)
{
    if (a->state == AGENT_IDLE || a->state == AGENT_CONNECTED)
        return lum_fail(err, LUM_EBUSY, "the guest is not ready for commands");
    if (a->out.size >= AGENT_OUT_MAX)
        return lum_fail(err, LUM_EBUSY, "the guest does not read what it is sent");
    return 0;
}

/* There is not even memory for the operation. */
static void refuse(plat_fd channel, const plat_fd streams[3])
{
    uint8_t raw[CTL_ERROR_MAX];
    struct wbuf out = wbuf_fixed(raw, sizeof(raw));
    struct lum_error err;

    lum_fail(&err, LUM_ENOMEM, "out of memory");
    ctl_put_error(&out, &err);
    (void)plat_write(channel, out.data, out.size);
    plat_close(&channel);
    for (int i = 0; i < 3; i++) {
        plat_fd fd = streams[i];
        plat_close(&fd);
    }
}

void agent_op(struct agent *a, uint16_t type, const void *body, size_t size, int32_t timeout_ms,
              plat_fd channel, const plat_fd streams[3])
{
    struct lum_error err;
    struct op *op = op_new(a, type);

    if (!op) {
        refuse(channel, streams);
        return;
    }
    op->channel = channel;
    int rc = op_check(a, &err);
    for (int i = 0; i < 3; i++) {
        if (streams[i] < 0)
            continue;
        int opened = stream_open(op, i, streams[i], i == 0 && type != PROTO_GET, &err);
        rc = rc < 0 ? rc : opened;
    }
    if (rc == 0)
        rc = plat_set_nonblock(channel, &err);
    if (rc == 0)
        rc = plat_watch_create(a->loop, channel, PLAT_READ, on_channel, op, &op->channel_watch,
                               &err);
    if (rc == 0 && timeout_ms > 0)
        rc = op_timer(op, (uint64_t)timeout_ms * 1000000, &err);
    if (rc < 0) {
        op_answer(op, &err, 0, 0);
        op_settle(op);
        return;
    }
    if (type == PROTO_EXEC)
        a->host.stage(a->host.ctx, "exec sent");
    agent_send(a, type, 0, op->id, body, size);
}

void agent_dial(struct agent *a, uint32_t port, plat_fd stream, void (*done)(void *ctx, int rc),
                void *ctx)
{
    struct lum_error err;
    plat_fd second = PLAT_FD_NONE;
    uint8_t body[4];
    int rc = op_check(a, &err);

    if (rc == 0)
        rc = plat_dup(stream, &second, &err);
    struct op *op = rc == 0 ? op_new(a, PROTO_DIAL) : NULL;
    if (!op) {
        plat_close(&stream);
        plat_close(&second);
        done(ctx, rc < 0 ? rc : LUM_ENOMEM);
        return;
    }
    op->dial_done = done;
    op->dial_ctx = ctx;
    /* One socket, two descriptors: the loop watches each direction by itself. */
    int first_rc = stream_open(op, 0, stream, true, &err);
    int second_rc = stream_open(op, 1, second, false, &err);
    if (first_rc < 0 || second_rc < 0 || op_timer(op, LATE_ANSWER_NS, &err) < 0) {
        op_answer(op, &err, 0, 0);
        op_settle(op);
        return;
    }
    le32_store(body, port);
    agent_send(a, PROTO_DIAL, 0, op->id, body, sizeof(body));
}

void ops_end(struct agent *a, const struct lum_error *why)
{
    for (struct op *op = a->ops, *next; op; op = next) {
        next = op->next;
        op_answer(op, why, 0, 0);
        op_settle(op);
    }
}
