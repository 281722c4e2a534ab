/* SPDX-License-Identifier: Apache-2.0 */
/* The commands: each takes its checked arguments and returns the exit status. */
#ifndef LUMINA_CLI_CMD_H
#define LUMINA_CLI_CMD_H

#include "args.h"

int cmd_backends(const struct args *args);
int cmd_completion(const struct args *args);
int cmd_doctor(const struct args *args);
int cmd_help(const struct args *args);
int cmd_run(const struct args *args);
int cmd_version(const struct args *args);

/* --help of one command, and of the tool, on stdout. */
void help_command(const struct command_row *command);
void help_tool(void);

/* One line on stderr for a name that is no command. */
void help_unknown(const char *name);

#endif
