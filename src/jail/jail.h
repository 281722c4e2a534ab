/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fence around the process that runs a guest. Two sides: the caller's library starts the
 * worker, and the worker gives up, stage by stage, what is no longer needed. Nothing given up can
 * be taken back, and no guest instruction runs before JAIL_SEALED. A step that fails is an error
 * that names its remedy; the jail never becomes weaker than asked by itself.
 */
#ifndef LUM_JAIL_H
#define LUM_JAIL_H

#include "plat/plat.h"

enum jail_mode {
    JAIL_DEFAULT, /* everything */
    JAIL_SECCOMP, /* all but namespaces and the empty root, for hosts that forbid them */
    JAIL_OFF,     /* no_new_privs and limits only */
};

extern const char *const jail_mode_names[]; /* by enum jail_mode, NULL at the end */
int jail_mode_find(const char *name, enum jail_mode *ret_mode, struct lum_error *err);

/* ---- the caller's side ---- */

/* plat_process_start for the worker: with namespaces of its own where the mode asks for them. */
int jail_start_worker(enum jail_mode mode, const struct plat_start *start,
                      struct plat_process **ret_process, struct lum_error *err);

/* ---- the worker's side ---- */

enum jail_stage {
    JAIL_EARLY,   /* first thing in main: before any input is read */
    JAIL_OFFLINE, /* no network; still files and programs. For a machine that starts a program */
    JAIL_CLOSED,  /* every file, device and program is open: no path, no capability from here on */
    JAIL_SEALED,  /* nothing new will be made: only the I/O thread's system calls are left */
};

int jail_begin(enum jail_mode mode, struct lum_error *err); /* JAIL_EARLY */
/* Stages that were left out are entered first; one that was entered is not entered again. */
int jail_enter(enum jail_stage stage, struct lum_error *err);

/* Called by a vCPU thread before guest code: only a vCPU's system calls are left to it. */
int jail_enter_vcpu(struct lum_error *err);

/*
 * plat_process_start for a helper program of the worker (QEMU), between JAIL_OFFLINE and
 * JAIL_CLOSED: in a pid namespace of its own, with a root of read-only system folders, no
 * capabilities and a filter of its own.
 */
int jail_start_program(const struct plat_start *start, struct plat_process **ret_process,
                       struct lum_error *err);

#endif
