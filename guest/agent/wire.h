/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The connection to the host as frames (proto.h): one buffer each way, both bounded, nothing ever
 * waits. Frames are looked at where they lie in the input buffer.
 */
#ifndef AGENT_WIRE_H
#define AGENT_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto.h"

#define WIRE_OUT_SIZE (256u * 1024)
/* More than the frames that answer one frame of the host, or that end one operation, can need. */
#define WIRE_RESERVE 1024u
/* Longest text in a FAILED or DONE frame; longer is cut. */
#define WIRE_TEXT 240u

struct frame {
    uint32_t size;
    uint32_t id;
    uint16_t type;
    uint16_t stream;
    uint8_t *payload; /* writable, until the next wire_fill */
};

struct wire {
    int fd;
    size_t in_start, in_end;
    size_t out_start, out_end;
    uint8_t in[PROTO_HEADER + PROTO_MAX_PAYLOAD];
    uint8_t out[WIRE_OUT_SIZE];
};

void wire_init(struct wire *wire, int fd);

/* Reads what is there, once. 0, or -EPIPE at the end of the connection, or another negative errno.
 */
int wire_fill(struct wire *wire);

/* 1 and the next whole frame; 0: more bytes are needed; -EPROTO: its header cannot be right. */
int wire_next(struct wire *wire, struct frame *ret_frame);

/* Room for payload of one more frame. */
size_t wire_room(const struct wire *wire);

static inline bool wire_ready(const struct wire *wire)
{
    return wire_room(wire) >= WIRE_RESERVE;
}

/* Queues a frame. The caller has seen wire_room; without it the frame is not queued: false. */
bool wire_put(struct wire *wire, uint16_t type, uint16_t stream, uint32_t id, const void *payload,
              uint32_t size);

/* The same in two steps: fill at most wire_room bytes at the place, then say how many they are. */
uint8_t *wire_place(struct wire *wire);
void wire_commit(struct wire *wire, uint16_t type, uint16_t stream, uint32_t id, uint32_t size);

/* A frame of up to three numbers and, unless NULL, a text. */
bool wire_put_numbers(struct wire *wire, uint16_t type, uint32_t id, const uint32_t *numbers,
                      unsigned count, const char *text);

static inline bool wire_pending(const struct wire *wire)
{
    return wire->out_end > wire->out_start;
}

/* Writes what the connection takes now. 0 or a negative errno. */
int wire_flush(struct wire *wire);

/*
 * Reading a payload. Past the end, or at a string with a NUL inside, everything yields 0 or "" and
 * bad stays set. Strings are moved over their own length field, which makes room for a terminator.
 */
struct cursor {
    uint8_t *at;
    size_t left;
    bool bad;
};

struct cursor cursor_of(const struct frame *frame);
uint32_t cursor_u32(struct cursor *cursor);
uint64_t cursor_u64(struct cursor *cursor);
char *cursor_string(struct cursor *cursor);
const uint8_t *cursor_bytes(struct cursor *cursor, size_t size);
bool cursor_ended(const struct cursor *cursor); /* nothing bad and nothing left over */

void put_u32(uint8_t *p, uint32_t v);

#endif
