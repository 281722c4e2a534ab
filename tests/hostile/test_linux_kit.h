/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shared by the hostile-guest programs: machines through the public API, each call with a deadline,
 * and what a test leaves on the host.
 */
#ifndef LUM_TESTS_LINUX_KIT_H
#define LUM_TESTS_LINUX_KIT_H

#include "lumina.h"
#include "tap.h"

#define MIB ((uint64_t)1 << 20)

/* Deadlines, not expectations: a guest may run in a software CPU inside a software CPU. */
extern const int32_t boot_ms, run_ms;
extern const char *backend_name;
extern char scratch[64]; /* a folder of this run's own; TMPDIR and the image cache lie in it */

/* One finished command. Zeroed, so that the texts end with NUL. */
struct run {
    char out[8192], err_out[2048];
    int32_t code, signal, timed_out;
    struct lum_error err;
};

/*
 * Takes stock of the host and finds the backend named by argv[1] ("qemu"). False: it cannot run
 * here, which has been reported.
 */
bool kit_begin(int argc, char **argv);
/* Nothing of ours is left: descriptors, processes, files. Ends the TAP stream; main's result. */
int kit_end(void);

/* The path in an environment variable; a missing one fails a check and is NULL. */
const char *kit_path(const char *variable);

struct lum_vm_options vm_options(void);           /* the defaults, with the backend */
lum_vm *vm_up(const struct lum_vm_options *opts); /* started, or NULL with the reason printed */
void vm_down(lum_vm *vm);                         /* hard stop, wait and free */
/* Waits for the end that the guest makes itself and compares its reason. */
void vm_ends(lum_vm *vm, const char *what, const char *reason);

lum_exec *spawn(lum_vm *vm, const char *script); /* NULL with the reason printed */
int sh(lum_vm *vm, const char *script, struct run *r);
int sh_within(lum_vm *vm, const char *script, int32_t timeout_ms, struct run *r);
/* The machine still serves: a command runs and its output is right. */
void check_alive(lum_vm *vm, const char *after);

/* What the machine's processes hold beyond the guest's own memory. */
uint64_t monitor_bytes(lum_vm *vm);
/* All that the machine's processes hold is within a bound that the guest does not set. */
void check_memory(lum_vm *vm, const char *after, uint64_t monitor_before);
/* Open descriptors of all processes below this one. */
unsigned process_fds(void);

/* Some process below this one has the file open, and none for writing. */
bool only_read(const char *path);

/* Stops the VM unless called off before: what unblocks a call that a guest never answers. */
struct guard;
struct guard *guard_start(lum_vm *vm, unsigned timeout_ms);
bool guard_end(struct guard *guard); /* true: it had to stop the VM */

int host_sh(const char *fmt, ...) LUM_PRINTF(1, 2); /* a command of the host; its exit code */
bool one_line(const char *text);                    /* not empty, and no control byte in it */

#endif
