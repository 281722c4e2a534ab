/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libFuzzer target: the worker's end of the agent protocol between a guest that says hello and then
 * anything, in whole frames and in pieces, and a caller that writes, reads, closes, signals and
 * lets go at any moment. Whatever happens, the worker keeps going or hangs up, and each operation
 * is answered.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto.h"
#include "step_loop.h"
#include "worker/agent.h"
#include "worker/ctl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX_CALLS 6u

struct input {
    const uint8_t *data;
    size_t size;
};

/* The caller's ends of one operation: three streams and the channel. */
struct call {
    plat_fd fd[4];
};

static struct bench {
    struct plat_loop *loop;
    struct agent *agent;
    plat_fd guest;
    struct call calls[MAX_CALLS];
    unsigned n_calls, dials_open;
    bool gone;
} bench;

static void must(bool good)
{
    if (!good)
        abort();
}

static uint64_t take(struct input *in, unsigned bytes)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < bytes && in->size > 0; i++) {
        v |= (uint64_t)*in->data++ << (8 * i);
        in->size--;
    }
    return v;
}

static const uint8_t *take_bytes(struct input *in, size_t most, size_t *ret_size)
{
    const uint8_t *p = in->data;

    *ret_size = most < in->size ? most : in->size;
    in->data += *ret_size;
    in->size -= *ret_size;
    return p;
}

static void on_log(void *ctx, int level, const char *fmt, ...) LUM_PRINTF(3, 4);

static void on_log(void *ctx, int level, const char *fmt, ...)
{
    (void)ctx;
    (void)level;
    (void)fmt;
}

static void on_ready(void *ctx)
{
    (void)ctx;
}

static void on_gone(void *ctx, const char *why)
{
    (void)ctx;
    (void)why;
    must(!bench.gone);
    bench.gone = true;
}

static void on_stage(void *ctx, const char *name)
{
    (void)ctx;
    (void)name;
}

static void on_dial(void *ctx, int rc)
{
    (void)ctx;
    must(rc <= 0 && bench.dials_open > 0);
    bench.dials_open--;
}

/* A connection to a port is one more call, of which stream 0 is both ways. */
static void dial(void)
{
    struct lum_error err;
    plat_fd pair[2];

    if (bench.n_calls == MAX_CALLS || plat_socketpair(pair, &err) < 0)
        return;
    must(plat_set_nonblock(pair[0], &err) == 0);
    bench.calls[bench.n_calls++] =
        (struct call){{pair[0], PLAT_FD_NONE, PLAT_FD_NONE, PLAT_FD_NONE}};
    bench.dials_open++;
    agent_dial(bench.agent, 5, pair[1], on_dial, NULL);
}

static void start(uint16_t type, int32_t timeout_ms)
{
    struct lum_error err;
    struct call c;
    plat_fd theirs[4];

    if (bench.n_calls == MAX_CALLS)
        return;
    for (int i = 0; i < 4; i++) {
        plat_fd pair[2];
        must(plat_socketpair(pair, &err) == 0 && plat_set_nonblock(pair[0], &err) == 0);
        c.fd[i] = pair[0];
        theirs[i] = pair[1];
    }
    bench.calls[bench.n_calls++] = c;
    agent_op(bench.agent, type, "x", 1, timeout_ms, theirs[3], theirs);
}

static void say(const struct wbuf *out)
{
    must(!out->failed);
    (void)plat_write(bench.guest, out->data, out->size); /* a full socket: the worker is busy */
}

static void say_hello(void)
{
    AUTO(wbuf_done) struct wbuf body = {0};
    AUTO(wbuf_done) struct wbuf out = {0};

    wbuf_u32(&body, PROTO_MAGIC);
    wbuf_u32(&body, PROTO_VERSION);
    wbuf_u64(&body, 0);
    wbuf_str(&body, "x");
    frame_put(&out, PROTO_HELLO, 0, 0, body.data, body.size);
    say(&out);
    step_loop_run(bench.loop);
}

/* A frame whose type and id may well fit; its payload is the input's, or zeros of any size. */
static void say_frame(struct input *in, uint8_t how)
{
    static const uint16_t types[] = {PROTO_STARTED, PROTO_FAILED, PROTO_DONE,   PROTO_DATA,
                                     PROTO_EOF,     PROTO_CREDIT, PROTO_CLOSED, PROTO_BYE};
    static const uint8_t zeros[PROTO_MAX_DATA];
    AUTO(wbuf_done) struct wbuf out = {0};
    uint32_t place = (uint32_t)take(in, 1); /* stream and id */
    size_t size = (size_t)take(in, 1);
    const uint8_t *body;

    if (how & 0x80) {
        size = size * 128 % (sizeof(zeros) + 1);
        body = zeros;
    } else {
        body = take_bytes(in, size, &size);
    }
    frame_put(&out, types[how >> 4 & 7], (uint16_t)(place >> 6), place & 7, body, size);
    say(&out);
}

static void say_raw(struct input *in)
{
    AUTO(wbuf_done) struct wbuf out = {0};
    size_t size;
    const uint8_t *p = take_bytes(in, 1 + (size_t)take(in, 1), &size);

    wbuf_put(&out, p, size);
    say(&out);
}

static void tell_on_channel(struct call *c, struct input *in)
{
    static const uint16_t types[] = {PROTO_SIGNAL, PROTO_RESIZE, PROTO_CANCEL, PROTO_DATA};
    AUTO(wbuf_done) struct wbuf out = {0};
    size_t size;
    unsigned how = (unsigned)take(in, 1);
    const uint8_t *body = take_bytes(in, how >> 4, &size);

    frame_put(&out, types[how % 4], 0, 0, body, size);
    (void)plat_write(c->fd[3], out.data, out.size);
}

/* The caller does something with one of its operations. */
static void use_call(struct input *in, uint8_t how)
{
    static uint8_t buf[65536];

    if (bench.n_calls == 0)
        return;
    struct call *c = &bench.calls[take(in, 1) % bench.n_calls];
    plat_fd *fd = &c->fd[how >> 6];
    switch (how >> 4 & 3) {
    case 0: (void)plat_write(*fd, buf, (size_t)take(in, 2)); break;
    case 1: (void)plat_read(*fd, buf, (size_t)take(in, 2)); break;
    case 2: plat_close(fd); break;
    default: tell_on_channel(c, in); break;
    }
}

static void step(struct input *in)
{
    uint8_t how = (uint8_t)take(in, 1);
    static uint8_t sink[65536];

    switch (how & 15) {
    case 0:
    case 1:
    case 2:
    case 3:
    case 4: say_frame(in, how); break;
    case 5: say_raw(in); break;
    case 6:
    case 7:
    case 8:
    case 9: use_call(in, how); break;
    case 10: start((uint16_t)(PROTO_EXEC + (how >> 4) % 3), how & 0x80 ? 1000 : 0); break;
    case 11: dial(); break;
    case 12: step_loop_timers(bench.loop); break;
    case 13: (void)plat_read(bench.guest, sink, sizeof(sink)); break;
    case 14:
        if (how == 0xfe)
            agent_shutdown(bench.agent, 5);
        else if (how == 0xee)
            agent_hang_up(bench.agent);
        else if (how == 0xde)
            plat_close(&bench.guest);
        break;
    default: break;
    }
    step_loop_run(bench.loop);
}

/* The end of the VM: each channel that is still open has its last word, or none but the end. */
static void finish(void)
{
    struct lum_error err;

    lum_fail(&err, LUM_EGONE, "over");
    (void)agent_drain(bench.agent);
    agent_end(bench.agent, &err);
    must(bench.dials_open == 0);
    for (unsigned i = 0; i < bench.n_calls; i++) {
        struct call *c = &bench.calls[i];
        char sink[4096];
        ssize_t n = 1;

        while (c->fd[3] >= 0 && (n = plat_read(c->fd[3], sink, sizeof(sink))) > 0)
            ;
        must(c->fd[3] < 0 || n == 0 || n == -ECONNRESET);
        for (int j = 0; j < 4; j++)
            plat_close(&c->fd[j]);
    }
    step_loop_run(bench.loop);
    agent_free(bench.agent);
    plat_close(&bench.guest);
    plat_loop_free(bench.loop);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct agent_host host = {
        .log = on_log, .ready = on_ready, .gone = on_gone, .stage = on_stage};
    struct input in = {data, size};
    struct lum_error err;
    plat_fd pair[2];

    bench = (struct bench){0};
    must(plat_loop_create(&bench.loop, &err) == 0 && plat_socketpair(pair, &err) == 0 &&
         plat_set_nonblock(pair[1], &err) == 0);
    bench.agent = agent_create(bench.loop, &host);
    must(bench.agent != NULL);
    bench.guest = pair[1];
    agent_connect(bench.agent, pair[0]);
    if (take(&in, 1) % 8) {
        say_hello();
        start(PROTO_EXEC, 0); /* id 1 */
    }
    while (in.size > 0)
        step(&in);
    finish();
    return 0;
}
