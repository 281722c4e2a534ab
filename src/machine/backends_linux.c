/* SPDX-License-Identifier: Apache-2.0 */
/* The backends of a Linux host, in order of preference. A new one is one line here. */
#include "machine/machine.h"

const struct machine_backend machine_backends[] = {
    {.name = "kvm", .ops = &machine_native_ops, .driver = "kvm"},
    {.name = "qemu", .ops = &machine_qemu_ops},
    {.name = NULL},
};
