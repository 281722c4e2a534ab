/* SPDX-License-Identifier: Apache-2.0 */
/* See drain.h. */
#include "drain.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

static int drains[DRAIN_MAX];
static unsigned drain_count;

/* False: nobody will write any more. */
static bool drop_some(int fd)
{
    char dropped[4096];
    ssize_t n = read(fd, dropped, sizeof(dropped));

    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

void drain_adopt(int fd)
{
    if (!drop_some(fd)) {
        close(fd);
        return;
    }
    if (drain_count == DRAIN_MAX) {
        close(drains[0]);
        memmove(drains, drains + 1, (DRAIN_MAX - 1) * sizeof(drains[0]));
        drain_count--;
    }
    drains[drain_count++] = fd;
}

unsigned drain_polls(struct pollfd *polls)
{
    for (unsigned i = 0; i < drain_count; i++)
        polls[i] = (struct pollfd){.fd = drains[i], .events = POLLIN};
    return drain_count;
}

void drain_events(const struct pollfd *polls, unsigned count)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < drain_count; i++) {
        bool ready = i < count && polls[i].revents;

        if (ready && !drop_some(drains[i]))
            close(drains[i]);
        else
            drains[kept++] = drains[i];
    }
    drain_count = kept;
}

void drain_close(void)
{
    while (drain_count > 0)
        close(drains[--drain_count]);
}
