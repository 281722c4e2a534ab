/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The programs of a Linux host. Two of them, because the fast path is a small static program that
 * starts in a tenth of a millisecond, and what drives QEMU needs the C library and a JSON parser.
 */
#include "core/vm.h"

static const char *const native[] = {"kvm", NULL};
static const char *const driven[] = {"qemu", NULL};

const struct vmm_program vmm_programs[] = {
    {.file = "lumina-vmm", .backends = native, .device = "/dev/kvm"},
    {.file = "lumina-qemu", .backends = driven, .starts_program = true},
    {.file = NULL},
};
