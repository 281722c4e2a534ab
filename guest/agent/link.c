/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A virtio-serial port gets its name by a message of the device, at its own time: the kernel
 * announces that on its event socket, which is opened before the first look, so that nothing is
 * missed and nothing is polled.
 */
#include "link.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto.h"
#include "text.h"
#include "vsock.h"

#define PORTS        "/sys/class/virtio-ports"
#define WAIT_MS      10000
#define EVENT_FAMILY 15 /* NETLINK_KOBJECT_UEVENT */

/* As uapi/linux/netlink.h has it. */
struct event_address {
    sa_family_t family;
    unsigned short padding;
    uint32_t port;
    uint32_t groups;
};

static int open_events(void)
{
    const union {
        struct event_address netlink;
        struct sockaddr any;
    } address = {.netlink = {.family = AF_NETLINK, .groups = 1}};
    int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, EVENT_FAMILY);

    if (fd >= 0 && bind(fd, &address.any, sizeof(address.netlink)) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static bool has_name(const char *port, const char *name)
{
    char path[128];
    char text[128];
    size_t len = strlen(name);

    (void)text_join(path, sizeof(path), PORTS "/", port, "/name", NULL);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, text, sizeof(text));
    close(fd);
    return n > 0 && (size_t)n == len + 1 && memcmp(text, name, len) == 0 && text[len] == '\n';
}

/* -1 and ENOENT when there is no port of that name yet. */
static int open_port(const char *name)
{
    DIR *dir = opendir(PORTS);
    const struct dirent *entry;
    char path[64];
    int fd = -1;

    if (!dir)
        return -1;
    errno = 0;
    while ((entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] == '.' || !has_name(entry->d_name, name))
            continue;
        (void)text_join(path, sizeof(path), "/dev/", entry->d_name, NULL);
        fd = open(path, O_RDWR | O_CLOEXEC);
        break;
    }
    int error = errno;
    closedir(dir);
    errno = entry ? error : ENOENT;
    return fd;
}

static int wait_for_port(const char *name)
{
    char event[2048];
    int events = open_events();
    struct pollfd state = {.fd = events, .events = POLLIN};
    int fd = open_port(name);

    while (fd < 0 && errno == ENOENT) {
        int rc = events < 0 ? 0 : poll(&state, 1, WAIT_MS);
        if (rc <= 0) {
            errno = rc < 0 ? errno : ETIMEDOUT;
            break;
        }
        while (recv(events, event, sizeof(event), 0) > 0)
            continue;
        fd = open_port(name);
    }
    int error = errno;
    if (events >= 0)
        close(events);
    errno = error;
    return fd;
}

int link_open(const char *agent)
{
    if (strcmp(agent, "vsock") == 0)
        return vsock_connect(VSOCK_CID_HOST, AGENT_PORT, true);
    return wait_for_port(agent);
}
