/* SPDX-License-Identifier: Apache-2.0 */
/* Sinks and sources: descriptors that must not block, and the credit of their streams. */
#include "stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Credit goes back in portions: a frame for every few bytes would cost more than the bytes. */
#define CREDIT_PORTION (PROTO_WINDOW / 4)

void sink_init(struct sink *sink, int fd)
{
    *sink = (struct sink){.fd = fd, .window = PROTO_WINDOW, .exists = true};
}

void sink_drop(struct sink *sink)
{
    if (sink->fd >= 0)
        close(sink->fd);
    sink->fd = -1;
    sink->owed += sink->len;
    sink->len = 0;
    if (!sink->eof)
        sink->gone = true;
}

/* Writes once; how much went, 0 when the reader is busy or, with fd closed then, gone. */
static uint32_t write_once(struct sink *sink, const uint8_t *data, uint32_t size)
{
    ssize_t n;

    do {
        n = write(sink->fd, data, size);
    } while (n < 0 && errno == EINTR);
    if (n >= 0)
        return (uint32_t)n;
    if (errno != EAGAIN)
        sink_drop(sink);
    return 0;
}

int sink_take(struct sink *sink, const uint8_t *data, uint32_t size)
{
    if (!sink->exists || sink->eof || size > sink->window)
        return -EPROTO;
    sink->window -= size;
    if (size > 0)
        sink->last = data[size - 1];

    uint32_t done = 0;
    if (sink->len == 0 && sink->fd >= 0) {
        done = write_once(sink, data, size);
        sink->owed += done;
    }
    if (sink->fd < 0) {
        sink->owed += size - done;
        return 0;
    }
    if (done == size)
        return 0;

    if (!sink->buf) {
        sink->buf = malloc(PROTO_WINDOW);
        if (!sink->buf)
            return -ENOMEM;
    }
    /* Never overflows: what is buffered and what the host may send make up one window. */
    if (sink->start + sink->len > PROTO_WINDOW - (size - done)) {
        memmove(sink->buf, sink->buf + sink->start, sink->len);
        sink->start = 0;
    }
    memcpy(sink->buf + sink->start + sink->len, data + done, size - done);
    sink->len += size - done;
    return 0;
}

void sink_flush(struct sink *sink)
{
    if (sink->fd < 0 || sink->len == 0)
        return;

    uint32_t n = write_once(sink, sink->buf + sink->start, sink->len);
    if (n == 0)
        return;
    sink->owed += n;
    sink->len -= n;
    sink->start = sink->len ? sink->start + n : 0;
}

void sink_settle(struct sink *sink, struct wire *wire, uint32_t id)
{
    if (!sink->exists || !wire_ready(wire))
        return;
    if (sink->gone && !sink->told)
        sink->told = wire_put(wire, PROTO_CLOSED, 0, id, NULL, 0);
    if (sink->owed >= CREDIT_PORTION && !sink->eof) {
        uint8_t payload[4];
        put_u32(payload, sink->owed);
        if (wire_put(wire, PROTO_CREDIT, 0, id, payload, sizeof(payload))) {
            sink->window += sink->owed;
            sink->owed = 0;
        }
    }
}

void sink_done(struct sink *sink)
{
    if (sink->fd >= 0)
        close(sink->fd);
    free(sink->buf);
    sink->fd = -1;
    sink->buf = NULL;
}

void source_init(struct source *source, int fd)
{
    *source =
        (struct source){.fd = fd, .credit = PROTO_WINDOW, .limit = SOURCE_NO_LIMIT, .exists = true};
}

int source_credit(struct source *source, uint32_t bytes)
{
    if (!source->exists || bytes > PROTO_WINDOW - source->credit)
        return -EPROTO;
    source->credit += bytes;
    return 0;
}

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* Data leaves room for the frames that are not data. */
static uint32_t readable(const struct source *source, const struct wire *wire)
{
    size_t room = wire_room(wire);
    uint32_t n = least(least(source->credit, source->limit), PROTO_MAX_DATA);

    return room <= 2 * WIRE_RESERVE ? 0 : least(n, (uint32_t)(room - 2 * WIRE_RESERVE));
}

bool source_wants(const struct source *source, const struct wire *wire)
{
    return source->fd >= 0 && !source->ended && readable(source, wire) > 0;
}

void source_read(struct source *source, struct wire *wire, uint16_t stream, uint32_t id)
{
    if (!source_wants(source, wire))
        return;

    uint8_t *place = wire_place(wire);
    ssize_t n = read(source->fd, place, readable(source, wire));
    if (n < 0 && errno == EINTR)
        return;
    if (n < 0 && errno == EAGAIN) {
        /* With a limit, what is not there by now was not there at the end either. */
        source->ended = source->limit != SOURCE_NO_LIMIT;
        return;
    }
    if (n <= 0) {
        close(source->fd);
        source->fd = -1;
        source->ended = true;
        return;
    }
    wire_commit(wire, PROTO_DATA, stream, id, (uint32_t)n);
    source->credit -= (uint32_t)n;
    if (source->limit != SOURCE_NO_LIMIT) {
        source->limit -= (uint32_t)n;
        source->ended = source->limit == 0;
    }
}

void source_read_rest(struct source *source, struct wire *wire, uint16_t stream, uint32_t id)
{
    while (source_wants(source, wire))
        source_read(source, wire, stream, id);
}

void source_limit(struct source *source, uint32_t bytes)
{
    source->limit = least(source->limit, bytes);
    if (source->limit == 0)
        source->ended = true;
}

bool source_settle(struct source *source, struct wire *wire, uint16_t stream, uint32_t id)
{
    if (source->exists && source->ended && !source->told && wire_ready(wire))
        source->told = wire_put(wire, PROTO_EOF, stream, id, NULL, 0);
    return !source->exists || source->told;
}
