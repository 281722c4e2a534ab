/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Output pipes whose command has ended while processes that it left behind still hold them. What
 * they write is read and dropped, so that they neither block nor get SIGPIPE.
 */
#ifndef AGENT_DRAIN_H
#define AGENT_DRAIN_H

#include <poll.h>

#define DRAIN_MAX 1024

/* Takes fd; closes it at once when nobody holds its other end. Beyond DRAIN_MAX the oldest goes. */
void drain_adopt(int fd);

/* Fills in at most DRAIN_MAX entries and returns how many. */
unsigned drain_polls(struct pollfd *polls);

/* Of the same entries, what poll said. */
void drain_events(const struct pollfd *polls, unsigned count);

void drain_close(void);

#endif
