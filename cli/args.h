/* SPDX-License-Identifier: Apache-2.0 */
/* The command line, taken apart by the rows of table.c: every value in here has been checked. */
#ifndef LUMINA_CLI_ARGS_H
#define LUMINA_CLI_ARGS_H

#include "table.h"

#include <stdbool.h>
#include <stdint.h>

struct arg {
    const struct option_row *row;
    const char *text; /* as given; NULL with a flag */
    uint64_t number;  /* VALUE_COUNT; VALUE_SECONDS: milliseconds; VALUE_SIZE: bytes */
};

struct args {
    const struct command_row *command;
    struct arg *list; /* in the order given */
    size_t count;
    char **words; /* what follows the options, NULL-terminated, part of argv */
    size_t word_count;
};

/*
 * argv[0] is the name of the command. Options given twice count in order. Returns false after one
 * line on stderr; args_done() is due either way. Strings stay argv's.
 */
bool args_parse(const struct command_row *command, char **argv, struct args *args);
void args_done(struct args *args);

/* The last one given, or NULL. */
const struct arg *args_find(const struct args *args, enum option_id id);
bool args_has(const struct args *args, enum option_id id);

/* Value or NULL; number or 0. */
const char *args_text(const struct args *args, enum option_id id);
uint64_t args_number(const struct args *args, enum option_id id);

/* The nearest name by typing errors, or NULL when none is near. next() yields names until NULL. */
const char *nearest_name(const char *wrong, const char *(*next)(const void *table, size_t index),
                         const void *table);

#endif
