/* SPDX-License-Identifier: Apache-2.0 */
/* See console.h. */
#include "worker/console.h"

#include <stdio.h>
#include <string.h>

#include "lumina.h"
#include "plat/plat.h"

#define STDERR_FD 2

void log_line(int level, const char *text, size_t size)
{
    char out[1200];
    size_t n = 0;

    out[n++] = (char)('0' + level);
    for (size_t i = 0; i < size && n < sizeof(out) - 6; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '\t' || (c >= 0x20 && c != 0x7f))
            out[n++] = (char)c;
        else if (c != '\r')
            n += (size_t)snprintf(out + n, 5, "\\x%02x", c);
    }
    out[n++] = '\n';
    (void)plat_write_pipe(STDERR_FD, out, n);
}

/* Said by the kernel, and by an agent that finds no root to run on. */
static const char *const last_words[] = {"Kernel panic", "lumina-init: cannot boot: "};

static void note_panic(struct console *c)
{
    for (size_t i = 0; i < ARRAY_LEN(last_words) && !c->panic[0]; i++) {
        const char *at = memmem(c->line, c->size, last_words[i], strlen(last_words[i]));
        if (at)
            snprintf(c->panic, sizeof(c->panic), "%.*s", (int)(c->line + c->size - at), at);
    }
}

void console_flush(struct console *c)
{
    if (c->size == 0)
        return;
    note_panic(c);
    log_line(LUM_LOG_CONSOLE, c->line, c->size);
    c->size = 0;
}

void console_write(struct console *c, const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (data[i] == '\n' || c->size == sizeof(c->line))
            console_flush(c);
        if (data[i] != '\n' && data[i] != '\r')
            c->line[c->size++] = (char)data[i];
    }
}

const char *console_panic(const struct console *c)
{
    return c->panic[0] ? c->panic : NULL;
}
