/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lumina: the command line tool. It knows nothing of the library but lumina.h; this file finds the
 * command and hands it its arguments.
 */
#include "cmd.h"

#include "os.h"
#include "session.h"
#include "ui.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static int dispatch(const struct args *args)
{
    switch (args->command->id) {
    case COMMAND_RUN: return cmd_run(args);
    case COMMAND_BACKENDS: return cmd_backends(args);
    case COMMAND_DOCTOR: return cmd_doctor(args);
    case COMMAND_VERSION: return cmd_version(args);
    case COMMAND_HELP: return cmd_help(args);
    case COMMAND_COMPLETION: return cmd_completion(args);
    }
    return STATUS_OURS;
}

/* What stdio holds back must have arrived, or the run has failed whatever else it did. */
static int finish(int status)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return status;
    if (errno == EPIPE)
        return STATUS_SIGNAL + OS_SIGPIPE;
    ui_error("write to stdout: %s", strerror(errno));
    return STATUS_OURS;
}

int main(int argc, char **argv)
{
    const struct command_row *command;
    struct args args;
    int status = STATUS_OURS;

    os_fill_standard();
    if (argc < 2) {
        ui_error("no command (try lumina --help)");
        return STATUS_OURS;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        help_tool();
        return finish(0);
    }
    command = command_find(strcmp(argv[1], "--version") == 0 ? "version" : argv[1]);
    if (!command) {
        help_unknown(argv[1]);
        return STATUS_OURS;
    }
    if (args_parse(command, argv + 1, &args)) {
        if (args_has(&args, OPTION_HELP)) {
            help_command(command);
            status = 0;
        } else {
            status = dispatch(&args);
        }
        status = finish(status);
    }
    args_done(&args);
    return status;
}
