/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See qemu_args.h. The choices that cost or save time say how much: milliseconds from "cont" to the
 * agent's first byte, our kernel on the software CPU of QEMU 7.2, medians of 3 to 9 runs in turns.
 */
#include "machine/qemu/qemu_args.h"

#include <inttypes.h>
#include <stdio.h>

#include "proto.h"

/* The microvm machine without ACPI: virtio-mmio transports of 512 bytes, interrupts from 5 on. */
#define SLOT_SERIAL "virtio_mmio.device=512@0xfeb00000:5"
#define SLOT_RNG    "virtio_mmio.device=512@0xfeb00200:6"
#define SLOT_ROOT   "virtio_mmio.device=512@0xfeb00400:7"

/* plat_process_start makes entry i of enum qemu_fd descriptor 3 + i. */
#define FD_QMP     "3"
#define FD_CONSOLE "4"
#define FD_AGENT   "5"
#define FD_KERNEL  "6"
#define FD_INITRD  "7"
#define FD_ROOT    "8"

static const char *const common_args[] = {
    /* No configuration file and no default device: what is not named here is not there. */
    "-no-user-config",
    "-nodefaults",
    "-display",
    "none",
    /* A reset ends a micro-VM. */
    "-no-reboot",
    /* Guest code waits for QMP "cont": create may not run any. */
    "-S",
    /* QEMU guards the host too: no new processes, no privileges, no obsolete system calls. */
    "-sandbox",
    "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
    /*
     * Timer, interrupt controller pair and clock chip stay: Linux calibrates itself with the first
     * two (without pic=on most boots hang) and waits in vain for the third (rtc=off: +300).
     * Guest memory stays out of core dumps and is never merged with that of other guests.
     */
    "-machine",
    ("microvm,acpi=off,pcie=off,usb=off,rtc=on,pit=on,pic=on,isa-serial=off,x-option-roms=off,"
     "auto-kernel-cmdline=off,dump-guest-core=off,mem-merge=off"),
    /* VIRTIO 1.x; the transport would come up in its legacy form. */
    "-global",
    "virtio-mmio.force-legacy=false",
    "-chardev",
    ("socket,id=qmp,fd=" FD_QMP),
    "-mon",
    "chardev=qmp,mode=control",
    /* Console and agent are two ports of one device. */
    "-chardev",
    ("socket,id=console,fd=" FD_CONSOLE),
    "-chardev",
    ("socket,id=agent,fd=" FD_AGENT),
    "-device",
    "virtio-serial-device,bus=virtio-mmio-bus.0,max_ports=2",
    "-device",
    "virtconsole,chardev=console,nr=0",
    "-device",
    ("virtserialport,id=agent-port,chardev=agent,nr=1,name=" AGENT_SERIAL_NAME),
    /* Random bytes from QEMU's own generator: no file to open. */
    "-object",
    "rng-builtin,id=rng",
    "-device",
    "virtio-rng-device,bus=virtio-mmio-bus.1,rng=rng",
    /* QEMU's loaders know no descriptor sets, but open any path, and this one is always ours. */
    "-kernel",
    ("/proc/self/fd/" FD_KERNEL),
    "-initrd",
    ("/proc/self/fd/" FD_INITRD),
};

/* The disk is read-only on the host's side; what the guest writes lives in its memory. */
static const char *const root_args[] = {
    "-add-fd",   ("fd=" FD_ROOT ",set=1"),
    "-blockdev", "driver=file,node-name=root,filename=/dev/fdset/1,read-only=on,locking=off",
    "-device",   "virtio-blk-device,bus=virtio-mmio-bus.2,drive=root",
};

static const char *const hardware_args[] = {"-accel", "kvm", "-cpu", "host"};

/*
 * EPYC is SSE4.2, AVX2, BMI and AES, which is what programs ask for, without the newer features of
 * "max", each of which makes Linux patch more of its own code at boot; code that changes is what an
 * emulator is worst at (EPYC 411, Haswell 421, max 499). What an older QEMU cannot do of it, it
 * leaves out. Translated code gets 128 MiB instead of 1 GiB: no slower, and memory has a limit.
 */
static const char *const software_args[] = {"-accel", "tcg,thread=multi,tb-size=128", "-cpu",
                                            "EPYC,svm=off"};

static void add(struct qemu_args *args, size_t *n, const char *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        args->argv[(*n)++] = list[i];
}

void qemu_args_make(const struct qemu_launch *launch, struct qemu_args *ret_args)
{
    size_t n = 0;

    *ret_args = (struct qemu_args){0};
    snprintf(ret_args->vcpus, sizeof(ret_args->vcpus), "%" PRIu32, launch->vcpus);
    snprintf(ret_args->memory, sizeof(ret_args->memory), "size=%" PRIu64 "M",
             launch->memory_bytes / MIB);
    const char *const sized[] = {"-smp",           ret_args->vcpus, "-m",
                                 ret_args->memory, "-append",       launch->cmdline};

    _Static_assert(1 + ARRAY_LEN(common_args) + ARRAY_LEN(software_args) + ARRAY_LEN(sized) +
                           ARRAY_LEN(root_args) <=
                       QEMU_MAX_ARGS,
                   "all arguments fit");
    add(ret_args, &n, &launch->program, 1);
    add(ret_args, &n, common_args, ARRAY_LEN(common_args));
    if (launch->hardware)
        add(ret_args, &n, hardware_args, ARRAY_LEN(hardware_args));
    else
        add(ret_args, &n, software_args, ARRAY_LEN(software_args));
    add(ret_args, &n, sized, ARRAY_LEN(sized));
    if (launch->root_disk)
        add(ret_args, &n, root_args, ARRAY_LEN(root_args));
}

void qemu_transport_args(const struct qemu_launch *launch,
                         char ret_args[static QEMU_TRANSPORT_ARGS_SIZE])
{
    char tuning[64] = "";

    /*
     * In milliseconds: calibrating the local timer is 250 of busy waiting; with a single processor
     * the timer chip does as well, at the price of 38 wake-ups a second while the guest idles (1 %
     * of a host CPU). See qemu_tsc.h for the other one (30, on a busy host 250).
     */
    if (!launch->hardware)
        snprintf(tuning, sizeof(tuning), "%s tsc_early_khz=%" PRIu32,
                 launch->vcpus == 1 ? " noapictimer" : "", launch->tsc_khz);
    snprintf(ret_args, QEMU_TRANSPORT_ARGS_SIZE, "console=hvc0 " SLOT_SERIAL " " SLOT_RNG "%s%s",
             launch->root_disk ? " " SLOT_ROOT : "", tuning);
}
