/* SPDX-License-Identifier: Apache-2.0 */
/* One line to the console: the only place where the agent can say what went wrong. */
#ifndef AGENT_CONSOLE_H
#define AGENT_CONSOLE_H

/* "lumina-init: ", strings up to a NULL, and a newline, in one write to descriptor 2. */
void console_line(const char *first, ...) __attribute__((sentinel));

#endif
