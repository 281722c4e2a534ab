/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Facts that no file tells: what opens, what the kernel grants, what namespaces allow. The trial
 * with namespaces is made by a child that shares this process's memory and owns nothing that lasts:
 * it ends, and the namespaces with all their mounts end with it.
 */
#include "core/doctor_linux.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "jail/jail_linux.h"
#include "plat/plat.h"

#define KVM_PATH   "/dev/kvm"
#define MAX_GROUPS 1024

/* ---- who may open the device ---- */

static void user_name(uid_t uid, char *buf, size_t size)
{
    char room[4096];
    struct passwd pw, *found = NULL;

    if (getpwuid_r(uid, &pw, room, sizeof(room), &found) == 0 && found)
        snprintf(buf, size, "%s", pw.pw_name);
    else
        snprintf(buf, size, "%u", (unsigned)uid);
}

static void group_name(gid_t gid, char *buf, size_t size)
{
    char room[16 * 1024];
    struct group gr, *found = NULL;

    if (getgrgid_r(gid, &gr, room, sizeof(room), &found) == 0 && found)
        snprintf(buf, size, "%s", gr.gr_name);
    else
        snprintf(buf, size, "%u", (unsigned)gid);
}

static bool session_has(gid_t gid)
{
    gid_t groups[MAX_GROUPS];
    int n = getgroups(MAX_GROUPS, groups);

    for (int i = 0; i < n; i++)
        if (groups[i] == gid)
            return true;
    return getegid() == gid;
}

static bool database_has(uid_t uid, gid_t gid)
{
    char room[4096];
    struct passwd pw, *found = NULL;
    gid_t groups[MAX_GROUPS];
    int n = MAX_GROUPS;

    if (getpwuid_r(uid, &pw, room, sizeof(room), &found) != 0 || !found ||
        getgrouplist(pw.pw_name, pw.pw_gid, groups, &n) < 0)
        return false;
    for (int i = 0; i < n; i++)
        if (groups[i] == gid)
            return true;
    return false;
}

static void get_kvm(struct kvm_node *node)
{
    struct stat st;
    int fd = open(KVM_PATH, O_RDWR | O_CLOEXEC);

    node->open_errno = fd < 0 ? errno : 0;
    if (fd >= 0)
        close(fd);
    if (stat(KVM_PATH, &st) < 0)
        return;
    node->is_device = S_ISCHR(st.st_mode);
    node->mode = st.st_mode & 07777;
    node->gid = st.st_gid;
    node->has_acl = getxattr(KVM_PATH, "system.posix_acl_access", NULL, 0) > 0;
    user_name(st.st_uid, node->owner, sizeof(node->owner));
    group_name(st.st_gid, node->group, sizeof(node->group));
    node->in_session = session_has(st.st_gid);
    node->in_database = database_has(geteuid(), st.st_gid);
}

/* ---- namespaces ---- */

#define TRIAL_STACK (32u * 1024)
#define ALL_NAMESPACES                                                                             \
    (CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS)

struct trial {
    char id_map[2][32]; /* uid, gid */
    bool own_processes; /* the process namespace was made inside the user namespace */
    const char *step;   /* what is being done */
    int failed_errno;
};

static bool trial_write(struct trial *t, const char *step, const char *path, const char *text)
{
    t->step = step; /* before the calls, which may be the child's last */
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool good = fd >= 0 && write(fd, text, strlen(text)) >= 0;
    t->failed_errno = good ? 0 : errno;
    if (fd >= 0)
        close(fd);
    return good;
}

static bool trial_mount(struct trial *t, const char *step, const char *target, const char *type,
                        unsigned long flags)
{
    t->step = step;
    t->failed_errno = mount(type, target, type, flags, NULL) < 0 ? errno : 0;
    return t->failed_errno == 0;
}

/* In this process's memory, while the calling thread waits: plain system calls only. */
static int trial_main(void *arg)
{
    const unsigned long quiet = MS_NOSUID | MS_NODEV | MS_NOEXEC;
    struct trial *t = arg;

    if (trial_write(t, "setgroups of the user namespace", "/proc/self/setgroups", "deny") &&
        trial_write(t, "uid_map of the user namespace", "/proc/self/uid_map", t->id_map[0]) &&
        trial_write(t, "gid_map of the user namespace", "/proc/self/gid_map", t->id_map[1]) &&
        trial_mount(t, "mounts made private", "/", NULL, MS_REC | MS_PRIVATE) &&
        (!t->own_processes || trial_mount(t, "mount of proc", "/proc", "proc", quiet)) &&
        trial_mount(t, "mount of tmpfs", "/proc", "tmpfs", quiet))
        t->step = NULL;
    return 0;
}

/* The same for root in a chroot, which clone gives no user namespace. */
static int trial_in_chroot_main(void *arg)
{
    struct trial *t = arg;

    t->own_processes = false;
    if (jail_leave_chroot() == 0 && unshare(ALL_NAMESPACES) == 0 && jail_restore_chroot() == 0)
        return trial_main(arg);
    t->failed_errno = errno;
    return 0;
}

static int nothing_main(void *arg)
{
    (void)arg;
    return 0;
}

/*
 * 0 or the errno of clone. No signal tells of the child's end and only __WALL waits for it, so a
 * caller that handles or collects children never sees it.
 */
static int clone_and_wait(int (*fn)(void *arg), int namespaces, void *arg)
{
    AUTO(auto_free) char *stack = lum_calloc(1, TRIAL_STACK);
    sigset_t all, old;
    int status = 0;

    if (!stack)
        return ENOMEM;
    char *top = (char *)align_down((uint64_t)(uintptr_t)(stack + TRIAL_STACK), 16);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int pid = clone(fn, top, CLONE_VM | CLONE_VFORK | namespaces, arg);
    int e = pid < 0 ? errno : 0;
    while (pid > 0 && waitpid(pid, &status, __WALL) < 0 && errno == EINTR) {
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return e;
}

/* Which of the namespaces is refused on its own. */
static const char *refused_namespace(void)
{
    static const struct {
        int flag;
        const char *step;
    } each[] = {
        {0, "clone with CLONE_NEWUSER"},           {CLONE_NEWNS, "clone with CLONE_NEWNS"},
        {CLONE_NEWPID, "clone with CLONE_NEWPID"}, {CLONE_NEWNET, "clone with CLONE_NEWNET"},
        {CLONE_NEWIPC, "clone with CLONE_NEWIPC"}, {CLONE_NEWUTS, "clone with CLONE_NEWUTS"},
    };

    for (size_t i = 0; i < ARRAY_LEN(each); i++)
        if (clone_and_wait(nothing_main, CLONE_NEWUSER | each[i].flag, NULL))
            return each[i].step;
    return "clone with all namespaces";
}

static void try_namespaces(struct linux_facts *facts)
{
    struct trial t = {.own_processes = true, .step = "start"};

    snprintf(t.id_map[0], sizeof(t.id_map[0]), "0 %u 1", (unsigned)geteuid());
    snprintf(t.id_map[1], sizeof(t.id_map[1]), "0 %u 1", (unsigned)getegid());
    int e = clone_and_wait(trial_main, ALL_NAMESPACES, &t);
    if (e == EPERM && geteuid() == 0) {
        struct trial in_chroot = t;
        if (clone_and_wait(trial_in_chroot_main, 0, &in_chroot) == 0 && !in_chroot.step)
            return;
    }
    if (e) {
        facts->jail_errno = e;
        snprintf(facts->jail_step, sizeof(facts->jail_step), "%s", refused_namespace());
    } else if (t.step) {
        /* Without an errno it was killed in this step, as seccomp filters do. */
        facts->jail_errno = t.failed_errno ? t.failed_errno : EPERM;
        snprintf(facts->jail_step, sizeof(facts->jail_step), "%s", t.step);
    }
}

/* ---- what the kernel grants ---- */

static uint64_t limit_of(int resource, bool hard)
{
    struct rlimit limit;

    if (getrlimit((__rlimit_resource_t)resource, &limit) < 0)
        return UINT64_MAX;
    rlim_t value = hard ? limit.rlim_max : limit.rlim_cur;
    return value == RLIM_INFINITY ? UINT64_MAX : (uint64_t)value;
}

static unsigned usable_cpus(void)
{
    cpu_set_t set;
    long online;

    if (sched_getaffinity(0, sizeof(set), &set) == 0)
        return (unsigned)CPU_COUNT(&set);
    online = sysconf(_SC_NPROCESSORS_ONLN); /* more CPUs than the set holds */
    return online > 0 ? (unsigned)online : 1;
}

void linux_facts_get(struct linux_facts *ret_facts)
{
    const uint32_t kill_process = SECCOMP_RET_KILL_PROCESS;
    struct linux_facts facts = {.uid = geteuid()};
    struct timespec tick;
    struct utsname name;

    if (uname(&name) == 0)
        snprintf(facts.release, sizeof(facts.release), "%.*s", (int)sizeof(facts.release) - 1,
                 name.release);
    user_name(geteuid(), facts.user, sizeof(facts.user));
    get_kvm(&facts.kvm);
    linux_cpu_facts(&facts.cpu);
    try_namespaces(&facts);
    if (syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &kill_process) < 0)
        facts.seccomp_errno = errno;
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    facts.landlock = abi < 0 ? -errno : (int)abi;
    /* The coarse clocks advance once a tick, and say so. */
    if (clock_getres(CLOCK_MONOTONIC_COARSE, &tick) == 0 && tick.tv_sec == 0)
        facts.tick_ns = (uint64_t)tick.tv_nsec;
    facts.cpus = usable_cpus();
    facts.files_max = limit_of(RLIMIT_NOFILE, true);
    facts.threads_max = limit_of(RLIMIT_NPROC, false);
    *ret_facts = facts;
}
