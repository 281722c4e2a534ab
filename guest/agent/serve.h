/* SPDX-License-Identifier: Apache-2.0 */
/* The agent at work: everything the host asks for over one connection. */
#ifndef AGENT_SERVE_H
#define AGENT_SERVE_H

/*
 * Serves until the connection ends, the host breaks the protocol (a line on the console says how)
 * or a shutdown is done; the caller then ends the machine. fd is the connection, still blocking; it
 * is not closed. signal_fd is a signalfd (or yields what one would): SIGCHLD makes it reap
 * children, any other signal is a request to shut down. All signals have to be blocked.
 */
void serve(int fd, int signal_fd);

#endif
