/* SPDX-License-Identifier: Apache-2.0 */
/* The processes of one session. */
#ifndef AGENT_SESSION_H
#define AGENT_SESSION_H

#include <sys/types.h>

/* SIGKILL to every process of the session that `leader` leads and to its process group. */
void session_kill(pid_t leader);

#endif
