/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line of QEMU, as a pure function of what is asked for. Everything that QEMU may touch
 * on the host is decided here and nowhere else, so that one test can read it all: files and sockets
 * arrive as descriptors, and no path of the host is named except the program's own.
 */
#ifndef LUM_MACHINE_QEMU_ARGS_H
#define LUM_MACHINE_QEMU_ARGS_H

#include "base/util.h"

#define QEMU_PROGRAM "qemu-system-x86_64"

/* QEMU's descriptors in the order plat_process_start gets them; ROOT only for a disk. */
enum qemu_fd {
    QEMU_FD_QMP,
    QEMU_FD_CONSOLE,
    QEMU_FD_AGENT,
    QEMU_FD_KERNEL,
    QEMU_FD_INITRD,
    QEMU_FD_ROOT,
    QEMU_FD_COUNT
};

struct qemu_launch {
    const char *program; /* its path */
    const char *cmdline; /* the kernel's */
    uint32_t vcpus;
    uint64_t memory_bytes; /* whole MiB */
    bool hardware;         /* KVM, else the software CPU */
    uint32_t tsc_khz;      /* software CPU only: speed of the host's time-stamp counter */
    bool root_disk;
};

#define QEMU_MAX_ARGS 64

struct qemu_args {
    const char *argv[QEMU_MAX_ARGS + 1]; /* NULL-terminated */
    char memory[32], vcpus[16];
};

/*
 * Fills ret_args, whose argv points into ret_args itself (so it must not be copied) and to launch's
 * strings (so they must stay).
 */
void qemu_args_make(const struct qemu_launch *launch, struct qemu_args *ret_args);

#define QEMU_TRANSPORT_ARGS_SIZE 256

/*
 * What the guest kernel must be told about console and devices, for machine_cmdline; launch's
 * strings are not read. QEMU could append the devices itself, but then they would come after the
 * user's own arguments, and a "--" among those would hide them.
 */
void qemu_transport_args(const struct qemu_launch *launch,
                         char ret_args[static QEMU_TRANSPORT_ARGS_SIZE]);

#endif
