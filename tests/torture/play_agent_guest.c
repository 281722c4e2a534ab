/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's end: serve() in a child process, with a command, one on a terminal, a copy in, a copy
 * out and a connection. The host is played here. What only PID 1 may do is replaced.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/frame.h"
#include "machine.h"
#include "proto.h"
#include "scratch.h"
#include "serve.h"
#include "torture.h"
#include "vsock.h"

#define WAIT_MS    20000
#define OPERATIONS 5u

enum { EXIT_DESCRIPTORS = 41 };

int __lsan_do_recoverable_leak_check(void) __attribute__((weak));

static char shared[96];

/* ---- the agent ---- */

void machine_welcome(uint64_t wall_ns, const uint8_t *entropy, size_t size)
{
    (void)wall_ns;
    (void)entropy;
    (void)size;
}

/* Its commands end by themselves. */
bool machine_out_of_memory(void)
{
    return false;
}

void machine_kill_all(int signo)
{
    (void)signo;
}

int vsock_connect(uint32_t cid, uint32_t port, bool wait)
{
    int fds[2];

    (void)cid;
    (void)port;
    (void)wait;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
        return -1;
    inject_pause();
    if (write(fds[1], "pong", 4) < 0)
        abort();
    inject_resume();
    close(fds[1]);
    return fds[0];
}

static unsigned count_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned n = 0;

    while (dir && readdir(dir))
        n++;
    if (dir)
        closedir(dir);
    return n;
}

static _Noreturn void agent_main(int fd)
{
    sigset_t all, ours;
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

    dup2(null, 2); /* its lines for the console */
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    sigemptyset(&ours);
    sigaddset(&ours, SIGCHLD);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int signal_fd = signalfd(-1, &ours, SFD_CLOEXEC | SFD_NONBLOCK);
    unsigned before = count_descriptors();
    inject_share(shared, false);
    serve(fd, signal_fd);
    inject_pause();
    if (count_descriptors() != before)
        _exit(EXIT_DESCRIPTORS);
    exit(0); /* with a leak check, where there is one */
}

/* ---- the host ---- */

static struct {
    int fd;
    struct wbuf in;
    size_t at;
} host;

static void say(uint16_t type, uint32_t id, const struct wbuf *body)
{
    AUTO(wbuf_done) struct wbuf out = {0};

    frame_put(&out, type, 0, id, body->data, body->size);
    for (size_t done = 0; done < out.size;) {
        ssize_t n = send(host.fd, out.data + done, out.size - done, MSG_NOSIGNAL);
        if (n <= 0)
            return; /* it has hung up, which is seen when reading */
        done += (size_t)n;
    }
}

/* 1 a frame, 0 the end of the connection. */
static int hear(struct frame *f)
{
    uint8_t piece[4096];

    wbuf_drop(&host.in, host.at);
    host.at = 0;
    while (frame_next(&host.in, &host.at, f) == 0) {
        struct pollfd p = {.fd = host.fd, .events = POLLIN};
        torture_must(poll(&p, 1, WAIT_MS) == 1, "the agent hangs");
        ssize_t n = read(host.fd, piece, sizeof(piece));
        if (n <= 0)
            return 0;
        wbuf_put(&host.in, piece, (size_t)n);
    }
    return 1;
}

static void say_exec(uint32_t id, uint32_t flags, const char *command)
{
    AUTO(wbuf_done) struct wbuf body = {0};

    wbuf_u32(&body, flags);
    wbuf_u32(&body, 24);
    wbuf_u32(&body, 80);
    wbuf_str(&body, "/");
    wbuf_str(&body, "");
    wbuf_u32(&body, 3);
    wbuf_str(&body, "sh");
    wbuf_str(&body, "-c");
    wbuf_str(&body, command);
    wbuf_u32(&body, 1);
    wbuf_str(&body, "A=b");
    say(PROTO_EXEC, id, &body);
}

static void put_record(struct wbuf *out, uint8_t kind, const char *path, const char *content)
{
    wbuf_u8(out, kind);
    wbuf_u32(out, 0755);
    wbuf_u64(out, 1700000000);
    wbuf_u64(out, strlen(content));
    wbuf_u16(out, (uint16_t)strlen(path));
    wbuf_put(out, path, strlen(path));
    wbuf_put(out, content, strlen(content));
}

static void say_everything(void)
{
    static const struct wbuf nothing;
    AUTO(wbuf_done) struct wbuf welcome = {0}, put = {0}, tree = {0}, get = {0}, dial = {0};
    char path[96];

    wbuf_u32(&welcome, PROTO_MAGIC);
    wbuf_u32(&welcome, PROTO_VERSION);
    wbuf_u64(&welcome, 1);
    wbuf_str(&welcome, "entropy");
    say(PROTO_WELCOME, 0, &welcome);
    say_exec(1, 0, "echo hi; exit 3");
    say_exec(2, PROTO_EXEC_TTY | PROTO_EXEC_STDIN, "test -t 0");
    snprintf(path, sizeof(path), "%s/put", torture_folder());
    wbuf_str(&put, path);
    wbuf_str(&put, "put");
    say(PROTO_PUT, 3, &put);
    put_record(&tree, PROTO_TREE_DIR, "", "");
    put_record(&tree, PROTO_TREE_FILE, "file", "content");
    put_record(&tree, PROTO_TREE_LINK, "link", "file");
    put_record(&tree, PROTO_TREE_END, "", "");
    memset(tree.data + tree.size - PROTO_TREE_HEADER, 0, PROTO_TREE_HEADER);
    say(PROTO_DATA, 3, &tree);
    say(PROTO_EOF, 3, &nothing);
    snprintf(path, sizeof(path), "%s/get", torture_folder());
    wbuf_str(&get, path);
    say(PROTO_GET, 4, &get);
    wbuf_u32(&dial, 5);
    say(PROTO_DIAL, 5, &dial);
    say(PROTO_EOF, 5, &nothing);
}

/* Reads to the end of the connection; asks for it once every operation is over. */
static int listen_to(struct lum_error *err)
{
    AUTO(wbuf_done) struct wbuf grace = {0};
    unsigned over = 0;
    bool bye = false, asked = false;
    struct frame f;
    int rc = 0;

    wbuf_u32(&grace, 1000);
    while (hear(&f) == 1) {
        bool bad = f.type == PROTO_FAILED ||
                   (f.type == PROTO_DONE &&
                    (le32_load(f.data + 8) != 0 || le32_load(f.data) != (f.id == 1 ? 3 : 0)));
        over += f.type == PROTO_FAILED || f.type == PROTO_DONE;
        bye |= f.type == PROTO_BYE;
        if (bad)
            rc = lum_fail(err, LUM_EGUEST, "operation %u: frame %u", f.id, f.type);
        if (over == OPERATIONS && !asked)
            say(PROTO_SHUTDOWN, 0, &grace);
        asked = over == OPERATIONS;
    }
    if (rc == 0 && (over < OPERATIONS || !bye))
        rc = lum_fail(err, LUM_EGUEST, "the agent hung up");
    return rc;
}

static int play(struct lum_error *err)
{
    char path[96];
    int fds[2], status = -1;

    inject_pause();
    torture_must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0, "connection");
    fflush(stdout);
    pid_t pid = fork();
    torture_must(pid >= 0, "fork");
    if (pid == 0) {
        close(fds[0]);
        inject_resume();
        agent_main(fds[1]);
    }
    close(fds[1]);
    host.fd = fds[0];
    host.at = 0;
    say_everything();
    int rc = listen_to(err);
    close(host.fd);
    wbuf_done(&host.in);
    torture_must(waitpid(pid, &status, 0) == pid, "wait for the agent");
    torture_must(status != EXIT_DESCRIPTORS << 8, "the agent left a descriptor open");
    torture_must(status == 0, "the agent died, or leaked");
    snprintf(path, sizeof(path), "%s/put", torture_folder());
    scratch_remove(AT_FDCWD, path);
    inject_resume();
    return rc;
}

static const char *setup(void)
{
    char path[96];

    snprintf(shared, sizeof(shared), "%s/inject", torture_folder());
    inject_share(shared, true);
    snprintf(path, sizeof(path), "%s/get", torture_folder());
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    torture_must(fd >= 0 && write(fd, path, sizeof(path)) == sizeof(path), path);
    close(fd);
    return NULL;
}

const struct scenario scenario_agent_guest = {.name = "agent_guest", .setup = setup, .play = play};
