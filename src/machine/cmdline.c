/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel command line, the same for every backend except for how the agent is reached. The
 * caller's own arguments come last: where the kernel reads a parameter twice, the last one wins.
 *
 * Not on it: mitigations=off. The kernel built with LuminaGuard has none compiled in, and whoever
 * brings another kernel keeps what that kernel chose. Nor nomodule, for the same kernels' sake.
 */
#include "machine/machine.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "boot/boot.h"

static const char base_args[] =
    "quiet loglevel=1"      /* lines on a console cost exits; a panic is still printed */
    " panic=-1 reboot=t"    /* a dead guest ends at once, by a triple fault, which all see */
    " no_timer_check"       /* there is no legacy timer to be tested against */
    " tsc=reliable"         /* the hypervisor keeps the TSC; no watchdog compares it */
    " noreplace-smp"        /* patching out lock prefixes: 3.6 M instructions, 3.3 MiB written */
    " random.trust_cpu=on"  /* the first random numbers need not wait for the agent's */
    " cryptomgr.notests"    /* self tests are two fifths of a stock kernel's boot */
    " 8250.nr_uarts=0"      /* no probing for serial ports that do not exist */
    " swiotlb=noforce"      /* a large guest would clear 64 MiB that virtio never uses */
    " rdinit=/lumina-init"; /* the agent is process 1, from the first initrd */

static const char *root_name(enum machine_root kind)
{
    switch (kind) {
    case MACHINE_ROOT_EROFS: return "erofs";
    case MACHINE_ROOT_EXT4: return "ext4";
    case MACHINE_ROOT_INITRD: break;
    }
    return "initrd";
}

int machine_cmdline(const struct vm_spec *spec, const char *transport_args, const char *agent_port,
                    char **ret_cmdline, struct lum_error *err)
{
    const char *extra = spec->cmdline_extra ? spec->cmdline_extra : "";
    char line[BOOT_CMDLINE_MAX], scratch[48] = "";

    int rc = vm_spec_check_texts(spec->hostname, extra, err);
    if (rc < 0)
        return rc;

    if (spec->scratch_bytes > 0 && !spec->read_only)
        snprintf(scratch, sizeof(scratch), " lumina.scratch=%llu",
                 (unsigned long long)spec->scratch_bytes);
    int len = snprintf(line, sizeof(line),
                       "%s%s%s lumina.agent=%s lumina.root=%s%s%s lumina.hostname=%s%s%s",
                       base_args, transport_args[0] ? " " : "", transport_args, agent_port,
                       root_name(spec->root_kind), spec->read_only ? " lumina.ro=1" : "", scratch,
                       spec->hostname, extra[0] ? " " : "", extra);
    if (len < 0)
        return lum_fail(err, LUM_EINTERNAL, "kernel command line: cannot be formatted");
    if ((size_t)len >= sizeof(line))
        return lum_fail(err, LUM_EINVAL,
                        "kernel_args: the command line would have %d bytes, at most %zu", len,
                        sizeof(line) - 1);
    char *copy = lum_strdup(line);
    if (!copy)
        return lum_fail(err, LUM_ENOMEM, "kernel command line: out of memory");
    *ret_cmdline = copy;
    return 0;
}
