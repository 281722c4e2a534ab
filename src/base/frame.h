/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames on a byte stream: the 12-byte header of the agent protocol (guest/agent/proto.h), used for
 * the channels between caller and worker as well, so that one decoder serves all.
 */
#ifndef LUM_BASE_FRAME_H
#define LUM_BASE_FRAME_H

#include "base/buf.h"

#define FRAME_HEADER      12u
#define FRAME_MAX_PAYLOAD (256u * 1024)

struct frame {
    uint16_t type, stream;
    uint32_t id;
    const uint8_t *data; /* points into the input */
    size_t size;
};

/* Appends one whole frame. size is at most FRAME_MAX_PAYLOAD. */
void frame_put(struct wbuf *out, uint16_t type, uint16_t stream, uint32_t id, const void *data,
               size_t size);

/*
 * Takes the next frame of in at *at, moving *at past it: 1 a frame, 0 not there yet, -1 its size is
 * beyond the limit (the peer is not to be believed any more).
 */
int frame_next(const struct wbuf *in, size_t *at, struct frame *ret_frame);

#endif
