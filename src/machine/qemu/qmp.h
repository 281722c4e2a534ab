/* SPDX-License-Identifier: Apache-2.0 */
/*
 * QMP, QEMU's control protocol: one JSON object a line, over a socket that the machine owns. Three
 * commands and one event are all that a micro-VM needs. A guest may have taken QEMU over, so what
 * arrives is hostile: lines have a limit, every field is checked, and nonsense ends the connection
 * and nothing else. All calls on the loop's thread, lock held.
 */
#ifndef LUM_MACHINE_QMP_H
#define LUM_MACHINE_QMP_H

#include "plat/plat.h"

#define QMP_MAX_LINE (32u * 1024)

enum qmp_kind {
    QMP_GREETING, /* text: version */
    QMP_RETURN,   /* id */
    QMP_ERROR,    /* id, text: description */
    QMP_EVENT,    /* name; text: "reason" of its data, or "open"/"closed", or "" */
};

struct qmp_message {
    enum qmp_kind kind;
    int64_t id; /* -1: none */
    char name[48];
    char text[160]; /* one line */
};

/* Takes one line apart. Total: any bytes. Errors: LUM_EGUEST. */
int qmp_parse(const char *line, size_t size, struct qmp_message *ret_message,
              struct lum_error *err);

struct qmp_owner {
    void *ctx;
    void (*greeted)(void *ctx, const char *version);
    void (*event)(void *ctx, const char *name, const char *reason);
    void (*broken)(void *ctx, const char *why); /* once; pending commands have been answered */
};

/* rc 0, or a negative LUM_E* with why. */
typedef void qmp_done_fn(void *ctx, int rc, const char *why);

struct qmp_pending {
    int64_t id;
    qmp_done_fn *done;
    void *ctx;
};

#define QMP_MAX_PENDING 8

struct qmp {
    plat_fd fd; /* PLAT_FD_NONE: not open, or broken */
    struct plat_watch *watch;
    struct qmp_owner owner;
    int64_t next_id;
    struct qmp_pending pending[QMP_MAX_PENDING];
    size_t n_pending;
    size_t in_size, out_size;
    char in[QMP_MAX_LINE];
    char out[1024];
};

void qmp_init(struct qmp *q); /* before anything else, qmp_abort included */

/* Takes sock (PLAT_FD_NONE afterwards, on failure too) and starts the negotiation. */
int qmp_open(struct qmp *q, struct plat_loop *loop, plat_fd *sock, const struct qmp_owner *owner,
             struct lum_error *err);

/* done is called once, from the loop or, when the command cannot be sent, from here. */
void qmp_execute(struct qmp *q, const char *command, qmp_done_fn *done, void *ctx);

/* Handles what has arrived; for the moment after QEMU's end, when its last events still wait. */
void qmp_drain(struct qmp *q);

/* Answers what is pending with rc and why, closes, and takes no more commands. */
void qmp_abort(struct qmp *q, int rc, const char *why);

#endif
