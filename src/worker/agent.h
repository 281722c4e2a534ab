/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worker's end of the agent protocol (guest/agent/proto.h). It turns operations of the caller
 * into frames and back, moves their streams under credit, and believes nothing: the first frame
 * that breaks the protocol ends the VM. Everything runs on the loop.
 */
#ifndef LUM_WORKER_AGENT_H
#define LUM_WORKER_AGENT_H

#include "plat/plat.h"

struct agent;

struct agent_host {
    void *ctx;
    void (*log)(void *ctx, int level, const char *fmt, ...) LUM_PRINTF(3, 4);
    void (*ready)(void *ctx);
    /* The connection has ended; why is NULL when the guest closed it, else what it did wrong. */
    void (*gone)(void *ctx, const char *why);
    void (*stage)(void *ctx, const char *name);
};

struct agent *agent_create(struct plat_loop *loop,
                           const struct agent_host *host); /* NULL: no memory */
void agent_free(struct agent *agent);

/* Takes the stream. A second connection is refused (closed). */
void agent_connect(struct agent *agent, plat_fd stream);
/* The guest's end is closed though the stream does not say so: takes what it sent before, then
 * tells `gone`. */
void agent_hang_up(struct agent *agent);
bool agent_is_ready(const struct agent *agent);
void agent_shutdown(struct agent *agent, uint32_t grace_ms);

/*
 * Starts an operation (PROTO_EXEC, PUT, GET) whose progress is told on channel (ctl.h). Takes
 * channel and the streams (PLAT_FD_NONE: none), also when it fails.
 */
void agent_op(struct agent *agent, uint16_t type, const void *body, size_t size, int32_t timeout_ms,
              plat_fd channel, const plat_fd streams[3]);

/* Connects to a port inside the guest; done takes the stream. */
void agent_dial(struct agent *agent, uint32_t port, plat_fd stream, void (*done)(void *ctx, int rc),
                void *ctx);

/*
 * The machine has ended: takes what the guest sent before, so that no output is lost. True when it
 * had said that it shuts down.
 */
bool agent_drain(struct agent *agent);

/* The VM has ended: every operation is answered with this error, streams end after what has
 * arrived. */
void agent_end(struct agent *agent, const struct lum_error *why);

#endif
