/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line given to QEMU. It is the whole of what QEMU is told, and QEMU is what a hostile
 * guest attacks first, so the test is strict: what must be there, and that nothing names the host.
 */
#include <string.h>

#include "machine/qemu/qemu_args.h"
#include "machine/qemu/qemu_tsc.h"
#include "proto.h"
#include "tap.h"

static const struct qemu_launch software = {.program = "/usr/bin/" QEMU_PROGRAM,
                                            .cmdline = "quiet,a=b -- rest",
                                            .vcpus = 1,
                                            .memory_bytes = 256 * MIB,
                                            .tsc_khz = 2596134,
                                            .root_disk = true};

static size_t count(const struct qemu_args *args)
{
    size_t n = 0;

    while (args->argv[n])
        n++;
    return n;
}

/* The value of the nth (from 0) occurrence of an option, or NULL. */
static const char *value(const struct qemu_args *args, const char *option, unsigned nth)
{
    for (size_t i = 0; args->argv[i]; i++)
        if (strcmp(args->argv[i], option) == 0 && nth-- == 0)
            return args->argv[i + 1];
    return NULL;
}

static bool has(const struct qemu_args *args, const char *option)
{
    for (size_t i = 0; args->argv[i]; i++)
        if (strcmp(args->argv[i], option) == 0)
            return true;
    return false;
}

static bool is(const char *got, const char *want)
{
    return got && strcmp(got, want) == 0;
}

/* One of the options with this name has this value. */
static bool has_value(const struct qemu_args *args, const char *option, const char *want)
{
    const char *got;

    for (unsigned i = 0; (got = value(args, option, i)) != NULL; i++)
        if (strcmp(got, want) == 0)
            return true;
    return false;
}

/* Whether the comma-separated list holds exactly this item. */
static bool has_item(const char *list, const char *item)
{
    size_t len = strlen(item);

    while (list && *list) {
        size_t n = strcspn(list, ",");
        if (n == len && memcmp(list, item, len) == 0)
            return true;
        list += n + (list[n] == ',');
    }
    return false;
}

static void test_guard(const struct qemu_args *args)
{
    const char *sandbox = value(args, "-sandbox", 0);
    const char *machine = value(args, "-machine", 0);

    ok(has(args, "-nodefaults") && has(args, "-no-user-config"), "no default device, no config");
    ok(has(args, "-no-reboot"), "a reset ends it");
    ok(has(args, "-S"), "guest code waits for cont");
    ok(has_item(sandbox, "on") && has_item(sandbox, "spawn=deny") &&
           has_item(sandbox, "elevateprivileges=deny") && has_item(sandbox, "obsolete=deny") &&
           has_item(sandbox, "resourcecontrol=deny"),
       "QEMU's own system call filter is on, everything denied");
    ok(has_item(machine, "microvm") && has_item(machine, "acpi=off") &&
           has_item(machine, "pcie=off") && has_item(machine, "usb=off"),
       "the small machine");
    ok(has_item(machine, "dump-guest-core=off") && has_item(machine, "mem-merge=off"),
       "guest memory is neither dumped nor merged");
    ok(!has(args, "-net") && !has(args, "-netdev") && !has(args, "-nic") &&
           !has(args, "-daemonize"),
       "no network, no daemon");
}

/* Sockets, pipes and files of the host come as descriptors only. */
static void test_no_paths(const struct qemu_args *args)
{
    size_t named = 0;

    for (size_t i = 1; args->argv[i]; i++) {
        const char *arg = args->argv[i];

        if (i > 1 && strcmp(args->argv[i - 1], "-append") == 0)
            continue;
        for (const char *p = strchr(arg, '/'); p; p = strchr(p + 1, '/')) {
            if (p > arg && p[-1] != '=' && p[-1] != ',')
                continue; /* inside a path */
            if (strncmp(p, "/proc/self/fd/", 14) != 0 && strncmp(p, "/dev/fdset/", 11) != 0) {
                tap_note("%s", arg);
                named++;
            }
        }
    }
    ok(named == 0, "no path of the host is named");
}

static void test_software(void)
{
    struct qemu_args args;

    qemu_args_make(&software, &args);
    tap_note("software, 1 vCPU, disk: %zu arguments", count(&args));
    ok(args.argv[0] == software.program, "the program comes first");
    test_guard(&args);
    test_no_paths(&args);
    ok(has_item(value(&args, "-accel", 0), "tcg") && !value(&args, "-accel", 1),
       "the software CPU and no other accelerator to fall back on");
    ok(!is(value(&args, "-cpu", 0), "host"), "an emulated CPU model");
    ok(has_item(value(&args, "-cpu", 0), "svm=off"), "no virtualization inside");
    ok(is(value(&args, "-smp", 0), "1"), "one processor");
    ok(is(value(&args, "-m", 0), "size=256M"), "memory");
    ok(value(&args, "-append", 0) == software.cmdline,
       "kernel command line as it is, one argument");
    ok(is(value(&args, "-kernel", 0), "/proc/self/fd/6"), "kernel by descriptor");
    ok(is(value(&args, "-initrd", 0), "/proc/self/fd/7"), "initrd by descriptor");
    ok(has_value(&args, "-chardev", "socket,id=qmp,fd=3"), "control by descriptor");
    ok(has_value(&args, "-chardev", "socket,id=console,fd=4"), "console by descriptor");
    ok(has_value(&args, "-chardev", "socket,id=agent,fd=5"), "agent by descriptor");
    ok(has_value(&args, "-device",
                 "virtserialport,id=agent-port,chardev=agent,nr=1,name=" AGENT_SERIAL_NAME),
       "the agent's port has its name");
    ok(is(value(&args, "-add-fd", 0), "fd=8,set=1"), "root by descriptor");
    ok(has_item(value(&args, "-blockdev", 0), "read-only=on"), "root is read-only on this side");
    ok(has_item(value(&args, "-global", 0), "virtio-mmio.force-legacy=false"), "VIRTIO 1.x");
}

static void test_hardware(void)
{
    struct qemu_launch launch = software;
    struct qemu_args args;

    launch.hardware = true;
    launch.root_disk = false;
    launch.vcpus = 32;
    launch.memory_bytes = TIB;
    qemu_args_make(&launch, &args);
    tap_note("KVM, 32 vCPUs, no disk: %zu arguments", count(&args));
    test_guard(&args);
    test_no_paths(&args);
    ok(is(value(&args, "-accel", 0), "kvm") && !value(&args, "-accel", 1), "KVM and nothing else");
    ok(is(value(&args, "-cpu", 0), "host"), "the host's CPU");
    ok(is(value(&args, "-smp", 0), "32"), "32 processors");
    ok(is(value(&args, "-m", 0), "size=1048576M"), "1 TiB");
    ok(!value(&args, "-blockdev", 0) && !value(&args, "-add-fd", 0), "no root disk");
}

static void test_transport(void)
{
    struct qemu_launch launch = software;
    char text[QEMU_TRANSPORT_ARGS_SIZE];

    qemu_transport_args(&launch, text);
    ok(is(text, "console=hvc0 virtio_mmio.device=512@0xfeb00000:5 "
                "virtio_mmio.device=512@0xfeb00200:6 virtio_mmio.device=512@0xfeb00400:7 "
                "noapictimer tsc_early_khz=2596134"),
       "software CPU, one processor, root disk: %s", text);

    launch.vcpus = 2;
    launch.tsc_khz = UINT32_MAX;
    qemu_transport_args(&launch, text);
    ok(!strstr(text, "noapictimer") && strstr(text, "tsc_early_khz=4294967295"),
       "several processors keep their local timers: %s", text);

    launch.hardware = true;
    launch.root_disk = false;
    qemu_transport_args(&launch, text);
    ok(is(text, "console=hvc0 virtio_mmio.device=512@0xfeb00000:5 "
                "virtio_mmio.device=512@0xfeb00200:6"),
       "KVM, no root disk: %s", text);
}

static void test_tsc(void)
{
    struct tsc_sample began = tsc_sample();
    uint32_t first = tsc_khz_since(&began), second;
    double off;

    began = tsc_sample();
    second = tsc_khz_since(&began);
    off = (double)first / (double)second - 1;
    ok(first > 100000 && first < 10000000, "the counter runs at %u kHz", first);
    ok(off < 0.01 && off > -0.01, "and measured again at %u kHz", second);
}

int main(void)
{
    test_software();
    test_hardware();
    test_transport();
    test_tsc();
    return tap_done();
}
