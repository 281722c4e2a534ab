/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The doctor's judgement of hosts that this test makes up: files below a folder of its own, and
 * facts. Then the facts of the host it runs on, and LuminaGuard's own files, whole and damaged.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "core/doctor_linux.h"
#include "plat/plat.h"
#include "tap.h"

static char top[PATH_MAX / 4]; /* everything this test makes is in here */
static unsigned n_hosts;

static void die(const char *what)
{
    printf("Bail out! %s: %s\n", what, strerror(errno));
    exit(1);
}

/* ---- a host of our making ---- */

struct made_host {
    char root[PATH_MAX / 2];
    struct linux_facts facts;
    struct backend_list backends;
    struct findings *out; /* shared with the child that has fewer rights */
};

static void put_bytes(const struct made_host *m, const char *path, const void *data, size_t size)
{
    char full[PATH_MAX];

    snprintf(full, sizeof(full), "%s%s", m->root, path);
    for (char *p = full + strlen(m->root) + 1; (p = strchr(p, '/')); p++) {
        *p = '\0';
        if (mkdir(full, 0755) < 0 && errno != EEXIST)
            die(full);
        *p = '/';
    }
    int fd = open(full, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        die(full);
    close(fd);
}

static void put(const struct made_host *m, const char *path, const char *text)
{
    put_bytes(m, path, text, strlen(text));
}

static void take_away(const struct made_host *m, const char *path)
{
    char full[PATH_MAX];

    snprintf(full, sizeof(full), "%s%s", m->root, path);
    if (unlink(full) < 0)
        die(full);
}

/* A host on which everything is as it should be. */
static void make_host(struct made_host *m)
{
    struct findings *out = m->out;

    *m = (struct made_host){
        .out = out,
        .facts =
            {.release = "6.12.4-amd64",
             .user = "alice",
             .uid = 1000,
             .kvm = {.is_device = true, .mode = 0660, .gid = 106, .owner = "root", .group = "kvm"},
             .cpu = {.flag = "svm", .module = "kvm_amd", .firmware = "SVM (AMD-V)"},
             .landlock = 6,
             .tick_ns = 1000000,
             .cpus = 4,
             .files_max = UINT64_MAX,
             .threads_max = UINT64_MAX},
        .backends = {.count = 2,
                     .list = {{.name = "kvm",
                               .usable = 1,
                               .automatic = 1,
                               .features = LUM_FEATURE_HARDWARE,
                               .detail = "runs guest kernel code at 0.3 ns an instruction"},
                              {.name = "qemu", .usable = 1}}},
    };
    memset(out, 0, sizeof(*out));
    snprintf(m->root, sizeof(m->root), "%s/host%u", top, n_hosts++);
    if (mkdir(m->root, 0755) < 0)
        die(m->root);
    put(m, "/proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu svm lm\nbugs\t\t: none\n");
    put(m, "/proc/self/status", "Name:\tlumina\nNoNewPrivs:\t0\nSeccomp:\t0\n");
    put(m, "/proc/filesystems", "nodev\tsysfs\nnodev\ttmpfs\n\text4\n");
    put(m, "/proc/cmdline", "ro quiet debugfs=off\n");
    put(m, "/proc/meminfo",
        "MemTotal: 8000000 kB\nMemAvailable: 4194304 kB\n"
        "CommitLimit: 2097152 kB\nCommitted_AS: 1048576 kB\n");
    put(m, "/proc/sys/vm/overcommit_memory", "0\n");
    put(m, "/proc/self/mountinfo",
        "22 1 0:21 / /proc rw - proc proc rw\n"
        "30 1 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 "
        "rw,nsdelegate,memory_recursiveprot,favordynmods\n");
    put(m, "/proc/self/cgroup", "0::/user.slice/app.slice/run-1.scope\n");
    put(m, "/sys/fs/cgroup/user.slice/app.slice/cgroup.subtree_control", "cpu memory pids\n");
    put(m, "/sys/fs/cgroup/user.slice/app.slice/cgroup.controllers", "cpu io memory pids\n");
    put(m, "/sys/fs/cgroup/user.slice/app.slice/cgroup.procs", "");
    put(m, "/sys/module/kvm/parameters/nx_huge_pages", "never\n");
    put(m, "/sys/module/kvm/parameters/enable_virt_at_load", "Y\n");
    put(m, "/sys/devices/system/cpu/vulnerabilities/itlb_multihit", "Not affected\n");
    put(m, "/sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never\n");
}

/* VMs cannot run on KVM there. */
static void make_software_host(struct made_host *m)
{
    make_host(m);
    m->backends.list[0].usable = m->backends.list[0].features = 0;
    m->backends.list[1].automatic = 1;
}

static void visit(struct made_host *m)
{
    const struct linux_host h = {
        .root = m->root, .facts = &m->facts, .backends = &m->backends, .out = m->out};

    memset(m->out, 0, sizeof(*m->out));
    linux_check_kvm(&h);
    linux_check_jail(&h);
    linux_check_cgroups(&h);
    linux_check_kernel(&h);
    linux_check_speed(&h);
    linux_check_limits(&h);
}

/* As a user for whom the modes of files count. */
static void visit_as_nobody(struct made_host *m)
{
    int status;
    pid_t pid = fork();

    if (pid < 0)
        die("fork");
    if (pid == 0) {
        if (geteuid() == 0 && setresuid(65534, 65534, 65534) < 0)
            _exit(1);
        visit(m);
        _exit(0);
    }
    if (waitpid(pid, &status, 0) != pid || status != 0)
        die("visit as nobody");
}

static bool remedies_are_complete(const struct findings *f)
{
    for (size_t i = 0; i < f->count; i++) {
        const struct lum_finding *x = &f->list[i];

        if (x->found[0] == '\0' || (x->state >= LUM_FINDING_SLOW && x->remedy[0] == '\0')) {
            tap_note("%s: state %d, \"%s\", remedy \"%s\"", x->name, x->state, x->found, x->remedy);
            return false;
        }
    }
    return f->count > 0;
}

/* One check of what the last visit found: state, and parts of the two texts. */
static void found(const struct made_host *m, const char *what, const char *name, int32_t state,
                  const char *text, const char *remedy)
{
    const struct lum_finding *f = finding_find(m->out, name);
    bool good = f && f->state == state && strstr(f->found, text) &&
                (remedy[0] != '\0' ? strstr(f->remedy, remedy) != NULL : f->remedy[0] == '\0') &&
                remedies_are_complete(m->out);

    if (!ok(good, "%s", what) && f)
        tap_note("%s: state %d, \"%s\", remedy \"%s\"", f->name, f->state, f->found, f->remedy);
}

/* ---- KVM ---- */

static void test_kvm_whole(struct made_host *m)
{
    make_host(m);
    visit(m);
    found(m, "KVM is whole", "kvm", LUM_FINDING_GOOD, "whole: runs guest kernel code", "");
    bool all = true;
    for (size_t i = 0; i < m->out->count; i++)
        all &= m->out->list[i].state == LUM_FINDING_GOOD;
    ok(all && m->out->count > 12, "a host without fault has %zu findings, all good", m->out->count);

    make_software_host(m);
    snprintf(m->backends.list[0].detail, sizeof(m->backends.list[0].detail),
             "only emulates guest kernel code (724.3 ns an instruction): too slow for Linux");
    visit(m);
    found(m, "KVM that emulates", "kvm", LUM_FINDING_SLOW, "724.3 ns", "nested virtualization");
    m->backends.list[1].usable = 0;
    visit(m);
    found(m, "the same where nothing else runs VMs", "kvm", LUM_FINDING_BAD, "724.3 ns",
          "bare metal");

    make_software_host(m);
    m->facts.kvm.is_device = false;
    visit(m);
    found(m, "a file in the device's place", "kvm", LUM_FINDING_SLOW, "not a device", "mknod");

    make_host(m);
    m->backends.count = 0;
    visit(m);
    found(m, "no measurement", "kvm", LUM_FINDING_NOTE, "could not be measured", "");
}

static void test_kvm_absent(struct made_host *m)
{
    make_software_host(m);
    m->facts.kvm.open_errno = ENOENT;
    put(m, "/lib/modules/6.12.4-amd64/kernel/arch/x86/kvm/kvm-amd.ko.xz", "");
    visit(m);
    found(m, "absent: module not loaded", "kvm", LUM_FINDING_SLOW, "kvm_amd is not loaded",
          "sudo modprobe kvm_amd");
    m->facts.kvm.open_errno = ENODEV;
    visit(m);
    found(m, "a node that nothing stands behind is as good as none", "kvm", LUM_FINDING_SLOW,
          "kvm_amd is not loaded", "sudo modprobe kvm_amd");
    put(m, "/run/.containerenv", "");
    visit(m);
    found(m, "absent: module not loaded, seen from a container", "kvm", LUM_FINDING_SLOW,
          "host of this container (podman)", "on the host: sudo modprobe kvm_amd");

    make_software_host(m);
    m->facts.kvm.open_errno = ENOENT;
    visit(m);
    found(m, "absent: a kernel without the module", "kvm", LUM_FINDING_SLOW,
          "6.12.4-amd64 comes without module kvm_amd", "install a kernel");
    put(m, "/sys/module/kvm_amd/parameters/nested", "1\n");
    visit(m);
    found(m, "absent: loaded without effect", "kvm", LUM_FINDING_SLOW, "made no device",
          "SVM (AMD-V) must be switched on in the firmware");
    put(m, "/sys/class/misc/kvm/dev", "10:232\n");
    visit(m);
    found(m, "absent: only this /dev lacks it", "kvm", LUM_FINDING_SLOW,
          "the kernel has KVM (device 10:232)", "mknod -m 660 /dev/kvm c 10 232");
    put(m, "/.dockerenv", "");
    visit(m);
    found(m, "absent: a container without the device", "kvm", LUM_FINDING_SLOW,
          "container of docker", "start the container with --device /dev/kvm");

    make_software_host(m);
    m->facts.kvm.open_errno = ENOENT;
    put(m, "/sys/class/misc/kvm/dev", "10:232\n");
    put(m, "/run/systemd/container", "systemd-nspawn\n");
    visit(m);
    found(m, "absent: a container that systemd knows", "kvm", LUM_FINDING_SLOW,
          "container of systemd-nspawn", "--device /dev/kvm");

    make_software_host(m);
    m->facts.kvm.open_errno = ENOENT;
    m->facts.cpu.has = true;
    put(m, "/proc/cpuinfo", "flags\t\t: fpu svm_lock lm\n");
    visit(m);
    found(m, "absent: switched off in the firmware", "kvm", LUM_FINDING_SLOW,
          "switched off in the firmware", "in the setup of the BIOS or UEFI");
    m->facts.cpu.has = false;
    m->facts.cpu.in_vm = true;
    visit(m);
    found(m, "absent: a VM without nested virtualization", "kvm", LUM_FINDING_SLOW,
          "is a VM itself", "outer hypervisor");
    m->facts.cpu.in_vm = false;
    visit(m);
    found(m, "absent: the CPU has none", "kvm", LUM_FINDING_SLOW, "this CPU has no svm",
          "virtualization extensions");
    m->backends.count = 0;
    visit(m);
    found(m, "absent, and nothing else runs VMs", "kvm", LUM_FINDING_BAD, "this CPU has no svm",
          "virtualization extensions");

    make_software_host(m);
    m->facts.kvm.open_errno = EBUSY;
    visit(m);
    found(m, "an error that nobody expects", "kvm", LUM_FINDING_SLOW, strerror(EBUSY), "dmesg");
}

static void test_kvm_forbidden(struct made_host *m)
{
    make_software_host(m);
    m->facts.kvm.open_errno = EACCES;
    visit(m);
    found(m, "forbidden: not in the group", "kvm", LUM_FINDING_SLOW,
          "user alice may not open it (crw-rw---- root kvm)", "sudo usermod -aG kvm alice");
    m->facts.kvm.in_database = true;
    visit(m);
    found(m, "forbidden: in the group, but not in this session", "kvm", LUM_FINDING_SLOW,
          "not yet in this login session", "log in again; in this shell only: newgrp kvm");
    m->facts.kvm.in_session = true;
    m->facts.kvm.has_acl = true;
    visit(m);
    found(m, "forbidden: an ACL overrules the group", "kvm", LUM_FINDING_SLOW, "(crw-rw----+ ",
          "getfacl /dev/kvm");
    m->facts.kvm.mode = 0600;
    m->facts.kvm.gid = 0;
    snprintf(m->facts.kvm.group, sizeof(m->facts.kvm.group), "root");
    visit(m);
    found(m, "forbidden: no group may", "kvm", LUM_FINDING_SLOW, "root root)",
          "sudo setfacl -m u:alice:rw /dev/kvm");
    m->facts.kvm.open_errno = EPERM;
    visit(m);
    found(m, "forbidden: device policy", "kvm", LUM_FINDING_SLOW, "may not open it", "DeviceAllow");
    m->backends.list[1].usable = 0;
    visit(m);
    found(m, "forbidden, and nothing else runs VMs", "kvm", LUM_FINDING_BAD, "may not open it",
          "DeviceAllow");
}

static void test_kernel(struct made_host *m)
{
    make_host(m);
    snprintf(m->facts.release, sizeof(m->facts.release), "5.10.0-30-amd64");
    visit(m);
    found(m, "an old kernel", "host kernel", LUM_FINDING_NOTE,
          "5.10.0-30-amd64; newer ones bring: Landlock (5.13), favordynmods (6.0)", "");
    snprintf(m->facts.release, sizeof(m->facts.release), "6.11.1");
    visit(m);
    found(m, "a nearly new kernel", "host kernel", LUM_FINDING_NOTE,
          "bring: Landlock's fence for signals (6.12), VMs made without a wait in cgroups (6.12)",
          "");
    snprintf(m->facts.release, sizeof(m->facts.release), "10.0");
    visit(m);
    found(m, "a kernel of the future", "host kernel", LUM_FINDING_GOOD, "Linux 10.0", "");
}

/* ---- the jail ---- */

static void test_namespaces(struct made_host *m)
{
    make_host(m);
    visit(m);
    found(m, "namespaces work", "user namespaces", LUM_FINDING_GOOD, "tried", "");

    m->facts.jail_errno = ENOSPC;
    snprintf(m->facts.jail_step, sizeof(m->facts.jail_step), "clone with CLONE_NEWUSER");
    put(m, "/proc/sys/user/max_user_namespaces", "0\n");
    visit(m);
    found(m, "namespaces: limit of user namespaces 0", "user namespaces", LUM_FINDING_BAD,
          "clone with CLONE_NEWUSER: No space left on device, because a limit",
          "sudo sysctl user.max_user_namespaces=");
    put(m, "/proc/sys/user/max_user_namespaces", "15000\n");
    put(m, "/proc/sys/user/max_net_namespaces", "0\n");
    visit(m);
    found(m, "namespaces: another limit 0", "user namespaces", LUM_FINDING_BAD, "because a limit",
          "sudo sysctl user.max_net_namespaces=");
    put(m, "/proc/sys/user/max_net_namespaces", "15000\n");
    visit(m);
    found(m, "namespaces: a limit is reached", "user namespaces", LUM_FINDING_BAD, "No space left",
          "raise user.max_*_namespaces");

    m->facts.jail_errno = EPERM;
    put(m, "/proc/sys/kernel/unprivileged_userns_clone", "0\n");
    visit(m);
    found(m, "namespaces: unprivileged_userns_clone 0", "user namespaces", LUM_FINDING_BAD,
          "because kernel.unprivileged_userns_clone is 0",
          "sudo sysctl kernel.unprivileged_userns_clone=1");
    put(m, "/proc/sys/kernel/unprivileged_userns_clone", "1\n");

    snprintf(m->facts.jail_step, sizeof(m->facts.jail_step), "mounts made private");
    m->facts.jail_errno = EACCES;
    put(m, "/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1\n");
    visit(m);
    found(m, "namespaces: AppArmor", "user namespaces", LUM_FINDING_BAD,
          "mounts made private: Permission denied, because",
          "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0");
    m->facts.uid = 0;
    m->facts.jail_errno = 0;
    visit(m);
    found(m, "namespaces: for root only", "user namespaces", LUM_FINDING_NOTE, "not for others",
          "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0");
    put(m, "/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "0\n");
    put(m, "/proc/sys/kernel/unprivileged_userns_clone", "0\n");
    visit(m);
    found(m, "namespaces: for root only, by the other switch", "user namespaces", LUM_FINDING_NOTE,
          "kernel.unprivileged_userns_clone is 0",
          "sudo sysctl kernel.unprivileged_userns_clone=1");

    make_host(m);
    m->facts.jail_errno = EPERM;
    snprintf(m->facts.jail_step, sizeof(m->facts.jail_step), "clone with CLONE_NEWUSER");
    put(m, "/proc/self/status", "NoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n");
    visit(m);
    found(m, "namespaces: a container's filter", "user namespaces", LUM_FINDING_BAD,
          "Operation not permitted", "--security-opt seccomp");
    found(m, "seccomp: confined already", "seccomp", LUM_FINDING_NOTE, "a filter and no_new_privs",
          "");
    put(m, "/proc/self/status", "NoNewPrivs:\t1\nSeccomp:\t0\n");
    visit(m);
    found(m, "namespaces: no cause to be seen", "user namespaces", LUM_FINDING_BAD,
          "Operation not permitted", "a security policy");
    found(m, "seccomp: no_new_privs alone", "seccomp", LUM_FINDING_NOTE, ": no_new_privs", "");
}

static void test_filters(struct made_host *m)
{
    make_host(m);
    visit(m);
    found(m, "seccomp is there", "seccomp", LUM_FINDING_GOOD, "available", "");
    found(m, "Landlock is there", "landlock", LUM_FINDING_GOOD, "ABI 6", "");
    m->facts.seccomp_errno = ENOSYS;
    m->facts.landlock = -ENOSYS;
    visit(m);
    found(m, "seccomp is not there", "seccomp", LUM_FINDING_BAD, "not to be had",
          "CONFIG_SECCOMP_FILTER");
    found(m, "Landlock is not there", "landlock", LUM_FINDING_NOTE, "has none", "5.13");
    m->facts.landlock = -EOPNOTSUPP;
    visit(m);
    found(m, "Landlock is off, the list cannot be read", "landlock", LUM_FINDING_NOTE,
          "switched off", "lsm=landlock,...");
    put(m, "/sys/kernel/security/lsm", "lockdown,yama,apparmor");
    visit(m);
    found(m, "Landlock is off", "landlock", LUM_FINDING_NOTE, "on are: lockdown,yama,apparmor",
          "boot with lsm=landlock,lockdown,yama,apparmor");
    m->facts.landlock = -EIO;
    visit(m);
    found(m, "Landlock cannot be asked", "landlock", LUM_FINDING_NOTE, "could not be asked", "");
    take_away(m, "/proc/self/status");
    m->facts.seccomp_errno = 0;
    visit(m);
    found(m, "the status cannot be read", "seccomp", LUM_FINDING_GOOD, "could not be read", "");
}

/* ---- cgroups ---- */

#define PLACE "/sys/fs/cgroup/user.slice/app.slice"

static size_t entries_of(const struct made_host *m, const char *path)
{
    char full[PATH_MAX];
    size_t n = 0;

    snprintf(full, sizeof(full), "%s%s", m->root, path);
    DIR *dir = opendir(full);
    if (!dir)
        die(full);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static void set_mode(const struct made_host *m, const char *path, mode_t mode)
{
    char full[PATH_MAX];

    snprintf(full, sizeof(full), "%s%s", m->root, path);
    if (chmod(full, mode) < 0)
        die(full);
}

static void test_cgroups_v2(struct made_host *m)
{
    make_host(m);
    size_t before = entries_of(m, PLACE);
    visit(m);
    found(m, "cgroups: delegated", "cgroups", LUM_FINDING_GOOD,
          "can be set in /sys/fs/cgroup/user.slice/app.slice (tried)", "");
    ok(entries_of(m, PLACE) == before, "the cgroup that was made is gone");
    found(m, "cgroups: favordynmods", "cgroup moves", LUM_FINDING_GOOD, "is on", "");

    visit_as_nobody(m);
    found(m, "cgroups: not delegated", "cgroups", LUM_FINDING_NOTE,
          "make a cgroup in /sys/fs/cgroup/user.slice/app.slice: Permission denied",
          "sudo chown alice " PLACE);
    put(m, "/run/systemd/system/x", "");
    visit_as_nobody(m);
    found(m, "cgroups: not delegated by systemd", "cgroups", LUM_FINDING_NOTE, "not delegated",
          "systemd-run --user --scope -p Delegate=yes");
    set_mode(m, PLACE, 0777);
    visit_as_nobody(m);
    found(m, "cgroups: processes may not be moved", "cgroups", LUM_FINDING_NOTE,
          "write cgroup.procs in", "Delegate=yes");
    m->facts.uid = 0;
    visit_as_nobody(m);
    found(m, "cgroups: root's systemd-run", "cgroups", LUM_FINDING_NOTE, "write cgroup.procs in",
          "systemd-run --scope");

    make_host(m);
    put(m, PLACE "/cgroup.subtree_control", "memory\n");
    visit(m);
    found(m, "cgroups: controllers not switched on", "cgroups", LUM_FINDING_NOTE,
          "no controller for pids, cpu", "echo '+memory +pids +cpu' | sudo tee " PLACE);
    put(m, PLACE "/cgroup.controllers", "memory\n");
    visit(m);
    found(m, "cgroups: controllers not handed down", "cgroups", LUM_FINDING_NOTE,
          "no controller for pids, cpu", "sudo chown");

    make_host(m);
    put(m, "/proc/self/cgroup", "0::/../outside\n");
    visit(m);
    found(m, "cgroups: outside of what is mounted", "cgroups", LUM_FINDING_NOTE, "is not below",
          "");
}

static void test_cgroup_tops(struct made_host *m)
{
    make_host(m);
    put(m, "/proc/self/cgroup", "0::/\n");
    put(m, "/sys/fs/cgroup/cgroup.subtree_control", "cpu memory pids\n");
    put(m, "/sys/fs/cgroup/cgroup.procs", "1\n");
    visit(m);
    found(m, "cgroups: at the root of all", "cgroups", LUM_FINDING_GOOD,
          "can be set in /sys/fs/cgroup (tried)", "");
    put(m, "/sys/fs/cgroup/cgroup.type", "domain\n");
    visit(m);
    found(m, "cgroups: at the top of a container", "cgroups", LUM_FINDING_NOTE,
          "topmost cgroup that it sees", "sudo mkdir /sys/fs/cgroup/own");

    make_host(m);
    put(m, "/proc/self/mountinfo",
        "30 1 0:30 /user.slice /sys/fs/cgroup rw - cgroup2 none rw,favordynmods\n");
    put(m, "/sys/fs/cgroup/app.slice/cgroup.subtree_control", "cpu memory pids\n");
    put(m, "/sys/fs/cgroup/app.slice/cgroup.procs", "");
    visit(m);
    found(m, "cgroups: a part of the tree is mounted", "cgroups", LUM_FINDING_GOOD,
          "can be set in /sys/fs/cgroup/app.slice (tried)", "");
    put(m, "/proc/self/mountinfo",
        "30 1 0:30 / /sys/fs/cgroup ro,nosuid - cgroup2 none rw,favordynmods\n");
    visit(m);
    found(m, "cgroups: read-only", "cgroups", LUM_FINDING_NOTE, "mounted read-only",
          "docker run --privileged");
}

static void test_cgroups_v1(struct made_host *m)
{
    static const char v1[] = "31 1 0:31 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"
                             "32 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
                             "33 31 0:33 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=x\n";
    char hybrid[512];

    make_host(m);
    put(m, "/proc/self/mountinfo", v1);
    visit(m);
    found(m, "cgroups: version 1 only", "cgroups", LUM_FINDING_NOTE, "version 1 only",
          "systemd.unified_cgroup_hierarchy=1");
    snprintf(hybrid, sizeof(hybrid),
             "%s34 31 0:34 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n", v1);
    put(m, "/proc/self/mountinfo", hybrid);
    visit(m);
    found(m, "cgroups: hybrid", "cgroups", LUM_FINDING_NOTE, "hybrid",
          "systemd.unified_cgroup_hierarchy=1");
    ok(!finding_find(m->out, "cgroup moves"), "hybrid: nothing said about favordynmods");
    put(m, "/proc/self/mountinfo", "22 1 0:21 / /proc rw - proc proc rw\nnonsense\n - \n");
    visit(m);
    found(m, "cgroups: none", "cgroups", LUM_FINDING_NOTE, "none is mounted", "mount -t cgroup2");
    /* As systemd mounts it where only its own bookkeeping is in version 1. */
    put(m, "/proc/self/mountinfo",
        "33 31 0:33 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"
        "30 1 0:30 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,favordynmods\n");
    visit(m);
    found(m, "cgroups: bookkeeping in version 1 takes no controllers", "cgroups", LUM_FINDING_GOOD,
          "version 2", "");
    take_away(m, "/proc/self/mountinfo");
    visit(m);
    found(m, "cgroups: mounts cannot be read", "cgroups", LUM_FINDING_NOTE, "could not be read",
          "");
}

static void test_cgroup_moves(struct made_host *m)
{
    make_host(m);
    put(m, "/proc/self/mountinfo",
        "30 1 0:30 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n");
    visit(m);
    found(m, "moves: a new kernel", "cgroup moves", LUM_FINDING_NOTE, "moving a process",
          "sudo mount -o remount,nsdelegate,favordynmods /sys/fs/cgroup");
    snprintf(m->facts.release, sizeof(m->facts.release), "6.1.0-42-amd64");
    visit(m);
    found(m, "moves: no guard threads", "cgroup moves", LUM_FINDING_NOTE, "moving a process",
          "favordynmods");
    put(m, "/sys/module/kvm/parameters/nx_huge_pages", "N\n");
    visit(m);
    found(m, "moves: guard threads", "cgroup moves", LUM_FINDING_SLOW, "every VM's start",
          "favordynmods");
    m->backends.list[0].features = 0;
    visit(m);
    found(m, "moves: guard threads, but no KVM", "cgroup moves", LUM_FINDING_NOTE,
          "moving a process", "favordynmods");
    snprintf(m->facts.release, sizeof(m->facts.release), "5.10.0");
    visit(m);
    ok(!finding_find(m->out, "cgroup moves"), "moves: nothing said where there is no such option");
}

/* ---- speed ---- */

static void test_guard(struct made_host *m)
{
    static const char affected[] = "/sys/devices/system/cpu/vulnerabilities/itlb_multihit";
    static const char guard[] = "/sys/module/kvm/parameters/nx_huge_pages";

    make_host(m);
    visit(m);
    found(m, "nx_huge_pages never", "nx_huge_pages", LUM_FINDING_GOOD, "never", "");
    put(m, guard, "Y\n");
    visit(m);
    found(m, "nx_huge_pages on, new kernel", "nx_huge_pages", LUM_FINDING_NOTE, "guard thread",
          "echo never | sudo tee");
    snprintf(m->facts.release, sizeof(m->facts.release), "6.1.0");
    visit(m);
    found(m, "nx_huge_pages on, old kernel", "nx_huge_pages", LUM_FINDING_SLOW, "cgroups",
          "kvm.nx_huge_pages=never");
    put(m, guard, "N\n");
    visit(m);
    found(m, "nx_huge_pages off keeps the thread", "nx_huge_pages", LUM_FINDING_SLOW, "it is N",
          "kvm.nx_huge_pages=never");
    put(m, affected, "KVM: Mitigation: Split huge pages\n");
    visit(m);
    found(m, "nx_huge_pages is needed", "nx_huge_pages", LUM_FINDING_GOOD, "this CPU needs it", "");
    take_away(m, affected);
    visit(m);
    found(m, "nx_huge_pages: need not known", "nx_huge_pages", LUM_FINDING_NOTE,
          "could not be read", "");
    take_away(m, guard);
    visit(m);
    ok(!finding_find(m->out, "nx_huge_pages"), "nx_huge_pages: nothing said where there is none");
}

static void test_tick(struct made_host *m)
{
    static const struct {
        uint64_t tick_ns;
        int32_t state;
        const char *text, *remedy;
    } ticks[] = {
        {10000000, LUM_FINDING_SLOW, "100 Hz: ", "CONFIG_HZ=1000"},
        {4000000, LUM_FINDING_NOTE, "250 Hz: ", "CONFIG_HZ=1000"},
        {3333333, LUM_FINDING_NOTE, "300 Hz: ", "CONFIG_HZ=1000"},
        {1000000, LUM_FINDING_GOOD, "1000 Hz", ""},
        {999848, LUM_FINDING_GOOD, "1000 Hz", ""},
        {0, LUM_FINDING_NOTE, "could not be read", ""},
    };

    make_host(m);
    for (size_t i = 0; i < ARRAY_LEN(ticks); i++) {
        m->facts.tick_ns = ticks[i].tick_ns;
        visit(m);
        found(m, ticks[i].text, "timer tick", ticks[i].state, ticks[i].text, ticks[i].remedy);
    }
}

static void test_speed(struct made_host *m)
{
    make_host(m);
    put(m, "/proc/filesystems", "nodev\tsysfs\nnodev\tdebugfs\n");
    put(m, "/proc/cmdline", "ro\n");
    put(m, "/sys/module/kvm/parameters/enable_virt_at_load", "N\n");
    put(m, "/sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
    put(m, "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n");
    put(m, "/sys/devices/system/cpu/cpu0/cpufreq/scaling_driver", "acpi-cpufreq\n");
    m->facts.cpus = 1;
    visit(m);
    found(m, "debugfs on", "debugfs", LUM_FINDING_SLOW, "on: ", "debugfs=off");
    found(m, "virtualization is switched on late", "virt at load", LUM_FINDING_SLOW, "off",
          "kvm.enable_virt_at_load=1");
    found(m, "huge pages: madvise", "huge pages", LUM_FINDING_NOTE, "madvise: ", "echo always");
    found(m, "governor powersave", "cpu frequency", LUM_FINDING_SLOW, "lowest", "schedutil");
    found(m, "one CPU", "cpus", LUM_FINDING_SLOW, "1 ", "two CPUs");

    put(m, "/proc/filesystems", "nodev\tsysfs\n");
    put(m, "/proc/cmdline", "ro debugfs=no-mount\n");
    put(m, "/sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]\n");
    put(m, "/sys/devices/system/cpu/cpu0/cpufreq/scaling_driver", "intel_pstate\n");
    visit(m);
    found(m, "debugfs made, though it cannot be mounted", "debugfs", LUM_FINDING_SLOW,
          "on: ", "debugfs=off");
    found(m, "huge pages: never", "huge pages", LUM_FINDING_NOTE, "never: ", "echo always");
    found(m, "powersave of a driver that chooses itself", "cpu frequency", LUM_FINDING_GOOD,
          "governor powersave of intel_pstate", "");

    m->backends.list[0].usable = 0;
    put(m, "/proc/cmdline", "ro debugfs=no-mount\n");
    visit(m);
    found(m, "what slows KVM is a note where VMs do not run on it", "debugfs", LUM_FINDING_NOTE,
          "on: ", "debugfs=off");
}

/* ---- limits ---- */

static void test_limits(struct made_host *m)
{
    make_host(m);
    put(m, "/proc/meminfo",
        "MemAvailable: 131072 kB\nCommitLimit: 2097152 kB\n"
        "Committed_AS: 2000000 kB\n");
    put(m, "/proc/sys/vm/overcommit_memory", "2\n");
    m->facts.files_max = 1024;
    m->facts.threads_max = 100;
    visit(m);
    found(m, "hardly any memory", "memory", LUM_FINDING_BAD, "128 MiB", "--memory 64M");
    found(m, "no overcommit, and no room", "overcommit", LUM_FINDING_BAD, "94 MiB are left",
          "vm.overcommit_memory=0");
    found(m, "few descriptors", "descriptors", LUM_FINDING_NOTE, "1024", "LimitNOFILE");
    found(m, "few processes", "processes", LUM_FINDING_NOTE, "100 threads for user alice",
          "LimitNPROC");

    put(m, "/proc/meminfo",
        "MemAvailable: 524288 kB\nCommitLimit: 2097152 kB\n"
        "Committed_AS: 1048576 kB\n");
    m->facts.files_max = 32;
    m->facts.uid = 0;
    visit(m);
    found(m, "little memory", "memory", LUM_FINDING_NOTE, "512 MiB", "--memory 64M");
    found(m, "no overcommit, with room", "overcommit", LUM_FINDING_NOTE, "1024 MiB are left",
          "vm.overcommit_memory=0");
    found(m, "hardly any descriptors", "descriptors", LUM_FINDING_BAD, "32", "LimitNOFILE");
    found(m, "root has no limit of processes", "processes", LUM_FINDING_GOOD, "root", "");

    put(m, "/proc/meminfo", "MemTotal: 1 kB\n");
    visit(m);
    found(m, "memory cannot be read", "memory", LUM_FINDING_NOTE, "could not be read", "");
    found(m, "commit cannot be read", "overcommit", LUM_FINDING_NOTE, "could not be read", "");
    put(m, "/proc/sys/vm/overcommit_memory", "many\n");
    visit(m);
    found(m, "overcommit cannot be read", "overcommit", LUM_FINDING_NOTE, "could not be read", "");
}

/* A host of which nothing can be read, and one that has no memory to read it into. */
static void test_nothing(struct made_host *m)
{
    make_software_host(m);
    snprintf(m->root, sizeof(m->root), "%s/nosuch", top);
    m->facts.kvm.open_errno = ENOENT;
    m->facts.release[0] = '\0';
    visit(m);
    ok(remedies_are_complete(m->out), "nothing can be read: %zu findings", m->out->count);

    make_host(m);
    visit(m);
    size_t all = m->out->count, rounds = 0;
    bool good = true;
    for (long n = 0; n < 20; n++, rounds++) {
        lum_alloc_fail_at = n;
        visit(m);
        bool reached = lum_alloc_fail_at == 0;
        lum_alloc_fail_at = -1;
        good &= remedies_are_complete(m->out) && m->out->count + 1 >= all;
        if (!reached)
            break;
    }
    ok(good && rounds > 3, "every failing allocation leaves findings that are whole (%zu rounds)",
       rounds);
}

/* ---- the list ---- */

static void test_list(struct made_host *m)
{
    struct findings *f = m->out;

    memset(f, 0, sizeof(*f));
    finding_add(f, "a", LUM_FINDING_GOOD, "%s", "line\nbreak\033");
    finding_add(f, "b", LUM_FINDING_BAD, "%0300d", 1);
    finding_from_text(f, "c", LUM_FINDING_GOOD, "no thing; remedy: get one", "other");
    finding_from_text(f, "d", LUM_FINDING_SLOW, "no thing", "other");
    finding_add(f, "e", LUM_FINDING_BAD, "x");
    ok(strcmp(f->list[0].found, "line?break?") == 0, "control bytes are no part of a line");
    ok(strlen(f->list[1].found) == sizeof(f->list[1].found) - 1, "long texts are cut");
    ok(strcmp(f->list[2].found, "no thing") == 0 && strcmp(f->list[2].remedy, "get one") == 0,
       "an error's remedy is taken out of it");
    ok(strcmp(f->list[3].remedy, "other") == 0, "an error without a remedy gets the given one");
    findings_sort(f);
    char order[6] = "";
    for (size_t i = 0; i < f->count; i++)
        order[i] = f->list[i].name[0];
    ok(strcmp(order, "bedac") == 0, "worst first, equals in their order: %s", order);
}

/* ---- files and QEMU ---- */

static void check(struct made_host *m, const char *path, enum doctor_file kind)
{
    char full[PATH_MAX];

    snprintf(full, sizeof(full), "%s%s", m->root, path);
    memset(m->out, 0, sizeof(*m->out));
    doctor_check_file(m->out, "file", full, kind, "build it");
}

static void test_files(struct made_host *m)
{
    uint8_t elf[64] = {0177, 'E', 'L', 'F', 2, 1, 1, [18] = 62};
    static uint8_t image[4096];

    make_host(m);
    put_bytes(m, "/elf", elf, sizeof(elf));
    check(m, "/elf", DOCTOR_FILE_KERNEL);
    found(m, "a kernel", "file", LUM_FINDING_GOOD, "ELF, x86-64, 1 KiB, sha256 ", "");
    check(m, "/elf", DOCTOR_FILE_PROGRAM);
    found(m, "a program that may not be executed", "file", LUM_FINDING_BAD, "may not be executed",
          "build it");
    set_mode(m, "/elf", 0755);
    check(m, "/elf", DOCTOR_FILE_PROGRAM);
    found(m, "a program", "file", LUM_FINDING_GOOD, "ELF, x86-64", "");
    check(m, "/elf", DOCTOR_FILE_INITRD);
    found(m, "a program for a cpio", "file", LUM_FINDING_BAD, "not a cpio", "build it");
    check(m, "/elf", DOCTOR_FILE_ROOT);
    found(m, "a program for a root", "file", LUM_FINDING_BAD, "not a folder, cpio, EROFS",
          "build it");
    check(m, "/nosuch", DOCTOR_FILE_KERNEL);
    found(m, "a file that is missing", "file", LUM_FINDING_BAD, "No such file", "build it");
    put(m, "/empty", "");
    check(m, "/empty", DOCTOR_FILE_KERNEL);
    found(m, "an empty file", "file", LUM_FINDING_BAD, "not a kernel", "build it");

    put(m, "/cpio", "070701");
    check(m, "/cpio", DOCTOR_FILE_INITRD);
    /* printf 070701 | sha256sum */
    found(m, "a cpio, and its digest", "file", LUM_FINDING_GOOD,
          "cpio, 1 KiB, sha256 "
          "1bedd860d8637811",
          "");
    le16_store(image + 0x1fe, 0xaa55);
    memcpy(image + 0x202, "HdrS", 4);
    put_bytes(m, "/bzimage", image, sizeof(image));
    check(m, "/bzimage", DOCTOR_FILE_KERNEL);
    found(m, "a bzImage", "file", LUM_FINDING_GOOD, "bzImage, 4 KiB", "");
    memset(image, 0, sizeof(image));
    le32_store(image + 1024, 0xe0f5e1e2u);
    image[1024 + 12] = 12;
    le32_store(image + 1024 + 36, 1);
    put_bytes(m, "/erofs", image, sizeof(image));
    check(m, "/erofs", DOCTOR_FILE_ROOT);
    found(m, "an EROFS image", "file", LUM_FINDING_GOOD, "EROFS, 4 KiB", "");
    put_bytes(m, "/erofs", image, sizeof(image) / 2);
    check(m, "/erofs", DOCTOR_FILE_ROOT);
    found(m, "an image that was cut", "file", LUM_FINDING_BAD, "truncated", "build it");
}

static void ask_qemu(struct made_host *m, const char *path_list)
{
    memset(m->out, 0, sizeof(*m->out));
    doctor_check_qemu(m->out, &m->backends, path_list);
}

static void test_qemu(struct made_host *m)
{
    char path_list[PATH_MAX];

    make_host(m);
    snprintf(path_list, sizeof(path_list), "relative::/nosuch:%s/bin", m->root);
    ask_qemu(m, path_list);
    found(m, "QEMU is not there", "qemu", LUM_FINDING_NOTE, "not on PATH", "");
    put(m, "/bin/qemu-system-x86_64", "#!/bin/sh\necho \"QEMU emulator version 9.8.7 (of $1)\"\n");
    set_mode(m, "/bin/qemu-system-x86_64", 0755);
    ask_qemu(m, path_list);
    found(m, "QEMU and its version", "qemu", LUM_FINDING_GOOD, "version 9.8.7, ", "");
    put(m, "/bin/qemu-system-x86_64", "#!/bin/sh\nexit 1\n");
    ask_qemu(m, path_list);
    found(m, "QEMU that says nothing", "qemu", LUM_FINDING_NOTE, "version could not be read", "");

    m->backends.list[1].usable = 0;
    snprintf(m->backends.list[1].detail, sizeof(m->backends.list[1].detail),
             "qemu is not on PATH; remedy: get it");
    ask_qemu(m, path_list);
    found(m, "QEMU cannot be used, and need not", "qemu", LUM_FINDING_NOTE, "qemu is not on PATH",
          "get it");
    m->backends.list[0].usable = 0;
    ask_qemu(m, path_list);
    found(m, "QEMU cannot be used, nor can anything else", "qemu", LUM_FINDING_BAD,
          "qemu is not on PATH", "get it");
}

/* ---- this host ---- */

static void test_facts(void)
{
    struct linux_facts facts;
    int status;

    memset(&facts, 0xff, sizeof(facts));
    linux_facts_get(&facts);
    tap_note("%s, user %s, %u CPUs, tick %llu ns, Landlock %d, namespaces: %s", facts.release,
             facts.user, facts.cpus, (unsigned long long)facts.tick_ns, facts.landlock,
             facts.jail_errno ? facts.jail_step : "all");
    ok(strtoul(facts.release, NULL, 10) >= 4, "kernel: %s", facts.release);
    ok(facts.uid == geteuid() && facts.user[0] != '\0', "user: %s", facts.user);
    ok(facts.cpus >= 1 && facts.cpus <= (unsigned)sysconf(_SC_NPROCESSORS_CONF), "CPUs: %u",
       facts.cpus);
    ok(facts.tick_ns >= 900000 && facts.tick_ns <= 10100000, "tick: %llu ns",
       (unsigned long long)facts.tick_ns);
    ok(facts.kvm.open_errno ||
           (access("/dev/kvm", F_OK) == 0 && facts.kvm.owner[0] && facts.kvm.group[0]),
       "/dev/kvm: %s", strerror(facts.kvm.open_errno));
    ok(facts.cpu.flag && facts.cpu.module && facts.cpu.firmware, "CPU: %s", facts.cpu.flag);
    ok(!facts.jail_errno == !facts.jail_step[0], "namespaces: %s",
       facts.jail_errno ? strerror(facts.jail_errno) : "work");
    ok(waitpid(-1, &status, WNOHANG | __WALL) < 0 && errno == ECHILD, "no child is left");
    ok(access("/proc/self/status", R_OK) == 0, "this process's own mounts are as they were");
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *walk)
{
    (void)st;
    (void)type;
    (void)walk;
    return remove(path);
}

int main(void)
{
    const char *tmp = getenv("TMPDIR");
    struct made_host m = {.root = ""};

    snprintf(top, sizeof(top), "%s/doctor.XXXXXX", tmp ? tmp : "/tmp");
    /* Read by a user with fewer rights, too. */
    if (!mkdtemp(top) || chmod(top, 0755) < 0)
        die(top);
    m.out = mmap(NULL, sizeof(*m.out), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (m.out == MAP_FAILED)
        die("mmap");
    umask(022);
    test_kvm_whole(&m);
    test_kvm_absent(&m);
    test_kvm_forbidden(&m);
    test_kernel(&m);
    test_namespaces(&m);
    test_filters(&m);
    test_cgroups_v2(&m);
    test_cgroup_tops(&m);
    test_cgroups_v1(&m);
    test_cgroup_moves(&m);
    test_guard(&m);
    test_tick(&m);
    test_speed(&m);
    test_limits(&m);
    test_nothing(&m);
    test_list(&m);
    test_files(&m);
    test_qemu(&m);
    test_facts();
    ok(nftw(top, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0, "the test's own files are gone");
    return tap_done();
}
