/* SPDX-License-Identifier: Apache-2.0 */
/* --help and lumina help: examples first, then the rows of the table. */
#include "cmd.h"

#include "session.h"
#include "ui.h"

#include <stdio.h>
#include <string.h>

/* Left column of examples and options; what is wider has its text on the next line. */
enum { EXAMPLE_WIDTH = 38, OPTION_WIDTH = 30, COMMAND_WIDTH = 12 };

static const char run_statuses[] =
    "\nThe exit status is the command's; 128 + n when signal n ended it; 124 when its\n"
    "time ran out; 126 or 127 when it cannot be executed or found; 125 when lumina\n"
    "itself failed.\n";

static void row(const char *left, int width, const char *right)
{
    if (strlen(left) >= (size_t)width)
        (void)printf("  %s\n  %*s%s\n", left, width, "", right);
    else
        (void)printf("  %-*s%s\n", width, left, right);
}

static void example(const struct example_row *e)
{
    if (e->help)
        row(e->command, EXAMPLE_WIDTH, e->help);
}

static void option(const struct option_row *o)
{
    char left[64];
    char letter[] = {o->letter ? '-' : ' ', o->letter ? o->letter : ' ', o->letter ? ',' : ' ', 0};

    (void)ui_format(left, sizeof(left), "%s --%s%s%s", letter, o->name, o->value ? " " : "",
                    o->value ? o->value : "");
    row(left, OPTION_WIDTH, o->help);
}

void help_command(const struct command_row *command)
{
    (void)printf("Usage: lumina %s %s\n\n%s.\n\nExamples:\n", command->name, command->usage,
                 command->help);
    for (const struct example_row *e = command->examples; e->command; e++)
        example(e);
    (void)printf("\nOptions:\n");
    for (const struct option_row *o = command->options; o->name; o++)
        option(o);
    if (command->id == COMMAND_RUN)
        (void)fputs(run_statuses, stdout);
}

void help_tool(void)
{
    (void)printf("Usage: lumina command [options]\n\n"
                 "Give each piece of untrusted code a Linux micro-VM of its own.\n\n"
                 "Examples:\n");
    for (const struct command_row *c = command_table; c->name; c++) {
        /* What most people came for, and nothing about help to those who read help. */
        size_t most = c->id == COMMAND_RUN ? 3 : c->id == COMMAND_DOCTOR ? 1 : 0;

        for (const struct example_row *e = c->examples; e->command && most > 0; e++) {
            if (!e->help)
                continue;
            example(e);
            most--;
        }
    }
    (void)printf("\nCommands:\n");
    for (const struct command_row *c = command_table; c->name; c++)
        row(c->name, COMMAND_WIDTH, c->help);
    (void)printf("\nlumina help COMMAND shows the options of a command; man lumina says it all.\n");
}

static const char *next_command(const void *table, size_t index)
{
    const struct command_row *rows = table;

    return rows[index].name;
}

void help_unknown(const char *name)
{
    const char *near = nearest_name(name, next_command, command_table);

    if (near)
        ui_error("unknown command %s (did you mean %s?)", name, near);
    else
        ui_error("unknown command %s (see lumina --help)", name);
}

int cmd_help(const struct args *args)
{
    const struct command_row *command;

    if (args->word_count == 0) {
        help_tool();
        return 0;
    }
    command = command_find(args->words[0]);
    if (!command) {
        help_unknown(args->words[0]);
        return STATUS_OURS;
    }
    help_command(command);
    return 0;
}
