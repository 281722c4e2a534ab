/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loading a Linux kernel into guest memory and writing what it needs to start. Kernel files are
 * hostile input: every offset, size and count is checked, errors name what is wrong. Nothing here
 * knows a hypervisor: the result is a register set for vCPU 0.
 */
#ifndef LUM_BOOT_H
#define LUM_BOOT_H

#include "arch.h"
#include "mem/gmem.h"
#include "plat/plat.h"

#define BOOT_CMDLINE_MAX 2048u
#define BOOT_MAX_INITRDS 2u

struct boot_config {
    const char *kernel_name; /* for messages */
    plat_fd kernel; /* ELF vmlinux or bzImage */
    plat_fd
        initrd[BOOT_MAX_INITRDS]; /* cpio archives, laid one after the other; PLAT_FD_NONE: none */
    const char *cmdline;
    uint32_t vcpus;
    const struct gmem *mem;
};

enum boot_protocol { BOOT_PVH, BOOT_LINUX64, BOOT_BZIMAGE64 };

struct boot_result {
    enum boot_protocol protocol;
    struct arch_regs regs; /* of vCPU 0; the others wait for INIT/SIPI */
};

int boot_load(const struct boot_config *config, struct boot_result *ret_result,
              struct lum_error *err);

/*
 * Checks a kernel file without loading it (the caller's early error): LUM_EFORMAT when it is
 * neither kind or truncated.
 */
int boot_check_kernel(plat_fd kernel, const char *name, struct lum_error *err);

#endif
