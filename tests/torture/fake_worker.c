/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stands for lumina-vmm where no VM can run: answers the library's requests on descriptor 3 as the
 * worker does (worker/ctl.h), for one caller after the other, with a command that says "hello".
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/frame.h"
#include "proto.h"
#include "worker/ctl.h"

enum { CHANNEL, STREAMS };

static int fds[16];
static size_t n_fds;

static void say(int fd, uint16_t type, const void *body, size_t size)
{
    uint8_t out[256];

    le32_store(out, (uint32_t)size);
    le16_store(out + 4, type);
    le16_store(out + 6, 0);
    le32_store(out + 8, 0);
    if (size > 0)
        memcpy(out + FRAME_HEADER, body, size);
    if (write(fd, out, FRAME_HEADER + size) < 0)
        _exit(0); /* the caller has gone */
}

static void say_text(int fd, const char *text)
{
    uint8_t body[64];
    size_t size = strlen(text);

    le32_store(body, (uint32_t)size);
    memcpy(body + 4, text, size);
    say(fd, CTL_OK, body, 4 + size);
}

static void connect_port(void)
{
    if (write(fds[STREAMS], "pong", 4) < 0)
        _exit(0);
    say(fds[CHANNEL], CTL_OK, NULL, 0);
}

/* The smallest tree: one file, and the end. */
static void say_tree(int fd)
{
    uint8_t out[2 * PROTO_TREE_HEADER + 5] = {PROTO_TREE_FILE};

    le32_store(out + 1, 0644);
    le64_store(out + 13, 5);
    memcpy(out + PROTO_TREE_HEADER, "hello", 5);
    if (write(fd, out, sizeof(out)) < 0)
        _exit(0);
}

static void operation(const uint8_t *body)
{
    uint8_t end[16] = {7};
    char sink[65536];

    say(fds[CHANNEL], CTL_STARTED, NULL, 0);
    switch (le16_load(body)) {
    case PROTO_EXEC:
        if (write(fds[STREAMS + 1], "hello", 5) < 0)
            _exit(0);
        break;
    case PROTO_PUT:
        while (read(fds[STREAMS], sink, sizeof(sink)) > 0)
            ;
        break;
    default: say_tree(fds[STREAMS]); break;
    }
    say(fds[CHANNEL], CTL_DONE, end, sizeof(end));
}

static void request(uint16_t type, const uint8_t *body)
{
    static const uint8_t zeros[24];

    switch (type) {
    case CTL_CREATE: say_text(fds[CHANNEL], "fake"); break;
    case CTL_STATS: say(fds[CHANNEL], CTL_OK, zeros, 24); break;
    case CTL_TIMINGS: say(fds[CHANNEL], CTL_OK, zeros, 4); break;
    case CTL_WAIT: say_text(fds[CHANNEL], "stopped"); break;
    case CTL_DIAL: connect_port(); break;
    case CTL_OP: operation(body); break;
    default: say(fds[CHANNEL], CTL_OK, NULL, 0); break;
    }
}

static size_t receive(void *buf, size_t size)
{
    union {
        char raw[CMSG_SPACE(sizeof(fds))];
        struct cmsghdr align;
    } control;
    struct iovec iov = {buf, size};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.raw,
                         .msg_controllen = sizeof(control.raw)};
    ssize_t n = recvmsg(CTL_FD, &msg, MSG_CMSG_CLOEXEC);

    for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); n > 0 && c; c = CMSG_NXTHDR(&msg, c)) {
        n_fds = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(fds, CMSG_DATA(c), n_fds * sizeof(int));
    }
    return n > 0 ? (size_t)n : 0;
}

static void receive_all(uint8_t *buf, size_t size)
{
    for (size_t have = 0, n; have < size; have += n) {
        n = receive(buf + have, size - have);
        if (n == 0)
            _exit(0);
    }
}

static void probe(void)
{
    static const uint8_t body[] = {4, 0, 0, 0, 'f', 'a', 'k', 'e', 1,   0,   0,   0,  0,
                                   1, 0, 0, 0, 4,   0,   0,   0,   'n', 'o', 'n', 'e'};

    say(CTL_FD, CTL_BACKEND, body, sizeof(body));
}

int main(int argc, char **argv)
{
    static uint8_t body[FRAME_MAX_PAYLOAD];
    uint8_t header[FRAME_HEADER];

    if (argc == 2 && strcmp(argv[1], "probe") == 0) {
        probe();
        return 0;
    }
    for (;;) {
        receive_all(header, sizeof(header));
        receive_all(body, le32_load(header));
        request(le16_load(header + 4), body);
        for (size_t i = 0; i < n_fds; i++)
            close(fds[i]);
        n_fds = 0;
    }
}
