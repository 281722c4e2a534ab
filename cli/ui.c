/* SPDX-License-Identifier: Apache-2.0 */
/* One mutex and one place through which every line to stderr goes; see ui.h. */
#include "ui.h"

#include "lumina.h"
#include "os.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static struct {
    pthread_mutex_t lock;
    enum ui_level level;
    bool has_progress; /* stderr is a terminal and may show the line */
    bool shown;        /* the line is on the terminal now */
    char phase[256];   /* empty: none */
    int64_t since_ms;
    uint64_t (*done)(const void *ctx); /* NULL: nothing is counted */
    const void *done_ctx;
    uint64_t done_before;
} ui = {.lock = PTHREAD_MUTEX_INITIALIZER, .level = UI_NORMAL};

void ui_init(enum ui_level level)
{
    ui.level = level;
    ui.has_progress = level != UI_QUIET && os_is_terminal(2);
}

bool ui_format(char *buf, size_t size, const char *fmt, ...)
{
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(buf, size, fmt, ap);
    va_end(ap);
    return n >= 0 && (size_t)n < size;
}

static void erase(void)
{
    if (ui.shown)
        (void)fputs("\r\033[K", stderr);
    ui.shown = false;
}

/* In raw mode the terminal does not turn a line feed into a new line. */
static const char *newline(void)
{
    return os_raw_active() ? "\r\n" : "\n";
}

UI_PRINTF(3, 0)
static void say(const char *prefix, const char *name, const char *fmt, va_list ap)
{
    char text[1024];

    (void)vsnprintf(text, sizeof(text), fmt, ap);
    (void)pthread_mutex_lock(&ui.lock);
    erase();
    (void)fprintf(stderr, "%s%s%s: %s%s", prefix, *name != '\0' ? " " : "", name, text, newline());
    (void)pthread_mutex_unlock(&ui.lock);
}

void ui_error(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    say("lumina", "", fmt, ap);
    va_end(ap);
}

void ui_usage_error(const struct command_row *command, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    say("lumina", command->name, fmt, ap);
    va_end(ap);
}

void ui_log(void *ctx, int32_t level, const char *line)
{
    const char *prefix = "lumina: ";

    (void)ctx;
    if (ui.level == UI_QUIET || (level != LUM_LOG_WARN && ui.level != UI_VERBOSE))
        return;
    if (level == LUM_LOG_WARN)
        prefix = "lumina: warning: ";
    else if (level == LUM_LOG_CONSOLE)
        prefix = "guest: ";
    (void)pthread_mutex_lock(&ui.lock);
    erase();
    (void)fprintf(stderr, "%s%s%s", prefix, line, newline());
    (void)pthread_mutex_unlock(&ui.lock);
}

/* Names of files are part of it, and hold what they like. */
static void make_printable(char *text)
{
    for (char *p = text; *p != '\0'; p++) {
        if ((unsigned char)*p < ' ' || *p == 127)
            *p = '?';
    }
}

void ui_phase(const char *fmt, ...)
{
    va_list ap;

    (void)pthread_mutex_lock(&ui.lock);
    erase();
    va_start(ap, fmt);
    (void)vsnprintf(ui.phase, sizeof(ui.phase), fmt, ap);
    va_end(ap);
    make_printable(ui.phase);
    ui.since_ms = os_now_ms();
    ui.done = NULL;
    (void)pthread_mutex_unlock(&ui.lock);
    if (ui.has_progress)
        os_signal_wake();
}

void ui_phase_bytes(uint64_t (*done)(const void *ctx), const void *ctx)
{
    (void)pthread_mutex_lock(&ui.lock);
    ui.done_before = done(ctx);
    ui.done_ctx = ctx;
    ui.done = done;
    (void)pthread_mutex_unlock(&ui.lock);
}

void ui_phase_end(void)
{
    (void)pthread_mutex_lock(&ui.lock);
    erase();
    ui.phase[0] = '\0';
    ui.done = NULL;
    (void)pthread_mutex_unlock(&ui.lock);
}

/* How many bytes of the phase fit beside the rest of the line; no character is cut in two. */
static int phase_room(size_t rest)
{
    uint32_t rows, cols;
    size_t room = os_terminal_size(2, &rows, &cols) ? cols : 80;
    size_t len = strlen(ui.phase);

    /* The last column stays free, or the line would wrap. */
    room = room > rest + 1 ? room - rest - 1 : 0;
    if (len <= room)
        return (int)len;
    while (room > 0 && ((unsigned char)ui.phase[room] & 0xc0) == 0x80)
        room--;
    return (int)room;
}

static void draw(int64_t seconds)
{
    char rest[64];

    if (ui.done)
        (void)ui_format(rest, sizeof(rest), "... %llu MiB, %lld s",
                        (unsigned long long)((ui.done(ui.done_ctx) - ui.done_before) >> 20),
                        (long long)seconds);
    else
        (void)ui_format(rest, sizeof(rest), "... %lld s", (long long)seconds);
    (void)fprintf(stderr, "\r\033[K%.*s%s", phase_room(strlen(rest)), ui.phase, rest);
    ui.shown = true;
}

bool ui_tick(void)
{
    bool ticking;

    (void)pthread_mutex_lock(&ui.lock);
    ticking = ui.has_progress && ui.phase[0] != '\0';
    if (ticking) {
        int64_t seconds = (os_now_ms() - ui.since_ms) / 1000;

        if (seconds > 0)
            draw(seconds);
    }
    (void)pthread_mutex_unlock(&ui.lock);
    return ticking;
}
