/* SPDX-License-Identifier: Apache-2.0 */
/* The backends of lumina-qemu, the program that drives QEMU. */
#include "machine/machine.h"

const struct machine_backend machine_backends[] = {
    {.name = "qemu", .ops = &machine_qemu_ops},
    {.name = NULL},
};
