/* SPDX-License-Identifier: Apache-2.0 */
/* See frame.h. */
#include "base/frame.h"

void frame_put(struct wbuf *out, uint16_t type, uint16_t stream, uint32_t id, const void *data,
               size_t size)
{
    uint8_t header[FRAME_HEADER];

    le32_store(header, (uint32_t)size);
    le16_store(header + 4, type);
    le16_store(header + 6, stream);
    le32_store(header + 8, id);
    wbuf_put(out, header, sizeof(header));
    wbuf_put(out, data, size);
}

int frame_next(const struct wbuf *in, size_t *at, struct frame *ret_frame)
{
    size_t left = in->size - *at;

    if (left < FRAME_HEADER)
        return 0;
    const uint8_t *p = in->data + *at;
    uint32_t size = le32_load(p);
    if (size > FRAME_MAX_PAYLOAD)
        return -1;
    if (size > left - FRAME_HEADER)
        return 0;
    ret_frame->type = le16_load(p + 4);
    ret_frame->stream = le16_load(p + 6);
    ret_frame->id = le32_load(p + 8);
    ret_frame->data = p + FRAME_HEADER;
    ret_frame->size = size;
    *at += FRAME_HEADER + size;
    return 1;
}
