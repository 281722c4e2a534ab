/* SPDX-License-Identifier: Apache-2.0 */
/* One mutex and one place through which every line to stderr goes; see ui.h. */
#include "ui.h"

#include "lumina.h"
#include "os.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>

static struct {
    pthread_mutex_t lock;
    enum ui_level level;
    bool has_progress; /* stderr is a terminal and may show the line */
    bool shown;        /* the line is on the terminal now */
    char phase[96];    /* empty: none */
    int64_t since_ms;
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

void ui_phase(const char *fmt, ...)
{
    va_list ap;

    (void)pthread_mutex_lock(&ui.lock);
    va_start(ap, fmt);
    (void)vsnprintf(ui.phase, sizeof(ui.phase), fmt, ap);
    va_end(ap);
    ui.since_ms = os_now_ms();
    (void)pthread_mutex_unlock(&ui.lock);
    if (ui.has_progress)
        os_signal_wake();
}

void ui_phase_end(void)
{
    (void)pthread_mutex_lock(&ui.lock);
    erase();
    ui.phase[0] = '\0';
    (void)pthread_mutex_unlock(&ui.lock);
}

bool ui_tick(void)
{
    bool ticking;

    (void)pthread_mutex_lock(&ui.lock);
    ticking = ui.has_progress && ui.phase[0] != '\0';
    if (ticking) {
        int64_t seconds = (os_now_ms() - ui.since_ms) / 1000;

        if (seconds > 0) {
            (void)fprintf(stderr, "\r\033[K%s... %lld s", ui.phase, (long long)seconds);
            ui.shown = true;
        }
    }
    (void)pthread_mutex_unlock(&ui.lock);
    return ticking;
}
