/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What slows the start of a VM, and limits that stop one. What slows KVM counts as slow only where
 * VMs run on it; elsewhere it is a note.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "core/doctor_linux.h"

#define KVM_PARAMETER  "/sys/module/kvm/parameters/"
#define CPU_FOLDER     "/sys/devices/system/cpu/"
#define DEFAULT_MEMORY (256 * MIB) /* of a VM */
#define LITTLE_MEMORY  GIB
#define WORKER_FILES   4096u /* what a VM's process raises its own limit to */
#define FEW_FILES      64u   /* not enough for one VM with a few commands */
#define FEW_THREADS    512u
#define HIGHEST_HZ     1000u

/* Slow where VMs run on KVM, else a note. */
static int kvm_cost(const struct linux_host *h)
{
    return backend_is_fast(backend_named(h->backends, "kvm")) ? LUM_FINDING_SLOW : LUM_FINDING_NOTE;
}

static bool has_kvm(const struct linux_host *h)
{
    return host_exists(h, "/sys/module/kvm");
}

/* The guard against a bug of some CPUs gives each VM a kernel thread, needed or not. */
static void check_huge_page_guard(const struct linux_host *h)
{
    char value[16], affected[80];
    struct lum_finding *f;

    if (!host_read(h, KVM_PARAMETER "nx_huge_pages", value, sizeof(value)))
        return; /* a kernel without the guard */
    if (strcmp(value, "never") == 0) {
        finding_add(h->out, "nx_huge_pages", LUM_FINDING_GOOD, "it is never");
    } else if (!host_read(h, CPU_FOLDER "vulnerabilities/itlb_multihit", affected,
                          sizeof(affected))) {
        finding_add(h->out, "nx_huge_pages", LUM_FINDING_NOTE,
                    "it is %s; whether this CPU needs it could not be read", value);
    } else if (strcmp(affected, "Not affected") != 0) {
        finding_add(h->out, "nx_huge_pages", LUM_FINDING_GOOD,
                    "it is %s, and this CPU needs it: %s", value, affected);
    } else {
        bool moved = !kernel_is(h, GUARD_MAJOR, GUARD_MINOR);

        f = finding_add(
            h->out, "nx_huge_pages", moved ? kvm_cost(h) : LUM_FINDING_NOTE,
            "it is %s: each VM gets a guard thread that this CPU does not need%s", value,
            moved ? ", and its start waits for the thread's move through the cgroups" : "");
        finding_remedy(f, "while no VM runs: echo never | sudo tee " KVM_PARAMETER
                          "nx_huge_pages; for every boot: kvm.nx_huge_pages=never");
    }
}

/* Mounted or not: what costs is that the files are made. */
static void check_debugfs(const struct linux_host *h)
{
    AUTO(auto_free) char *systems = host_slurp(h, "/proc/filesystems");
    char cmdline[4096] = "";

    (void)host_read(h, "/proc/cmdline", cmdline, sizeof(cmdline));
    if (!systems)
        finding_add(h->out, "debugfs", LUM_FINDING_NOTE, "/proc/filesystems could not be read");
    else if (has_word(systems, "debugfs") || has_word(cmdline, "debugfs=no-mount"))
        finding_remedy(finding_add(h->out, "debugfs", kvm_cost(h),
                                   "on: files are made there for each VM, which is about 80 %% of "
                                   "the work of KVM_CREATE_VM"),
                       "boot with debugfs=off, where no tracing tool needs it");
    else
        finding_add(h->out, "debugfs", LUM_FINDING_GOOD, "off");
}

static void check_tick(const struct linux_host *h)
{
    uint64_t hz = h->facts->tick_ns ? (1000000000u + h->facts->tick_ns / 2) / h->facts->tick_ns : 0;
    struct lum_finding *f;

    if (hz == 0) {
        finding_add(h->out, "timer tick", LUM_FINDING_NOTE, "could not be read");
    } else if (hz >= HIGHEST_HZ) {
        finding_add(h->out, "timer tick", LUM_FINDING_GOOD, "%" PRIu64 " Hz", hz);
    } else {
        f = finding_add(h->out, "timer tick", hz < 250 ? kvm_cost(h) : LUM_FINDING_NOTE,
                        "%" PRIu64 " Hz: waits in the kernel, as for the end of a VM, take %" PRIu64
                        " ms a step instead of 1",
                        hz, (1000 + hz / 2) / hz);
        finding_remedy(f, "a kernel with CONFIG_HZ=1000");
    }
}

static void check_virt_at_load(const struct linux_host *h)
{
    char value[16];

    if (!host_read(h, KVM_PARAMETER "enable_virt_at_load", value, sizeof(value)))
        return; /* before Linux 6.12 there is no choice */
    if (value[0] == 'Y')
        finding_add(h->out, "virt at load", LUM_FINDING_GOOD, "on (kvm.enable_virt_at_load)");
    else
        finding_remedy(finding_add(h->out, "virt at load", kvm_cost(h),
                                   "off: a VM that starts while no other runs first switches "
                                   "virtualization on, on every CPU"),
                       "boot with kvm.enable_virt_at_load=1");
}

/* The chosen one is in brackets: "always [madvise] never". */
static void check_huge_pages(const struct linux_host *h)
{
    static const char path[] = "/sys/kernel/mm/transparent_hugepage/enabled";
    char text[64];

    if (!host_read(h, path, text, sizeof(text))) {
        finding_add(h->out, "huge pages", LUM_FINDING_NOTE, "%s could not be read", path);
        return;
    }
    if (strstr(text, "[always]")) {
        finding_add(h->out, "huge pages", LUM_FINDING_GOOD,
                    "always: fewer page faults while a guest boots, more memory for each");
        return;
    }
    struct lum_finding *f = finding_add(
        h->out, "huge pages", LUM_FINDING_NOTE,
        "%s: guests take memory in 4 KiB pieces: the least memory, but more page faults at boot",
        strstr(text, "[never]") ? "never" : "madvise");
    finding_remedy(f, "for faster boots that take more memory: echo always | sudo tee %s", path);
}

static void check_governor(const struct linux_host *h)
{
    char governor[32], driver[32] = "";

    if (!host_read(h, CPU_FOLDER "cpu0/cpufreq/scaling_governor", governor, sizeof(governor)))
        return; /* the frequency is not Linux's to choose, as in a VM */
    (void)host_read(h, CPU_FOLDER "cpu0/cpufreq/scaling_driver", driver, sizeof(driver));
    /* In these two the name means a CPU that chooses for itself; elsewhere the lowest frequency. */
    bool own_choice = strcmp(driver, "intel_pstate") == 0 || strcmp(driver, "amd-pstate-epp") == 0;
    if (strcmp(governor, "powersave") != 0 || own_choice)
        finding_add(h->out, "cpu frequency", LUM_FINDING_GOOD, "governor %s of %s", governor,
                    driver[0] != '\0' ? driver : "an unknown driver");
    else
        finding_remedy(finding_add(h->out, "cpu frequency", LUM_FINDING_SLOW,
                                   "governor powersave of %s: always the lowest frequency", driver),
                       "echo schedutil | sudo tee " CPU_FOLDER "cpu*/cpufreq/scaling_governor");
}

void linux_check_speed(const struct linux_host *h)
{
    if (has_kvm(h)) {
        check_huge_page_guard(h);
        check_virt_at_load(h);
        check_debugfs(h);
        check_tick(h);
    }
    check_huge_pages(h);
    check_governor(h);
    if (h->facts->cpus < 2)
        finding_remedy(
            finding_add(h->out, "cpus", LUM_FINDING_SLOW,
                        "1 for this process: a guest, its devices and its caller take turns"),
            "a host with two CPUs or more, or a wider CPU set (taskset, cpuset)");
    else
        finding_add(h->out, "cpus", LUM_FINDING_GOOD, "%u for this process", h->facts->cpus);
}

/* ---- limits ---- */

/* Bytes of a line of /proc/meminfo; false: not there. */
static bool meminfo(const char *text, const char *key, uint64_t *ret_bytes)
{
    const char *value = line_value(text, key);

    if (!value)
        return false;
    *ret_bytes = strtoull(value, NULL, 10) * KIB;
    return true;
}

static void check_memory(const struct linux_host *h)
{
    AUTO(auto_free) char *text = host_slurp(h, "/proc/meminfo");
    uint64_t available;

    if (!text || !meminfo(text, "MemAvailable", &available)) {
        finding_add(h->out, "memory", LUM_FINDING_NOTE, "/proc/meminfo could not be read");
        return;
    }
    unsigned long long mib = available / MIB;
    if (available >= LITTLE_MEMORY)
        finding_add(h->out, "memory", LUM_FINDING_GOOD, "%llu MiB available", mib);
    else
        finding_remedy(finding_add(h->out, "memory",
                                   available < DEFAULT_MEMORY ? LUM_FINDING_BAD : LUM_FINDING_NOTE,
                                   "%llu MiB available, and a VM may use 256 MiB by default", mib),
                       "end what needs much memory, or give VMs less: --memory 64M");
}

/* In mode 2 all memory that a guest may ever touch counts from the start. */
static void check_overcommit(const struct linux_host *h)
{
    AUTO(auto_free) char *text = host_slurp(h, "/proc/meminfo");
    uint64_t limit, committed;
    long long mode;

    if (!host_number(h, "/proc/sys/vm/overcommit_memory", &mode)) {
        finding_add(h->out, "overcommit", LUM_FINDING_NOTE,
                    "vm.overcommit_memory could not be read");
    } else if (mode != 2) {
        finding_add(h->out, "overcommit", LUM_FINDING_GOOD,
                    "vm.overcommit_memory is %lld: a guest costs what it touches", mode);
    } else if (!text || !meminfo(text, "CommitLimit", &limit) ||
               !meminfo(text, "Committed_AS", &committed)) {
        finding_add(h->out, "overcommit", LUM_FINDING_NOTE,
                    "vm.overcommit_memory is 2; what is left could not be read");
    } else {
        uint64_t left = limit > committed ? limit - committed : 0;

        finding_remedy(finding_add(h->out, "overcommit",
                                   left < DEFAULT_MEMORY ? LUM_FINDING_BAD : LUM_FINDING_NOTE,
                                   "vm.overcommit_memory is 2: all memory of a VM counts from its "
                                   "start, and %llu MiB are left",
                                   (unsigned long long)(left / MIB)),
                       "sudo sysctl vm.overcommit_memory=0");
    }
}

static void check_descriptors(const struct linux_host *h)
{
    uint64_t most = h->facts->files_max;

    if (most >= WORKER_FILES)
        finding_add(h->out, "descriptors", LUM_FINDING_GOOD, "%s",
                    most == UINT64_MAX ? "no limit for a process"
                                       : "enough for a process (ulimit -Hn)");
    else
        finding_remedy(finding_add(h->out, "descriptors",
                                   most < FEW_FILES ? LUM_FINDING_BAD : LUM_FINDING_NOTE,
                                   "at most %" PRIu64 " for a process: few commands at a time in "
                                   "one VM",
                                   most),
                       "raise the hard limit of open files to %u: ulimit -Hn, limits.conf, or "
                       "LimitNOFILE= of the service",
                       WORKER_FILES);
}

static void check_threads(const struct linux_host *h)
{
    uint64_t most = h->facts->threads_max;

    if (h->facts->uid == 0 || most >= FEW_THREADS)
        finding_add(h->out, "processes", LUM_FINDING_GOOD, "%s",
                    h->facts->uid == 0 ? "no limit for root" : "enough for a user (ulimit -u)");
    else
        finding_remedy(finding_add(h->out, "processes", LUM_FINDING_NOTE,
                                   "at most %" PRIu64
                                   " threads for user %s; a VM has three or more",
                                   most, h->facts->user),
                       "raise the limit of processes: ulimit -u, limits.conf, or LimitNPROC= of "
                       "the service");
}

void linux_check_limits(const struct linux_host *h)
{
    check_memory(h);
    check_overcommit(h);
    check_descriptors(h);
    check_threads(h);
}
