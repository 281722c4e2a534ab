/* SPDX-License-Identifier: Apache-2.0 */
/* See qemu_host.h. */
#include "machine/qemu/qemu_host.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "hv/hv.h"
#include "machine/qemu/qemu_args.h"
#include "plat/plat.h"

/* The firmware that the microvm machine starts with, from the folder of the program. */
#define FIRMWARE "../share/qemu/qboot.rom"

static bool is_file(const char *path)
{
    struct lum_error ignored;
    plat_fd fd = PLAT_FD_NONE;
    uint64_t size;

    if (plat_file_open(path, &fd, &size, &ignored) < 0)
        return false;
    plat_close(&fd);
    return true;
}

int qemu_find(const char *path, char **ret_program, struct lum_error *err)
{
    const char *dir = path ? path : "";

    for (size_t len; *dir; dir += len + (dir[len] == ':')) {
        char program[1024], firmware[1024];

        len = strcspn(dir, ":");
        /* A relative folder (an empty entry is the current one) is not a place to trust. */
        if (dir[0] != '/' || len > sizeof(program) - sizeof("/" FIRMWARE "/" QEMU_PROGRAM))
            continue;
        snprintf(program, sizeof(program), "%.*s/" QEMU_PROGRAM, (int)len, dir);
        if (access(program, X_OK) < 0 || !is_file(program))
            continue;
        snprintf(firmware, sizeof(firmware), "%.*s/" FIRMWARE, (int)len, dir);
        if (!is_file(firmware))
            return lum_fail(err, LUM_ENOTSUP,
                            "%s has no qboot.rom: QEMU 5.0 or later with the microvm machine is "
                            "needed",
                            program);
        *ret_program = lum_strdup(program);
        return *ret_program ? 0 : lum_fail(err, LUM_ENOMEM, "find QEMU: out of memory");
    }
    return lum_fail(err, LUM_ENOENT,
                    QEMU_PROGRAM " is not on PATH; remedy: apt-get install qemu-system-x86");
}

bool qemu_has_kvm(void)
{
    const struct hv_ops *kvm = hv_find("kvm");
    struct hv_probe probe;
    struct lum_error ignored;

    return kvm && hv_probe(kvm, &probe, &ignored) == 0 && probe.gauge.speed == HV_SPEED_HARDWARE;
}

bool qemu_can_open(plat_fd fd)
{
    char path[32];

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return access(path, R_OK) == 0;
}
