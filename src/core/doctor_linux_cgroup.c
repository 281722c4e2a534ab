/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether a VM can get a cgroup of its own with limits: beside the one this process is in, since a
 * cgroup that holds processes may not have children with controllers. Trying to make one is the
 * only way to know, so one is made and removed at once.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "core/doctor_linux.h"

#define CGROUP_PATH 512u

struct cgroup_view {
    bool has_v2, has_v1; /* v1: with controllers, not systemd's bookkeeping alone */
    bool read_only;
    char mount[CGROUP_PATH]; /* of v2 */
    char top[CGROUP_PATH];   /* which cgroup is mounted there */
    char options[256];       /* of the file system */
    char own[CGROUP_PATH];   /* this process's, relative to the mount; "" at its top */
    char place[CGROUP_PATH]; /* where a VM's would be made, relative; "" at its top */
};

/* The n-th of the words of a line, cut to fit; false: there are not that many. */
static bool word_at(const char *line, unsigned n, char *buf, size_t size)
{
    for (; n > 0; n--) {
        line += strcspn(line, " ");
        line += strspn(line, " ");
    }
    snprintf(buf, size, "%.*s", (int)strcspn(line, " "), line);
    return buf[0] != '\0';
}

/* One line of mountinfo, proc(5): "id parent dev top mount flags [...] - type source options". */
static void take_mount(struct cgroup_view *v, const char *line)
{
    static const char middle[] = " - ";
    char flags[256], type[64], options[sizeof(v->options)];
    const char *rest = strstr(line, middle);

    if (!rest || !word_at(line, 5, flags, sizeof(flags)))
        return;
    rest += sizeof(middle) - 1;
    if (!word_at(rest, 0, type, sizeof(type)) || !word_at(rest, 2, options, sizeof(options)))
        return;
    if (strcmp(type, "cgroup") == 0 &&
        (has_word(options, "memory") || has_word(options, "pids") || has_word(options, "cpu")))
        v->has_v1 = true;
    if (strcmp(type, "cgroup2") != 0 || v->has_v2)
        return;
    v->has_v2 =
        word_at(line, 3, v->top, sizeof(v->top)) && word_at(line, 4, v->mount, sizeof(v->mount));
    v->read_only = has_word(flags, "ro") || has_word(options, "ro");
    memcpy(v->options, options, sizeof(options));
}

/* Below the mounted part; false: this process is not in it. */
static bool find_own(const struct linux_host *h, struct cgroup_view *v)
{
    AUTO(auto_free) char *text = host_slurp(h, "/proc/self/cgroup");
    const char *line = text ? line_value(text, "0::") : NULL;
    size_t top = strcmp(v->top, "/") == 0 ? 0 : strlen(v->top);
    char own[CGROUP_PATH];

    if (!line ||
        snprintf(own, sizeof(own), "%.*s", (int)strcspn(line, "\n"), line) >= (int)sizeof(own))
        return false;
    if (strncmp(own, v->top, top) != 0 || strncmp(own, "/..", 3) == 0)
        return false;
    memcpy(v->own, own + top, strlen(own + top) + 1);
    if (strcmp(v->own, "/") == 0)
        v->own[0] = '\0';
    memcpy(v->place, v->own, sizeof(v->own));
    char *slash = strrchr(v->place, '/');
    if (slash)
        *slash = '\0';
    return true;
}

static bool read_mounts(const struct linux_host *h, struct cgroup_view *v)
{
    AUTO(auto_free) char *text = host_slurp(h, "/proc/self/mountinfo");
    char *rest = text;

    for (char *line; rest && (line = strsep(&rest, "\n"));)
        take_mount(v, line);
    return text;
}

/* ---- trying ---- */

struct cgroup_trial {
    int make_errno, procs_errno;
    char missing[32]; /* controllers that a new cgroup would not have: "memory, pids" */
    bool available;   /* but those are there to be switched on */
    bool full;        /* the place holds processes itself, and is not the root of all */
};

/* No signal comes between making and removing. */
static int make_and_remove(const char *place)
{
    char path[3 * CGROUP_PATH];
    sigset_t all, old;
    int e = 0;

    snprintf(path, sizeof(path), "%s/lumina-doctor.%d", place, (int)getpid());
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    if (mkdir(path, 0755) < 0)
        e = errno;
    while (e == 0 && rmdir(path) < 0 && errno == EINTR) {
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return e;
}

static void try_place(const struct linux_host *h, const struct cgroup_view *v,
                      struct cgroup_trial *t)
{
    static const char *const wanted[] = {"memory", "pids", "cpu"};
    char place[2 * CGROUP_PATH], file[3 * CGROUP_PATH], children[256] = "", here[256] = "";

    *t = (struct cgroup_trial){.available = true};
    snprintf(file, sizeof(file), "%s%s/cgroup.subtree_control", v->mount, v->place);
    (void)host_read(h, file, children, sizeof(children));
    snprintf(file, sizeof(file), "%s%s/cgroup.controllers", v->mount, v->place);
    (void)host_read(h, file, here, sizeof(here));
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
        size_t used = strlen(t->missing);

        if (has_word(children, wanted[i]))
            continue;
        snprintf(t->missing + used, sizeof(t->missing) - used, "%s%s", used ? ", " : "", wanted[i]);
        t->available &= has_word(here, wanted[i]);
    }
    /* Only the root of all has no type, and only there may processes and controllers meet. */
    snprintf(file, sizeof(file), "%s/cgroup.type", v->mount);
    t->full = v->own[0] == '\0' && host_exists(h, file);

    snprintf(place, sizeof(place), "%s%s%s", h->root, v->mount, v->place);
    t->make_errno = make_and_remove(place);
    snprintf(file, sizeof(file), "%s/cgroup.procs", place);
    if (faccessat(AT_FDCWD, file, W_OK, AT_EACCESS) < 0)
        t->procs_errno = errno;
}

/* ---- telling ---- */

#define NAME "cgroups"

static void not_v2(const struct linux_host *h, const struct cgroup_view *v)
{
    struct lum_finding *f;

    if (v->has_v2)
        f = finding_add(h->out, NAME, LUM_FINDING_NOTE,
                        "hybrid: the controllers belong to version 1, so version 2 (%s) sets no "
                        "limits for VMs",
                        v->mount);
    else if (v->has_v1)
        f = finding_add(h->out, NAME, LUM_FINDING_NOTE, "version 1 only: no limits for VMs");
    else
        f = finding_add(h->out, NAME, LUM_FINDING_NOTE, "none is mounted: no limits for VMs");
    if (v->has_v1)
        finding_remedy(f, "boot with systemd.unified_cgroup_hierarchy=1 cgroup_no_v1=all");
    else
        finding_remedy(f, "sudo mount -t cgroup2 cgroup2 /sys/fs/cgroup");
}

static void delegate_remedy(const struct linux_host *h, struct lum_finding *f, const char *place)
{
    if (host_exists(h, "/run/systemd/system"))
        finding_remedy(f, "systemd-run %s--scope -p Delegate=yes lumina run ...",
                       h->facts->uid == 0 ? "" : "--user ");
    else
        finding_remedy(f, "sudo chown %s %s %s/cgroup.procs", h->facts->user, place, place);
}

static void tell_trial(const struct linux_host *h, const struct cgroup_view *v,
                       const struct cgroup_trial *t)
{
    char place[2 * CGROUP_PATH];
    struct lum_finding *f;

    snprintf(place, sizeof(place), "%s%s", v->mount, v->place);
    if (v->read_only || t->make_errno == EROFS) {
        f = finding_add(h->out, NAME, LUM_FINDING_NOTE,
                        "version 2, but %s is mounted read-only: no limits for VMs", v->mount);
        finding_remedy(f,
                       "start the container with writable cgroups (docker run --privileged "
                       "does that), or: sudo mount -o remount,rw %s",
                       v->mount);
    } else if (t->make_errno || t->procs_errno) {
        f = finding_add(h->out, NAME, LUM_FINDING_NOTE,
                        "version 2, but not delegated: %s in %s: %s; no limits for VMs",
                        t->make_errno ? "make a cgroup" : "write cgroup.procs", place,
                        strerror(t->make_errno ? t->make_errno : t->procs_errno));
        delegate_remedy(h, f, place);
    } else if (t->full) {
        f = finding_add(h->out, NAME, LUM_FINDING_NOTE,
                        "version 2, but this process is in the topmost cgroup that it sees, which "
                        "can then have no children with limits");
        finding_remedy(f,
                       "sudo mkdir %s/own && echo $$ | sudo tee %s/own/cgroup.procs, for every "
                       "process in it",
                       v->mount, v->mount);
    } else if (t->missing[0] != '\0') {
        f = finding_add(h->out, NAME, LUM_FINDING_NOTE,
                        "version 2, but cgroups in %s get no controller for %s", place, t->missing);
        if (t->available)
            finding_remedy(f, "echo '+memory +pids +cpu' | sudo tee %s/cgroup.subtree_control",
                           place);
        else
            delegate_remedy(h, f, place);
    } else {
        finding_add(h->out, NAME, LUM_FINDING_GOOD,
                    "version 2; memory, pids and cpu limits can be set in %s (tried)", place);
    }
}

/* Moving a process between cgroups waits for every CPU, unless the mount says otherwise. */
static void check_moves(const struct linux_host *h, const struct cgroup_view *v)
{
    char guard[16] = "";
    const char *skip = strncmp(v->options, "rw", 2) == 0 ? v->options + 2 : v->options;

    if (has_word(v->options, "favordynmods")) {
        finding_add(h->out, "cgroup moves", LUM_FINDING_GOOD, "favordynmods is on");
        return;
    }
    if (!kernel_is(h, 6, 0))
        return; /* it came with 6.0; the kernel's own finding says so */
    (void)host_read(h, "/sys/module/kvm/parameters/nx_huge_pages", guard, sizeof(guard));
    bool waits = backend_is_fast(backend_named(h->backends, "kvm")) &&
                 !kernel_is(h, GUARD_MAJOR, GUARD_MINOR) && strcmp(guard, "never") != 0;
    struct lum_finding *f =
        finding_add(h->out, "cgroup moves", waits ? LUM_FINDING_SLOW : LUM_FINDING_NOTE,
                    "without favordynmods %s waits milliseconds for all CPUs",
                    waits ? "every VM's start" : "moving a process between cgroups");

    finding_remedy(f, "sudo mount -o remount%s,favordynmods %s", skip, v->mount);
}

void linux_check_cgroups(const struct linux_host *h)
{
    struct cgroup_view v = {.has_v2 = false};
    struct cgroup_trial trial;

    if (!read_mounts(h, &v)) {
        finding_add(h->out, NAME, LUM_FINDING_NOTE, "/proc/self/mountinfo could not be read");
        return;
    }
    if (!v.has_v2 || v.has_v1) {
        not_v2(h, &v);
        return;
    }
    if (find_own(h, &v)) {
        try_place(h, &v, &trial);
        tell_trial(h, &v, &trial);
    } else {
        finding_add(h->out, NAME, LUM_FINDING_NOTE,
                    "version 2, but this process's own cgroup is not below %s: no limits for VMs",
                    v.mount);
    }
    check_moves(h, &v);
}
