/* SPDX-License-Identifier: Apache-2.0 */
/* See agent.h. Operations and their streams are in ops.c. */
#include "worker/agent_internal.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "proto.h"

#define READ_CHUNK (64u * 1024)

struct agent *agent_create(struct plat_loop *loop, const struct agent_host *host)
{
    struct agent *a = lum_calloc(1, sizeof(*a));

    if (!a)
        return NULL;
    a->loop = loop;
    a->host = *host;
    a->fd = PLAT_FD_NONE;
    return a;
}

static void disconnect(struct agent *a)
{
    plat_watch_free(a->watch);
    a->watch = NULL;
    plat_close(&a->fd);
    a->state = AGENT_GONE;
}

void agent_free(struct agent *a)
{
    if (!a)
        return;
    while (a->ops)
        op_free(a->ops);
    disconnect(a);
    wbuf_done(&a->in);
    wbuf_done(&a->out);
    free(a);
}

bool agent_is_ready(const struct agent *a)
{
    return a->state == AGENT_READY;
}

static void lost(struct agent *a, const char *why)
{
    if (a->state == AGENT_GONE)
        return;
    disconnect(a);
    a->host.gone(a->host.ctx, why);
}

/* Writes what it can; sets the watch for the rest. */
static void flush(struct agent *a)
{
    size_t done = 0;

    while (done < a->out.size) {
        ssize_t n = plat_write(a->fd, a->out.data + done, a->out.size - done);
        if (n == -EAGAIN)
            break;
        if (n < 0)
            break; /* the read side reports the end */
        done += (size_t)n;
    }
    wbuf_drop(&a->out, done);
    plat_watch_set(a->watch, PLAT_READ | (a->out.size ? PLAT_WRITE : 0));
}

void agent_send(struct agent *a, uint16_t type, uint16_t stream, uint32_t id, const void *data,
                size_t size)
{
    if (a->state == AGENT_IDLE || a->state == AGENT_GONE)
        return;
    bool was_empty = a->out.size == 0;
    frame_put(&a->out, type, stream, id, data, size);
    if (a->out.failed)
        lost(a, "out of memory on the host");
    else if (was_empty)
        flush(a);
}

static const char *hello(struct agent *a, const struct frame *f)
{
    AUTO(wbuf_done) struct wbuf body = {0};
    uint8_t entropy[64];
    struct lum_error err;
    struct rbuf in = rbuf_of(f->data, f->size);
    uint32_t magic = rbuf_u32(&in), version = rbuf_u32(&in);

    rbuf_u64(&in);
    AUTO(auto_free) char *release = rbuf_str(&in, 256);
    if (f->type != PROTO_HELLO || f->id != 0 || !rbuf_done(&in) || magic != PROTO_MAGIC)
        return "its agent does not speak the agent protocol";
    if (version != PROTO_VERSION)
        return "its agent speaks another version of the protocol";
    if (plat_random(entropy, sizeof(entropy), &err) < 0)
        return "the host has no random bytes for it";
    a->host.log(a->host.ctx, LUM_LOG_DEBUG, "guest kernel %s", release);
    wbuf_u32(&body, PROTO_MAGIC);
    wbuf_u32(&body, PROTO_VERSION);
    wbuf_u64(&body, plat_realtime_ns());
    wbuf_u32(&body, sizeof(entropy));
    wbuf_put(&body, entropy, sizeof(entropy));
    if (body.failed)
        return "out of memory on the host";
    a->state = AGENT_READY;
    agent_send(a, PROTO_WELCOME, 0, 0, body.data, body.size);
    if (a->state == AGENT_READY)
        a->host.ready(a->host.ctx);
    return NULL;
}

/* NULL, or what the guest did wrong. */
static const char *handle(struct agent *a, const struct frame *f)
{
    if (a->state == AGENT_CONNECTED)
        return hello(a, f);

    if (f->type == PROTO_BYE && f->id == 0 && f->size == 0) {
        a->orderly = true;
        return NULL;
    }
    struct op *op = op_find(a, f->id);
    if (op)
        return op_frame(op, f);
    /* Frames of an operation that is over here may still be on their way; ids are given in order.
     */
    bool given = f->id != 0 && a->next_id - f->id < UINT32_MAX / 2;
    return given ? NULL : "its agent sent a frame of no operation";
}

static void parse(struct agent *a)
{
    size_t at = 0;
    struct frame f;
    const char *wrong = NULL;
    int rc;

    while ((rc = frame_next(&a->in, &at, &f)) > 0) {
        wrong = handle(a, &f);
        if (wrong || a->state == AGENT_GONE)
            break;
    }
    if (rc < 0)
        wrong = "its agent sent an oversized frame";
    wbuf_drop(&a->in, at);
    if (wrong)
        lost(a, wrong);
}

/* Reads what is there, at most one chunk; true when there may be more. */
static bool receive(struct agent *a)
{
    size_t had = a->in.size;
    uint8_t *room = wbuf_room(&a->in, READ_CHUNK);

    if (!room) {
        lost(a, "out of memory on the host");
        return false;
    }
    ssize_t n = plat_read(a->fd, room, READ_CHUNK);
    a->in.size = had + (n > 0 ? (size_t)n : 0);
    if (n == -EAGAIN)
        return false;
    if (n <= 0) {
        lost(a, NULL);
        return false;
    }
    parse(a);
    return a->state != AGENT_GONE;
}

static void on_stream(void *ctx, int events)
{
    struct agent *a = ctx;

    if (events & PLAT_WRITE) {
        flush(a);
        if (a->out.size < AGENT_OUT_LOW)
            ops_resume(a);
    }
    if (events & (PLAT_READ | PLAT_HANGUP))
        receive(a);
}

void agent_connect(struct agent *a, plat_fd stream)
{
    struct lum_error err;

    if (a->state != AGENT_IDLE) {
        plat_close(&stream);
        return;
    }
    a->fd = stream;
    if (plat_set_nonblock(stream, &err) < 0 ||
        plat_watch_create(a->loop, stream, PLAT_READ, on_stream, a, &a->watch, &err) < 0) {
        a->state = AGENT_CONNECTED;
        lost(a, "its connection cannot be watched");
        return;
    }
    a->state = AGENT_CONNECTED;
}

void agent_shutdown(struct agent *a, uint32_t grace_ms)
{
    uint8_t body[4];

    le32_store(body, grace_ms);
    agent_send(a, PROTO_SHUTDOWN, 0, 0, body, sizeof(body));
}

bool agent_drain(struct agent *a)
{
    /* More than any socket holds; a guest that still runs may never stop writing. */
    for (int i = 0; i < 256 && a->state == AGENT_READY && receive(a); i++)
        ;
    return a->orderly;
}

void agent_hang_up(struct agent *a)
{
    (void)agent_drain(a);
    lost(a, NULL);
}

void agent_end(struct agent *a, const struct lum_error *why)
{
    disconnect(a);
    ops_end(a, why);
}
