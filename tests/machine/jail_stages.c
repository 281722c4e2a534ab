/* SPDX-License-Identifier: Apache-2.0 */
/* What works and what does not after each stage, and what the self-check says of missing walls. */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "jail_test.h"

#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_restrict_self  446
#endif

static int landlock_version(void)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, 1u /* the version is asked for */);

    return version < 0 ? 0 : (int)version;
}

/* ---- in the jailed process ---- */

static int result(long rc)
{
    return rc < 0 ? errno : 0;
}

static int try_open(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC), rc = result(fd);

    if (fd >= 0)
        close(fd);
    return rc;
}

static int try_connect(int family, const void *address, socklen_t size)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return errno;
    int rc = result(connect(fd, address, size));
    close(fd);
    return rc;
}

/* Beside the program's copy. */
static void socket_address(struct sockaddr_un *ret_address)
{
    *ret_address = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(ret_address->sun_path, sizeof(ret_address->sun_path), "%s.socket", program_copy);
}

/* The same in the other name space, that of networks. */
static socklen_t abstract_address(struct sockaddr_un *ret_address)
{
    socket_address(ret_address);
    ret_address->sun_path[0] = '\0';
    return sizeof(*ret_address);
}

static bool is_up(const char *interface)
{
    struct ifreq r = {0};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", interface);
    bool up = fd >= 0 && ioctl(fd, SIOCGIFFLAGS, &r) == 0 && (r.ifr_flags & IFF_UP);
    if (fd >= 0)
        close(fd);
    return up;
}

static bool has_capabilities(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{0}, {0}};

    return syscall(SYS_capget, &head, data) == 0 && (data[0].permitted || data[1].permitted);
}

static int try_program(void)
{
    static const char *const argv[] = {"/bin/true", NULL};
    struct plat_start start = PLAT_START_INIT;
    struct plat_process *process;
    struct lum_error err;
    int status;

    start.argv = argv;
    int rc = jail_start_program(&start, &process, &err);
    if (rc == 0)
        plat_process_wait(process, -1, &status);
    return rc == 0 ? status : -rc;
}

static void *do_nothing(void *arg)
{
    return arg;
}

static int try_thread(void)
{
    pthread_t thread;
    int rc = pthread_create(&thread, NULL, do_nothing, NULL);

    return rc == 0 ? pthread_join(thread, NULL) : rc;
}

static void look(const char *stage, int port)
{
    const struct sockaddr_in tcp = {.sin_family = AF_INET,
                                    .sin_port = htons((uint16_t)port),
                                    .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct sockaddr_un path, abstract;
    struct rlimit core = {1, 1}, files = {0, 0}, queues = {1, 1};

    socket_address(&path);
    getrlimit(RLIMIT_CORE, &core);
    getrlimit(RLIMIT_NOFILE, &files);
    getrlimit(RLIMIT_MSGQUEUE, &queues);
    say("%s first process %d", stage, getpid() == 1);
    say("%s no_new_privs %d", stage, prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    say("%s core files %d", stage, core.rlim_max > 0);
    say("%s message queues %d", stage, queues.rlim_max > 0);
    say("%s many descriptors %d", stage, files.rlim_cur > 4096);
    say("%s capabilities %d", stage, has_capabilities());
    say("%s a file %d", stage, try_open("/etc/passwd", O_RDONLY));
    say("%s the root folder %d", stage, try_open("/", O_RDONLY | O_DIRECTORY));
    say("%s lo %d", stage, is_up("lo"));
    say("%s tcp %d", stage, try_connect(AF_INET, &tcp, sizeof(tcp)));
    say("%s a socket by path %d", stage, try_connect(AF_UNIX, &path, sizeof(path)));
    socklen_t size = abstract_address(&abstract);
    say("%s an abstract socket %d", stage, try_connect(AF_UNIX, &abstract, size));
    say("%s chroot %d", stage, result(chroot("/")));
    say("%s a thread %d", stage, try_thread());
    if (strcmp(stage, "early") != 0)
        say("%s a program %d", stage, try_program());
}

int child_stages(enum jail_mode mode, int port)
{
    static const struct {
        enum jail_stage stage;
        const char *name;
    } stages[] = {{JAIL_OFFLINE, "offline"}, {JAIL_CLOSED, "closed"}};
    struct lum_error err;

    if (jail_begin(mode, false, &err) < 0)
        return fall(&err);
    look("early", port);
    for (size_t i = 0; i < ARRAY_LEN(stages); i++) {
        if (jail_enter(stages[i].stage, &err) < 0)
            return fall(&err);
        look(stages[i].name, port);
    }
    if (mode == JAIL_DEFAULT)
        say("closed write %d", result(mkdir("/none", 0700)) != 0);
    if (jail_enter(JAIL_SEALED, &err) < 0)
        return fall(&err);
    void *memory = malloc(1 << 20);
    say("sealed memory %d", memory == NULL);
    free(memory);
    return 0;
}

/* ---- the stages ---- */

/* After each stage by mode: the number; NO: any but 0; LANDLOCK: 0 without it, else not 0. */
enum { NO = -1, LANDLOCK_1 = -2, LANDLOCK_4 = -3, LANDLOCK_6 = -4, ANY = -5 };

struct fact {
    const char *name;
    int by_default[3], seccomp[3], off[3]; /* early, offline, closed */
};

static const struct fact facts[] = {
    {"first process", {1, 1, 1}, {0, 0, 0}, {0, 0, 0}},
    {"no_new_privs", {1, 1, 1}, {1, 1, 1}, {1, 1, 1}},
    {"core files", {0, 0, 0}, {0, 0, 0}, {0, 0, 0}},
    {"message queues", {0, 0, 0}, {0, 0, 0}, {0, 0, 0}},
    {"many descriptors", {0, 0, 0}, {0, 0, 0}, {0, 0, 0}},
    {"capabilities", {1, 1, 0}, {ANY, ANY, 0}, {ANY, ANY, ANY}},
    {"a file", {0, 0, NO}, {0, 0, LANDLOCK_1}, {0, 0, 0}},
    {"the root folder", {0, 0, LANDLOCK_1}, {0, 0, LANDLOCK_1}, {0, 0, 0}},
    {"lo", {1, 0, 0}, {1, 1, 1}, {1, 1, 1}},
    {"tcp", {0, NO, NO}, {0, 0, LANDLOCK_4}, {0, 0, 0}},
    {"a socket by path", {0, 0, NO}, {0, 0, ANY}, {0, 0, 0}},
    {"an abstract socket", {0, NO, NO}, {0, 0, LANDLOCK_6}, {0, 0, 0}},
    {"chroot", {0, 0, NO}, {ANY, ANY, NO}, {ANY, ANY, ANY}},
    {"a thread", {0, 0, 0}, {0, 0, 0}, {0, 0, 0}},
    {"a program", {ANY, 0, NO}, {ANY, 0, LANDLOCK_1}, {ANY, 0, 0}},
};

static bool meets(int value, int expected)
{
    switch (expected) {
    case ANY: return true;
    case NO: return value != 0;
    case LANDLOCK_1: return landlock_version() >= 1 ? value != 0 : value == 0;
    case LANDLOCK_4: return landlock_version() >= 4 ? value != 0 : value == 0;
    case LANDLOCK_6: return landlock_version() >= 6 ? value != 0 : value == 0;
    default: return value == expected;
    }
}

static bool find_value(const struct outcome *o, const char *stage, const char *name, int *ret_value)
{
    char start[64];
    size_t n = (size_t)snprintf(start, sizeof(start), "%s %s ", stage, name);
    const char *at = strstr(o->text, start);

    if (!at)
        return false;
    *ret_value = (int)strtol(at + n, NULL, 10);
    return true;
}

static void check_stages(enum jail_mode mode, bool plain, int port)
{
    static const char *const stages[] = {"early", "offline", "closed"};
    const struct setup s = {.role = "stages", .number = port, .mode = mode, .plain = plain};
    const char *who = plain ? "a plain user's" : "root's", *name = jail_mode_names[mode];
    struct outcome o;
    bool good = true;

    run_jailed(&s, &o);
    for (size_t i = 0; i < ARRAY_LEN(facts); i++) {
        const struct fact *f = &facts[i];
        const int *expected = mode == JAIL_DEFAULT   ? f->by_default
                              : mode == JAIL_SECCOMP ? f->seccomp
                                                     : f->off;
        for (size_t stage = 0; stage < ARRAY_LEN(stages); stage++) {
            int value = ANY;
            if (expected[stage] == ANY)
                continue;
            bool found = find_value(&o, stages[stage], f->name, &value);
            good &= ok(found && meets(value, expected[stage]), "%s %s after %s: %s: %d", who, name,
                       stages[stage], f->name, value);
        }
    }
    good &= ok(o.status == 0 && says(&o, "sealed memory 0"), "%s %s: sealed", who, name);
    if (mode == JAIL_DEFAULT)
        good &= ok(says(&o, "closed write 1"), "%s %s: the root cannot be written", who, name);
    if (!good)
        show(&o);
}

/* What a jailed process must not get to, in the test's own network and file system. */
static int make_targets(int ret_sockets[3])
{
    struct sockaddr_in tcp = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct sockaddr_un path, abstract;
    socklen_t size = sizeof(tcp);

    socket_address(&path);
    socklen_t abstract_size = abstract_address(&abstract);
    ret_sockets[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ret_sockets[1] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ret_sockets[2] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(ret_sockets[0], (const struct sockaddr *)&tcp, sizeof(tcp)) < 0 ||
        bind(ret_sockets[1], (const struct sockaddr *)&path, sizeof(path)) < 0 ||
        chmod(path.sun_path, 0666) < 0 ||
        bind(ret_sockets[2], (const struct sockaddr *)&abstract, abstract_size) < 0 ||
        getsockname(ret_sockets[0], (struct sockaddr *)&tcp, &size) < 0)
        return -1;
    for (int i = 0; i < 3; i++)
        if (listen(ret_sockets[i], 64) < 0)
            return -1;
    return ntohs(tcp.sin_port);
}

void test_stages(void)
{
    int sockets[3] = {-1, -1, -1};
    struct sockaddr_un path;
    int port = is_up("lo") ? make_targets(sockets) : -1;

    if (port < 0) {
        tap_skip("stages", "the test needs a loopback interface");
        return;
    }
    for (int mode = JAIL_DEFAULT; mode <= JAIL_OFF; mode++) {
        check_stages((enum jail_mode)mode, true, port);
        if (is_root)
            check_stages((enum jail_mode)mode, false, port);
    }
    for (int i = 0; i < 3; i++)
        close(sockets[i]);
    socket_address(&path);
    unlink(path.sun_path);
}

/* ---- the self-check ---- */

#define ALL_NAMESPACES                                                                             \
    ((uint64_t)(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS))
#define SEAL(mode_) .role = "seal", .mode = (mode_)
#define BARE        .role = "seal", .bare = true

struct missing {
    const char *what;
    const char *error; /* a part of it; NULL: none, it is sealed */
    enum { EITHER, ROOT, PLAIN } who;
    struct setup setup;
};

/* A bare jail is made as jail_start_worker does it, so all of it must pass. */
static const struct missing missing[] = {
    {"nothing", NULL, EITHER, {SEAL(JAIL_DEFAULT)}},
    {"nothing, mode seccomp", NULL, EITHER, {SEAL(JAIL_SECCOMP)}},
    {"nothing, clone3 hidden",
     NULL,
     EITHER,
     {SEAL(JAIL_DEFAULT), .pretend = {{SYS_clone3, ANY_ARGUMENT, ENOSYS}}}},
    {"nothing, close_range hidden",
     NULL,
     EITHER,
     {SEAL(JAIL_DEFAULT), .pretend = {{436, ANY_ARGUMENT, ENOSYS}}}},
    {"nothing, by the test's own hand", NULL, EITHER, {BARE, .namespaces = ALL_NAMESPACES}},
    {"all namespaces", "the user namespace is not in force", ROOT, {BARE, .namespaces = 0}},
    {"all namespaces", "network namespace", PLAIN, {BARE, .namespaces = 0}},
    {"the user namespace",
     "the user namespace is not in force",
     ROOT,
     {BARE, .namespaces = ALL_NAMESPACES & ~(uint64_t)CLONE_NEWUSER}},
    {"the mount namespace",
     "the mount namespace is not in force",
     EITHER,
     {BARE, .namespaces = ALL_NAMESPACES & ~(uint64_t)CLONE_NEWNS}},
    {"the pid namespace",
     "the pid namespace is not in force",
     EITHER,
     {BARE, .namespaces = ALL_NAMESPACES & ~(uint64_t)CLONE_NEWPID}},
    {"the ipc namespace",
     "the ipc namespace is not in force",
     EITHER,
     {BARE, .namespaces = ALL_NAMESPACES & ~(uint64_t)CLONE_NEWIPC}},
    {"the uts namespace",
     "the uts namespace is not in force",
     EITHER,
     {BARE, .namespaces = ALL_NAMESPACES & ~(uint64_t)CLONE_NEWUTS}},
    {"the network namespace",
     "network",
     EITHER,
     {SEAL(JAIL_DEFAULT), .pretend = {{SYS_setns, ANY_ARGUMENT, 0}}}},
    {"the network namespace, never made",
     "network namespace",
     EITHER,
     {SEAL(JAIL_DEFAULT), .pretend = {{SYS_unshare, CLONE_NEWNET, 0}}}},
    {"the empty root, not mounted",
     "change the root",
     EITHER,
     {SEAL(JAIL_DEFAULT), .pretend = {{SYS_mount, ANY_ARGUMENT, 0}}}},
    {"the empty root, not entered",
     "the root folder is not empty",
     EITHER,
     {SEAL(JAIL_DEFAULT), .pretend = {{SYS_pivot_root, ANY_ARGUMENT, 0}}}},
    {"no_new_privs",
     "no_new_privs is not in force",
     ROOT,
     {SEAL(JAIL_DEFAULT), .pretend = {{SYS_prctl, PR_SET_NO_NEW_PRIVS, 0}}}},
    {"the end of capabilities",
     "capabilities are left",
     EITHER,
     {SEAL(JAIL_DEFAULT), .pretend = {{SYS_capset, ANY_ARGUMENT, 0}}}},
    {"the end of capabilities, mode seccomp",
     "capabilities are left",
     ROOT,
     {SEAL(JAIL_SECCOMP), .pretend = {{SYS_capset, ANY_ARGUMENT, 0}}}},
    {"the system call filter",
     "the system call filter is not in force",
     EITHER,
     {SEAL(JAIL_DEFAULT),
      .pretend = {{SYS_prctl, PR_GET_SECCOMP, 0}, {SYS_seccomp, ANY_ARGUMENT, 0}}}},
    {"the system call filter, mode seccomp",
     "the system call filter is not in force",
     EITHER,
     {SEAL(JAIL_SECCOMP),
      .pretend = {{SYS_prctl, PR_GET_SECCOMP, 0}, {SYS_seccomp, ANY_ARGUMENT, 0}}}},
    {"the seccomp call, refused",
     "a sandbox around this process forbids it",
     EITHER,
     {SEAL(JAIL_DEFAULT), .pretend = {{SYS_seccomp, ANY_ARGUMENT, EPERM}}}},
    {"the limits",
     "core limit",
     EITHER,
     {SEAL(JAIL_DEFAULT), .pretend = {{SYS_prlimit64, ANY_ARGUMENT, EPERM}}}},
    {"mounts, refused",
     "remedy: allow it there, or the weaker jail \"seccomp\"",
     EITHER,
     {SEAL(JAIL_DEFAULT), .pretend = {{SYS_mount, ANY_ARGUMENT, EPERM}}}},
    {"Landlock, which a kernel may lack",
     NULL,
     EITHER,
     {SEAL(JAIL_DEFAULT), .pretend = {{SYS_landlock_create_ruleset, ANY_ARGUMENT, ENOSYS}}}},
};

/* no_paths: the walls are built beside other work, as for a machine that opens nothing itself. */
static void check_one(const struct missing *m, bool plain, bool no_paths)
{
    struct setup s = m->setup;
    struct outcome o;

    s.plain = plain;
    s.number = no_paths;
    run_jailed(&s, &o);
    bool good = m->error ? !says(&o, "sealed") && o.status != 0 && strstr(o.text, "error jail: ") &&
                               strstr(o.text, m->error)
                         : says(&o, "sealed") && o.status == 0;
    good &= !says(&o, "a stray descriptor");
    if (!ok(good, "%s lacks %s: %s", plain ? "a plain user's jail" : "root's jail", m->what,
            m->error ? m->error : "runs"))
        show(&o);
}

static void check_missing(const struct missing *m, bool plain)
{
    check_one(m, plain, false);
    if (m->setup.mode == JAIL_DEFAULT)
        check_one(m, plain, true);
}

void test_self_check(void)
{
    static const struct missing without_landlock = {
        "Landlock, which the kernel has",
        "Landlock is not in force",
        EITHER,
        {SEAL(JAIL_DEFAULT), .pretend = {{SYS_landlock_restrict_self, ANY_ARGUMENT, 0}}}};

    for (size_t i = 0; i < ARRAY_LEN(missing); i++) {
        if (missing[i].who != ROOT)
            check_missing(&missing[i], true);
        if (missing[i].who != PLAIN && is_root)
            check_missing(&missing[i], false);
    }
    if (landlock_version() > 0)
        check_missing(&without_landlock, true);
    else
        tap_skip("Landlock missing", "this kernel has none");
}

/* ---- the caller's side ---- */

/* Each refusal is one line with its remedy, and nothing is started. */
void test_start(void)
{
    static const struct {
        const char *what, *error;
        struct setup setup;
    } refusals[] = {
        {"clone3 forbidden",
         "a container, chroot or sandbox around us forbids namespaces",
         {SEAL(JAIL_DEFAULT), .pretend = {{SYS_clone3, ANY_ARGUMENT, EPERM}}}},
        {"a caller that is not dumpable",
         "prctl(PR_SET_DUMPABLE, 1)",
         {SEAL(JAIL_DEFAULT), .undumpable = true}},
    };
    struct lum_error err;
    enum jail_mode mode = JAIL_OFF;

    ok(jail_mode_find("default", &mode, &err) == 0 && mode == JAIL_DEFAULT, "a mode by its name");
    ok(jail_mode_find("Default", &mode, &err) == LUM_EINVAL && strstr(err.text, "Default"),
       "no such mode: %s", err.text);
    for (size_t i = 0; i < ARRAY_LEN(refusals); i++) {
        for (int plain = 0; plain <= 1; plain++) {
            struct setup s = refusals[i].setup;
            struct outcome o;
            s.plain = plain;
            run_jailed(&s, &o);
            if (!ok(o.status == -1 && strstr(o.text, refusals[i].error) && strstr(o.text, "remedy"),
                    "%s, %s", refusals[i].what, plain ? "a plain user" : "whoever runs this"))
                show(&o);
        }
    }
    const struct setup weaker = {SEAL(JAIL_SECCOMP), .undumpable = true};
    struct outcome o;
    run_jailed(&weaker, &o);
    ok(says(&o, "sealed"), "the remedy works: mode seccomp");
}
