/* SPDX-License-Identifier: Apache-2.0 */
/* One run: a VM, a command in it, its streams, and the exit status that all of it comes to. */
#ifndef LUMINA_CLI_SESSION_H
#define LUMINA_CLI_SESSION_H

#include "lumina.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    STATUS_TIMED_OUT = 124,
    STATUS_OURS = 125, /* the tool or the VM failed, not the command */
    STATUS_NO_EXEC = 126,
    STATUS_NO_COMMAND = 127,
    STATUS_SIGNAL = 128 /* plus its number */
};

struct copy {
    char *host;
    char *guest;
};

/* What to do, checked as far as the host can check it. Strings and arrays outlive the session. */
struct run_plan {
    struct lum_vm_options vm; /* log is set by the session */
    struct lum_exec_options exec;
    int32_t boot_timeout_ms; /* 0: by backend */
    struct copy *puts, *gets;
    size_t put_count, get_count;
    bool timing;
    bool json;
};

/* Returns the exit status of the process. Once per process: it takes the signals and the terminal.
 */
int session_run(const struct run_plan *plan);

#endif
