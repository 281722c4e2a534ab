/* SPDX-License-Identifier: Apache-2.0 */
/* See vsock.h. */
#include "vsock.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

/* As the kernel's uapi/linux/vm_sockets.h has it. */
struct vsock_address {
    sa_family_t family;
    uint16_t reserved;
    uint32_t port;
    uint32_t cid;
    uint8_t zero[sizeof(struct sockaddr) - sizeof(sa_family_t) - 2 - 4 - 4];
};

int vsock_connect(uint32_t cid, uint32_t port, bool wait)
{
    const union {
        struct vsock_address vsock;
        struct sockaddr any;
    } address = {.vsock = {.family = AF_VSOCK, .port = port, .cid = cid}};
    int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | (wait ? 0 : SOCK_NONBLOCK), 0);

    if (fd < 0)
        return -1;
    if (connect(fd, &address.any, sizeof(address.vsock)) < 0 && (wait || errno != EINPROGRESS)) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}
