/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent without a virtual machine: serve() runs in a child process on one end of a socket pair,
 * with what only PID 1 may do replaced below; the test is the host at the other end. Every wait has
 * an end.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "machine.h"
#include "proto.h"
#include "serve.h"
#include "tap.h"
#include "tree.h"
#include "vsock.h"

#define WAIT_MS 20000

/* ---- the machine that the agent believes in ---- */

void machine_welcome(uint64_t wall_ns, const uint8_t *entropy, size_t size)
{
    (void)entropy;
    if (wall_ns != 1234567890 || size != 3)
        _exit(3);
}

bool machine_out_of_memory(void)
{
    return true;
}

/* Our own descendants only: the agent's children, which orphans become as well. */
void machine_kill_all(int signo)
{
    char path[64];
    char text[4096];

    snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
    int fd = open(path, O_RDONLY);
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = '\0';
    for (char *p = text, *end; *p; p = *end ? end + 1 : end) {
        long pid = strtol(p, &end, 10);
        if (pid > 1)
            (void)kill((pid_t)pid, signo);
    }
}

/* ---- the host's side ---- */

static struct {
    int fd;
    pid_t pid;
} agent;

struct reply {
    unsigned type, stream;
    uint32_t id, size;
    uint8_t payload[PROTO_MAX_PAYLOAD];
};

static struct reply reply;

static void send_all(const void *data, size_t size)
{
    const uint8_t *p = data;

    while (size > 0) {
        ssize_t n = send(agent.fd, p, size, MSG_NOSIGNAL);
        if (n <= 0)
            return;
        p += n;
        size -= (size_t)n;
    }
}

static void put32(uint8_t *p, uint32_t v)
{
    for (unsigned i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void send_frame(unsigned type, unsigned stream, uint32_t id, const void *payload,
                       size_t size)
{
    uint8_t header[PROTO_HEADER];

    put32(header, (uint32_t)size);
    put32(header + 4, type | stream << 16);
    put32(header + 8, id);
    send_all(header, sizeof(header));
    send_all(payload, size);
}

static void send_number(unsigned type, unsigned stream, uint32_t id, uint32_t v)
{
    uint8_t payload[4];

    put32(payload, v);
    send_frame(type, stream, id, payload, sizeof(payload));
}

static bool receive(void *data, size_t size, int wait_ms)
{
    uint8_t *p = data;

    while (size > 0) {
        struct pollfd state = {.fd = agent.fd, .events = POLLIN};
        if (poll(&state, 1, wait_ms) <= 0)
            return false;
        ssize_t n = read(agent.fd, p, size);
        if (n <= 0)
            return false;
        p += n;
        size -= (size_t)n;
        wait_ms = WAIT_MS;
    }
    return true;
}

/* The next frame; false at the end of the connection or when none comes in time. */
static bool next_within(int wait_ms)
{
    uint8_t header[PROTO_HEADER];

    if (!receive(header, sizeof(header), wait_ms))
        return false;
    reply.size = get32(header);
    reply.type = get32(header + 4) & 0xffff;
    reply.stream = get32(header + 4) >> 16;
    reply.id = get32(header + 8);
    return reply.size <= sizeof(reply.payload) && receive(reply.payload, reply.size, WAIT_MS);
}

static bool next(void)
{
    return next_within(WAIT_MS);
}

static bool connection_ended(void)
{
    while (next())
        continue;
    struct pollfd state = {.fd = agent.fd, .events = POLLIN};
    char c;
    return poll(&state, 1, 0) == 1 && read(agent.fd, &c, 1) <= 0;
}

static void agent_main(int fd)
{
    sigset_t all;
    sigset_t ours;

    for (int signo = 1; signo < 32; signo++)
        signal(signo, SIG_DFL); /* as the kernel starts PID 1 */
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    sigemptyset(&ours);
    sigaddset(&ours, SIGCHLD);
    sigaddset(&ours, SIGTERM);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    serve(fd, signalfd(-1, &ours, SFD_CLOEXEC | SFD_NONBLOCK));
    machine_kill_all(SIGKILL);
    _exit(0);
}

static void welcome(void)
{
    uint8_t payload[4 + 4 + 8 + 4 + 3] = {0};

    put32(payload, PROTO_MAGIC);
    put32(payload + 4, PROTO_VERSION);
    put32(payload + 8, 1234567890);
    put32(payload + 16, 3);
    send_frame(PROTO_WELCOME, 0, 0, payload, sizeof(payload));
}

static void start_agent(bool with_welcome)
{
    int fds[2];

    fflush(stdout);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
        exit(99);
    agent.pid = fork();
    if (agent.pid == 0) {
        close(fds[0]);
        agent_main(fds[1]);
    }
    close(fds[1]);
    agent.fd = fds[0];
    ok(next() && reply.type == PROTO_HELLO && get32(reply.payload) == PROTO_MAGIC &&
           get32(reply.payload + 4) == PROTO_VERSION &&
           reply.size == 20 + get32(reply.payload + 16),
       "hello");
    if (with_welcome)
        welcome();
}

/* Hangs up; the agent has to end by itself. */
static void stop_agent(const char *what)
{
    const struct timespec moment = {.tv_nsec = 10000000};
    int status = -1;
    pid_t pid = 0;

    close(agent.fd);
    for (int i = 0; i < WAIT_MS / 10 && pid == 0; i++) {
        pid = waitpid(agent.pid, &status, WNOHANG);
        if (pid == 0)
            nanosleep(&moment, NULL);
    }
    ok(pid == agent.pid && status == 0, "%s: the agent ends: %x", what, (unsigned)status);
    if (pid == 0) {
        kill(agent.pid, SIGKILL);
        waitpid(agent.pid, &status, 0);
    }
}

/* ---- operations ---- */

struct request {
    uint8_t bytes[65536];
    size_t size;
};

static void add32(struct request *r, uint32_t v)
{
    put32(r->bytes + r->size, v);
    r->size += 4;
}

static void add_text(struct request *r, const char *text)
{
    size_t n = strlen(text);

    add32(r, (uint32_t)n);
    memcpy(r->bytes + r->size, text, n);
    r->size += n;
}

static void send_exec_full(uint32_t id, uint32_t flags, const char *cwd, const char *user,
                           const char *env, const char *const *argv)
{
    static struct request r;
    uint32_t argc = 0;

    r.size = 0;
    while (argv[argc])
        argc++;
    add32(&r, flags);
    add32(&r, 33);
    add32(&r, 101);
    add_text(&r, cwd);
    add_text(&r, user);
    add32(&r, argc);
    for (uint32_t i = 0; i < argc; i++)
        add_text(&r, argv[i]);
    add32(&r, env ? 1 : 0);
    if (env)
        add_text(&r, env);
    send_frame(PROTO_EXEC, 0, id, r.bytes, r.size);
}

static void send_shell(uint32_t id, uint32_t flags, const char *script)
{
    send_exec_full(id, flags, "/", "", NULL, (const char *const[]){"/bin/sh", "-c", script, NULL});
}

static struct {
    char out[2][1 << 16]; /* first bytes of each stream */
    size_t size[2];       /* all bytes */
    bool eof[2];
    uint32_t pid, code, signal, error;
    bool closed;
} got;

/* Reads on to DONE or FAILED, giving credit back; the type of that frame, or 0. */
static unsigned finish(uint32_t id)
{
    for (;;) {
        if (!next())
            return 0;
        if (reply.id != id)
            continue;
        if (reply.type == PROTO_STARTED && reply.size == 4)
            got.pid = get32(reply.payload);
        if (reply.type == PROTO_CLOSED)
            got.closed = true;
        if (reply.type == PROTO_EOF && reply.stream >= 1 && reply.stream <= 2)
            got.eof[reply.stream - 1] = true;
        if (reply.type == PROTO_DATA && reply.stream >= 1 && reply.stream <= 2) {
            unsigned s = reply.stream - 1;
            if (got.size[s] < sizeof(got.out[s]) - reply.size)
                memcpy(got.out[s] + got.size[s], reply.payload, reply.size);
            got.size[s] += reply.size;
            send_number(PROTO_CREDIT, reply.stream, id, reply.size);
        }
        if (reply.type == PROTO_FAILED) {
            got.error = get32(reply.payload);
            got.code = get32(reply.payload + 4);
            return PROTO_FAILED;
        }
        if (reply.type == PROTO_DONE) {
            got.code = get32(reply.payload);
            got.signal = get32(reply.payload + 4);
            got.error = get32(reply.payload + 8);
            return PROTO_DONE;
        }
    }
}

static void forget(void)
{
    memset(&got, 0, sizeof(got));
}

static bool said(unsigned stream, const char *text)
{
    size_t n = strlen(text);

    return got.size[stream - 1] == n && memcmp(got.out[stream - 1], text, n) == 0;
}

static unsigned run_shell(uint32_t id, uint32_t flags, const char *script)
{
    forget();
    send_shell(id, flags, script);
    return finish(id);
}

static void test_exec(void)
{
    start_agent(true);
    ok(run_shell(1, 0, "echo out; echo err >&2; exit 7") == PROTO_DONE && said(1, "out\n") &&
           said(2, "err\n") && got.code == 7 && got.signal == 0 && got.eof[0] && got.eof[1] &&
           got.pid > 1,
       "output, errors and exit code");
    ok(run_shell(1, 0, "kill -9 $$") == PROTO_DONE && got.code == 137 && got.signal == 9,
       "an id is free again; end by signal");
    ok(got.error == ENOMEM, "a kill after the machine ran out of memory says so");
    ok(run_shell(1, 0, "exit 136") == PROTO_DONE && got.code == 136 && got.error == 0,
       "another end does not");
    ok(run_shell(2, 0, "cat; pwd") == PROTO_DONE && said(1, "/\n"), "no stdin; working directory");
    ok(run_shell(3, 0, "trap '' TERM; kill -l >/dev/null; grep SigBlk /proc/self/status") ==
               PROTO_DONE &&
           said(1, "SigBlk:\t0000000000000000\n"),
       "no signal is blocked");
    ok(run_shell(4, 0, "ls /proc/self/fd | wc -l") == PROTO_DONE &&
           strtol(got.out[0], NULL, 10) == 4,
       "no descriptor leaks into a command: %.3s", got.out[0]);

    forget();
    send_exec_full(5, 0, "", "", "GREETING=hi there", (const char *const[]){"env", NULL});
    ok(finish(5) == PROTO_DONE && strstr(got.out[0], "GREETING=hi there\n") &&
           strstr(got.out[0], "PATH=/usr/local/sbin:") && strstr(got.out[0], "HOME=/root\n") &&
           strstr(got.out[0], "USER=root\n"),
       "environment, and a command found in PATH");
    forget();
    send_exec_full(6, 0, "", "", "PATH=/nowhere", (const char *const[]){"ls", NULL});
    ok(finish(6) == PROTO_FAILED && got.code == PROTO_FAIL_NO_COMMAND && got.error == ENOENT,
       "the PATH that was given decides");
    forget();
    send_exec_full(7, 0, "", "", NULL, (const char *const[]){"/etc/passwd", NULL});
    ok(finish(7) == PROTO_FAILED && got.code == PROTO_FAIL_NO_EXEC && got.error == EACCES,
       "not executable");
    forget();
    send_exec_full(8, 0, "/no/such/place", "", NULL, (const char *const[]){"true", NULL});
    ok(finish(8) == PROTO_FAILED && got.code == PROTO_FAIL_CWD, "no such working directory");
    forget();
    send_exec_full(9, 0, "", "nobody-of-that-name", NULL, (const char *const[]){"true", NULL});
    ok(finish(9) == PROTO_FAILED && got.code == PROTO_FAIL_USER && got.error == ENOENT,
       "no such user");
    forget();
    send_exec_full(10, 0, "", "", NULL, (const char *const[]){"", NULL});
    ok(finish(10) == PROTO_FAILED && got.code == PROTO_FAIL_NO_COMMAND, "an empty command");
    forget();
    send_exec_full(11, 0, "/", "4321:1234", NULL,
                   (const char *const[]){"sh", "-c", "id -u; id -G; echo $HOME", NULL});
    ok(finish(11) == PROTO_DONE && said(1, "4321\n1234\n/\n"), "user by number");
    forget();
    send_exec_full(12, 0, "/", "nobody", NULL,
                   (const char *const[]){"sh", "-c", "id -un; echo $USER", NULL});
    ok(finish(12) == PROTO_DONE && said(1, "nobody\nnobody\n"), "user by name");
    stop_agent("exec");
}

static void test_no_interpreter(void)
{
    char path[] = "/tmp/test_agent.XXXXXX";

    start_agent(true); /* before the file is open for writing, which it must not be when executed */
    int fd = mkstemp(path);
    if (fd < 0 || write(fd, "echo hello\n", 11) != 11 || fchmod(fd, 0755) < 0)
        ok(false, "make a script");
    close(fd);
    forget();
    send_exec_full(1, 0, "", "", NULL, (const char *const[]){path, NULL});
    ok(finish(1) == PROTO_FAILED && got.code == PROTO_FAIL_NO_EXEC && got.error == ENOEXEC,
       "a script without its first line is not run");
    unlink(path);
    stop_agent("script");
}

static void test_stdin(void)
{
    static uint8_t chunk[PROTO_MAX_DATA];
    size_t sent = 0;
    size_t window = PROTO_WINDOW;
    const size_t total = 5 * PROTO_WINDOW + 17;

    start_agent(true);
    forget();
    send_shell(1, PROTO_EXEC_STDIN, "sleep 0.3; wc -c");
    while (sent < total) {
        size_t n = total - sent < sizeof(chunk) ? total - sent : sizeof(chunk);
        if (n <= window) {
            send_frame(PROTO_DATA, 0, 1, chunk, n);
            sent += n;
            window -= n;
            continue;
        }
        if (!next())
            break;
        if (reply.type == PROTO_CREDIT)
            window += get32(reply.payload);
    }
    send_frame(PROTO_EOF, 0, 1, NULL, 0);
    ok(finish(1) == PROTO_DONE && strtoul(got.out[0], NULL, 10) == total,
       "stdin beyond its window, then its end");

    forget();
    send_shell(2, PROTO_EXEC_STDIN, "exec 0<&-; sleep 1; echo on");
    bool closed = false;
    while (!closed && next_within(5000))
        closed = reply.type == PROTO_CLOSED && reply.id == 2;
    ok(closed, "CLOSED when the command closes its stdin");
    for (unsigned i = 0; i < 7; i++)
        send_frame(PROTO_DATA, 0, 2, chunk, sizeof(chunk));
    ok(finish(2) == PROTO_DONE && said(1, "on\n"), "what comes then is dropped");

    forget();
    send_shell(3, PROTO_EXEC_STDIN, "sleep 5");
    for (unsigned i = 0; i < 12; i++) /* a pipe holds two of them */
        send_frame(PROTO_DATA, 0, 3, chunk, sizeof(chunk));
    ok(connection_ended(), "sending beyond the window ends the connection");
    stop_agent("stdin");
}

static void test_window(void)
{
    size_t size = 0;

    start_agent(true);
    forget();
    send_shell(1, 0, "head -c 3000000 /dev/zero; echo end >&2");
    while (next_within(1000)) {
        if (reply.type == PROTO_DATA && reply.stream == 1)
            size += reply.size;
    }
    ok(size == PROTO_WINDOW, "output stops at the window: %zu", size);
    ok(run_shell(2, 0, "echo other") == PROTO_DONE && said(1, "other\n"),
       "another command runs meanwhile");
    forget();
    send_number(PROTO_CREDIT, 1, 1, PROTO_WINDOW);
    ok(finish(1) == PROTO_DONE && got.size[0] == 3000000 - PROTO_WINDOW && said(2, "end\n"),
       "all of it comes when credit does: %zu", got.size[0]);
    forget();
    send_shell(3, 0, "cat");
    send_number(PROTO_CREDIT, 1, 3, 1);
    ok(connection_ended(), "credit beyond the window ends the connection");
    stop_agent("window");
}

static bool read_until(uint32_t id, const char *text)
{
    while (!strstr(got.out[0], text)) {
        if (!next())
            return false;
        if (reply.type != PROTO_DATA || reply.stream != 1 || reply.id != id || reply.size > 1000)
            continue;
        memcpy(got.out[0] + got.size[0], reply.payload, reply.size);
        got.size[0] += reply.size;
    }
    return true;
}

static void test_signals(void)
{
    start_agent(true);
    forget();
    send_shell(1, 0, "trap 'echo caught; exit 5' USR1; echo ready; while :; do sleep 0.05; done");
    while (next() && !(reply.type == PROTO_DATA && reply.id == 1))
        continue;
    send_number(PROTO_SIGNAL, 0, 1, SIGUSR1);
    ok(finish(1) == PROTO_DONE && got.code == 5 && said(1, "caught\n"), "signal");

    forget();
    send_shell(2, 0, "sleep 1000 | sleep 1000");
    send_number(PROTO_SIGNAL, 0, 2, SIGTERM);
    ok(finish(2) == PROTO_DONE && got.signal == SIGTERM, "signal to the whole group");

    forget();
    send_shell(3, PROTO_EXEC_TTY, /* or the shell makes no groups */
               "trap '' TERM HUP INT; sleep 1000 & echo $!; set -m; sleep 1000 & echo $!; echo "
               "both; wait");
    ok(read_until(3, "both\r\n"), "two jobs run");
    char *rest = NULL;
    pid_t first = (pid_t)strtol(got.out[0], &rest, 10);
    pid_t second = (pid_t)strtol(rest, NULL, 10);
    send_frame(PROTO_CANCEL, 0, 3, NULL, 0);
    ok(finish(3) == PROTO_DONE && got.signal == SIGKILL, "cancel");
    bool gone = false;
    for (int i = 0; i < 200 && !gone; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
        gone = kill(first, 0) < 0 && kill(second, 0) < 0;
    }
    ok(first > 1 && second > 1 && gone,
       "... kills other groups of the session too, and they are reaped: %d %d", (int)first,
       (int)second);

    forget();
    send_shell(4, 0, "yes");
    size_t size = 0;
    while (size < PROTO_WINDOW && next())
        size += reply.type == PROTO_DATA ? reply.size : 0;
    send_frame(PROTO_CANCEL, 0, 4, NULL, 0);
    forget();
    ok(finish(4) == PROTO_DONE && got.size[0] == 0 && got.eof[0] && got.eof[1],
       "cancel without credit");
    send_number(PROTO_SIGNAL, 0, 4, SIGTERM);
    ok(run_shell(5, 0, "exit 0") == PROTO_DONE, "frames for what has ended are dropped");
    stop_agent("signals");
}

static void test_left_behind(void)
{
    char path[] = "/tmp/test_agent.XXXXXX";
    char script[256];
    char found[16] = "";

    start_agent(true);
    close(mkstemp(path));
    snprintf(script, sizeof(script),
             "(sleep 0.3; head -c 500000 /dev/zero && echo fine >%s) & echo started", path);
    ok(run_shell(1, 0, script) == PROTO_DONE && said(1, "started\n") && got.eof[0] && got.eof[1],
       "DONE while a process left behind holds the output");
    for (int i = 0; i < 300 && !found[0]; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
        int fd = open(path, O_RDONLY);
        if (fd >= 0 && read(fd, found, sizeof(found) - 1) < 0)
            break;
        close(fd);
    }
    ok(strcmp(found, "fine\n") == 0, "that process can write on, more than a pipe holds");
    ok(run_shell(2, 0, "head -c 60000 /dev/zero; sleep 100 &") == PROTO_DONE &&
           got.size[0] == 60000,
       "what the pipe held at the end arrives");
    unlink(path);
    stop_agent("left behind");
}

static void test_terminal(void)
{
    uint8_t size[8];

    start_agent(true);
    ok(run_shell(1, PROTO_EXEC_TTY,
                 "tty; stty size; [ -t 0 ] && [ -t 1 ] && [ -t 2 ]; echo $? $TERM") == PROTO_DONE &&
           strncmp(got.out[0], "/dev/pts/", 9) == 0 &&
           strstr(got.out[0], "33 101\r\n0 xterm\r\n") && got.eof[0] && !got.eof[1],
       "a terminal of that size");
    forget();
    send_shell(2, PROTO_EXEC_TTY | PROTO_EXEC_STDIN, "stty -echo; echo go; cat; echo end");
    ok(read_until(2, "go\r\n"), "terminal is ready");
    send_frame(PROTO_DATA, 0, 2, "half a line", 11);
    send_frame(PROTO_EOF, 0, 2, NULL, 0);
    forget();
    ok(finish(2) == PROTO_DONE && said(1, "half a lineend\r\n"), "end of a terminal's input");

    forget();
    send_shell(3, PROTO_EXEC_TTY | PROTO_EXEC_STDIN,
               "trap 'stty size; exit 3' WINCH; echo go; while :; do sleep 0.05; done");
    ok(read_until(3, "go\r\n"), "terminal is ready");
    put32(size, 50);
    put32(size + 4, 132);
    send_frame(PROTO_RESIZE, 0, 3, size, sizeof(size));
    forget();
    ok(finish(3) == PROTO_DONE && got.code == 3 && said(1, "50 132\r\n"), "resize");

    forget();
    send_shell(4, PROTO_EXEC_TTY | PROTO_EXEC_STDIN, "echo go; exec cat");
    ok(read_until(4, "go\r\n"), "terminal is ready");
    send_frame(PROTO_DATA, 0, 4, "\003", 1);
    ok(finish(4) == PROTO_DONE && got.signal == SIGINT, "Ctrl-C through the terminal");

    forget();
    send_shell(5, PROTO_EXEC_TTY,
               "i=0; while [ $i -lt 3000 ]; do echo 0123456789; i=$((i+1)); done");
    ok(finish(5) == PROTO_DONE && got.size[0] == 3000 * 12, "all output of a terminal: %zu",
       got.size[0]);
    forget();
    send_shell(6, PROTO_EXEC_TTY, "sleep 1000");
    send_number(PROTO_SIGNAL, 0, 6, SIGQUIT);
    ok(finish(6) == PROTO_DONE && got.signal == SIGQUIT, "signal to the foreground group");
    stop_agent("terminal");
}

static void test_many(void)
{
    unsigned started = 0;
    unsigned busy = 0;
    unsigned done = 0;

    start_agent(true);
    for (uint32_t id = 1; id <= PROTO_MAX_OPS + 3; id++)
        send_shell(id, PROTO_EXEC_STDIN, "read x; exit 9");
    while (started + busy < PROTO_MAX_OPS + 3 && next()) {
        started += reply.type == PROTO_STARTED;
        busy += reply.type == PROTO_FAILED && get32(reply.payload + 4) == PROTO_FAIL_BUSY;
    }
    ok(started == PROTO_MAX_OPS && busy == 3, "%u operations, %u refused", started, busy);
    for (uint32_t id = 1; id <= PROTO_MAX_OPS; id++)
        send_frame(PROTO_EOF, 0, id, NULL, 0);
    while (done < PROTO_MAX_OPS && next())
        done += reply.type == PROTO_DONE && get32(reply.payload) == 9;
    ok(done == PROTO_MAX_OPS, "%u ended", done);
    ok(run_shell(7, 0, "echo again") == PROTO_DONE && said(1, "again\n"), "there is room again");
    stop_agent("many");
}

static void send_put(uint32_t id, const char *path, const char *name)
{
    static struct request r;

    r.size = 0;
    add_text(&r, path);
    add_text(&r, name);
    send_frame(PROTO_PUT, 0, id, r.bytes, r.size);
}

static void send_get(uint32_t id, const char *path)
{
    static struct request r;

    r.size = 0;
    add_text(&r, path);
    send_frame(PROTO_GET, 0, id, r.bytes, r.size);
}

static void test_files(void)
{
    static uint8_t buf[PROTO_MAX_DATA];
    char base[] = "/tmp/test_agent.XXXXXX";
    char path[128];
    char script[256];
    struct tree_pack *pack = NULL;
    struct tree_unpack *unpack = NULL;
    size_t window = PROTO_WINDOW;
    size_t n;

    start_agent(true);
    if (!mkdtemp(base))
        exit(99);
    snprintf(script, sizeof(script),
             "cd %s && mkdir -p a/b && head -c 1000000 /dev/urandom >a/b/big && echo x >a/x && ln "
             "-s x a/l",
             base);
    ok(run_shell(1, 0, script) == PROTO_DONE && got.code == 0, "make files");

    snprintf(path, sizeof(path), "%s/a", base);
    int rc = tree_pack_open(path, &pack);
    snprintf(path, sizeof(path), "%s/new/", base);
    forget();
    send_put(2, path, "a");
    while (rc == 0 && (n = tree_pack_read(pack, buf, sizeof(buf))) > 0) {
        while (window < n && next()) {
            if (reply.type == PROTO_CREDIT)
                window += get32(reply.payload);
        }
        send_frame(PROTO_DATA, 0, 2, buf, n);
        window -= n;
    }
    tree_pack_close(pack);
    send_frame(PROTO_EOF, 0, 2, NULL, 0);
    ok(finish(2) == PROTO_DONE && got.error == 0, "put: %u", got.error);

    snprintf(path, sizeof(path), "%s/new/a", base);
    forget();
    send_get(3, path);
    snprintf(path, sizeof(path), "%s/back", base);
    rc = tree_unpack_open(path, "a", TREE_DROP_SETID, &unpack);
    while (rc == 0 && next() && reply.type != PROTO_DONE) {
        if (reply.type != PROTO_DATA)
            continue;
        rc = tree_unpack_write(unpack, reply.payload, reply.size);
        send_number(PROTO_CREDIT, 1, 3, reply.size);
    }
    ok(rc == 0 && tree_unpack_finish(unpack) == 0 && reply.type == PROTO_DONE, "get");
    tree_unpack_close(unpack);
    snprintf(script, sizeof(script),
             "cd %s && diff -r a new/a && diff -r a back && readlink back/l", base);
    ok(run_shell(4, 0, script) == PROTO_DONE && got.code == 0 && said(1, "x\n"),
       "what was put and got is the same");

    forget();
    send_get(5, "/no/such/file");
    ok(finish(5) == PROTO_FAILED && got.error == ENOENT, "get what is not there");
    forget();
    send_put(6, "/proc/no/such/place", "x");
    ok(finish(6) == PROTO_FAILED, "put where nothing can be made");
    snprintf(path, sizeof(path), "%s/cut", base);
    forget();
    send_put(7, path, "x");
    send_frame(PROTO_DATA, 0, 7, "\1", 1);
    send_frame(PROTO_EOF, 0, 7, NULL, 0);
    ok(finish(7) == PROTO_DONE && got.error == ENODATA, "put that is cut off");
    forget();
    send_put(8, path, "x");
    send_frame(PROTO_DATA, 0, 8, "nonsense that is longer than a header", 37);
    send_frame(PROTO_DATA, 0, 8, "and goes on after that was noticed", 34);
    ok(finish(8) == PROTO_DONE && got.error == EPROTO, "put of nonsense");
    forget();
    send_put(9, path, "x");
    send_frame(PROTO_CANCEL, 0, 9, NULL, 0);
    ok(finish(9) == PROTO_DONE && got.error == ECANCELED, "put that is cancelled");
    forget();
    send_get(10, base);
    send_frame(PROTO_CANCEL, 0, 10, NULL, 0);
    ok(finish(10) == PROTO_DONE && (got.error == ECANCELED || got.error == 0),
       "get that is cancelled");
    snprintf(script, sizeof(script), "rm -rf %s", base);
    ok(run_shell(11, 0, script) == PROTO_DONE && got.code == 0, "remove files");
    stop_agent("files");
}

/* A listener of our own on a vsock port, where this kernel can connect to itself. */
static int listen_vsock(uint32_t port)
{
    const struct {
        sa_family_t family;
        uint16_t reserved;
        uint32_t port, cid;
        uint8_t zero[4];
    } address = {.family = AF_VSOCK, .port = port, .cid = UINT32_MAX};
    union {
        unsigned char bytes[sizeof(address)];
        struct sockaddr any;
    } any;
    int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);

    memcpy(any.bytes, &address, sizeof(address));
    if (fd >= 0 && bind(fd, &any.any, sizeof(address)) == 0 && listen(fd, 4) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

static void test_dial(void)
{
    const uint32_t port = 40000 + (uint32_t)getpid() % 10000;
    char text[16] = "";
    int listener = listen_vsock(port);
    int probe = listener < 0 ? -1 : vsock_connect(VSOCK_CID_LOCAL, port, true);

    start_agent(true);
    forget();
    send_number(PROTO_DIAL, 0, 1, port + 20000);
    ok(finish(1) == PROTO_FAILED && got.error != 0, "nobody listens: %u", got.error);
    if (probe < 0) {
        tap_skip("dial", "this kernel has no vsock to itself");
    } else {
        close(probe);
        close(accept(listener, NULL, NULL));
        send_number(PROTO_DIAL, 0, 2, port);
        send_frame(PROTO_DATA, 0, 2, "ping", 4);
        int fd = accept(listener, NULL, NULL);
        ok(fd >= 0 && next() && reply.type == PROTO_STARTED, "dialled");
        ok(read(fd, text, sizeof(text)) == 4 && memcmp(text, "ping", 4) == 0, "to the port");
        send_frame(PROTO_EOF, 0, 2, NULL, 0);
        ok(read(fd, text, sizeof(text)) == 0, "end of file at the port");
        ok(write(fd, "pong", 4) == 4, "from the port");
        close(fd);
        forget();
        ok(finish(2) == PROTO_DONE && said(1, "pong") && got.eof[0], "answer and end");
    }
    if (listener >= 0)
        close(listener);
    stop_agent("dial");
}

static void test_shutdown(void)
{
    start_agent(true);
    forget();
    send_shell(1, 0, "trap 'echo bye; exit 4' TERM; echo go; while :; do sleep 0.05; done");
    ok(read_until(1, "go\n"), "a command that ends when asked");
    forget();
    send_number(PROTO_SHUTDOWN, 0, 0, 10000);
    ok(finish(1) == PROTO_DONE && got.code == 4 && said(1, "bye\n"), "shutdown lets it finish");
    ok(connection_ended(), "then the connection ends");
    stop_agent("shutdown");

    start_agent(true);
    forget();
    send_shell(1, 0, "trap '' TERM; echo go; while :; do sleep 0.05; done");
    ok(read_until(1, "go\n"), "a command that does not");
    send_number(PROTO_SHUTDOWN, 0, 0, 100);
    send_shell(2, 0, "echo late");
    forget();
    ok(finish(2) == PROTO_FAILED && got.error == ESHUTDOWN, "nothing new is started");
    ok(finish(1) == PROTO_DONE && got.signal == SIGKILL, "it is killed after the grace");
    stop_agent("shutdown by force");

    start_agent(true);
    kill(agent.pid, SIGTERM);
    ok(connection_ended(), "a signal from inside shuts down");
    stop_agent("signal");
}

static void test_bad_frames(void)
{
    static const struct {
        const char *what;
        unsigned type, stream;
        uint32_t id, size;
    } bad[] = {
        {"unknown type", 99, 0, 1, 0},
        {"frame of the guest", PROTO_STARTED, 0, 1, 0},
        {"exec without payload", PROTO_EXEC, 0, 1, 0},
        {"exec of zeros", PROTO_EXEC, 0, 1, 64},
        {"exec without id", PROTO_EXEC, 0, 0, 64},
        {"data of nothing", PROTO_DATA, 0, 1, 0},
        {"data too long", PROTO_DATA, 0, 1, PROTO_MAX_DATA + 1},
        {"data for the wrong stream", PROTO_DATA, 1, 1, 1},
        {"short credit", PROTO_CREDIT, 1, 1, 3},
        {"shutdown without grace", PROTO_SHUTDOWN, 0, 0, 0},
        {"put without payload", PROTO_PUT, 0, 1, 0},
        {"get with too much", PROTO_GET, 0, 1, 5},
        {"dial short", PROTO_DIAL, 0, 1, 2},
        {"header beyond the largest payload", PROTO_DATA, 0, 1, UINT32_MAX},
        {"second bad welcome", PROTO_WELCOME, 0, 0, 4},
    };
    static const uint8_t zeros[PROTO_MAX_DATA + 1];

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        uint8_t header[PROTO_HEADER];

        start_agent(true);
        put32(header, bad[i].size);
        put32(header + 4, bad[i].type | bad[i].stream << 16);
        put32(header + 8, bad[i].id);
        send_all(header, sizeof(header));
        if (bad[i].size <= sizeof(zeros))
            send_all(zeros, bad[i].size);
        ok(connection_ended(), "bad frame: %s", bad[i].what);
        stop_agent(bad[i].what);
    }
    start_agent(false);
    send_shell(1, 0, "echo early");
    ok(connection_ended(), "a command before the welcome");
    stop_agent("early");
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    for (int fd = 3; fd < 256; fd++)
        close(fd); /* what we inherited would show in commands */
    if (geteuid() != 0)
        return tap_skip_all("needs root: the agent runs commands as any user");
    /* Its complaints about bad frames are expected. */
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (null < 0 || dup2(null, 2) < 0)
        return 1;
    close(null);
    test_exec();
    test_no_interpreter();
    test_stdin();
    test_window();
    test_signals();
    test_left_behind();
    test_terminal();
    test_many();
    test_files();
    test_dial();
    test_shutdown();
    test_bad_frames();
    return tap_done();
}
