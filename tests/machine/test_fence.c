/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fence from outside: what /proc shows of the processes of real VMs, compared with the tables
 * of docs/security.md. A sealed worker needs no guest that runs, so the kvm backend is looked at
 * wherever there is a /dev/kvm.
 *
 *     test_fence [plain]      plain: as an ordinary user, where it is started by root
 */
#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lumina.h"
#include "procs.h"
#include "tap.h"
#include "tiny_kernel.h"

#define NOBODY  65534
#define BOOT_MS 120000
#define SECRET  "LUMINA_TEST_SECRET"

enum kind { KVM_WORKER, QEMU_WORKER, QEMU };

struct subject {
    enum kind kind;
    const char *jail, *name; /* name: for the checks */
    pid_t pid, worker;
    uint32_t vcpus;
};

static char text[65536]; /* of the file in hand */

static bool is(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

static bool has_jail(const struct subject *s, const char *jail)
{
    return is(s->jail, jail);
}

/* ---- descriptors ---- */

struct fd_kind {
    const char *pattern; /* a '*' at either end stands for anything */
    int access;
    unsigned min, max;
};

/* Created, not started: nothing of a guest is there yet. */
static const struct fd_kind kvm_worker_fds[] = {
    {"*/null", O_RDWR, 2, 2},                 /* standard input and output */
    {"pipe:*", O_WRONLY, 1, 1},               /* log */
    {"socket:*", O_RDWR, 3, 3},               /* control, both ends of the agent's stream */
    {"*/kvm", O_RDWR, 1, 2},                  /* as the caller opened it, and the driver's */
    {"anon_inode:kvm-vm", O_RDWR, 1, 1},      /* the VM */
    {"anon_inode:kvm-vcpu:*", O_RDWR, 2, 2},  /* its vCPUs */
    {"anon_inode:[eventpoll]", O_RDWR, 1, 1}, /* the loop */
    {"anon_inode:[timerfd]", O_RDWR, 1, 4},   /* timers of the loop and of devices */
    {"anon_inode:[eventfd]", O_RDWR, 1, 24},  /* wake-ups, doorbells, interrupts */
    {"*/root.erofs", O_RDONLY, 1, 1},         /* the root image */
    {"*/statm", O_RDONLY, 1, 1},              /* its own memory figures */
    {NULL, 0, 0, 0},
};

/* Started and idle. */
static const struct fd_kind qemu_worker_fds[] = {
    {"*/null", O_RDWR, 2, 2},
    {"pipe:*", O_WRONLY, 1, 1},           /* log */
    {"pipe:*", O_RDONLY, 1, 1},           /* QEMU's messages */
    {"socket:*", O_RDWR, 4, 4},           /* control; QEMU's control, console and agent port */
    {"anon_inode:[pidfd]", O_RDWR, 1, 1}, /* QEMU */
    {"anon_inode:[eventpoll]", O_RDWR, 1, 1},
    {"anon_inode:[timerfd]", O_RDWR, 1, 4},
    {"anon_inode:[eventfd]", O_RDWR, 1, 2},
    {"*/root.erofs", O_RDONLY, 1, 1},
    {"*/statm", O_RDONLY, 2, 2}, /* its own memory figures and QEMU's */
    {NULL, 0, 0, 0},
};

static const struct fd_kind qemu_fds[] = {
    {"*/null", O_RDWR, 2, 2},
    {"pipe:*", O_WRONLY, 1, 1}, /* messages */
    {"socket:*", O_RDWR, 3, 3}, /* control, console, agent port */
    {"*/vmlinux", O_RDONLY, 0, 1},
    {"*/agent.cpio", O_RDONLY, 0, 1},
    {"*/root.erofs", O_RDONLY, 1, 3},
    {"anon_inode:[signalfd]", O_RDWR, 0, 1}, /* its loops, as soon as it has them */
    {"anon_inode:[eventpoll]", O_RDWR, 0, 4},
    {"anon_inode:[eventfd]", O_RDWR, 0, 24},
    {"*/kvm", O_RDWR, 0, 1}, /* these three with hardware virtualization only */
    {"anon_inode:kvm-vm", O_RDWR, 0, 1},
    {"anon_inode:kvm-vcpu:*", O_RDWR, 0, 1},
    {NULL, 0, 0, 0},
};

static const struct fd_kind *const fd_kinds[] = {kvm_worker_fds, qemu_worker_fds, qemu_fds};

static bool matches(const char *pattern, const char *name)
{
    size_t n = strlen(pattern), m = strlen(name);

    if (pattern[0] == '*')
        return m >= n - 1 && is(name + m - (n - 1), pattern + 1);
    if (pattern[n - 1] == '*')
        return strncmp(pattern, name, n - 1) == 0;
    return is(pattern, name);
}

static int access_of(pid_t pid, int fd)
{
    char path[64], flags[32] = "";

    snprintf(path, sizeof(path), "fdinfo/%d", fd);
    proc_read(pid, path, text, sizeof(text));
    return proc_field(text, "flags", flags, sizeof(flags)) ? (int)strtol(flags, NULL, 8) & O_ACCMODE
                                                           : -1;
}

static void check_descriptors(const struct subject *s)
{
    const struct fd_kind *kinds = fd_kinds[s->kind];
    unsigned counts[16] = {0};
    int fds[256];
    size_t n = proc_numbers(s->pid, "fd", fds, ARRAY_LEN(fds)), strange = 0, folders = 0;

    for (size_t i = 0; i < n && i < ARRAY_LEN(fds); i++) {
        char name[64], target[512], path[64];
        struct stat st;
        size_t k = 0;
        snprintf(name, sizeof(name), "fd/%d", fds[i]);
        proc_link(s->pid, name, target, sizeof(target));
        int access = access_of(s->pid, fds[i]);
        while (kinds[k].pattern &&
               !(matches(kinds[k].pattern, target) && kinds[k].access == access))
            k++;
        counts[k]++;
        if (!kinds[k].pattern) {
            tap_note("descriptor %d: %s, access %d: not documented", fds[i], target, access);
            strange++;
        }
        snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)s->pid, fds[i]);
        folders += stat(path, &st) == 0 && S_ISDIR(st.st_mode);
    }
    ok(n > 0 && strange == 0, "%s: %zu descriptors, all of documented kinds", s->name, n);
    ok(folders == 0, "%s: none is a folder", s->name);
    for (size_t k = 0; kinds[k].pattern; k++)
        ok(counts[k] >= kinds[k].min && counts[k] <= kinds[k].max, "%s: %s: %u of %u to %u",
           s->name, kinds[k].pattern, counts[k], kinds[k].min, kinds[k].max);
}

/* ---- namespaces ---- */

static bool same_namespace(const char *name, pid_t a, pid_t b)
{
    char path[32], of_a[64], of_b[64];

    snprintf(path, sizeof(path), "ns/%s", name);
    return proc_link(a, path, of_a, sizeof(of_a)) && proc_link(b, path, of_b, sizeof(of_b)) &&
           is(of_a, of_b);
}

static void check_namespaces(const struct subject *s)
{
    static const char *const names[] = {"user", "mnt", "pid", "net", "ipc", "uts"};
    bool walled = has_jail(s, "default");

    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        ok(same_namespace(names[i], s->pid, getpid()) != walled, "%s: %s namespace %s", s->name,
           names[i], walled ? "of its own" : "of the caller");
    if (s->kind != QEMU)
        return;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        bool own = walled && (is(names[i], "mnt") || is(names[i], "pid"));
        ok(same_namespace(names[i], s->pid, s->worker) != own, "%s: %s namespace %s", s->name,
           names[i], own ? "not the worker's" : "the worker's");
    }
}

/* ---- ids, capabilities, privileges ---- */

static void check_field(const struct subject *s, const char *status, const char *field,
                        const char *expected)
{
    char value[256] = "";

    proc_field(status, field, value, sizeof(value));
    ok(is(value, expected), "%s: %s: %s", s->name, field, value);
}

/* As root, the group that owns /dev/kvm and no other stays. */
static void check_groups(const struct subject *s, const char *status)
{
    char value[1024] = "";
    struct stat st = {0};

    proc_field(status, "Groups", value, sizeof(value));
    unsigned group = stat("/dev/kvm", &st) == 0 ? st.st_gid : 0;
    char *end = value + strlen(value);
    while (end > value && end[-1] == ' ')
        *--end = '\0';
    ok(group == 0 ? value[0] == '\0' : strtoul(value, NULL, 10) == group && !strchr(value, ' '),
       "%s: groups: %s", s->name, value);
}

static void check_ids(const struct subject *s)
{
    static const char *const sets[] = {"CapInh", "CapPrm", "CapEff", "CapAmb", "CapBnd"};
    char status[8192], own[8192], ids[64], value[64];
    bool root = geteuid() == 0, walled = has_jail(s, "default");
    unsigned id = root && walled ? NOBODY : geteuid();

    proc_read(s->pid, "status", status, sizeof(status));
    proc_read(getpid(), "status", own, sizeof(own));
    snprintf(ids, sizeof(ids), "%u\t%u\t%u\t%u", id, id, id, id);
    check_field(s, status, "Uid", ids);
    check_field(s, status, "Gid", ids);
    if (root && walled)
        check_groups(s, status);
    for (size_t i = 0; i < ARRAY_LEN(sets); i++) {
        /* Only whoever has capabilities can give up the bound of those that programs bring. */
        bool kept = has_jail(s, "off") || (is(sets[i], "CapBnd") && !walled && !root);
        if (kept && proc_field(own, sets[i], value, sizeof(value)))
            check_field(s, status, sets[i], value);
        else
            check_field(s, status, sets[i], "0000000000000000");
    }
}

static void check_threads(const struct subject *s)
{
    bool off = has_jail(s, "off");
    int tasks[256];
    size_t n = proc_numbers(s->pid, "task", tasks, ARRAY_LEN(tasks)), good = 0, vcpus = 0;

    for (size_t i = 0; i < n && i < ARRAY_LEN(tasks); i++) {
        char path[64], seccomp[16] = "", privs[16] = "", name[64] = "";
        snprintf(path, sizeof(path), "task/%d/status", tasks[i]);
        proc_read(s->pid, path, text, sizeof(text));
        proc_field(text, "Seccomp", seccomp, sizeof(seccomp));
        proc_field(text, "NoNewPrivs", privs, sizeof(privs));
        proc_field(text, "Name", name, sizeof(name));
        good += is(privs, "1") && (is(seccomp, "2") || off);
        vcpus += strncmp(name, "vcpu", 4) == 0;
        if (!is(privs, "1") || !is(seccomp, "2"))
            tap_note("thread %d %s: NoNewPrivs %s, Seccomp %s", tasks[i], name, privs, seccomp);
    }
    ok(n > 0 && good == n, "%s: %zu threads, each with no_new_privs%s", s->name, n,
       off ? "" : " and a filter");
    if (s->kind == KVM_WORKER)
        ok(vcpus == s->vcpus, "%s: %zu threads of vCPUs", s->name, vcpus);
    if (s->kind == QEMU_WORKER)
        ok(n == 1, "%s: one thread", s->name);
}

static void check_limits(const struct subject *s)
{
    static const struct {
        const char *name;
        unsigned long most;
        bool hard;
    } limits[] = {{"Max core file size", 0, true},
                  {"Max msgqueue size", 0, true},
                  {"Max open files", 4096, false}};

    proc_read(s->pid, "limits", text, sizeof(text));
    for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
        const char *at = strstr(text, limits[i].name);
        char *end = NULL;
        unsigned long soft = at ? strtoul(at + strlen(limits[i].name), &end, 10) : ~0ul;
        unsigned long hard = end ? strtoul(end, NULL, 10) : ~0ul;
        ok(soft <= limits[i].most && (!limits[i].hard || hard <= limits[i].most), "%s: %s: %lu",
           s->name, limits[i].name, soft);
    }
}

/* ---- files and network ---- */

static bool has_option(const char *options, const char *option)
{
    size_t n = strlen(option);

    for (const char *at = options; (at = strstr(at, option)); at += n)
        if ((at == options || at[-1] == ',') && (at[n] == ',' || at[n] == '\0'))
            return true;
    return false;
}

/* The places that QEMU may see, and nothing below them but what lies in them. */
static bool is_shown(const char *place)
{
    static const char *const exact[] = {"/", "/proc", "/dev/kvm", "/etc/ld.so.cache", NULL};
    static const char *const folders[] = {"/usr",   "/bin",   "/sbin", "/lib",
                                          "/lib32", "/lib64", NULL};

    for (int i = 0; exact[i]; i++)
        if (is(place, exact[i]))
            return true;
    for (int i = 0; folders[i]; i++) {
        size_t n = strlen(folders[i]);
        if (strncmp(place, folders[i], n) == 0 && (place[n] == '\0' || place[n] == '/'))
            return true;
    }
    return false;
}

static void check_mounts(const struct subject *s)
{
    unsigned count = 0, bad = 0;
    char *save, mine[65536];

    proc_read(s->pid, "mountinfo", text, sizeof(text));
    if (!has_jail(s, "default")) {
        proc_read(getpid(), "mountinfo", mine, sizeof(mine));
        ok(is(text, mine), "%s: the mounts of the caller", s->name);
        return;
    }
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char place[256] = "", options[256] = "", kind[64] = "", *dash = strstr(line, " - ");
        bool good = sscanf(line, "%*d %*d %*s %*s %255s %255s", place, options) == 2 && dash &&
                    sscanf(dash, " - %63s", kind) == 1 && has_option(options, "ro") &&
                    has_option(options, "nosuid") &&
                    (has_option(options, "nodev") || is(place, "/dev/kvm"));
        if (s->kind == QEMU)
            good &= is_shown(place) && (!is(place, "/") || is(kind, "tmpfs")) &&
                    (!is(place, "/proc") || is(kind, "proc"));
        else
            good &= is(place, "/") && is(kind, "tmpfs") && has_option(options, "noexec");
        if (!good)
            tap_note("mount: %s", line);
        count++;
        bad += !good;
    }
    ok(count > 0 && bad == 0, "%s: %u mounts, all documented and read-only", s->name, count);
    if (s->kind != QEMU)
        ok(count == 1, "%s: one mount", s->name);
}

static void check_root(const struct subject *s)
{
    char path[64], place[64] = "", line[320];
    struct dirent *entry;
    size_t seen = 0, bad = 0;

    if (!has_jail(s, "default"))
        return;
    snprintf(path, sizeof(path), "/proc/%d/root/", (int)s->pid);
    DIR *dir = opendir(path);
    ok(dir != NULL, "%s: its root can be looked at", s->name);
    while (dir && (entry = readdir(dir))) {
        if (is(entry->d_name, ".") || is(entry->d_name, ".."))
            continue;
        seen++;
        snprintf(line, sizeof(line), "/%s", entry->d_name);
        if (!is_shown(line) && !is(line, "/dev") && !is(line, "/etc")) {
            tap_note("in the root: %s", line);
            bad++;
        }
    }
    if (dir)
        closedir(dir);
    ok(s->kind == QEMU ? bad == 0 && seen > 0 : seen == 0, "%s: %zu entries in the root", s->name,
       seen);
    proc_link(s->pid, "cwd", place, sizeof(place));
    ok(is(place, "/"), "%s: its folder is %s", s->name, place);
}

static void check_network(const struct subject *s)
{
    unsigned others = 0;
    char *save;

    if (!has_jail(s, "default"))
        return;
    proc_read(s->pid, "net/dev", text, sizeof(text));
    bool lo = strstr(text, "lo:") != NULL;
    strtok_r(text, "\n", &save);
    strtok_r(NULL, "\n", &save); /* two lines of headings */
    for (char *line; (line = strtok_r(NULL, "\n", &save));) {
        line += strspn(line, " ");
        if (strncmp(line, "lo:", 3) == 0)
            continue;
        tap_note("interface: %s", line);
        others++;
    }
    ok(lo && others == 0, "%s: no interface but lo", s->name);
    proc_read(s->pid, "net/fib_trie", text, sizeof(text));
    ok(!strstr(text, "127.0.0.1"), "%s: lo is down", s->name);
}

/* ---- the process ---- */

static void check_process(const struct subject *s)
{
    static const char *const names[] = {"lumina-vmm", "lumina-qemu", "qemu-system-x86"};
    char name[64] = "";
    pid_t children[8];
    size_t n = proc_children(s->pid, children, ARRAY_LEN(children));

    proc_read(s->pid, "status", text, sizeof(text));
    proc_field(text, "Name", name, sizeof(name));
    ok(is(name, names[s->kind]), "%s: its name: %s", s->name, name);
    ok(n == (s->kind == QEMU_WORKER), "%s: %zu children", s->name, n);
    size_t size = proc_read(s->pid, "environ", text, sizeof(text));
    ok(!memmem(text, size, SECRET, strlen(SECRET)), "%s: nothing of the caller's environment",
       s->name);
    proc_read(s->pid, "maps", text, sizeof(text));
    if (s->kind != QEMU)
        ok(strstr(text, " r-xp ") && !strstr(text, " rwx"), "%s: no memory to write and execute",
           s->name);
}

static void check_subject(const struct subject *s)
{
    check_process(s);
    check_namespaces(s);
    check_ids(s);
    check_threads(s);
    check_descriptors(s);
    check_mounts(s);
    check_root(s);
    check_network(s);
    check_limits(s);
}

/* ---- machines ---- */

struct log {
    bool warned_off;
};

static void on_log(void *ctx, int32_t level, const char *line)
{
    struct log *log = ctx;

    if (level == LUM_LOG_WARN && strstr(line, "jail off"))
        log->warned_off = true;
}

static pid_t only_child(pid_t pid)
{
    pid_t child = 0;

    return proc_children(pid, &child, 1) == 1 ? child : 0;
}

static void check_machine(const char *backend, const char *jail, const char *kernel, bool start)
{
    struct lum_vm_options o = LUM_VM_OPTIONS_INIT;
    struct lum_error err;
    struct log log = {false};
    char name[64];
    lum_vm *vm;
    bool kvm = is(backend, "kvm");

    o.backend = backend;
    o.jail = jail;
    o.kernel = kernel;
    o.vcpus = 2;
    o.log = on_log;
    o.log_ctx = &log;
    if (!ok(lum_vm_create(&o, &vm, &err) == 0, "%s, jail %s: created", backend, jail)) {
        tap_note("%s", err.text);
        return;
    }
    if (start && !ok(lum_vm_start(vm, BOOT_MS, &err) == 0, "%s, jail %s: started", backend, jail))
        tap_note("%s", err.text);
    ok(log.warned_off == is(jail, "off"), "%s, jail %s: %s", backend, jail,
       log.warned_off ? "warned" : "no warning");
    snprintf(name, sizeof(name), "%s worker, jail %s", backend, jail);
    struct subject worker = {.kind = kvm ? KVM_WORKER : QEMU_WORKER,
                             .jail = jail,
                             .name = name,
                             .pid = proc_worker(getpid()),
                             .vcpus = o.vcpus};
    if (ok(worker.pid > 0, "%s: one process", name))
        check_subject(&worker);
    if (!kvm && worker.pid > 0) {
        struct subject qemu = {
            .kind = QEMU, .jail = jail, .pid = only_child(worker.pid), .worker = worker.pid};
        snprintf(name, sizeof(name), "QEMU, jail %s", jail);
        qemu.name = name;
        if (ok(qemu.pid > 0, "%s: one process", name))
            check_subject(&qemu);
    }
    lum_vm_free(vm);
    while (proc_children(getpid(), NULL, 0) > 0)
        usleep(10000);
}

/* Whether a worker of this backend comes to life at all. A kernel of one's own may be emulated. */
static bool can_run(const char *backend, const char *kernel, char why[static 256])
{
    struct lum_vm_options o = LUM_VM_OPTIONS_INIT;
    struct lum_error err;
    lum_vm *vm;

    o.backend = backend;
    o.kernel = kernel;
    int rc = lum_vm_create(&o, &vm, &err);
    if (rc == 0)
        lum_vm_free(vm);
    while (proc_children(getpid(), NULL, 0) > 0)
        usleep(10000);
    /* A host without the backend is no failure of the fence; anything else shows below. */
    bool absent = rc == LUM_ENOTSUP || rc == LUM_EACCES || rc == LUM_ENOENT;
    snprintf(why, 256, "%s", absent ? err.text : "");
    return !absent;
}

static bool become_plain(void)
{
    return setgroups(0, NULL) == 0 && setresgid(NOBODY, NOBODY, NOBODY) == 0 &&
           setresuid(NOBODY, NOBODY, NOBODY) == 0 && prctl(PR_SET_DUMPABLE, 1) == 0;
}

int main(int argc, char **argv)
{
    static const char *const jails[] = {"default", "seccomp", "off"};
    char kernel[64], why[256];

    if (argc > 1 && is(argv[1], "plain") && (geteuid() != 0 || !become_plain()))
        return tap_skip_all("a plain user runs this test already");
    setenv(SECRET, "told", 1);
    int fd = tiny_kernel(), stray = open("/", O_RDONLY | O_DIRECTORY); /* not close-on-exec */
    if (!ok(fd >= 0 && stray >= 0, "a kernel, and a folder that no worker may get"))
        return tap_done();
    snprintf(kernel, sizeof(kernel), "/proc/self/fd/%d", fd);
    for (size_t i = 0; i < ARRAY_LEN(jails); i++) {
        if (can_run("kvm", kernel, why))
            check_machine("kvm", jails[i], kernel, false);
        else
            tap_skip("backend kvm", why);
        if (can_run("qemu", NULL, why))
            check_machine("qemu", jails[i], NULL, true);
        else
            tap_skip("backend qemu", why);
    }
    close(fd);
    close(stray);
    return tap_done();
}
