/* SPDX-License-Identifier: Apache-2.0 */
/* The way to the host. */
#ifndef AGENT_LINK_H
#define AGENT_LINK_H

/*
 * Opens it: agent is "vsock" or the name of a virtio-serial port. The descriptor blocks. -1 and
 * errno on failure; a port that does not appear within ten seconds is ETIMEDOUT.
 */
int link_open(const char *agent);

#endif
