/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Log lines of the worker and of the guest's console. They go to standard error, which the library
 * made a pipe: first a digit (enum lum_log_level), then the escaped text. A full pipe drops lines:
 * logging never blocks the VM.
 */
#ifndef LUM_WORKER_CONSOLE_H
#define LUM_WORKER_CONSOLE_H

#include "base/util.h"

void log_line(int level, const char *text, size_t size);

struct console {
    char line[256];
    size_t size;
    char panic[128]; /* the line in which the kernel, or the agent at boot, says why it died */
};

void console_write(struct console *c, const uint8_t *data, size_t size);
void console_flush(struct console *c);              /* an unfinished last line */
const char *console_panic(const struct console *c); /* NULL: no panic was seen */

#endif
