/* SPDX-License-Identifier: Apache-2.0 */
/* See inject.h. __real_x is the C library's x, __wrap_x what the product gets for it. */
#include "inject.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

struct state {
    atomic_int mode;
    unsigned at, variant;
    atomic_uint count;
    struct injected result;
};

static struct state own;
static struct state *inject = &own;
static bool bystander;
static _Thread_local unsigned paused;

void inject_share(const char *path, bool only_others)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    struct state *shared = MAP_FAILED;

    inject_pause();
    if (fd >= 0 && ftruncate(fd, sizeof(*shared)) == 0)
        shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (shared == MAP_FAILED)
        abort();
    close(fd);
    inject = shared;
    bystander = only_others;
    inject_resume();
}

void inject_arm(enum inject_mode mode, unsigned at, unsigned variant)
{
    inject->at = at;
    inject->variant = variant;
    inject->result = (struct injected){0};
    atomic_store(&inject->count, 0);
    atomic_store(&inject->mode, (int)mode);
}

struct injected inject_disarm(void)
{
    atomic_store(&inject->mode, INJECT_NONE);
    return inject->result;
}

void inject_pause(void)
{
    paused++;
}

void inject_resume(void)
{
    paused--;
}

/* Is it the kind of call that the mode is about? */
static bool counts(enum inject_mode mode)
{
    return atomic_load(&inject->mode) == (int)mode && !paused && !bystander;
}

static bool turn(enum inject_mode mode, const char *call)
{
    if (!counts(mode) || atomic_fetch_add(&inject->count, 1) + 1 != inject->at)
        return false;
    snprintf(inject->result.call, sizeof(inject->result.call), "%s", call);
    inject->result.done = true;
    return true;
}

static bool fails(const char *call, const int *errors, unsigned n)
{
    if (!turn(INJECT_ERROR, call))
        return false;
    inject->result.variants = n;
    inject->result.error = errors[inject->variant % n];
    errno = inject->result.error;
    return true;
}

/* Where all signals are blocked nothing is interrupted. */
static bool takes_signals(void)
{
    sigset_t blocked;

    return pthread_sigmask(SIG_BLOCK, NULL, &blocked) == 0 && !sigismember(&blocked, SIGUSR1);
}

static bool interrupted(const char *call)
{
    if (!counts(INJECT_INTERRUPT) || !takes_signals() || !turn(INJECT_INTERRUPT, call))
        return false;
    inject->result.error = EINTR;
    errno = EINTR;
    return true;
}

int __real_fstat64(int fd, struct stat64 *st);

/* Events, timers and signals have no type; what is read of them and written to them is one record.
 */
static bool is_stream(int fd)
{
    struct stat64 st;

    return __real_fstat64(fd, &st) == 0 && (st.st_mode & S_IFMT) != 0;
}

static bool is_file(int fd)
{
    struct stat64 st;

    return __real_fstat64(fd, &st) == 0 && S_ISREG(st.st_mode);
}

/* What is sent into a pipe or a socket is never cut when it fits into a page, and a file of /proc
 * takes its few bytes as one. */
#define WHOLE      4096u
#define WHOLE_FILE 64u

/* Half of the bytes, where the kernel may do the same. */
static size_t part(const char *call, int fd, size_t size, bool sends)
{
    if (size < 2 || !counts(INJECT_SHORT) || !is_stream(fd))
        return size;
    if (sends && size <= (is_file(fd) ? WHOLE_FILE : WHOLE))
        return size;
    return turn(INJECT_SHORT, call) ? (size + 1) / 2 : size;
}

/* Variant 1: from its turn on there is no memory at all. */
static bool no_memory(const char *call)
{
    if (turn(INJECT_NO_MEMORY, call)) {
        inject->result.variants = 2;
        inject->result.error = ENOMEM;
        return true;
    }
    return inject->variant == 1 && counts(INJECT_NO_MEMORY) &&
           atomic_load(&inject->count) > inject->at;
}

#define ERRORS(...)      ((const int[]){__VA_ARGS__}), sizeof((int[]){__VA_ARGS__}) / sizeof(int)
#define FAILS(call, ...) fails(call, ERRORS(__VA_ARGS__))

/* result name(parameters), which fails with -1 and one of the errors. */
#define WRAP(result, name, parameters, arguments, ...)                                             \
    result __real_##name parameters;                                                               \
    result __wrap_##name parameters;                                                               \
    result __wrap_##name parameters                                                                \
    {                                                                                              \
        return FAILS(#name, __VA_ARGS__) ? (result)-1 : __real_##name arguments;                   \
    }

/* The same for what a signal can interrupt. */
#define WRAP_WAIT(result, name, parameters, arguments, ...)                                        \
    result __real_##name parameters;                                                               \
    result __wrap_##name parameters;                                                               \
    result __wrap_##name parameters                                                                \
    {                                                                                              \
        if (FAILS(#name, __VA_ARGS__) || interrupted(#name))                                       \
            return (result)-1;                                                                     \
        return __real_##name arguments;                                                            \
    }

/* The same for what moves `size` bytes of descriptor `fd`. */
#define WRAP_BYTES(name, sends, parameters, arguments, ...)                                        \
    ssize_t __real_##name parameters;                                                              \
    ssize_t __wrap_##name parameters;                                                              \
    ssize_t __wrap_##name parameters                                                               \
    {                                                                                              \
        if (is_stream(fd) && (FAILS(#name, __VA_ARGS__) || interrupted(#name)))                    \
            return -1;                                                                             \
        size = part(#name, fd, size, sends);                                                       \
        return __real_##name arguments;                                                            \
    }

/* ---- memory ---- */

#define WRAP_MEMORY(name, parameters, arguments)                                                   \
    void *__real_##name parameters;                                                                \
    void *__wrap_##name parameters;                                                                \
    void *__wrap_##name parameters                                                                 \
    {                                                                                              \
        return no_memory(#name) ? NULL : __real_##name arguments;                                  \
    }

WRAP_MEMORY(lum_calloc, (size_t n, size_t size), (n, size))
WRAP_MEMORY(lum_realloc, (void *p, size_t size), (p, size))
WRAP_MEMORY(lum_strdup, (const char *s), (s))
WRAP_MEMORY(malloc, (size_t size), (size)) /* of the trees and the agent, which have no lum_ */

void *__real_mmap64(void *at, size_t size, int prot, int flags, int fd, off_t offset);
void *__wrap_mmap64(void *at, size_t size, int prot, int flags, int fd, off_t offset);
void *__wrap_mmap64(void *at, size_t size, int prot, int flags, int fd, off_t offset)
{
    return FAILS("mmap", ENOMEM) ? MAP_FAILED : __real_mmap64(at, size, prot, flags, fd, offset);
}

/* ---- descriptors ---- */

WRAP_BYTES(read, false, (int fd, void *buf, size_t size), (fd, buf, size), EIO)
WRAP_BYTES(write, true, (int fd, const void *buf, size_t size), (fd, buf, size), EIO, ENOSPC)
WRAP_BYTES(pread64, false, (int fd, void *buf, size_t size, off_t at), (fd, buf, size, at), EIO)
WRAP_BYTES(pwrite64, true, (int fd, const void *buf, size_t size, off_t at), (fd, buf, size, at),
           EIO, ENOSPC)
WRAP_BYTES(send, true, (int fd, const void *buf, size_t size, int flags), (fd, buf, size, flags),
           EPIPE, ENOBUFS)
WRAP(int, socketpair, (int domain, int type, int protocol, int pair[2]),
     (domain, type, protocol, pair), EMFILE, ENFILE)
WRAP(int, socket, (int domain, int type, int protocol), (domain, type, protocol), EMFILE)
WRAP(int, pipe2, (int p[2], int flags), (p, flags), EMFILE)
WRAP(int, epoll_create1, (int flags), (flags), EMFILE)
WRAP(int, eventfd, (unsigned value, int flags), (value, flags), EMFILE)
WRAP(int, timerfd_create, (int clock, int flags), (clock, flags), EMFILE)
WRAP(int, memfd_create, (const char *name, unsigned flags), (name, flags), EMFILE, ENOMEM)
WRAP(int, fdatasync, (int fd), (fd), EIO)
WRAP(int, fsync, (int fd), (fd), EIO, ENOSPC)
WRAP(int, ftruncate64, (int fd, off_t size), (fd, size), EIO)
WRAP(int, mincore, (void *at, size_t size, unsigned char *vec), (at, size, vec), EAGAIN)
WRAP_WAIT(int, poll, (struct pollfd * list, nfds_t n, int timeout), (list, n, timeout), ENOMEM)
WRAP_WAIT(int, flock, (int fd, int operation), (fd, operation), ENOLCK)

/* Only what takes memory can fail. */
int __real_epoll_ctl(int epoll, int op, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int epoll, int op, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int epoll, int op, int fd, struct epoll_event *event)
{
    if (op == EPOLL_CTL_ADD && FAILS("epoll_ctl", ENOMEM, ENOSPC))
        return -1;
    return __real_epoll_ctl(epoll, op, fd, event);
}

int __real_epoll_wait(int epoll, struct epoll_event *events, int n, int timeout);
int __wrap_epoll_wait(int epoll, struct epoll_event *events, int n, int timeout);
int __wrap_epoll_wait(int epoll, struct epoll_event *events, int n, int timeout)
{
    return interrupted("epoll_wait") ? -1 : __real_epoll_wait(epoll, events, n, timeout);
}

/* Only duplicating can fail. */
int __real_fcntl64(int fd, int command, ...);
int __wrap_fcntl64(int fd, int command, ...);
int __wrap_fcntl64(int fd, int command, ...)
{
    va_list ap;

    va_start(ap, command);
    long argument = va_arg(ap, long);
    va_end(ap);
    if (command == F_DUPFD_CLOEXEC && FAILS("fcntl", EMFILE))
        return -1;
    return __real_fcntl64(fd, command, argument);
}

/* A header that carries descriptors arrives whole. */
#define WHOLE_HEADER 64u

static void cut_message(const char *call, int fd, struct msghdr *msg, struct iovec *piece,
                        bool sends)
{
    *piece = msg->msg_iov[0];
    if (msg->msg_iovlen != 1 || piece->iov_len <= WHOLE_HEADER)
        return;
    piece->iov_len = part(call, fd, piece->iov_len, sends);
    msg->msg_iov = piece;
}

ssize_t __real_sendmsg(int fd, const struct msghdr *msg, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags)
{
    struct msghdr copy = *msg;
    struct iovec piece;

    if ((msg->msg_controllen ? FAILS("sendmsg", ENOBUFS, ETOOMANYREFS)
                             : FAILS("sendmsg", ENOBUFS)) ||
        interrupted("sendmsg"))
        return -1;
    cut_message("sendmsg", fd, &copy, &piece, true);
    return __real_sendmsg(fd, &copy, flags);
}

ssize_t __real_recvmsg(int fd, struct msghdr *msg, int flags);
ssize_t __wrap_recvmsg(int fd, struct msghdr *msg, int flags);
ssize_t __wrap_recvmsg(int fd, struct msghdr *msg, int flags)
{
    struct iovec *whole = msg->msg_iov;
    struct iovec piece;

    if (FAILS("recvmsg", ENOMEM) || interrupted("recvmsg"))
        return -1;
    cut_message("recvmsg", fd, msg, &piece, false);
    ssize_t n = __real_recvmsg(fd, msg, flags);
    msg->msg_iov = whole;
    return n;
}

ssize_t __real_getrandom(void *buf, size_t size, unsigned flags);
ssize_t __wrap_getrandom(void *buf, size_t size, unsigned flags);
ssize_t __wrap_getrandom(void *buf, size_t size, unsigned flags)
{
    if (FAILS("getrandom", ENOSYS) || interrupted("getrandom"))
        return -1;
    if (size > 1 && turn(INJECT_SHORT, "getrandom"))
        size = (size + 1) / 2;
    return __real_getrandom(buf, size, flags);
}

/* Hypervisor calls; a vCPU that is interrupted is an everyday event. */
int __real_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...)
{
    va_list ap;

    va_start(ap, request);
    void *argument = va_arg(ap, void *);
    va_end(ap);
    if (FAILS("ioctl", ENOMEM, EINVAL))
        return -1;
    return __real_ioctl(fd, request, argument);
}

/* ---- files ---- */

#define WRAP_OPEN(name, parameters, before)                                                        \
    int __real_##name parameters;                                                                  \
    int __wrap_##name parameters;                                                                  \
    int __wrap_##name parameters                                                                   \
    {                                                                                              \
        va_list ap;                                                                                \
                                                                                                   \
        va_start(ap, flags);                                                                       \
        unsigned mode = va_arg(ap, unsigned);                                                      \
        va_end(ap);                                                                                \
        return FAILS(#name, EMFILE, EACCES) ? -1 : __real_##name before;                           \
    }

WRAP_OPEN(open64, (const char *path, int flags, ...), (path, flags, mode))
WRAP_OPEN(openat64, (int dir, const char *path, int flags, ...), (dir, path, flags, mode))

int __wrap_fstat64(int fd, struct stat64 *st);
int __wrap_fstat64(int fd, struct stat64 *st)
{
    return FAILS("fstat", EIO) ? -1 : __real_fstat64(fd, st);
}

WRAP(int, stat64, (const char *path, struct stat64 *st), (path, st), EACCES)
WRAP(int, fstatat64, (int dir, const char *path, struct stat64 *st, int flags),
     (dir, path, st, flags), EIO)
WRAP(int, mkdir, (const char *path, mode_t mode), (path, mode), EACCES, ENOSPC)
WRAP(int, mkdirat, (int dir, const char *path, mode_t mode), (dir, path, mode), ENOSPC)
WRAP(int, fchmod, (int fd, mode_t mode), (fd, mode), EPERM)
WRAP(int, futimens, (int fd, const struct timespec times[2]), (fd, times), EPERM)
WRAP(int, utimensat, (int dir, const char *path, const struct timespec times[2], int flags),
     (dir, path, times, flags), EPERM)
WRAP(int, symlinkat, (const char *target, int dir, const char *path), (target, dir, path), ENOSPC)
WRAP(int, unlinkat, (int dir, const char *path, int flags), (dir, path, flags), EACCES)
WRAP(int, renameat, (int from, const char *old, int to, const char *name), (from, old, to, name),
     EIO, ENOSPC)
WRAP(ssize_t, readlinkat, (int dir, const char *path, char *buf, size_t size),
     (dir, path, buf, size), EIO)
WRAP(ssize_t, readlink, (const char *path, char *buf, size_t size), (path, buf, size), EIO)

DIR *__real_fdopendir(int fd);
DIR *__wrap_fdopendir(int fd);
DIR *__wrap_fdopendir(int fd)
{
    return FAILS("fdopendir", ENOMEM) ? NULL : __real_fdopendir(fd);
}

struct dirent64 *__real_readdir64(DIR *dir);
struct dirent64 *__wrap_readdir64(DIR *dir);
struct dirent64 *__wrap_readdir64(DIR *dir)
{
    return FAILS("readdir", EIO) ? NULL : __real_readdir64(dir);
}

char *__real_realpath(const char *path, char *buf);
char *__wrap_realpath(const char *path, char *buf);
char *__wrap_realpath(const char *path, char *buf)
{
    return FAILS("realpath", ENOMEM, EACCES) ? NULL : __real_realpath(path, buf);
}

/* ---- threads and processes ---- */

int __real_pthread_create(pthread_t *id, const pthread_attr_t *attr, void *(*fn)(void *),
                          void *ctx);
int __wrap_pthread_create(pthread_t *id, const pthread_attr_t *attr, void *(*fn)(void *),
                          void *ctx);
int __wrap_pthread_create(pthread_t *id, const pthread_attr_t *attr, void *(*fn)(void *), void *ctx)
{
    return FAILS("pthread_create", EAGAIN) ? EAGAIN : __real_pthread_create(id, attr, fn, ctx);
}

struct clone_args;
pid_t __real_clone3_call(struct clone_args *args, size_t size, int (*fn)(void *), void *ctx);
pid_t __wrap_clone3_call(struct clone_args *args, size_t size, int (*fn)(void *), void *ctx);
pid_t __wrap_clone3_call(struct clone_args *args, size_t size, int (*fn)(void *), void *ctx)
{
    return FAILS("clone3", EAGAIN, ENOMEM) ? -errno : __real_clone3_call(args, size, fn, ctx);
}

int __real_clone(int (*fn)(void *), void *stack, int flags, void *arg, ...);
int __wrap_clone(int (*fn)(void *), void *stack, int flags, void *arg, ...);
int __wrap_clone(int (*fn)(void *), void *stack, int flags, void *arg, ...)
{
    return FAILS("clone", EAGAIN, ENOMEM) ? -1 : __real_clone(fn, stack, flags, arg);
}

int __real_waitid(idtype_t type, id_t id, siginfo_t *info, int options);
int __wrap_waitid(idtype_t type, id_t id, siginfo_t *info, int options);
int __wrap_waitid(idtype_t type, id_t id, siginfo_t *info, int options)
{
    return interrupted("waitid") ? -1 : __real_waitid(type, id, info, options);
}
