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

/* What a VM may use of the host, where the host lets the caller limit it. */
struct jail_limits {
    uint64_t memory_bytes; /* of the guest */
    uint32_t vcpus;
    bool program; /* the worker starts a helper program */
};

/*
 * A control group for one VM's processes, to start them in. *ret_group is NULL where the caller may
 * not make one. keeper_program: executed with the arguments "keeper" and a name; calls jail_keep.
 */
struct jail_group;
int jail_group_create(const struct jail_limits *limits, plat_fd keeper_program,
                      struct jail_group **ret_group, struct lum_error *err);
plat_fd jail_group_fd(const struct jail_group *group); /* NULL: PLAT_FD_NONE */
/* Whether the kernel has killed in it for lack of memory. NULL: false. */
bool jail_group_out_of_memory(const struct jail_group *group);
/* Kills what is left in it and removes it, off the caller's path. NULL is allowed. */
void jail_group_free(struct jail_group *group);
/* The keeper: waits for the pipe's end, then does that. Returns its exit code. */
int jail_keep(plat_fd pipe, plat_fd parent, const char *name);

/* ---- the worker's side ---- */

enum jail_stage {
    JAIL_EARLY,   /* first thing in main: before any input is read */
    JAIL_OFFLINE, /* no network; still files and programs. For a machine that starts a program */
    JAIL_CLOSED,  /* every file, device and program is open: no path, no capability from here on */
    JAIL_SEALED,  /* nothing new will be made: only the I/O thread's system calls are left */
};

/* JAIL_EARLY. no_paths: nothing is opened by its path from here on, so the root may go at any time
 * before JAIL_CLOSED. */
int jail_begin(enum jail_mode mode, bool no_paths, struct lum_error *err);
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
