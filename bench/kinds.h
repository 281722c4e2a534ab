/* SPDX-License-Identifier: Apache-2.0 */
/* The kinds of spawn that the bench compares. Private to bench/. */
#ifndef LUM_BENCH_KINDS_H
#define LUM_BENCH_KINDS_H

#include <stdbool.h>

#include "samples.h"

struct spawn_config {
    const char *backend, *jail; /* NULL: the library's defaults */
    const char *payload;        /* the tiny guest */
    const char *kernel, *rootfs, *initrd;
    const char *floor; /* the program of the floor */
    const char *qemu;
    unsigned memory_mib, filter_insns;
};

/* Each: 0, or -1 with the reason in why. */
#define WHY_SIZE 320u

/* Through the library, the tiny guest: T0 to its first exit. */
int spawn_guest(const struct spawn_config *config, struct sample *sample, char why[WHY_SIZE]);
/* Through the library, Linux: T0 to the first byte of a command's output. */
int spawn_output(const struct spawn_config *config, struct sample *sample, char why[WHY_SIZE]);
/* The bare system calls, in a program that does nothing else: T0 to the guest's first exit. */
int spawn_floor(const struct spawn_config *config, struct sample *sample, char why[WHY_SIZE]);
/* The same in namespaces, with an empty root and a filter. */
int spawn_floor_jail(const struct spawn_config *config, struct sample *sample, char why[WHY_SIZE]);
/* And with a new network namespace. */
int spawn_floor_net(const struct spawn_config *config, struct sample *sample, char why[WHY_SIZE]);
/* QEMU's microvm machine, the same kernel and files: T0 to the first byte of the output. */
int spawn_qemu(const struct spawn_config *config, struct sample *sample, char why[WHY_SIZE]);

#endif
