/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One thread, one poll, and what is polled for is derived from the state each time round: a source
 * without credit or room is simply not asked, so that backpressure reaches the command. Nothing in
 * the loop waits except poll itself.
 *
 * The host is expected to read at all times; only that keeps two full buffers from facing each
 * other, and the credit makes it cheap: it never has to hold more than the windows it gave.
 */
#include "serve.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "console.h"
#include "drain.h"
#include "machine.h"
#include "op.h"
#include "text.h"
#include "wire.h"

#define MAX_SIGNAL    64
#define MAX_ENTROPY   256
#define SIGNAL_GRACE  1000 /* ms, when a program of the guest asks for the shutdown */
#define KILL_WAIT     2000 /* ms, for killed processes to be gone */
#define LEAVE_WAIT    500  /* ms, for the host to read what is left */
#define POLLS_PER_OP  3
#define POLL_WIRE     0
#define POLL_SIGNALS  1
#define POLL_FIRST_OP 2
#define MAX_POLLS     (POLL_FIRST_OP + POLLS_PER_OP * PROTO_MAX_OPS + DRAIN_MAX)

enum phase { RUNNING, TERMINATING, KILLING, LEAVING };

/* What an entry of the poll list is about: the sink of an operation, or one of its sources. */
struct watch {
    uint16_t op;
    int16_t source; /* -1: the sink */
};

static struct {
    struct wire wire;
    int signal_fd;
    bool welcomed;
    bool childless; /* nothing is left to wait for */
    bool held_up;   /* frames wait for room in the output buffer */
    enum phase phase;
    int64_t deadline; /* of the phase */
    unsigned high;    /* slots from here on were never used */
    unsigned turn;    /* whose output is read first this time */
    unsigned poll_count, drain_at;
    struct op ops[PROTO_MAX_OPS];
    struct pollfd polls[MAX_POLLS];
    struct watch watches[POLLS_PER_OP * PROTO_MAX_OPS];
} server;

static int64_t now_ms(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* ---- operations ---- */

static struct op *find_op(uint32_t id)
{
    for (unsigned i = 0; i < server.high; i++) {
        if (server.ops[i].kind && server.ops[i].id == id)
            return &server.ops[i];
    }
    return NULL;
}

static struct op *new_op(const struct op_kind *kind, uint32_t id)
{
    for (unsigned i = 0; i < PROTO_MAX_OPS; i++) {
        struct op *op = &server.ops[i];
        if (op->kind)
            continue;
        *op = (struct op){.kind = kind, .id = id, .sink = {.fd = -1}};
        op->sources[0].fd = op->sources[1].fd = -1;
        if (i >= server.high)
            server.high = i + 1;
        return op;
    }
    return NULL;
}

static void free_op(struct op *op)
{
    op->kind->done(op);
    sink_done(&op->sink);
    for (unsigned i = 0; i < OP_SOURCES; i++) {
        struct source *source = &op->sources[i];
        if (source->fd >= 0 && source->keep)
            drain_adopt(source->fd);
        else if (source->fd >= 0)
            close(source->fd);
    }
    op->kind = NULL;
    while (server.high > 0 && !server.ops[server.high - 1].kind)
        server.high--;
}

static void send_started(const struct op *op)
{
    const uint32_t pid = (uint32_t)op->pid;

    wire_put_numbers(&server.wire, PROTO_STARTED, op->id, &pid, op->kind == &op_exec ? 1 : 0, NULL);
}

static void send_failed(uint32_t id, const struct outcome *out)
{
    const uint32_t numbers[2] = {out->error, out->fail};

    wire_put_numbers(&server.wire, PROTO_FAILED, id, numbers, 2, out->text);
}

static void start_op(const struct op_kind *kind, const struct frame *frame, bool *ret_good)
{
    struct cursor cursor = cursor_of(frame);
    struct outcome out = {.fail = PROTO_FAIL_BUSY, .error = EBUSY, .text = "too many operations"};

    if (server.phase != RUNNING) {
        outcome_set(&out, PROTO_FAIL_OTHER, ESHUTDOWN, "start", NULL);
        send_failed(frame->id, &out);
        return;
    }
    struct op *op = new_op(kind, frame->id);
    if (!op) {
        send_failed(frame->id, &out);
        return;
    }
    switch (kind->start(op, &cursor, &out)) {
    case OP_STARTED: send_started(op); return;
    case OP_CONNECTING: return;
    case OP_FAILED: send_failed(op->id, &out); break;
    case OP_BAD_FRAME: *ret_good = false; break;
    }
    free_op(op);
}

/* The last frame of an operation, once everything before it has been sent. */
static void settle_op(struct op *op)
{
    const uint32_t numbers[3] = {op->exit_code, op->exit_signal, op->out.error};
    bool drained = true;

    if (op->connecting)
        return;
    if (op->kind->work)
        op->kind->work(op, &server.wire);
    for (unsigned i = 0; i < OP_SOURCES; i++) {
        /* The last words of what has ended are there: they and DONE leave in one write. */
        if (op->sources[i].limit != SOURCE_NO_LIMIT)
            source_read_rest(&op->sources[i], &server.wire, (uint16_t)(i + 1), op->id);
        drained &= source_settle(&op->sources[i], &server.wire, (uint16_t)(i + 1), op->id);
    }
    if (drained && op->kind->finished(op) && wire_ready(&server.wire)) {
        wire_put_numbers(&server.wire, PROTO_DONE, op->id, numbers, 3, op->out.text);
        free_op(op);
        return;
    }
    sink_settle(&op->sink, &server.wire, op->id);
}

static void cancel_op(struct op *op)
{
    if (!op->connecting) {
        op->kind->cancel(op);
        return;
    }
    outcome_set(&op->out, PROTO_FAIL_OTHER, ECANCELED, "connect to the port", NULL);
    send_failed(op->id, &op->out);
    free_op(op);
}

/* ---- frames ---- */

static bool take_welcome(struct cursor *cursor)
{
    uint32_t magic = cursor_u32(cursor);
    uint32_t version = cursor_u32(cursor);
    uint64_t wall_ns = cursor_u64(cursor);
    uint32_t size = cursor_u32(cursor);
    const uint8_t *entropy = cursor_bytes(cursor, size);

    if (!cursor_ended(cursor) || magic != PROTO_MAGIC || version != PROTO_VERSION ||
        size > MAX_ENTROPY)
        return false;
    machine_welcome(wall_ns, entropy, size);
    server.welcomed = true;
    return true;
}

static void reap(void);

static void begin_shutdown(uint32_t grace_ms)
{
    if (server.phase != RUNNING)
        return;
    /* Without room the host takes the reset for what it looks like. */
    (void)wire_put(&server.wire, PROTO_BYE, 0, 0, NULL, 0);
    machine_kill_all(SIGTERM);
    server.phase = TERMINATING;
    server.deadline = now_ms() + grace_ms;
    reap();
}

/* Frames that belong to an operation that runs. */
static bool take_op_frame(struct op *op, const struct frame *frame)
{
    struct cursor cursor = cursor_of(frame);
    uint32_t first;
    uint32_t second;

    switch (frame->type) {
    case PROTO_DATA: return op->kind->data(op, frame->payload, frame->size) == 0;
    case PROTO_EOF:
        if (!op->sink.exists || op->sink.eof)
            return false;
        op->sink.eof = true;
        op->kind->eof(op);
        return true;
    case PROTO_CREDIT:
        first = cursor_u32(&cursor);
        return frame->stream >= 1 && frame->stream <= OP_SOURCES &&
               source_credit(&op->sources[frame->stream - 1], first) == 0;
    case PROTO_SIGNAL:
        first = cursor_u32(&cursor);
        if (first < 1 || first > MAX_SIGNAL)
            return false;
        if (op->kind->signal)
            op->kind->signal(op, (int)first);
        return true;
    case PROTO_RESIZE:
        first = cursor_u32(&cursor);
        second = cursor_u32(&cursor);
        if (op->kind->resize)
            op->kind->resize(op, first, second);
        return true;
    default: cancel_op(op); return true;
    }
}

/* The shape of a frame of a running operation, whether that still exists or not. */
static bool op_frame_fits(const struct frame *frame)
{
    switch (frame->type) {
    case PROTO_DATA: return frame->size >= 1 && frame->size <= PROTO_MAX_DATA && frame->stream == 0;
    case PROTO_EOF: return frame->size == 0 && frame->stream == 0;
    case PROTO_CREDIT:
    case PROTO_SIGNAL: return frame->size == 4;
    case PROTO_RESIZE: return frame->size == 8;
    case PROTO_CANCEL: return frame->size == 0;
    default: return false;
    }
}

static const struct op_kind *kind_of(uint16_t type)
{
    switch (type) {
    case PROTO_EXEC: return &op_exec;
    case PROTO_PUT: return &op_put;
    case PROTO_GET: return &op_get;
    case PROTO_DIAL: return &op_dial;
    default: return NULL;
    }
}

/* False: the host broke the protocol. */
static bool take_frame(const struct frame *frame)
{
    struct cursor cursor = cursor_of(frame);
    const struct op_kind *kind = kind_of(frame->type);
    bool good = true;

    if (!server.welcomed || frame->type == PROTO_WELCOME)
        return frame->type == PROTO_WELCOME && frame->id == 0 && take_welcome(&cursor);
    if (frame->type == PROTO_SHUTDOWN) {
        uint32_t grace_ms = cursor_u32(&cursor);
        if (!cursor_ended(&cursor) || frame->id != 0)
            return false;
        begin_shutdown(grace_ms);
        return true;
    }
    if (frame->id == 0)
        return false;

    struct op *op = find_op(frame->id);
    if (kind) {
        if (op)
            return false;
        start_op(kind, frame, &good);
        return good;
    }
    if (!op_frame_fits(frame))
        return false;
    return !op || take_op_frame(op, frame);
}

static void blame_host(const struct frame *frame)
{
    char type[TEXT_NUMBER], size[TEXT_NUMBER], id[TEXT_NUMBER];

    console_line("host: bad frame: type ", text_number(type, frame->type), " of ",
                 text_number(size, frame->size), " bytes for operation ",
                 text_number(id, frame->id), NULL);
}

/* Takes all frames that are there and can be answered. */
static bool take_frames(void)
{
    struct frame frame;
    int rc = 0;

    server.held_up = false;
    for (;;) {
        if (!wire_ready(&server.wire)) {
            server.held_up = true;
            return true;
        }
        rc = wire_next(&server.wire, &frame);
        if (rc <= 0)
            break;
        if (!take_frame(&frame)) {
            blame_host(&frame);
            return false;
        }
    }
    if (rc < 0)
        console_line("host: bad frame header", NULL);
    return rc == 0;
}

/* ---- processes ---- */

static void ended(pid_t pid, int status)
{
    for (unsigned i = 0; i < server.high; i++) {
        struct op *op = &server.ops[i];
        if (op->kind != &op_exec || op->pid != pid)
            continue;
        exec_ended(op, status);
        return;
    }
}

/* Takes leave of all processes that have ended: commands, and orphans that came to PID 1. */
static void reap(void)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        ended(pid, status);
    server.childless = pid < 0 && errno == ECHILD;
}

static void take_signals(void)
{
    struct signalfd_siginfo infos[8];
    ssize_t n = read(server.signal_fd, infos, sizeof(infos));

    for (ssize_t i = 0; n > 0 && i < n / (ssize_t)sizeof(infos[0]); i++) {
        if (infos[i].ssi_signo != SIGCHLD)
            begin_shutdown(SIGNAL_GRACE);
    }
    reap();
}

/* ---- the loop ---- */

static bool idle(void)
{
    return server.high == 0 && !wire_pending(&server.wire);
}

/* One phase after the other; true when nothing more is to be waited for. */
static bool advance_shutdown(void)
{
    int64_t now = now_ms();

    if (server.phase == TERMINATING && !server.childless && now >= server.deadline) {
        machine_kill_all(SIGKILL);
        server.phase = KILLING;
        server.deadline = now + KILL_WAIT;
        reap();
    }
    if ((server.phase == TERMINATING && server.childless) ||
        (server.phase == KILLING && (server.childless || now >= server.deadline))) {
        for (unsigned i = 0; i < server.high; i++) {
            if (server.ops[i].kind && server.ops[i].kind != &op_exec)
                cancel_op(&server.ops[i]);
        }
        server.phase = LEAVING;
        server.deadline = now + LEAVE_WAIT;
    }
    return server.phase == LEAVING && (idle() || now >= server.deadline);
}

static void add_poll(unsigned op, int source, int fd, short events)
{
    unsigned at = server.poll_count++;

    server.polls[at] = (struct pollfd){.fd = fd, .events = events};
    server.watches[at - POLL_FIRST_OP] = (struct watch){(uint16_t)op, (int16_t)source};
}

static void poll_op(unsigned index)
{
    const struct op *op = &server.ops[index];

    if (op->sink.fd >= 0 && (op->connecting || op->sink.len > 0))
        add_poll(index, -1, op->sink.fd, POLLOUT);
    else if (op->sink.fd >= 0 && op->sink.pipe)
        add_poll(index, -1, op->sink.fd, 0); /* to be told when nobody reads any more */
    for (int i = 0; i < OP_SOURCES && !op->connecting; i++) {
        if (source_wants(&op->sources[i], &server.wire))
            add_poll(index, i, op->sources[i].fd, POLLIN);
    }
}

/* Something can be done without waiting for a descriptor. */
static bool has_work(void)
{
    if (server.held_up && wire_ready(&server.wire))
        return true;
    for (unsigned i = 0; i < server.high; i++) {
        const struct op *op = &server.ops[i];
        if (op->kind && op->kind->work && !op->sources[0].ended && op->sources[0].credit > 0 &&
            !wire_pending(&server.wire))
            return true;
    }
    return false;
}

static int poll_timeout(void)
{
    if (has_work())
        return 0;
    if (server.phase == RUNNING)
        return -1;

    int64_t left = server.deadline - now_ms();
    if (left <= 0)
        return 0;
    return left > 1000000 ? 1000000 : (int)left;
}

static int wait_for_events(void)
{
    short events = 0;

    if (!server.held_up)
        events |= POLLIN;
    if (wire_pending(&server.wire))
        events |= POLLOUT;
    server.polls[POLL_WIRE] = (struct pollfd){.fd = server.wire.fd, .events = events};
    server.polls[POLL_SIGNALS] = (struct pollfd){.fd = server.signal_fd, .events = POLLIN};
    server.poll_count = POLL_FIRST_OP;
    /* Whoever is read first could fill the buffer each time: everyone has a turn at it. */
    unsigned first = server.high ? server.turn++ % server.high : 0;
    for (unsigned i = 0; i < server.high; i++) {
        unsigned index = (first + i) % server.high;
        if (server.ops[index].kind)
            poll_op(index);
    }
    server.drain_at = server.poll_count;
    server.poll_count += drain_polls(server.polls + server.drain_at);
    return poll(server.polls, server.poll_count, poll_timeout());
}

static void sink_event(struct op *op)
{
    if (op->connecting) {
        enum op_start state = dial_connected(op);
        if (state == OP_FAILED) {
            send_failed(op->id, &op->out);
            free_op(op);
            return;
        }
        if (state != OP_STARTED)
            return;
        send_started(op);
    }
    if (op->sink.len > 0)
        sink_flush(&op->sink);
    else if (op->sink.pipe)
        sink_drop(&op->sink); /* nothing was asked for, so this can only be POLLERR */
    if (op->sink.eof && op->sink.len == 0)
        op->kind->eof(op);
}

static void take_events(void)
{
    if (server.polls[POLL_SIGNALS].revents)
        take_signals();
    for (unsigned i = POLL_FIRST_OP; i < server.drain_at; i++) {
        const struct watch *watch = &server.watches[i - POLL_FIRST_OP];
        struct op *op = &server.ops[watch->op];

        if (!server.polls[i].revents || !op->kind)
            continue;
        /* What was handled before may have closed it. */
        if (watch->source >= 0)
            source_read(&op->sources[watch->source], &server.wire, (uint16_t)(watch->source + 1),
                        op->id);
        else if (op->sink.fd == server.polls[i].fd && wire_ready(&server.wire))
            sink_event(op);
    }
    drain_events(server.polls + server.drain_at, server.poll_count - server.drain_at);
}

/* False at the end of the connection. */
static bool take_input(void)
{
    short revents = server.polls[POLL_WIRE].revents;

    if (revents & POLLIN)
        return wire_fill(&server.wire) == 0;
    return !(revents & (POLLHUP | POLLERR | POLLNVAL));
}

/*
 * Written while the descriptor still blocks: a port takes nothing until somebody on the host
 * listens, and that is what there is to wait for.
 */
static bool say_hello(void)
{
    struct utsname name;
    struct timespec ts;
    uint8_t payload[4 + 4 + 8 + 4 + sizeof(name.release)];

    (void)uname(&name);
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);

    uint64_t ns = (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
    size_t len = strnlen(name.release, sizeof(name.release));
    put_u32(payload, PROTO_MAGIC);
    put_u32(payload + 4, PROTO_VERSION);
    put_u32(payload + 8, (uint32_t)ns);
    put_u32(payload + 12, (uint32_t)(ns >> 32));
    put_u32(payload + 16, (uint32_t)len);
    memcpy(payload + 20, name.release, len);
    wire_put(&server.wire, PROTO_HELLO, 0, 0, payload, (uint32_t)(20 + len));
    return wire_flush(&server.wire) == 0 &&
           fcntl(server.wire.fd, F_SETFL, O_RDWR | O_NONBLOCK) == 0;
}

static void loop(void)
{
    for (;;) {
        if (!take_frames())
            return;
        for (unsigned i = 0; i < server.high; i++) {
            if (server.ops[i].kind)
                settle_op(&server.ops[i]);
        }
        if (wire_flush(&server.wire) < 0)
            return;
        if (server.phase != RUNNING && advance_shutdown())
            return;
        if (wait_for_events() < 0) {
            if (errno == EINTR)
                continue;
            console_line("poll: ", strerror(errno), NULL);
            return;
        }
        take_events();
        if (!take_input())
            return;
    }
}

void serve(int fd, int signal_fd)
{
    wire_init(&server.wire, fd);
    server.signal_fd = signal_fd;
    server.welcomed = false;
    server.phase = RUNNING;
    server.childless = false;
    server.held_up = false;

    if (say_hello())
        loop();
    for (unsigned i = 0; i < PROTO_MAX_OPS; i++) {
        if (server.ops[i].kind)
            free_op(&server.ops[i]);
    }
    drain_close();
}
