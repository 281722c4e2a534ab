/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as what the host sends: through serve(), with its frames, table of operations, credit
 * and shutdown. What would act on this machine is replaced here: processes, sockets, files. Each
 * "command" writes a little, ends when its stdin did, and its exit is reported as a signalfd would.
 * Build with -Wl,--wrap=waitpid,--wrap=kill.
 *
 * The first byte is a set of switches, the rest is sent after a proper WELCOME.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#include "machine.h"
#include "proto.h"
#include "serve.h"
#include "session.h"
#include "spawn.h"
#include "tree.h"
#include "vsock.h"

#define SWITCH_FAIL  1u  /* nothing starts */
#define SWITCH_EXIT  2u  /* commands end at once */
#define SWITCH_MUCH  4u  /* and write more than a window */
#define SWITCH_PLAIN 8u  /* no WELCOME of ours */
#define SWITCH_SLOW  16u /* a command reads its input only when the next one starts */
#define MAX_COMMANDS 1024

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
pid_t __wrap_waitpid(pid_t pid, int *status, int options);
int __wrap_kill(pid_t pid, int signo);

static unsigned switches;
static int report_fd = -1; /* where signals are reported to serve() */
static unsigned commands, reaped;
static int kept = -1;
static const uint8_t zeros[65536];

static void report(int signo)
{
    const struct signalfd_siginfo info = {.ssi_signo = (uint32_t)signo};

    if (write(report_fd, &info, sizeof(info)) < 0)
        return; /* full: enough is reported */
}

pid_t __wrap_waitpid(pid_t pid, int *status, int options)
{
    (void)pid;
    (void)options;
    if (reaped == commands) {
        errno = ECHILD;
        return -1;
    }
    if (!(switches & SWITCH_EXIT))
        return 0;
    *status = (int)(reaped % 3) << 8;
    return (pid_t)(1000 + reaped++);
}

int __wrap_kill(pid_t pid, int signo)
{
    if (pid == 0 || pid == -1)
        abort(); /* never at everybody */
    switches |= signo == SIGKILL ? SWITCH_EXIT : 0;
    report(SIGCHLD);
    return 0;
}

/* The input of a command that does not read, in a pipe that is soon full. */
static void keep_input(const struct spawn *spawn)
{
    if (!(switches & SWITCH_SLOW) || spawn->tty || kept >= 0)
        return;
    kept = fcntl(spawn->in, F_DUPFD_CLOEXEC, 0);
    (void)fcntl(kept, F_SETPIPE_SZ, 4096);
    (void)fcntl(kept, F_SETFL, O_RDONLY | O_NONBLOCK);
}

static void read_kept(void)
{
    static uint8_t sink[65536];

    if (kept >= 0 && read(kept, sink, sizeof(sink)) == 0) {
        close(kept);
        kept = -1;
    }
}

pid_t spawn_run(struct spawn *spawn)
{
    size_t n = switches & SWITCH_MUCH ? sizeof(zeros) : 5;
    size_t length = 0;

    read_kept();
    for (char **p = spawn->argv; *p; p++)
        length += strlen(*p);
    for (char **p = spawn->envp; *p; p++)
        length += strlen(*p);
    if ((switches & SWITCH_FAIL) || length == 0 || commands == MAX_COMMANDS) {
        spawn->fail = PROTO_FAIL_NO_COMMAND;
        spawn->error = ENOENT;
        spawn->what = "execute";
        return -1;
    }
    keep_input(spawn);
    (void)fcntl(spawn->out, F_SETFL, O_WRONLY | O_NONBLOCK);
    ssize_t written = write(spawn->out, zeros, n); /* a terminal may take less or nothing */
    if (written >= 0)
        written = write(spawn->err, zeros, 3);
    if ((switches & SWITCH_EXIT) || written < 0)
        report(SIGCHLD);
    return (pid_t)(1000 + commands++);
}

void session_kill(pid_t leader)
{
    (void)leader;
    switches |= SWITCH_EXIT;
    report(SIGCHLD);
}

void machine_welcome(uint64_t wall_ns, const uint8_t *entropy, size_t size)
{
    uint8_t sum = (uint8_t)wall_ns;

    for (size_t i = 0; i < size; i++)
        sum ^= entropy[i];
    switches ^= sum & 0x80u;
}

bool machine_out_of_memory(void)
{
    return true;
}

void machine_kill_all(int signo)
{
    (void)signo;
    switches |= SWITCH_EXIT;
    report(SIGCHLD);
}

int vsock_connect(uint32_t cid, uint32_t port, bool wait)
{
    int fds[2];

    (void)cid;
    (void)wait;
    if ((port & 1) || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0) {
        errno = ECONNRESET;
        return -1;
    }
    if (write(fds[1], zeros, port & 2 ? sizeof(zeros) : 4) < 0)
        errno = 0;
    close(fds[1]);
    return fds[0];
}

/* Files: a PUT takes everything until a byte 0xff, a GET yields zeros. */
static char fake;

int tree_pack_open(const char *path, struct tree_pack **ret_pack)
{
    if (path[0] != '/')
        return -ENOENT;
    *ret_pack = (struct tree_pack *)(void *)&fake;
    return 0;
}

size_t tree_pack_read(struct tree_pack *pack, void *buf, size_t size)
{
    (void)pack;
    memset(buf, 0, size);
    return switches & SWITCH_MUCH ? size : size / 2;
}

int tree_pack_error(const struct tree_pack *pack, const char **ret_path)
{
    (void)pack;
    *ret_path = "x";
    return switches & SWITCH_FAIL ? EIO : 0;
}

void tree_pack_close(struct tree_pack *pack)
{
    (void)pack;
}

int tree_unpack_open(const char *dest, const char *own_name, unsigned flags,
                     struct tree_unpack **ret_unpack)
{
    if (dest[0] != '/' || own_name[0] == '/' || flags)
        return -EINVAL;
    *ret_unpack = (struct tree_unpack *)(void *)&fake;
    return 0;
}

int tree_unpack_write(struct tree_unpack *unpack, const void *data, size_t size)
{
    (void)unpack;
    return memchr(data, 0xff, size) ? -EPROTO : 0;
}

int tree_unpack_finish(struct tree_unpack *unpack)
{
    (void)unpack;
    return switches & SWITCH_FAIL ? -ENODATA : 0;
}

const char *tree_unpack_path(const struct tree_unpack *unpack)
{
    (void)unpack;
    return "";
}

void tree_unpack_close(struct tree_unpack *unpack)
{
    (void)unpack;
}

static void send_input(int fd, const uint8_t *data, size_t size)
{
    static const uint8_t welcome[] = {20,
                                      0,
                                      0,
                                      0,
                                      PROTO_WELCOME,
                                      0,
                                      0,
                                      0,
                                      0,
                                      0,
                                      0,
                                      0,
                                      'L',
                                      'U',
                                      'M',
                                      '1',
                                      PROTO_VERSION,
                                      0,
                                      0,
                                      0,
                                      0,
                                      0,
                                      0,
                                      0,
                                      0,
                                      0,
                                      0,
                                      0,
                                      0,
                                      0,
                                      0,
                                      0};

    if (!(switches & SWITCH_PLAIN) && write(fd, welcome, sizeof(welcome)) < 0)
        abort();
    if (size > 0 && write(fd, data, size) < 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int host[2];
    int signals[2];

    if (size < 1 || size > 60000)
        return 0;
    signal(SIGPIPE, SIG_IGN);
    switches = data[0];
    commands = reaped = 0;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, host) < 0 ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, signals) < 0)
        abort();
    report_fd = signals[1];
    send_input(host[0], data + 1, size - 1);
    (void)shutdown(host[0], SHUT_WR);
    serve(host[1], signals[0]);
    if (kept >= 0)
        close(kept);
    kept = -1;
    close(host[0]);
    close(host[1]);
    close(signals[0]);
    close(signals[1]);
    return 0;
}
