/* SPDX-License-Identifier: Apache-2.0 */
/* Starting one program in a process of its own. */
#ifndef AGENT_SPAWN_H
#define AGENT_SPAWN_H

#include <stdbool.h>
#include <sys/types.h>

#include "proto.h"
#include "user.h"

struct spawn {
    char **argv, **envp;
    const char *path; /* where argv[0] is looked up when it has no slash */
    const char *cwd;
    bool cwd_optional; /* a missing cwd becomes / */
    const struct user *user;
    int in, out, err; /* its first three descriptors */
    bool tty;         /* in is to be its controlling terminal */

    /* Set when it failed. */
    volatile bool failed; /* by the child */
    enum proto_fail fail;
    int error;
    const char *what; /* the step that failed */
};

/* The pid once the program runs, that is, after exec; or -1 with the last three fields set. */
pid_t spawn_run(struct spawn *spawn);

#endif
