/* SPDX-License-Identifier: Apache-2.0 */
/* What this host has for QEMU: the program, and a KVM worth using. */
#ifndef LUM_MACHINE_QEMU_HOST_H
#define LUM_MACHINE_QEMU_HOST_H

#include "plat/plat.h"

/*
 * Looks for QEMU_PROGRAM in the folders of path (the value of PATH, may be NULL). Heap string. Runs
 * nothing: QEMU needs 30 ms just to say its version. Errors: LUM_ENOENT (the text names the
 * remedy), LUM_ENOTSUP (too old for the microvm machine), LUM_ENOMEM.
 */
int qemu_find(const char *path, char **ret_program, struct lum_error *err);

/* Whether KVM runs guest code on the CPU here. It may exist and only emulate, which is slower than
 * QEMU's own software CPU. */
bool qemu_has_kvm(void);

/*
 * Whether a program with this one's rights can open the file behind the descriptor again, as QEMU
 * does with its kernel. A descriptor of the caller's may be of a file that only root may open.
 */
bool qemu_can_open(plat_fd fd);

#endif
