/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worker's end of the agent protocol against a guest played by this test, honest and hostile,
 * and the control messages' decoder. The loop runs in its own thread, as in the worker.
 */
#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "base/alloc.h"
#include "proto.h"
#include "tap.h"
#include "worker/agent.h"
#include "worker/console.h"
#include "worker/ctl.h"

struct bench {
    struct plat_loop *loop;
    struct plat_thread *thread;
    struct agent *agent;
    plat_fd guest; /* our end of the agent's connection */
    struct wbuf in;
    size_t at;
    atomic_bool ready, gone;
    char why[128];
    plat_fd gone_event;
};

static void on_log(void *ctx, int level, const char *fmt, ...) LUM_PRINTF(3, 4);

static void on_log(void *ctx, int level, const char *fmt, ...)
{
    (void)ctx;
    (void)level;
    (void)fmt;
}

static void on_ready(void *ctx)
{
    struct bench *b = ctx;

    atomic_store(&b->ready, true);
}

static void on_gone(void *ctx, const char *why)
{
    struct bench *b = ctx;

    snprintf(b->why, sizeof(b->why), "%s", why ? why : "");
    atomic_store(&b->gone, true);
    plat_event_signal(b->gone_event);
}

static void on_stage(void *ctx, const char *name)
{
    (void)ctx;
    (void)name;
}

static void run_loop(void *ctx)
{
    plat_loop_run(ctx);
}

static void bench_open(struct bench *b)
{
    struct lum_error err;
    plat_fd pair[2];
    const struct agent_host host = {
        .ctx = b, .log = on_log, .ready = on_ready, .gone = on_gone, .stage = on_stage};

    *b = (struct bench){.guest = PLAT_FD_NONE};
    int rc = plat_loop_create(&b->loop, &err);
    rc = rc < 0 ? rc : plat_event_create(&b->gone_event, &err);
    rc = rc < 0 ? rc : plat_socketpair(pair, &err);
    b->agent = agent_create(b->loop, &host);
    b->guest = pair[1];
    agent_connect(b->agent, pair[0]);
    rc = rc < 0 ? rc : plat_thread_start(&b->thread, "loop", run_loop, b->loop, &err);
    if (rc < 0 || !b->agent)
        printf("Bail out! %s\n", err.text);
}

static void bench_close(struct bench *b)
{
    plat_loop_quit(b->loop);
    plat_thread_join(b->thread);
    agent_free(b->agent);
    plat_loop_free(b->loop);
    plat_close(&b->guest);
    plat_close(&b->gone_event);
    wbuf_done(&b->in);
}

static void send_raw(struct bench *b, const void *data, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t n = plat_write(b->guest, (const char *)data + done, size - done);
        if (n < 0)
            return; /* the worker has hung up, which the checks see */
        done += (size_t)n;
    }
}

static void say(struct bench *b, uint16_t type, uint16_t stream, uint32_t id, const void *data,
                size_t size)
{
    AUTO(wbuf_done) struct wbuf out = {0};

    frame_put(&out, type, stream, id, data, size);
    send_raw(b, out.data, out.size);
}

/* The next frame for the guest; false when the worker hung up. */
static bool hear(struct bench *b, struct frame *f)
{
    wbuf_drop(&b->in, b->at);
    b->at = 0;
    while (frame_next(&b->in, &b->at, f) == 0) {
        uint8_t piece[65536];
        ssize_t n = plat_read(b->guest, piece, sizeof(piece));
        if (n <= 0)
            return false;
        wbuf_put(&b->in, piece, (size_t)n);
    }
    return true;
}

/* Both of these, in either order. */
static bool hear_both(struct bench *b, uint32_t id, uint16_t one, uint16_t other)
{
    struct frame f;
    bool seen_one = false, seen_other = false;

    for (int i = 0; i < 2 && hear(b, &f) && f.id == id; i++) {
        seen_one |= f.type == one;
        seen_other |= f.type == other;
    }
    return seen_one && seen_other;
}

static void say_hello(struct bench *b, uint32_t magic, uint32_t version)
{
    AUTO(wbuf_done) struct wbuf body = {0};

    wbuf_u32(&body, magic);
    wbuf_u32(&body, version);
    wbuf_u64(&body, 1);
    wbuf_str(&body, "6.12");
    say(b, PROTO_HELLO, 0, 0, body.data, body.size);
}

static bool greet(struct bench *b)
{
    struct frame f;

    say_hello(b, PROTO_MAGIC, PROTO_VERSION);
    bool good = hear(b, &f) && f.type == PROTO_WELCOME && f.size > 20;
    /* What the loop does after its answer is done once its lock can be had. */
    plat_loop_lock(b->loop);
    plat_loop_unlock(b->loop);
    return good;
}

/* ---- an operation as the caller sees it ---- */

struct call {
    plat_fd channel, stream[3];
    uint32_t id;
    struct wbuf in;
    size_t at;
};

static bool call_make(struct bench *b, struct call *c, uint16_t type, int32_t timeout_ms)
{
    struct lum_error err;
    plat_fd theirs[3], channel[2];

    *c = (struct call){0};
    bool good = plat_socketpair(channel, &err) == 0;
    for (int i = 0; i < 3 && good; i++) {
        plat_fd pair[2];
        good = plat_socketpair(pair, &err) == 0;
        c->stream[i] = pair[0];
        theirs[i] = pair[1];
    }
    if (!good)
        return false;
    c->channel = channel[0];
    plat_loop_lock(b->loop);
    agent_op(b->agent, type, "body", 4, timeout_ms, channel[1], theirs);
    plat_loop_unlock(b->loop);
    return true;
}

/* One that the guest is told of. */
static bool call_open(struct bench *b, struct call *c, uint16_t type, int32_t timeout_ms)
{
    struct frame f;

    if (!call_make(b, c, type, timeout_ms) || !hear(b, &f))
        return false;
    c->id = f.id;
    return f.type == type && f.id != 0 && f.size == 4 && memcmp(f.data, "body", 4) == 0;
}

static void call_close(struct call *c)
{
    plat_close(&c->channel);
    for (int i = 0; i < 3; i++)
        plat_close(&c->stream[i]);
    wbuf_done(&c->in);
}

/* The next answer on the channel, 0 at its end. */
static uint16_t answer(struct call *c, struct frame *f)
{
    wbuf_drop(&c->in, c->at);
    c->at = 0;
    while (frame_next(&c->in, &c->at, f) == 0) {
        uint8_t piece[4096];
        ssize_t n = plat_read(c->channel, piece, sizeof(piece));
        if (n <= 0)
            return 0;
        wbuf_put(&c->in, piece, (size_t)n);
    }
    return f->type;
}

static void say_started(struct bench *b, const struct call *c)
{
    static const uint8_t pid[4] = {42};

    say(b, PROTO_STARTED, 0, c->id, pid, sizeof(pid));
}

static void say_done(struct bench *b, const struct call *c, uint32_t code, uint32_t sig)
{
    AUTO(wbuf_done) struct wbuf body = {0};

    wbuf_u32(&body, code);
    wbuf_u32(&body, sig);
    wbuf_u32(&body, 0);
    wbuf_str(&body, "");
    say(b, PROTO_DONE, 0, c->id, body.data, body.size);
}

static size_t read_all(plat_fd fd, char *buf, size_t capacity)
{
    size_t have = 0;
    ssize_t n;

    while (have < capacity && (n = plat_read(fd, buf + have, capacity - have)) > 0)
        have += (size_t)n;
    return have;
}

/* ---- honest ---- */

static void test_exec(void)
{
    struct bench b;
    struct call c;
    struct frame f;
    char buf[256];

    bench_open(&b);
    ok(greet(&b) && atomic_load(&b.ready), "hello and welcome");
    ok(call_open(&b, &c, PROTO_EXEC, 0), "the request reaches the guest");
    say_started(&b, &c);
    ok(answer(&c, &f) == CTL_STARTED, "started reaches the caller");
    say(&b, PROTO_DATA, 1, c.id, "out", 3);
    say(&b, PROTO_DATA, 2, c.id, "err", 3);
    ok(plat_write(c.stream[0], "in", 2) == 2 && hear(&b, &f) && f.type == PROTO_DATA &&
           f.stream == 0 && f.size == 2 && memcmp(f.data, "in", 2) == 0,
       "stdin reaches the guest");
    plat_close(&c.stream[0]);
    ok(hear(&b, &f) && f.type == PROTO_EOF && f.id == c.id, "so does its end");
    say(&b, PROTO_EOF, 1, c.id, NULL, 0);
    say(&b, PROTO_EOF, 2, c.id, NULL, 0);
    say_done(&b, &c, 7, 0);
    ok(answer(&c, &f) == CTL_DONE && le32_load(f.data) == 7, "done with 7");
    ok(read_all(c.stream[1], buf, sizeof(buf)) == 3 && memcmp(buf, "out", 3) == 0, "stdout");
    ok(read_all(c.stream[2], buf, sizeof(buf)) == 3 && memcmp(buf, "err", 3) == 0, "stderr");
    say(&b, PROTO_DATA, 1, c.id, "late", 4);
    call_close(&c);
    ok(call_open(&b, &c, PROTO_EXEC, 0), "frames of an operation that is over are dropped");
    call_close(&c);
    ok(hear_both(&b, c.id, PROTO_EOF, PROTO_CANCEL),
       "a caller that lets go ends stdin and cancels");
    bench_close(&b);
}

/* The caller reads nothing: the guest may send a window and no more, and gets credit when the
 * caller reads. */
static void test_window(void)
{
    static uint8_t data[PROTO_MAX_DATA];
    static char sink[65536];
    struct bench b;
    struct call c;
    struct frame f;
    size_t total = 0;

    bench_open(&b);
    ok(greet(&b) && call_open(&b, &c, PROTO_EXEC, 0), "a command");
    say_started(&b, &c);
    for (size_t sent = 0; sent < PROTO_WINDOW; sent += sizeof(data))
        say(&b, PROTO_DATA, 1, c.id, data, sizeof(data));
    while (total < PROTO_WINDOW) {
        ssize_t n = plat_read(c.stream[1], sink, sizeof(sink));
        if (n <= 0)
            break;
        total += (size_t)n;
    }
    ok(total == PROTO_WINDOW, "a whole window arrives: %zu", total);
    size_t credit = 0;
    while (credit < PROTO_WINDOW && hear(&b, &f) && f.type == PROTO_CREDIT && f.stream == 1)
        credit += le32_load(f.data);
    ok(credit == PROTO_WINDOW, "and is credited: %zu", credit);

    /* Towards the guest: no more than its window, however much the caller writes. */
    size_t got = 0, written = 0;
    struct lum_error err;
    ok(plat_set_nonblock(c.stream[0], &err) == 0, "the caller writes without waiting");
    while (got < PROTO_WINDOW) {
        ssize_t n = plat_write(c.stream[0], sink, sizeof(sink));
        if (n > 0)
            written += (size_t)n;
        if (!hear(&b, &f) || f.type != PROTO_DATA)
            break;
        got += f.size;
    }
    ok(got == PROTO_WINDOW && written >= got, "a window towards the guest: %zu", got);
    uint8_t more[4];
    le32_store(more, 1000);
    ssize_t n = plat_write(c.stream[0], sink, sizeof(sink));
    (void)n;
    say(&b, PROTO_CREDIT, 0, c.id, more, sizeof(more));
    ok(hear(&b, &f) && f.type == PROTO_DATA && f.size == 1000, "then what its credit allows");
    call_close(&c);
    bench_close(&b);
}

static void test_out_of_memory(void)
{
    struct bench b;
    struct call c;
    struct frame f;

    bench_open(&b);
    ok(greet(&b) && call_open(&b, &c, PROTO_EXEC, 0), "a command that needs much");
    say_started(&b, &c);
    ok(answer(&c, &f) == CTL_STARTED, "started");
    AUTO(wbuf_done) struct wbuf body = {0};
    wbuf_u32(&body, 137);
    wbuf_u32(&body, 9);
    wbuf_u32(&body, 12);
    wbuf_str(&body, "run: Out of memory");
    say(&b, PROTO_DONE, 0, c.id, body.data, body.size);
    ok(answer(&c, &f) == CTL_DONE && le32_load(f.data + 4) == 9 && le32_load(f.data + 12) == 1,
       "the guest ran out of memory: no error, but told");
    call_close(&c);
    bench_close(&b);
}

static void test_timeout(void)
{
    struct bench b;
    struct call c;
    struct frame f;

    bench_open(&b);
    ok(greet(&b) && call_open(&b, &c, PROTO_EXEC, 20), "a command with a time limit");
    say_started(&b, &c);
    ok(answer(&c, &f) == CTL_STARTED, "started");
    ok(hear(&b, &f) && f.type == PROTO_CANCEL, "the guest is told to kill it");
    ok(answer(&c, &f) == CTL_DONE && le32_load(f.data + 4) == 9 && le32_load(f.data + 8) == 1,
       "a guest that does not answer is not waited for");
    call_close(&c);

    struct lum_error err;
    ok(call_open(&b, &c, PROTO_EXEC, 20), "another one");
    ok(hear(&b, &f) && f.type == PROTO_CANCEL, "which the guest does not even start");
    ok(answer(&c, &f) == CTL_ERROR && ctl_get_error(&f, &err) == LUM_EGUEST, "is an error: %s",
       err.text);
    call_close(&c);
    bench_close(&b);
}

static void test_end(void)
{
    struct bench b;
    struct call c;
    struct frame f;
    struct lum_error why, got;
    char buf[64];

    bench_open(&b);
    ok(greet(&b) && call_open(&b, &c, PROTO_EXEC, 0), "a command");
    say_started(&b, &c);
    ok(answer(&c, &f) == CTL_STARTED, "started");
    say(&b, PROTO_DATA, 1, c.id, "last words", 10);
    lum_fail(&why, LUM_EGONE, "the VM has ended: crashed");
    say(&b, PROTO_BYE, 0, 0, NULL, 0);
    plat_loop_lock(b.loop);
    ok(agent_drain(b.agent), "an orderly end is announced");
    agent_end(b.agent, &why);
    plat_loop_unlock(b.loop);
    ok(answer(&c, &f) == CTL_ERROR && ctl_get_error(&f, &got) == LUM_EGONE &&
           strcmp(got.text, why.text) == 0,
       "the end is told: %s", got.text);
    ok(read_all(c.stream[1], buf, sizeof(buf)) == 10, "what was sent before arrives");
    call_close(&c);
    bench_close(&b);
}

/* A transport that cannot show the end of the stream has it shown by its backend. */
static void test_hang_up(void)
{
    struct bench b;
    struct call c;
    struct frame f;
    char buf[64];

    bench_open(&b);
    ok(greet(&b) && call_open(&b, &c, PROTO_EXEC, 0), "a command");
    say_started(&b, &c);
    ok(answer(&c, &f) == CTL_STARTED, "started");
    say(&b, PROTO_DATA, 1, c.id, "before", 6);
    plat_loop_lock(b.loop);
    agent_hang_up(b.agent);
    plat_loop_unlock(b.loop);
    ok(atomic_load(&b.gone) && b.why[0] == '\0' && !agent_is_ready(b.agent),
       "the guest is gone, and has done nothing wrong");
    ok(plat_read(c.stream[1], buf, sizeof(buf)) == 6, "what it had sent arrives");
    call_close(&c);
    bench_close(&b);
}

static void expect_gone(struct bench *b, const char *what, const char *why)
{
    plat_wait_fd(b->gone_event, false, PLAT_FD_NONE, 10000);
    ok(atomic_load(&b->gone) && strstr(b->why, why), "%s: %s", what, b->why);
}

/* What comes between the end of the agent and that of its VM has the same answer as all else. */
static void test_too_late(void)
{
    struct bench b;
    struct call early, late;
    struct frame f;
    struct lum_error why, got;

    bench_open(&b);
    ok(call_make(&b, &early, PROTO_EXEC, 0) && answer(&early, &f) == CTL_ERROR &&
           ctl_get_error(&f, &got) == LUM_EBUSY,
       "too early: %s", got.text);
    call_close(&early);
    ok(greet(&b), "hello");
    say_hello(&b, PROTO_MAGIC, PROTO_VERSION);
    expect_gone(&b, "and again", "a frame of no operation");
    ok(call_make(&b, &late, PROTO_EXEC, 0), "too late");
    lum_fail(&why, LUM_EGONE, "the VM has ended: %s", b.why);
    plat_loop_lock(b.loop);
    agent_end(b.agent, &why);
    plat_loop_unlock(b.loop);
    ok(answer(&late, &f) == CTL_ERROR && ctl_get_error(&f, &got) == LUM_EGONE &&
           strcmp(got.text, why.text) == 0,
       "the end is told: %s", got.text);
    call_close(&late);
    bench_close(&b);
}

static void on_dial(void *ctx, int rc)
{
    *(int *)ctx = rc;
}

static void test_dial(void)
{
    struct bench b;
    struct frame f;
    struct lum_error err;
    plat_fd pair[2] = {PLAT_FD_NONE, PLAT_FD_NONE};
    int told = 1;
    char buf[16];

    bench_open(&b);
    ok(greet(&b), "hello");
    ok(plat_socketpair(pair, &err) == 0, "a stream for the dial");
    plat_fd stream = pair[0];
    plat_loop_lock(b.loop);
    agent_dial(b.agent, 77, pair[1], on_dial, &told);
    plat_loop_unlock(b.loop);
    ok(hear(&b, &f) && f.type == PROTO_DIAL && f.size == 4 && le32_load(f.data) == 77,
       "the port is asked for");
    uint32_t id = f.id;
    say(&b, PROTO_STARTED, 0, id, NULL, 0);
    say(&b, PROTO_DATA, 1, id, "pong", 4);
    ok(plat_read(stream, buf, sizeof(buf)) == 4, "data from the port");
    plat_loop_lock(b.loop);
    ok(told == 0, "which was told to be connected before");
    plat_loop_unlock(b.loop);
    ok(plat_write(stream, "ping", 4) == 4 && hear(&b, &f) && f.type == PROTO_DATA && f.size == 4,
       "data to the port");
    plat_close(&stream);
    ok(hear_both(&b, id, PROTO_EOF, PROTO_CANCEL), "closing it ends the connection");
    bench_close(&b);
}

/* ---- hostile ---- */

enum lie {
    LIE_MAGIC,
    LIE_VERSION,
    LIE_OVERSIZE,
    LIE_UNKNOWN_TYPE,
    LIE_STREAM,
    LIE_BEYOND_WINDOW,
    LIE_EMPTY_DATA,
    LIE_DATA_BEFORE_STARTED,
    LIE_DATA_TO_INPUT,
    LIE_STARTED_TWICE,
    LIE_CREDIT_OVERFLOW,
    LIE_CREDIT_SHORT,
    LIE_DONE_SHORT,
    LIE_DONE_CODE,
    LIE_DONE_BEFORE_STARTED,
    LIE_FAILED_GARBAGE,
    LIE_DATA_AFTER_EOF,
    LIE_NO_OPERATION,
    LIE_HELLO_TWICE,
    LIES
};

static void tell(struct bench *b, const struct call *c, enum lie lie)
{
    static uint8_t data[PROTO_MAX_DATA + 1];
    uint8_t header[FRAME_HEADER] = {0};

    switch (lie) {
    case LIE_MAGIC: say_hello(b, 1, PROTO_VERSION); break;
    case LIE_VERSION: say_hello(b, PROTO_MAGIC, PROTO_VERSION + 1); break;
    case LIE_OVERSIZE:
        le32_store(header, PROTO_MAX_PAYLOAD + 1);
        send_raw(b, header, sizeof(header));
        break;
    case LIE_UNKNOWN_TYPE: say(b, 999, 0, c->id, NULL, 0); break;
    case LIE_STREAM: say(b, PROTO_DATA, 3, c->id, data, 1); break;
    case LIE_BEYOND_WINDOW:
        for (size_t sent = 0; sent < 8 * PROTO_WINDOW; sent += PROTO_MAX_DATA)
            say(b, PROTO_DATA, 1, c->id, data, PROTO_MAX_DATA);
        break;
    case LIE_EMPTY_DATA: say(b, PROTO_DATA, 1, c->id, NULL, 0); break;
    case LIE_DATA_BEFORE_STARTED: say(b, PROTO_DATA, 1, c->id, data, 1); break;
    case LIE_DATA_TO_INPUT: say(b, PROTO_DATA, 0, c->id, data, 1); break;
    case LIE_STARTED_TWICE: say_started(b, c); break;
    case LIE_CREDIT_OVERFLOW:
        le32_store(data, 0xffffffff);
        say(b, PROTO_CREDIT, 0, c->id, data, 4);
        break;
    case LIE_CREDIT_SHORT: say(b, PROTO_CREDIT, 0, c->id, data, 3); break;
    case LIE_DONE_SHORT: say(b, PROTO_DONE, 0, c->id, data, 5); break;
    case LIE_DONE_CODE: say_done(b, c, 256, 0); break;
    case LIE_DONE_BEFORE_STARTED: say_done(b, c, 0, 0); break;
    case LIE_FAILED_GARBAGE: say(b, PROTO_FAILED, 0, c->id, data, 9); break;
    case LIE_DATA_AFTER_EOF:
        say(b, PROTO_EOF, 1, c->id, NULL, 0);
        say(b, PROTO_DATA, 1, c->id, data, 1);
        break;
    case LIE_NO_OPERATION: say(b, PROTO_DATA, 1, c->id + 1, data, 1); break;
    case LIE_HELLO_TWICE: say_hello(b, PROTO_MAGIC, PROTO_VERSION); break;
    case LIES: break;
    }
}

static void test_lies(void)
{
    for (enum lie lie = 0; lie < LIES; lie++) {
        bool before_hello = lie == LIE_MAGIC || lie == LIE_VERSION;
        bool before_started = lie == LIE_DATA_BEFORE_STARTED || lie == LIE_DONE_BEFORE_STARTED ||
                              lie == LIE_FAILED_GARBAGE;
        struct bench b;
        struct call c = {.channel = PLAT_FD_NONE,
                         .stream = {PLAT_FD_NONE, PLAT_FD_NONE, PLAT_FD_NONE}};
        char what[32];

        bench_open(&b);
        if (!before_hello && !(greet(&b) && call_open(&b, &c, PROTO_EXEC, 0)))
            ok(false, "a command for lie %d", (int)lie);
        if (!before_hello && !before_started)
            say_started(&b, &c);
        tell(&b, &c, lie);
        snprintf(what, sizeof(what), "lie %d", (int)lie);
        expect_gone(&b, what, "its agent");
        call_close(&c);
        bench_close(&b);
    }
}

/*
 * A guest that never reads fills what waits for it; then it gets no more credit for what it sends,
 * however fast the caller takes that.
 */
static void test_deaf_guest(void)
{
    enum { CALLS = 6 };
    static char block[65536];
    static uint8_t data[PROTO_MAX_DATA];
    struct call c[CALLS];
    struct lum_error err;
    struct bench b;
    bool good;

    bench_open(&b);
    good = greet(&b);
    for (int i = 0; i < CALLS && good; i++) {
        good = call_open(&b, &c[i], PROTO_EXEC, 0);
        say_started(&b, &c[i]);
    }
    if (!ok(good, "%d commands", (int)CALLS))
        return;
    for (int i = 0; i < CALLS; i++) {
        ok(plat_set_nonblock(c[i].stream[0], &err) == 0 &&
               plat_set_nonblock(c[i].stream[1], &err) == 0,
           "streams of command %d", i);
        /* Until nothing more is taken for a while: window and sockets are full. */
        while (plat_wait_fd(c[i].stream[0], true, PLAT_FD_NONE, 50) == 1)
            if (plat_write(c[i].stream[0], block, sizeof(block)) < 0)
                break;
    }
    for (size_t sent = 0; sent < 16 * PROTO_WINDOW && !atomic_load(&b.gone); sent += sizeof(data)) {
        say(&b, PROTO_DATA, 1, c[0].id, data, sizeof(data));
        while (plat_read(c[0].stream[1], block, sizeof(block)) > 0)
            ;
    }
    expect_gone(&b, "sending on without credit ends it", "more data than allowed");
    for (int i = 0; i < CALLS; i++)
        call_close(&c[i]);
    bench_close(&b);
}

/* Whoever asks is answered, memory or not. */
static void test_no_memory(void)
{
    const plat_fd none[3] = {PLAT_FD_NONE, PLAT_FD_NONE, PLAT_FD_NONE};
    struct call c = {.stream = {PLAT_FD_NONE, PLAT_FD_NONE, PLAT_FD_NONE}};
    struct lum_error err, got = {0};
    plat_fd channel[2];
    struct bench b;
    struct frame f;

    bench_open(&b);
    ok(greet(&b) && plat_socketpair(channel, &err) == 0, "a guest and a channel");
    c.channel = channel[0];
    plat_loop_lock(b.loop);
    lum_alloc_fail_at = 0;
    agent_op(b.agent, PROTO_EXEC, "body", 4, 0, channel[1], none);
    lum_alloc_fail_at = -1;
    plat_loop_unlock(b.loop);
    ok(answer(&c, &f) == CTL_ERROR && ctl_get_error(&f, &got) == LUM_ENOMEM,
       "no memory for an operation is told: %s", got.text);
    call_close(&c);
    bench_close(&b);
}

static void test_control(void)
{
    AUTO(wbuf_done) struct wbuf out = {0};
    AUTO(vm_spec_done) struct vm_spec spec, got;
    struct lum_error err = {0};
    unsigned refused = 0;

    vm_spec_init(&spec);
    vm_spec_init(&got);
    snprintf(spec.backend, sizeof(spec.backend), "qemu");
    spec.vcpus = 3;
    spec.memory_bytes = 64 * MIB;
    spec.cmdline_extra = lum_strdup("a=b");
    spec.hostname = lum_strdup("host");
    spec.kernel_name = lum_strdup("/k");
    spec.root_kind = MACHINE_ROOT_EXT4;
    spec.scratch_bytes = 5;
    ctl_put_spec(&out, &spec);
    struct rbuf in = rbuf_of(out.data, out.size);
    ok(ctl_get_spec(&in, &got, &err) == 0 && rbuf_done(&in) && got.vcpus == 3 &&
           got.memory_bytes == 64 * MIB && strcmp(got.cmdline_extra, "a=b") == 0 &&
           strcmp(got.hostname, "host") == 0 && strcmp(got.kernel_name, "/k") == 0 &&
           got.root_kind == MACHINE_ROOT_EXT4,
       "a spec travels whole");
    for (size_t size = 0; size < out.size; size++) {
        AUTO(vm_spec_done) struct vm_spec cut;
        vm_spec_init(&cut);
        in = rbuf_of(out.data, size);
        refused += ctl_get_spec(&in, &cut, &err) < 0;
    }
    ok(refused == out.size, "every cut of it is refused: %u of %zu", refused, out.size);

    AUTO(wbuf_done) struct wbuf error = {0};
    struct lum_error sent, back;
    struct frame f;
    size_t at = 0;
    lum_fail_errno(&sent, EACCES, "open /dev/kvm");
    ctl_put_error(&error, &sent);
    ok(frame_next(&error, &at, &f) == 1 && ctl_get_error(&f, &back) == LUM_EACCES &&
           back.os_code == EACCES && back.domain == LUM_DOMAIN_ERRNO &&
           strcmp(back.text, sent.text) == 0,
       "an error travels whole: %s", back.text);
}

static void test_console(void)
{
    static struct console c;
    static const char text[] = "hello\nKernel panic - not syncing: test\nunfinished";

    ok(console_panic(&c) == NULL, "no panic yet");
    console_write(&c, (const uint8_t *)text, sizeof(text) - 1);
    ok(console_panic(&c) && strcmp(console_panic(&c), "Kernel panic - not syncing: test") == 0,
       "a panic is noticed");
    for (int i = 0; i < 1000; i++)
        console_write(&c, (const uint8_t *)"x", 1);
    ok(c.size <= sizeof(c.line), "a line without an end stays bounded");
}

int main(void)
{
    test_exec();
    test_window();
    test_out_of_memory();
    test_timeout();
    test_end();
    test_hang_up();
    test_too_late();
    test_dial();
    test_lies();
    test_deaf_guest();
    test_no_memory();
    test_control();
    test_console();
    return tap_done();
}
