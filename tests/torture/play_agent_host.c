/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worker's end of the agent protocol: hello, a command with all its streams, a connection to a
 * port, the end. Guest and caller are played here.
 */
#include <stdio.h>
#include <string.h>

#include "play.h"
#include "proto.h"
#include "torture.h"
#include "worker/agent.h"
#include "worker/ctl.h"

#define OUTPUT 20000u

static struct bench {
    struct plat_loop *loop;
    struct agent *agent;
    plat_fd guest, channel, stream[3], dialed;
    struct wbuf heard, answers;
    size_t heard_at, answers_at;
    bool gone, dial_told;
    int dial_rc;
    char why[128];
} bench;

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
    torture_must(!bench.gone, "the end is told once");
    bench.gone = true;
    snprintf(bench.why, sizeof(bench.why), "%s", why ? why : "closed");
}

static void on_stage(void *ctx, const char *name)
{
    (void)ctx;
    (void)name;
}

static void on_dial(void *ctx, int rc)
{
    (void)ctx;
    torture_must(!bench.dial_told, "a dial is answered once");
    bench.dial_told = true;
    bench.dial_rc = rc;
}

/* ---- the guest ---- */

static void say(uint16_t type, uint16_t stream, uint32_t id, const void *data, size_t size)
{
    struct wbuf out = {0};

    inject_pause();
    frame_put(&out, type, stream, id, data, size);
    (void)plat_write(bench.guest, out.data, out.size);
    wbuf_done(&out);
    inject_resume();
    play_loop(bench.loop);
}

static void pull(plat_fd fd, struct wbuf *in)
{
    uint8_t piece[4096];
    ssize_t n;

    while ((n = plat_read(fd, piece, sizeof(piece))) > 0)
        wbuf_put(in, piece, (size_t)n);
}

/* Looks for a frame of this type among those that come within a few turns. */
static bool find(plat_fd fd, struct wbuf *in, size_t *at, uint16_t type, struct frame *ret_frame)
{
    bool found = false;

    for (int i = 0; i < 4 && !found; i++) {
        inject_pause();
        pull(fd, in);
        while (!found && frame_next(in, at, ret_frame) == 1)
            found = ret_frame->type == type;
        inject_resume();
        if (!found)
            play_loop(bench.loop);
    }
    return found;
}

static bool hear(uint16_t type, struct frame *ret_frame)
{
    return find(bench.guest, &bench.heard, &bench.heard_at, type, ret_frame);
}

static bool answer(uint16_t type, struct frame *ret_frame)
{
    return find(bench.channel, &bench.answers, &bench.answers_at, type, ret_frame);
}

/* What kept the play from going on: the caller's answer, or that the guest was let go. */
static int broken(struct lum_error *err)
{
    struct frame f;
    size_t at = 0;

    while (frame_next(&bench.answers, &at, &f) == 1)
        if (f.type == CTL_ERROR)
            return ctl_get_error(&f, err);
    if (bench.gone)
        return lum_fail(err, LUM_EGUEST, "the agent is gone: %s", bench.why);
    return lum_fail(err, LUM_EOS, "no answer");
}

/* ---- the play ---- */

static int greet(struct lum_error *err)
{
    struct wbuf body = {0};
    struct frame f;

    inject_pause();
    wbuf_u32(&body, PROTO_MAGIC);
    wbuf_u32(&body, PROTO_VERSION);
    wbuf_u64(&body, 1);
    wbuf_str(&body, "6.12");
    inject_resume();
    say(PROTO_HELLO, 0, 0, body.data, body.size);
    wbuf_done(&body);
    return hear(PROTO_WELCOME, &f) ? 0 : broken(err);
}

static int start_command(uint32_t *ret_id, struct lum_error *err)
{
    plat_fd pair[2], theirs[3], channel;
    struct frame f;

    inject_pause();
    for (int i = 0; i < 3; i++) {
        torture_must(plat_socketpair(pair, err) == 0 && plat_set_nonblock(pair[0], err) == 0,
                     "streams");
        bench.stream[i] = pair[0];
        theirs[i] = pair[1];
    }
    torture_must(plat_socketpair(pair, err) == 0 && plat_set_nonblock(pair[0], err) == 0,
                 "channel");
    bench.channel = pair[0];
    channel = pair[1];
    inject_resume();
    agent_op(bench.agent, PROTO_EXEC, "body", 4, 60000, channel, theirs);
    if (!hear(PROTO_EXEC, &f))
        return broken(err);
    *ret_id = f.id;
    return 0;
}

static int check_streams(void)
{
    char buf[2 * OUTPUT];
    size_t have = 0;
    ssize_t n;

    inject_pause();
    while (have < sizeof(buf) &&
           (n = plat_read(bench.stream[1], buf + have, sizeof(buf) - have)) > 0)
        have += (size_t)n;
    inject_resume();
    return have == OUTPUT ? 0 : -1;
}

static int command(struct lum_error *err)
{
    static uint8_t output[OUTPUT];
    const uint8_t end[16] = {7};
    uint8_t number[4] = {9};
    struct frame f;
    uint32_t id;
    int rc = start_command(&id, err);

    if (rc < 0)
        return rc;
    say(PROTO_STARTED, 0, id, number, sizeof(number));
    if (!answer(CTL_STARTED, &f))
        return broken(err);
    inject_pause();
    (void)plat_write(bench.stream[0], output, 300);
    inject_resume();
    size_t taken = 0;
    while (taken < 300) {
        if (!hear(PROTO_DATA, &f))
            return broken(err);
        taken += f.size;
    }
    say(PROTO_DATA, 1, id, output, sizeof(output));
    say(PROTO_DATA, 2, id, output, 10);
    struct wbuf out = {0};
    inject_pause();
    frame_put(&out, PROTO_SIGNAL, 0, 0, number, sizeof(number));
    (void)plat_write(bench.channel, out.data, out.size);
    wbuf_done(&out);
    inject_resume();
    if (!hear(PROTO_SIGNAL, &f))
        return broken(err);
    say(PROTO_EOF, 1, id, NULL, 0);
    say(PROTO_EOF, 2, id, NULL, 0);
    say(PROTO_DONE, 0, id, end, sizeof(end));
    if (!answer(CTL_DONE, &f))
        return broken(err);
    if (le32_load(f.data) != 7 || check_streams() < 0)
        return broken(err);
    return 0;
}

static int dial(struct lum_error *err)
{
    struct frame f;
    plat_fd pair[2];

    inject_pause();
    torture_must(plat_socketpair(pair, err) == 0, "a stream");
    inject_resume();
    bench.dialed = pair[0];
    agent_dial(bench.agent, 5, pair[1], on_dial, NULL);
    if (!bench.dial_told) {
        if (!hear(PROTO_DIAL, &f))
            return broken(err);
        uint32_t id = f.id;
        say(PROTO_STARTED, 0, id, NULL, 0);
        if (!bench.dial_told || bench.dial_rc < 0)
            return broken(err);
        inject_pause();
        (void)plat_write(bench.dialed, "ping", 4);
        inject_resume();
        if (!hear(PROTO_DATA, &f))
            return broken(err);
    }
    return bench.dial_rc < 0 ? lum_fail(err, bench.dial_rc, "dial") : 0;
}

/* The end of the VM answers whatever is still open. */
static void finish(void)
{
    struct lum_error over;

    if (bench.agent) {
        lum_fail(&over, LUM_EGONE, "over");
        (void)agent_drain(bench.agent);
        agent_end(bench.agent, &over);
    }
    play_loop(bench.loop);
    agent_free(bench.agent);
    plat_loop_free(bench.loop);
    plat_close(&bench.guest);
    plat_close(&bench.channel);
    plat_close(&bench.dialed);
    for (int i = 0; i < 3; i++)
        plat_close(&bench.stream[i]);
    wbuf_done(&bench.heard);
    wbuf_done(&bench.answers);
}

static int play(struct lum_error *err)
{
    const struct agent_host host = {
        .log = on_log, .ready = on_ready, .gone = on_gone, .stage = on_stage};
    plat_fd pair[2];

    bench = (struct bench){.guest = PLAT_FD_NONE,
                           .channel = PLAT_FD_NONE,
                           .stream = {PLAT_FD_NONE, PLAT_FD_NONE, PLAT_FD_NONE},
                           .dialed = PLAT_FD_NONE};
    int rc = plat_loop_create(&bench.loop, err);
    if (rc < 0)
        return rc;
    inject_pause();
    torture_must(plat_socketpair(pair, err) == 0 && plat_set_nonblock(pair[1], err) == 0, "guest");
    bench.guest = pair[1];
    inject_resume();
    bench.agent = agent_create(bench.loop, &host);
    if (!bench.agent) {
        plat_close(&pair[0]);
        rc = lum_fail(err, LUM_ENOMEM, "agent");
    } else {
        agent_connect(bench.agent, pair[0]);
        rc = greet(err);
    }
    if (rc == 0)
        rc = command(err);
    if (rc == 0)
        rc = dial(err);
    finish();
    return rc;
}

const struct scenario scenario_agent_host = {.name = "agent_host", .play = play};
