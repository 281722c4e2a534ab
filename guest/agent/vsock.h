/* SPDX-License-Identifier: Apache-2.0 */
/* Sockets between a VM and its host. The kernel's header for them is not on every libc's path. */
#ifndef AGENT_VSOCK_H
#define AGENT_VSOCK_H

#include <stdbool.h>
#include <stdint.h>

#define VSOCK_CID_LOCAL 1u
#define VSOCK_CID_HOST  2u

/*
 * A stream socket connected to that address; with wait false it does not block and connects in the
 * background: POLLOUT tells the end, SO_ERROR the result. -1 and errno on failure.
 */
int vsock_connect(uint32_t cid, uint32_t port, bool wait);

#endif
