/* SPDX-License-Identifier: Apache-2.0 */
/* The visit, reading below the root folder, and the first question: why KVM is or is not there. */
#include "core/doctor_linux.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "plat/plat.h"

#define SLURP_MAX (1u << 20)
#define PATH_ROOM 1024u

/* ---- reading ---- */

static int host_open(const struct linux_host *h, const char *path)
{
    char full[PATH_ROOM];
    int n = snprintf(full, sizeof(full), "%s%s", h->root, path);

    return n < 0 || (size_t)n >= sizeof(full) ? -1 : open(full, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
}

/* Files of /proc and /sys tell no size: read until there is no more or no room. */
static bool read_text(int fd, char *buf, size_t size)
{
    size_t used = 0;

    while (used < size - 1) {
        ssize_t n = plat_read(fd, buf + used, size - 1 - used);

        if (n < 0)
            return false;
        if (n == 0)
            break;
        used += (size_t)n;
    }
    buf[used] = '\0';
    return true;
}

bool host_read(const struct linux_host *h, const char *path, char *buf, size_t size)
{
    AUTO(plat_close) plat_fd fd = host_open(h, path);

    if (fd < 0 || !read_text(fd, buf, size))
        return false;
    size_t length = strlen(buf);
    if (length > 0 && buf[length - 1] == '\n')
        buf[length - 1] = '\0';
    return true;
}

char *host_slurp(const struct linux_host *h, const char *path)
{
    AUTO(plat_close) plat_fd fd = host_open(h, path);
    AUTO(auto_free) char *text = fd < 0 ? NULL : lum_calloc(1, SLURP_MAX);

    if (!text || !read_text(fd, text, SLURP_MAX))
        return NULL;
    return STEAL(text);
}

bool host_number(const struct linux_host *h, const char *path, long long *ret_value)
{
    char text[64], *end;

    if (!host_read(h, path, text, sizeof(text)))
        return false;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno || end == text || *end != '\0')
        return false;
    *ret_value = value;
    return true;
}

bool host_exists(const struct linux_host *h, const char *path)
{
    char full[PATH_ROOM];
    struct stat st;
    int n = snprintf(full, sizeof(full), "%s%s", h->root, path);

    return n > 0 && (size_t)n < sizeof(full) && stat(full, &st) == 0;
}

bool has_word(const char *text, const char *word)
{
    static const char between[] = " ,\t\n";
    size_t length = strlen(word);

    for (const char *p = text; (p = strstr(p, word)); p += length)
        if ((p == text || strchr(between, p[-1])) && strchr(between, p[length]))
            return true;
    return false;
}

const char *line_value(const char *text, const char *key)
{
    size_t length = strlen(key);

    for (const char *line = text; line; line = strchr(line, '\n')) {
        if (*line == '\n')
            line++;
        if (strncmp(line, key, length) == 0)
            return line + length + strspn(line + length, " \t:");
    }
    return NULL;
}

const char *host_container(const struct linux_host *h, char *buf, size_t size)
{
    static const char key[] = "container=";
    char environment[4096];

    if (host_exists(h, "/run/.containerenv"))
        return "podman";
    if (host_exists(h, "/.dockerenv"))
        return "docker";
    if (host_read(h, "/run/systemd/container", buf, size) && buf[0] != '\0')
        return buf;
    /* Only root may read it, and only there does it help. */
    if (host_read(h, "/proc/1/environ", environment, sizeof(environment)) &&
        strncmp(environment, key, sizeof(key) - 1) == 0) {
        snprintf(buf, size, "%s", environment + sizeof(key) - 1);
        return buf;
    }
    return NULL;
}

bool kernel_is(const struct linux_host *h, unsigned major, unsigned minor)
{
    char *end;
    unsigned long ours = strtoul(h->facts->release, &end, 10);

    if (ours != major || *end != '.')
        return ours > major;
    return strtoul(end + 1, NULL, 10) >= minor;
}

/* ---- KVM ---- */

static int kvm_state(const struct linux_host *h)
{
    return backend_any_usable(h->backends) ? LUM_FINDING_SLOW : LUM_FINDING_BAD;
}

static void kvm_missing(const struct linux_host *h, const char *found, const char *remedy)
{
    finding_remedy(finding_add(h->out, "kvm", kvm_state(h), "%s", found), "%s", remedy);
}

/* The kernel has registered the device, so only this /dev lacks it. */
static void kvm_hidden(const struct linux_host *h)
{
    char name[64], found[160], number[32] = "10:232";
    const char *container = host_container(h, name, sizeof(name));

    (void)host_read(h, "/sys/class/misc/kvm/dev", number, sizeof(number));
    snprintf(found, sizeof(found), "the kernel has KVM (device %s), but this /dev lacks it%s%s",
             number, container ? ": container of " : "", container ? container : "");
    kvm_missing(h, found,
                container ? "start the container with --device /dev/kvm"
                          : "sudo mknod -m 660 /dev/kvm c 10 232 && sudo chgrp kvm /dev/kvm; in a "
                            "container: start it with --device /dev/kvm");
}

/* Any of the ways in which distributions pack modules. */
static bool module_installed(const struct linux_host *h)
{
    static const char *const endings[] = {"", ".xz", ".zst", ".gz"};
    char path[256], file[32];

    snprintf(file, sizeof(file), "%s", h->facts->cpu.module);
    for (char *p = file; *p; p++)
        if (*p == '_')
            *p = '-';
    for (size_t i = 0; i < ARRAY_LEN(endings); i++) {
        snprintf(path, sizeof(path), "/lib/modules/%s/kernel/arch/x86/kvm/%s.ko%s",
                 h->facts->release, file, endings[i]);
        if (host_exists(h, path))
            return true;
    }
    return false;
}

/* The CPU can and the firmware lets it, and still there is no device. */
static void kvm_not_loaded(const struct linux_host *h)
{
    const struct cpu_facts *cpu = &h->facts->cpu;
    char path[64], name[64], found[200], remedy[200];
    const char *container = host_container(h, name, sizeof(name));

    snprintf(path, sizeof(path), "/sys/module/%s", cpu->module);
    if (host_exists(h, path)) {
        snprintf(found, sizeof(found), "the CPU has %s and module %s is loaded, but made no device",
                 cpu->flag, cpu->module);
        snprintf(remedy, sizeof(remedy),
                 "sudo dmesg | grep -i kvm says why; most often %s must be switched on in the "
                 "firmware's setup",
                 cpu->firmware);
    } else if (container) {
        snprintf(found, sizeof(found),
                 "the CPU has %s, but module %s is not loaded on the host of this container (%s)",
                 cpu->flag, cpu->module, container);
        snprintf(remedy, sizeof(remedy),
                 "on the host: sudo modprobe %s; then start the container with --device /dev/kvm",
                 cpu->module);
    } else if (module_installed(h)) {
        snprintf(found, sizeof(found), "the CPU has %s, but module %s is not loaded", cpu->flag,
                 cpu->module);
        snprintf(remedy, sizeof(remedy),
                 "sudo modprobe %s; for every boot: echo %s | sudo tee "
                 "/etc/modules-load.d/kvm.conf",
                 cpu->module, cpu->module);
    } else {
        snprintf(found, sizeof(found), "the CPU has %s, but kernel %s comes without module %s",
                 cpu->flag, h->facts->release, cpu->module);
        snprintf(remedy, sizeof(remedy),
                 "install a kernel with KVM, such as the package linux-image-amd64, and boot it");
    }
    kvm_missing(h, found, remedy);
}

static void kvm_absent(const struct linux_host *h)
{
    const struct cpu_facts *cpu = &h->facts->cpu;
    char info[16 * 1024], found[160], remedy[160];
    bool readable = host_read(h, "/proc/cpuinfo", info, sizeof(info));
    const char *flags = readable ? line_value(info, "flags") : NULL;
    char line[4096] = "";

    if (flags)
        snprintf(line, sizeof(line), "%.*s", (int)strcspn(flags, "\n"), flags);
    if (host_exists(h, "/sys/class/misc/kvm")) {
        kvm_hidden(h);
    } else if (has_word(line, cpu->flag) || (cpu->has && !flags)) {
        kvm_not_loaded(h);
    } else if (cpu->has) {
        snprintf(found, sizeof(found), "no /dev/kvm: %s is switched off in the firmware",
                 cpu->firmware);
        snprintf(remedy, sizeof(remedy), "switch %s on in the setup of the BIOS or UEFI",
                 cpu->firmware);
        kvm_missing(h, found, remedy);
    } else if (cpu->in_vm) {
        kvm_missing(h, "no /dev/kvm: this machine is a VM itself, without nested virtualization",
                    "switch nested virtualization on in the outer hypervisor, or take an instance "
                    "type that has it, or bare metal");
    } else {
        snprintf(found, sizeof(found), "no /dev/kvm: this CPU has no %s", cpu->flag);
        kvm_missing(h, found, "a machine whose CPU has virtualization extensions");
    }
}

static void mode_text(const struct kvm_node *node, char text[12])
{
    static const char letters[] = "rwxrwxrwx";

    text[0] = 'c';
    for (int i = 0; i < 9; i++)
        text[1 + i] = node->mode & (0400u >> i) ? letters[i] : '-';
    text[10] = node->has_acl ? '+' : '\0';
    text[11] = '\0';
}

static void kvm_forbidden(const struct linux_host *h)
{
    const struct linux_facts *facts = h->facts;
    const struct kvm_node *node = &facts->kvm;
    /* With an ACL the bits of the group are its mask. */
    bool group_may = (node->mode & 0060) == 0060 && node->gid != 0;
    char mode[12];

    mode_text(node, mode);
    struct lum_finding *f = finding_add(
        h->out, "kvm", kvm_state(h), "/dev/kvm is there, but user %s may not open it (%s %s %s)%s",
        facts->user, mode, node->owner, node->group,
        group_may && node->in_database && !node->in_session
            ? ": a member of the group, but not yet in this login session"
            : "");

    if (node->open_errno == EPERM)
        finding_remedy(f, "the container's or service's device policy forbids it: start it with "
                          "--device /dev/kvm, or set DeviceAllow=/dev/kvm rw");
    else if (group_may && node->in_session)
        finding_remedy(f,
                       "an ACL or a security module overrules the group: getfacl /dev/kvm; for "
                       "now: sudo setfacl -m u:%s:rw /dev/kvm",
                       facts->user);
    else if (group_may && node->in_database)
        finding_remedy(f, "log in again; in this shell only: newgrp %s", node->group);
    else if (group_may)
        finding_remedy(f,
                       "sudo usermod -aG %s %s, then log in again; at once, until the next boot: "
                       "sudo setfacl -m u:%s:rw /dev/kvm",
                       node->group, facts->user, facts->user);
    else
        finding_remedy(f,
                       "sudo setfacl -m u:%s:rw /dev/kvm (until the next boot); for good a udev "
                       "rule: KERNEL==\"kvm\", GROUP=\"kvm\", MODE=\"0660\"",
                       facts->user);
}

static void kvm_open(const struct linux_host *h)
{
    const struct lum_backend *kvm = backend_named(h->backends, "kvm");

    if (!h->facts->kvm.is_device)
        kvm_missing(h, "/dev/kvm is not a device",
                    "remove it, then: sudo mknod -m 660 /dev/kvm c 10 232");
    else if (!kvm)
        finding_add(h->out, "kvm", LUM_FINDING_NOTE,
                    "/dev/kvm opens; it could not be measured, see backend");
    else if (backend_is_fast(kvm))
        finding_add(h->out, "kvm", LUM_FINDING_GOOD, "whole: %s", kvm->detail);
    else if (strstr(kvm->detail, "emulates"))
        finding_remedy(
            finding_add(h->out, "kvm", kvm_state(h), "/dev/kvm opens, but %s", kvm->detail),
            "a host with hardware virtualization: bare metal, or an instance type with "
            "nested virtualization");
    else
        finding_from_text(h->out, "kvm", kvm_state(h), kvm->detail, "a newer kernel on the host");
}

void linux_check_kvm(const struct linux_host *h)
{
    const struct kvm_node *node = &h->facts->kvm;

    switch (node->open_errno) {
    case 0: kvm_open(h); break;
    case EACCES:
    case EPERM: kvm_forbidden(h); break;
    case ENOENT:
    case ENODEV: /* a node that nothing stands behind */
    case ENXIO: kvm_absent(h); break;
    default:
        finding_remedy(finding_add(h->out, "kvm", kvm_state(h), "open /dev/kvm: %s",
                                   strerror(node->open_errno)),
                       "sudo dmesg | grep -i kvm may say more");
    }
}

/* ---- the kernel ---- */

void linux_check_kernel(const struct linux_host *h)
{
    static const struct {
        unsigned major, minor;
        const char *brings;
    } news[] = {
        {5, 7, "starting inside a cgroup"},
        {5, 13, "Landlock"},
        {6, 0, "favordynmods"},
        {6, 12, "Landlock's fence for signals"},
        {GUARD_MAJOR, GUARD_MINOR, "VMs made without a wait in cgroups"},
    };
    char missing[192] = "";

    for (size_t i = 0; i < ARRAY_LEN(news); i++) {
        size_t used = strlen(missing);

        if (!kernel_is(h, news[i].major, news[i].minor))
            snprintf(missing + used, sizeof(missing) - used, "%s%s (%u.%u)", used ? ", " : "",
                     news[i].brings, news[i].major, news[i].minor);
    }
    if (missing[0] != '\0')
        finding_add(h->out, "host kernel", LUM_FINDING_NOTE, "Linux %s; newer ones bring: %s",
                    h->facts->release, missing);
    else
        finding_add(h->out, "host kernel", LUM_FINDING_GOOD, "Linux %s", h->facts->release);
}

/* ---- the visit ---- */

void doctor_host(const struct backend_list *backends, struct findings *out)
{
    struct linux_facts facts;
    const struct linux_host host = {.root = "", .facts = &facts, .backends = backends, .out = out};

    linux_facts_get(&facts);
    linux_check_kvm(&host);
    linux_check_jail(&host);
    linux_check_cgroups(&host);
    linux_check_kernel(&host);
    linux_check_speed(&host);
    linux_check_limits(&host);
}
