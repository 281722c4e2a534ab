/* SPDX-License-Identifier: Apache-2.0 */
/* See machine.h. */
#include "machine.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "console.h"

#define MAX_ENTROPY 256
#define NS_PER_S    1000000000u
#define LINGER_S    1
#define MOUNTS_SIZE 16384
#define LOG_RECORD  4096 /* no record of the kernel is longer */

/* uapi/linux/random.h, which is not on every libc's path. */
struct entropy_input {
    int bits;
    int size;
    uint8_t bytes[MAX_ENTROPY];
};
#define RANDOM_ADD_ENTROPY _IOW('R', 0x03, int[2])
#define RANDOM_RESEED      _IO('R', 0x07)

static void add_entropy(const uint8_t *entropy, size_t size)
{
    struct entropy_input input = {.bits = (int)size * 8, .size = (int)size};
    int fd = open("/dev/urandom", O_WRONLY | O_CLOEXEC);

    memcpy(input.bytes, entropy, size);
    /* Credited first; then used at once, so that copies of one snapshot part ways here. */
    if (fd < 0 || ioctl(fd, RANDOM_ADD_ENTROPY, &input) < 0 || ioctl(fd, RANDOM_RESEED) < 0)
        console_line("add entropy: ", strerror(errno), NULL);
    if (fd >= 0)
        close(fd);
    explicit_bzero(&input, sizeof(input));
}

void machine_welcome(uint64_t wall_ns, const uint8_t *entropy, size_t size)
{
    const struct timespec now = {.tv_sec = (time_t)(wall_ns / NS_PER_S),
                                 .tv_nsec = (long)(wall_ns % NS_PER_S)};

    if (clock_settime(CLOCK_REALTIME, &now) < 0)
        console_line("set the clock: ", strerror(errno), NULL);
    if (size > 0 && size <= MAX_ENTROPY)
        add_entropy(entropy, size);
}

/*
 * The kernel keeps no count that is always compiled in; its log tells. One read is one record:
 * numbers, ';', the message.
 */
bool machine_out_of_memory(void)
{
    static const char words[] = ";Out of memory: Killed ";
    static int fd = -1; /* stays where it was read to */
    char record[LOG_RECORD];
    bool found = false;
    ssize_t n;

    if (fd < 0)
        fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return false;
    /* EPIPE: records were lost to newer ones; the next read goes on behind them. */
    while ((n = read(fd, record, sizeof(record) - 1)) > 0 || (n < 0 && errno == EPIPE)) {
        record[n > 0 ? n : 0] = '\0';
        const char *message = strchr(record, ';');
        found |= message && strncmp(message, words, sizeof(words) - 1) == 0;
    }
    return found;
}

void machine_kill_all(int signo)
{
    (void)kill(-1, signo);
    if (signo != SIGKILL)
        (void)kill(-1, SIGCONT); /* or what is stopped would never see it */
}

/* /proc/mounts writes blanks and backslashes of a path as three octal digits. */
static void unescape(char *text)
{
    char *out = text;

    for (const char *p = text; *p; p++) {
        if (p[0] == '\\' && p[1] >= '0' && p[1] <= '3' && p[2] && p[3]) {
            *out++ = (char)((p[1] - '0') << 6 | (p[2] - '0') << 3 | (p[3] - '0'));
            p += 3;
        } else {
            *out++ = *p;
        }
    }
    *out = '\0';
}

/* Disks that are mounted writable become clean by being made read-only. */
static void settle_disks(void)
{
    static char text[MOUNTS_SIZE];
    size_t have = 0;
    ssize_t n;
    int fd = open("/proc/self/mounts", O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return;
    while (have < sizeof(text) - 1 && (n = read(fd, text + have, sizeof(text) - 1 - have)) > 0)
        have += (size_t)n;
    close(fd);
    text[have] = '\0';

    for (char *line = text, *next; *line; line = next) {
        next = line + strcspn(line, "\n");
        if (*next)
            *next++ = '\0';
        char *dir = strchr(line, ' ');
        char *end = dir ? strchr(dir + 1, ' ') : NULL;
        if (strncmp(line, "/dev/", 5) != 0 || !end)
            continue;
        *end = '\0';
        unescape(dir + 1);
        (void)mount(NULL, dir + 1, NULL, MS_REMOUNT | MS_RDONLY, NULL);
    }
}

_Noreturn void machine_end(int fd)
{
    /* A vsock socket is closed in the background: wait until the host has acknowledged it. */
    const struct linger linger = {.l_onoff = 1, .l_linger = LINGER_S};

    machine_kill_all(SIGKILL);
    sync();
    settle_disks();
    if (fd >= 0) {
        (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
        close(fd);
    }
    for (;;) {
        (void)reboot(RB_AUTOBOOT);
        pause();
    }
}
