/* SPDX-License-Identifier: Apache-2.0 */
/* See console.h. */
#include "console.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void console_line(const char *fmt, ...)
{
    static const char prefix[] = "lumina-init: ";
    char line[512];
    size_t len = sizeof(prefix) - 1;
    va_list ap;

    memcpy(line, prefix, len);
    va_start(ap, fmt);
    int n = vsnprintf(line + len, sizeof(line) - len - 1, fmt, ap);
    va_end(ap);
    if (n < 0)
        return;
    len += strnlen(line + len, sizeof(line) - len - 1);
    line[len++] = '\n';
    if (write(2, line, len) < 0)
        return; /* there is no console: nobody to tell */
}
