/* SPDX-License-Identifier: Apache-2.0 */
/* What devices do with descriptors: reads and writes at a position, flushing, half closing. */
#include <errno.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include "plat/plat.h"

/* A position that off_t cannot hold is no position in any file. */
static bool position_ok(uint64_t offset)
{
    return offset <= INT64_MAX;
}

/* seccomp io: pread64, pwrite64, fdatasync */

ssize_t plat_pread(plat_fd fd, void *buf, size_t size, uint64_t offset)
{
    ssize_t n;

    if (!position_ok(offset))
        return -EINVAL;
    do {
        n = pread(fd, buf, size, (off_t)offset);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

ssize_t plat_pwrite(plat_fd fd, const void *buf, size_t size, uint64_t offset)
{
    ssize_t n;

    if (!position_ok(offset))
        return -EINVAL;
    do {
        n = pwrite(fd, buf, size, (off_t)offset);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

int plat_fdatasync(plat_fd fd)
{
    int rc;

    do {
        rc = fdatasync(fd);
    } while (rc < 0 && errno == EINTR);
    return rc < 0 ? -errno : 0;
}

void plat_shutdown_write(plat_fd fd)
{
    shutdown(fd, SHUT_WR);
}

void plat_shutdown_read(plat_fd fd)
{
    shutdown(fd, SHUT_RD);
}
