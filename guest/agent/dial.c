/* SPDX-License-Identifier: Apache-2.0 */
/* DIAL: a byte stream to a vsock port on which a program of the guest listens. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "op.h"
#include "vsock.h"

static enum op_start dial_start(struct op *op, struct cursor *cursor, struct outcome *out)
{
    uint32_t port = cursor_u32(cursor);

    if (!cursor_ended(cursor))
        return OP_BAD_FRAME;

    int fd = vsock_connect(VSOCK_CID_LOCAL, port, false);
    int second = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (second < 0) {
        outcome_set(out, PROTO_FAIL_OTHER, errno, "connect to the port", NULL);
        if (fd >= 0)
            close(fd);
        return OP_FAILED;
    }
    sink_init(&op->sink, fd);
    source_init(&op->sources[0], second);
    op->connecting = true;
    return OP_CONNECTING;
}

enum op_start dial_connected(struct op *op)
{
    struct pollfd state = {.fd = op->sink.fd, .events = POLLOUT};
    int error = 0;
    socklen_t size = sizeof(error);

    if (poll(&state, 1, 0) == 0)
        return OP_CONNECTING;
    if (getsockopt(op->sink.fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
        error = errno;
    op->connecting = false;
    if (!error)
        return OP_STARTED;
    outcome_set(&op->out, PROTO_FAIL_OTHER, error, "connect to the port", NULL);
    return OP_FAILED;
}

static int dial_data(struct op *op, const uint8_t *data, uint32_t size)
{
    return sink_take(&op->sink, data, size);
}

static void dial_eof(struct op *op)
{
    if (op->sink.len > 0 || op->sink.fd < 0 || op->connecting)
        return; /* called again when that is written */
    (void)shutdown(op->sink.fd, SHUT_WR);
    sink_drop(&op->sink);
}

static void dial_cancel(struct op *op)
{
    outcome_set(&op->out, PROTO_FAIL_OTHER, ECANCELED, "connection to the port", NULL);
    /* Not the stream's end: data and EOF of the host may still be on their way. */
    sink_drop(&op->sink);
    op->sources[0].ended = true;
}

/* Both directions have ended. */
static bool dial_finished(struct op *op)
{
    return op->sink.fd < 0;
}

static void dial_done(struct op *op)
{
    (void)op; /* the socket belongs to the sink and the source */
}

const struct op_kind op_dial = {
    .start = dial_start,
    .data = dial_data,
    .eof = dial_eof,
    .cancel = dial_cancel,
    .finished = dial_finished,
    .done = dial_done,
};
