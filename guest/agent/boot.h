/* SPDX-License-Identifier: Apache-2.0 */
/* From the first instruction of PID 1 to a root file system in which commands can run. */
#ifndef AGENT_BOOT_H
#define AGENT_BOOT_H

#include <stdbool.h>

struct boot_options {
    char agent[64];    /* "vsock" or the name of a virtio-serial port */
    char root[16];     /* erofs, ext4 or initrd */
    char scratch[24];  /* bytes, digits only; "" is the kernel's default */
    char hostname[65]; /* "" leaves it as it is */
    bool read_only;
};

/* A step that failed: says so on the console and ends the machine. The reason is errno. */
_Noreturn void boot_failed(const char *what, const char *name);

/* Mounts what is needed to know anything, and reads the kernel command line. */
void boot_begin(struct boot_options *ret_options);

/* Mounts the root and moves into it. */
void boot_root(const struct boot_options *options);

/* The rest of what a command expects to find. */
void boot_finish(const struct boot_options *options);

#endif
