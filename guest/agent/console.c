/* SPDX-License-Identifier: Apache-2.0 */
/* See console.h. */
#include "console.h"

#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "text.h"

void console_line(const char *first, ...)
{
    static const char prefix[] = "lumina-init: ";
    char line[512];
    size_t len = sizeof(prefix) - 1;
    va_list ap;

    memcpy(line, prefix, len);
    va_start(ap, first);
    len += text_join_list(line + len, sizeof(line) - len, first, ap);
    va_end(ap);
    line[len++] = '\n';
    if (write(2, line, len) < 0)
        return; /* there is no console: nobody to tell */
}
