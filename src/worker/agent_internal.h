/* SPDX-License-Identifier: Apache-2.0 */
/* What agent.c (the connection) and ops.c (the operations on it) share. */
#ifndef LUM_WORKER_AGENT_INTERNAL_H
#define LUM_WORKER_AGENT_INTERNAL_H

#include "base/frame.h"
#include "worker/agent.h"

enum agent_state { AGENT_IDLE, AGENT_CONNECTED, AGENT_READY, AGENT_GONE };

/* Streams of the caller are not read while more than HIGH waits for the guest. */
#define AGENT_OUT_HIGH (512u * 1024)
#define AGENT_OUT_LOW  (128u * 1024)
/* Requests have no credit: beyond this the guest does not read at all, and gets no more of them. */
#define AGENT_OUT_MAX (16u * 1024 * 1024)

struct agent {
    struct plat_loop *loop;
    struct agent_host host;
    enum agent_state state;
    bool orderly; /* the guest has said that it shuts down */
    plat_fd fd;
    struct plat_watch *watch;
    struct wbuf in, out;
    struct op *ops;
    uint32_t next_id;
};

void agent_send(struct agent *a, uint16_t type, uint16_t stream, uint32_t id, const void *data,
                size_t size);

struct op;
struct op *op_find(struct agent *a, uint32_t id);
const char *op_frame(struct op *op, const struct frame *f); /* NULL, or what the guest did wrong */
void op_free(struct op *op);
void ops_resume(struct agent *a); /* the way to the guest is free again */
void ops_end(struct agent *a, const struct lum_error *why);

#endif
