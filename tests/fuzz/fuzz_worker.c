/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libFuzzer target: a guest that says hello and then sends any bytes, while operations of every
 * kind run and the caller reads now and then. Whatever it sends, the worker keeps going or hangs
 * up; the control decoders get the same bytes.
 */
#include <stdlib.h>
#include <string.h>

#include "proto.h"
#include "step_loop.h"
#include "worker/agent.h"
#include "worker/ctl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

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
    (void)why;
    *(bool *)ctx = true;
}

static void on_stage(void *ctx, const char *name)
{
    (void)ctx;
    (void)name;
}

static void on_dial(void *ctx, int rc, plat_fd stream)
{
    (void)ctx;
    if (rc == 0)
        plat_close(&stream);
}

static void decode_control(const uint8_t *data, size_t size)
{
    struct vm_spec spec;
    struct lum_error err;
    struct rbuf in = rbuf_of(data, size);
    struct frame f = {.type = CTL_ERROR, .data = data, .size = size};

    vm_spec_init(&spec);
    if (ctl_get_spec(&in, &spec, &err) == 0 && spec.vcpus == 0)
        abort();
    vm_spec_done(&spec);
    if (ctl_get_error(&f, &err) >= 0)
        abort();
}

struct ends {
    plat_fd fd[16];
    unsigned n;
};

static void start(struct agent *agent, uint16_t type, struct ends *ends)
{
    struct lum_error err;
    plat_fd theirs[4];

    for (int i = 0; i < 4; i++) {
        plat_fd pair[2];
        if (plat_socketpair(pair, &err) < 0)
            abort();
        ends->fd[ends->n++] = pair[0];
        theirs[i] = pair[1];
    }
    agent_op(agent, type, "x", 1, 0, theirs[3], theirs);
}

static void say_hello(plat_fd guest)
{
    AUTO(wbuf_done) struct wbuf body = {0};
    AUTO(wbuf_done) struct wbuf out = {0};

    wbuf_u32(&body, PROTO_MAGIC);
    wbuf_u32(&body, PROTO_VERSION);
    wbuf_u64(&body, 0);
    wbuf_str(&body, "x");
    frame_put(&out, PROTO_HELLO, 0, 0, body.data, body.size);
    if (plat_write(guest, out.data, out.size) != (ssize_t)out.size)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bool gone = false;
    const struct agent_host host = {
        .ctx = &gone, .log = on_log, .ready = on_ready, .gone = on_gone, .stage = on_stage};
    struct lum_error err;
    struct plat_loop *loop;
    struct ends ends = {.n = 0};
    plat_fd pair[2];
    char sink[4096];

    decode_control(data, size);
    if (size > 60000 || plat_loop_create(&loop, &err) < 0 || plat_socketpair(pair, &err) < 0 ||
        plat_set_nonblock(pair[1], &err) < 0)
        return 0;
    struct agent *agent = agent_create(loop, &host);
    agent_connect(agent, pair[0]);
    say_hello(pair[1]);
    step_loop_run(loop);
    start(agent, PROTO_EXEC, &ends); /* id 1 */
    start(agent, PROTO_PUT, &ends);
    start(agent, PROTO_GET, &ends);
    agent_dial(agent, 5, on_dial, NULL);
    /* In pieces, so that frames are cut anywhere. */
    for (size_t at = 0; at < size && !gone;) {
        size_t piece = 1 + (size_t)data[at] * 7;
        if (piece > size - at)
            piece = size - at;
        ssize_t n = plat_write(pair[1], data + at, piece);
        if (n <= 0)
            break;
        at += (size_t)n;
        step_loop_run(loop);
        while (plat_read(pair[1], sink, sizeof(sink)) > 0)
            ;
    }
    lum_fail(&err, LUM_EGONE, "over");
    (void)agent_drain(agent);
    agent_end(agent, &err);
    for (unsigned i = 0; i < ends.n; i++)
        plat_close(&ends.fd[i]);
    step_loop_run(loop);
    agent_free(agent);
    plat_close(&pair[1]);
    plat_loop_free(loop);
    return 0;
}
