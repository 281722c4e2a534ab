/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two ends that descriptors of the guest give to an operation: a sink takes what the host sends
 * (a command's stdin), a source yields what goes to the host (its output). Both count credit.
 */
#ifndef AGENT_STREAM_H
#define AGENT_STREAM_H

#include <stdbool.h>
#include <stdint.h>

#include "wire.h"

struct sink {
    int fd;          /* -1: nobody reads any more, what comes is dropped */
    uint32_t window; /* what the host may still send */
    uint32_t owed;   /* consumed, but not yet given back as credit */
    uint8_t *buf;    /* PROTO_WINDOW bytes, allocated when fd first does not take everything */
    uint32_t start, len;
    uint8_t last; /* last byte taken */
    bool exists;  /* this operation has an h-stream */
    bool pipe;    /* fd tells when its last reader goes, also while nothing is written */
    bool eof;     /* the host has sent EOF */
    bool gone;    /* the reader went away before that */
    bool told;    /* ... and CLOSED was sent */
};

/* Ready for use, with a full window; fd becomes the sink's and must not block. */
void sink_init(struct sink *sink, int fd);

/* DATA came. 0, or -EPROTO beyond the window or after EOF, or -ENOMEM. */
int sink_take(struct sink *sink, const uint8_t *data, uint32_t size);

/* Writes what is buffered as far as it goes. */
void sink_flush(struct sink *sink);

/* The reader is gone, or is to be: drops what is buffered and closes fd. */
void sink_drop(struct sink *sink);

/* Counts bytes that were consumed elsewhere, without fd. */
static inline void sink_consumed(struct sink *sink, uint32_t size)
{
    sink->owed += size;
}

/* Sends the CREDIT and CLOSED frames that are due. */
void sink_settle(struct sink *sink, struct wire *wire, uint32_t id);

void sink_done(struct sink *sink);

#define SOURCE_NO_LIMIT UINT32_MAX

struct source {
    int fd;          /* -1: closed */
    uint32_t credit; /* what the host still takes */
    uint32_t limit;  /* what is still to be read before the source counts as ended */
    bool exists;     /* this operation has this g-stream */
    bool keep;       /* others may go on writing to fd and must not notice the end */
    bool ended;      /* nothing more will be read */
    bool told;       /* EOF was sent */
};

void source_init(struct source *source, int fd);

/* The host returned credit. -EPROTO: more than there can be. */
int source_credit(struct source *source, uint32_t bytes);

/* Would read now if there were something. */
bool source_wants(const struct source *source, const struct wire *wire);

/* Reads once and queues a DATA frame. */
void source_read(struct source *source, struct wire *wire, uint16_t stream, uint32_t id);

/* Of a source with a limit: reads up to that, or up to where nothing is there, room permitting. */
void source_read_rest(struct source *source, struct wire *wire, uint16_t stream, uint32_t id);

/* At most so much more, and what is not there already does not count. */
void source_limit(struct source *source, uint32_t bytes);

/* Sends the EOF frame when it is due. True: nothing of this source is left to send. */
bool source_settle(struct source *source, struct wire *wire, uint16_t stream, uint32_t id);

#endif
