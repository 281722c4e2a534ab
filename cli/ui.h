/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tool itself says, all of it on stderr and a line at a time: errors, warnings, log lines
 * and the progress line. Any thread. The terminal may be in raw mode or hold the progress line;
 * these functions know.
 */
#ifndef LUMINA_CLI_UI_H
#define LUMINA_CLI_UI_H

#include "table.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UI_PRINTF(f, a) __attribute__((format(printf, f, a)))

enum ui_level { UI_QUIET, UI_NORMAL, UI_VERBOSE };

void ui_init(enum ui_level level);

/* "lumina: ..." */
void ui_error(const char *fmt, ...) UI_PRINTF(1, 2);

/* "lumina run: ..."; for a wrong command line. */
void ui_usage_error(const struct command_row *command, const char *fmt, ...) UI_PRINTF(2, 3);

/* A line of the library, by its level (enum lum_log_level); has the type of lum_log_fn. */
void ui_log(void *ctx, int32_t level, const char *line);

/*
 * The progress line, "booting with kvm... 2 s". Shown only when stderr is a terminal and the level
 * allows, from one second after the phase began; never wider than the terminal. The thread that
 * waits for signals calls ui_tick(), which brings the line up to date and says whether to come back
 * in a second; a new phase wakes it.
 */
void ui_phase(const char *fmt, ...) UI_PRINTF(1, 2);

/*
 * From now to the end of the phase the line tells how much done(ctx) has grown, in bytes. It is
 * called from ui_tick().
 */
void ui_phase_bytes(uint64_t (*done)(const void *ctx), const void *ctx);
void ui_phase_end(void);
bool ui_tick(void);

/* false when the text was cut to fit. */
bool ui_format(char *buf, size_t size, const char *fmt, ...) UI_PRINTF(3, 4);

#endif
