/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every command and option of the tool, one row each. The parser, --help, the manual page and the
 * shell completions are all made from these rows, so none of them can lag behind another. Pure
 * data: the program that writes the manual page links this file without the rest of the tool.
 */
#ifndef LUMINA_CLI_TABLE_H
#define LUMINA_CLI_TABLE_H

#include <stdbool.h>
#include <stddef.h>

enum option_id {
    OPTION_BACKEND,
    OPTION_JAIL,
    OPTION_BOOT_TIMEOUT,
    OPTION_CPUS,
    OPTION_ENV,
    OPTION_GET,
    OPTION_HELP,
    OPTION_HOSTNAME,
    OPTION_JSON,
    OPTION_KERNEL,
    OPTION_KERNEL_ARGS,
    OPTION_MEMORY,
    OPTION_PUT,
    OPTION_QUIET,
    OPTION_READ_ONLY,
    OPTION_ROOTFS,
    OPTION_SCRATCH,
    OPTION_TIMEOUT,
    OPTION_TIMING,
    OPTION_TTY,
    OPTION_USER,
    OPTION_VERBOSE,
    OPTION_WORKDIR
};

/* What a value must look like, and what a shell offers for it. */
enum value_kind {
    VALUE_NONE, /* a flag */
    VALUE_TEXT,
    VALUE_PATH,
    VALUE_BACKEND,
    VALUE_COUNT,   /* 1, 2, ... */
    VALUE_SECONDS, /* 2 or 0.5, more than 0 */
    VALUE_SIZE,    /* 512M, 2G, or a bare number of MiB, more than 0 */
    VALUE_ENV,     /* NAME or NAME=VALUE */
    VALUE_PAIR     /* FROM:TO, neither empty */
};

struct option_row {
    enum option_id id;
    char letter;       /* 0: none */
    const char *name;  /* without the dashes */
    const char *value; /* name of the value; NULL: a flag */
    enum value_kind kind;
    const char *sample; /* a value that would do, for error messages; NULL with a flag */
    const char *help;   /* one line, lower case, no full stop */
    const char *more;   /* further sentences of the manual page, in mdoc; NULL: none */
};

struct example_row {
    const char *command;
    const char *help;    /* what it shows, one line */
    const char *wording; /* mdoc sentence above it in the manual page; NULL: --help only */
    int status;          /* exit status, which the tests of the manual page check */
    bool terminal;       /* needs one */
};

enum command_id {
    COMMAND_RUN,
    COMMAND_BACKENDS,
    COMMAND_DOCTOR,
    COMMAND_VERSION,
    COMMAND_HELP,
    COMMAND_COMPLETION
};

struct command_row {
    enum command_id id;
    const char *name;
    const char *usage;                  /* what follows the name, in --help */
    const char *mdoc;                   /* the same, in mdoc */
    const char *help;                   /* one line, as a sentence without its full stop */
    const char *more;                   /* the manual page's description, in mdoc */
    bool takes_rest;                    /* the first word that is no option ends the options */
    int max_words;                      /* words after the options; -1: any number */
    const struct option_row *options;   /* ended by a row without name */
    const struct example_row *examples; /* ended by a row without command */
};

extern const struct command_row command_table[]; /* ended by a row without name */

/* NULL: there is none of that name. */
const struct command_row *command_find(const char *name);

#endif
