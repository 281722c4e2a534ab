/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptors: making, moving bytes, waiting, passing between processes. */
#include "plat/plat.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* seccomp io vcpu: close, write */
/* seccomp io: read, recvmsg, sendmsg, sendto, shutdown, poll?, ppoll, socketpair(0=AF_UNIX),
 * fcntl(1=F_GETFL|F_SETFL|F_DUPFD_CLOEXEC) */

void plat_close(plat_fd *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = PLAT_FD_NONE;
}

bool plat_is_open(plat_fd fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

int plat_pipe(plat_fd ret_pipe[2], struct lum_error *err)
{
    int p[2];

    if (pipe2(p, O_CLOEXEC) < 0)
        return lum_fail_errno(err, errno, "make a pipe");
    ret_pipe[0] = p[0];
    ret_pipe[1] = p[1];
    return 0;
}

int plat_socketpair(plat_fd ret_pair[2], struct lum_error *err)
{
    int p[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p) < 0)
        return lum_fail_errno(err, errno, "make a socket pair");
    ret_pair[0] = p[0];
    ret_pair[1] = p[1];
    return 0;
}

int plat_set_nonblock(plat_fd fd, struct lum_error *err)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return lum_fail_errno(err, errno, "make descriptor %d non-blocking", fd);
    return 0;
}

int plat_dup(plat_fd fd, plat_fd *ret_fd, struct lum_error *err)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

    if (copy < 0)
        return lum_fail_errno(err, errno, "duplicate descriptor %d", fd);
    *ret_fd = copy;
    return 0;
}

ssize_t plat_read(plat_fd fd, void *buf, size_t size)
{
    for (;;) {
        ssize_t n = read(fd, buf, size);
        if (n >= 0)
            return n;
        if (errno != EINTR)
            return errno == EWOULDBLOCK ? -EAGAIN : -errno;
    }
}

ssize_t plat_write(plat_fd fd, const void *buf, size_t size)
{
    for (;;) {
        /* Sockets are the common case, and only send() can promise that no SIGPIPE is raised. */
        ssize_t n = send(fd, buf, size, MSG_NOSIGNAL);
        if (n < 0 && errno == ENOTSOCK)
            n = write(fd, buf, size);
        if (n >= 0)
            return n;
        if (errno != EINTR)
            return errno == EWOULDBLOCK ? -EAGAIN : -errno;
    }
}

ssize_t plat_write_pipe(plat_fd fd, const void *buf, size_t size)
{
    for (;;) {
        ssize_t n = write(fd, buf, size);
        if (n >= 0)
            return n;
        if (errno != EINTR)
            return errno == EWOULDBLOCK ? -EAGAIN : -errno;
    }
}

int plat_wait_fd(plat_fd fd, bool for_write, plat_fd aux, int timeout_ms)
{
    uint64_t deadline = timeout_ms < 0 ? 0 : plat_now_ns() + (uint64_t)timeout_ms * 1000000;

    for (;;) {
        struct pollfd p[2] = {{.fd = fd, .events = for_write ? POLLOUT : POLLIN},
                              {.fd = aux, .events = POLLIN}};
        int left = -1;

        if (timeout_ms >= 0) {
            uint64_t now = plat_now_ns();
            left = now >= deadline ? 0 : (int)((deadline - now + 999999) / 1000000);
        }
        int n = poll(p, 2, left);
        if (n == 0)
            return 0;
        if (n > 0)
            return p[0].revents ? 1 : 2;
        if (errno != EINTR)
            return -errno;
    }
}

int plat_send_fds(plat_fd sock, const void *data, size_t size, const plat_fd *fds, size_t n_fds,
                  struct lum_error *err)
{
    union {
        char raw[CMSG_SPACE(sizeof(int) * PLAT_MAX_FDS)];
        struct cmsghdr align;
    } control = {{0}};
    size_t sent = 0;

    if (n_fds > PLAT_MAX_FDS)
        return lum_fail(err, LUM_EINTERNAL, "%zu descriptors in one message", n_fds);
    while (sent < size) {
        struct iovec iov = {(char *)(uintptr_t)data + sent, size - sent};
        struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

        if (sent == 0 && n_fds > 0) { /* they travel with the first byte */
            msg.msg_control = control.raw;
            msg.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
            struct cmsghdr *c = &control.align;
            c->cmsg_level = SOL_SOCKET;
            c->cmsg_type = SCM_RIGHTS;
            c->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
            memcpy(CMSG_DATA(c), fds, sizeof(int) * n_fds);
        }
        ssize_t n = sendmsg(sock, &msg, MSG_NOSIGNAL);
        if (n >= 0) {
            sent += (size_t)n;
        } else if (errno == EAGAIN) {
            int rc = plat_wait_fd(sock, true, PLAT_FD_NONE, -1);
            if (rc < 0)
                return lum_fail_errno(err, -rc, "send a message");
        } else if (errno == EPIPE || errno == ECONNRESET) {
            return lum_fail(err, LUM_EGONE, "the VM's process has ended");
        } else if (errno != EINTR) {
            return lum_fail_errno(err, errno, "send a message");
        }
    }
    return 0;
}

ssize_t plat_recv_fds(plat_fd sock, void *buf, size_t size, plat_fd *fds, size_t *n_fds)
{
    union {
        char raw[CMSG_SPACE(sizeof(int) * PLAT_MAX_FDS)];
        struct cmsghdr align;
    } control;
    struct iovec iov = {buf, size};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.raw,
                         .msg_controllen = sizeof(control.raw)};
    size_t capacity = *n_fds;
    ssize_t n;

    do {
        n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    *n_fds = 0;
    if (n < 0)
        return errno == EWOULDBLOCK ? -EAGAIN : -errno;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
            if (*n_fds < capacity)
                fds[(*n_fds)++] = fd;
            else
                close(fd);
        }
    }
    return n;
}
