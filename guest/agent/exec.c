/* SPDX-License-Identifier: Apache-2.0 */
/* EXEC: a command with pipes or a terminal. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "machine.h"
#include "op.h"
#include "session.h"
#include "spawn.h"
#include "text.h"
#include "user.h"

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define MAX_ARGS     4096
#define MAX_ENV      4096
#define OWN_ENV      4 /* PATH, HOME, USER, TERM */
/* More than the kernel holds of what was written to a terminal and not yet read. */
#define TTY_REST (64u * 1024)

/* One EXEC is decoded at a time, and the child is done with it when spawn_run returns. */
static struct {
    char *argv[MAX_ARGS + 1];
    char *envp[MAX_ENV + OWN_ENV + 1];
    char home[1024 + 8], name[USER_MAX_NAME + 8];
    struct user user;
} job;

/* The six ends of up to three pipes; with a terminal both ends of that. */
struct ends {
    int in, out, err;             /* the command's */
    int our_in, our_out, our_err; /* ours; -1 where there is none */
};

static void close_if(int fd)
{
    if (fd >= 0)
        close(fd);
}

static bool open_pipe(int *ret_read, int *ret_write, bool we_read)
{
    int fds[2];

    if (pipe2(fds, O_CLOEXEC) < 0)
        return false;
    *ret_read = fds[0];
    *ret_write = fds[1];
    return fcntl(fds[we_read ? 0 : 1], F_SETFL, O_NONBLOCK | (we_read ? O_RDONLY : O_WRONLY)) == 0;
}

static bool open_pipes(struct ends *ends, bool want_in)
{
    if (want_in) {
        if (!open_pipe(&ends->in, &ends->our_in, false))
            return false;
    } else {
        ends->in = open("/dev/null", O_RDONLY | O_CLOEXEC);
        if (ends->in < 0)
            return false;
    }
    return open_pipe(&ends->our_out, &ends->out, true) &&
           open_pipe(&ends->our_err, &ends->err, true);
}

static struct winsize window_size(uint32_t rows, uint32_t cols)
{
    return (struct winsize){
        .ws_row = (unsigned short)(rows && rows <= UINT16_MAX ? rows : 24),
        .ws_col = (unsigned short)(cols && cols <= UINT16_MAX ? cols : 80),
    };
}

static bool open_terminal(struct ends *ends, bool want_in, uint32_t rows, uint32_t cols)
{
    const struct winsize size = window_size(rows, cols);
    const int unlock = 0;

    ends->our_out = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (ends->our_out < 0 || ioctl(ends->our_out, TIOCSPTLCK, &unlock) < 0)
        return false;
    /* By descriptor, so that it does not matter what is mounted at /dev/pts. */
    ends->in = ioctl(ends->our_out, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (ends->in < 0)
        return false;
    ends->out = fcntl(ends->in, F_DUPFD_CLOEXEC, 3);
    ends->err = fcntl(ends->in, F_DUPFD_CLOEXEC, 3);
    if (want_in)
        ends->our_in = fcntl(ends->our_out, F_DUPFD_CLOEXEC, 3);
    if (ends->out < 0 || ends->err < 0 || (want_in && ends->our_in < 0))
        return false;
    if (job.user.uid != 0 && fchown(ends->in, job.user.uid, (gid_t)-1) < 0)
        return false;
    return ioctl(ends->our_out, TIOCSWINSZ, &size) == 0;
}

static bool has_name(const char *entry, const char *name)
{
    size_t len = strlen(name);

    return strncmp(entry, name, len) == 0 && entry[len] == '=';
}

static const char *find_env(const char *name)
{
    for (char **p = job.envp; *p; p++) {
        if (has_name(*p, name))
            return *p + strlen(name) + 1;
    }
    return NULL;
}

static void add_default(size_t *count, const char *name, char *entry)
{
    if (find_env(name))
        return;
    job.envp[(*count)++] = entry;
    job.envp[*count] = NULL;
}

/* The given environment comes first and wins; of a name given twice, the last. */
static void complete_env(size_t count, bool tty)
{
    static char path[] = "PATH=" DEFAULT_PATH;
    static char term[] = "TERM=xterm";

    (void)text_join(job.home, sizeof(job.home), "HOME=", job.user.home, NULL);
    (void)text_join(job.name, sizeof(job.name), "USER=", job.user.name, NULL);
    add_default(&count, "PATH", path);
    add_default(&count, "HOME", job.home);
    add_default(&count, "USER", job.name);
    if (tty)
        add_default(&count, "TERM", term);
}

static size_t add_env(size_t count, char *entry)
{
    size_t len = strcspn(entry, "=");

    for (size_t i = 0; i < count; i++) {
        if (strncmp(job.envp[i], entry, len) == 0 && job.envp[i][len] == '=') {
            job.envp[i] = entry;
            return count;
        }
    }
    job.envp[count] = entry;
    return count + 1;
}

static enum op_start refuse(struct outcome *out, enum proto_fail fail, int error, const char *what,
                            const char *name)
{
    outcome_set(out, fail, error, what, name);
    return OP_FAILED;
}

static enum op_start refuse_user(struct outcome *out, int error, const char *user)
{
    outcome_say(out, PROTO_FAIL_USER, error, "user", user,
                error == ENOENT ? "not in /etc/passwd" : "neither a name nor a number");
    return OP_FAILED;
}

static enum op_start run(struct op *op, struct spawn *spawn, uint32_t flags, uint32_t rows,
                         uint32_t cols, struct outcome *out)
{
    struct ends ends = {-1, -1, -1, -1, -1, -1};
    bool tty = flags & PROTO_EXEC_TTY;
    bool want_in = flags & PROTO_EXEC_STDIN;
    enum op_start rc = OP_STARTED;

    if (!(tty ? open_terminal(&ends, want_in, rows, cols) : open_pipes(&ends, want_in))) {
        rc = refuse(out, PROTO_FAIL_OTHER, errno, tty ? "open a terminal" : "open pipes", NULL);
    } else {
        spawn->in = ends.in;
        spawn->out = ends.out;
        spawn->err = ends.err;
        spawn->tty = tty;
        op->pid = spawn_run(spawn);
        if (op->pid < 0) {
            op->pid = 0;
            rc = refuse(out, spawn->fail, spawn->error, spawn->what,
                        spawn->fail == PROTO_FAIL_CWD ? spawn->cwd : spawn->argv[0]);
        }
    }
    close_if(ends.in);
    close_if(ends.out);
    close_if(ends.err);
    if (rc != OP_STARTED) {
        close_if(ends.our_in);
        close_if(ends.our_out);
        close_if(ends.our_err);
        return rc;
    }

    op->tty = tty;
    if (want_in) {
        sink_init(&op->sink, ends.our_in);
        op->sink.pipe = !tty;
    }
    source_init(&op->sources[0], ends.our_out);
    if (!tty) {
        source_init(&op->sources[1], ends.our_err);
        op->sources[0].keep = op->sources[1].keep = true;
    }
    return OP_STARTED;
}

static enum op_start exec_start(struct op *op, struct cursor *cursor, struct outcome *out)
{
    uint32_t flags = cursor_u32(cursor);
    uint32_t rows = cursor_u32(cursor);
    uint32_t cols = cursor_u32(cursor);
    const char *cwd = cursor_string(cursor);
    const char *user = cursor_string(cursor);
    uint32_t argc = cursor_u32(cursor);

    if (argc == 0 || argc > MAX_ARGS)
        return OP_BAD_FRAME;
    for (uint32_t i = 0; i < argc && !cursor->bad; i++)
        job.argv[i] = cursor_string(cursor);
    job.argv[argc] = NULL;

    uint32_t envc = cursor_u32(cursor);
    size_t env_count = 0;
    bool env_full = envc > MAX_ENV;
    for (uint32_t i = 0; i < envc && !cursor->bad; i++) {
        char *entry = cursor_string(cursor);
        if (!env_full)
            env_count = add_env(env_count, entry);
    }
    if (!cursor_ended(cursor) || (flags & ~(uint32_t)(PROTO_EXEC_TTY | PROTO_EXEC_STDIN)))
        return OP_BAD_FRAME;
    if (env_full)
        return refuse(out, PROTO_FAIL_OTHER, E2BIG, "set up the environment", NULL);
    job.envp[env_count] = NULL;

    int rc = user_find(user, &job.user);
    if (rc < 0)
        return refuse_user(out, -rc, user);
    complete_env(env_count, flags & PROTO_EXEC_TTY);

    struct spawn spawn = {
        .argv = job.argv,
        .envp = job.envp,
        .path = find_env("PATH"),
        .cwd = *cwd ? cwd : job.user.home,
        .cwd_optional = *cwd == '\0',
        .user = &job.user,
    };
    return run(op, &spawn, flags, rows, cols, out);
}

static int exec_data(struct op *op, const uint8_t *data, uint32_t size)
{
    return sink_take(&op->sink, data, size);
}

/* A terminal has no end: its end-of-file character stands for it, twice when a line is begun. */
static void end_terminal_input(struct op *op)
{
    struct termios mode;

    if (op->sink.fd < 0 || tcgetattr(op->sink.fd, &mode) < 0 || mode.c_cc[VEOF] == _POSIX_VDISABLE)
        return;

    const cc_t twice[2] = {mode.c_cc[VEOF], mode.c_cc[VEOF]};
    uint8_t last = op->sink.last;
    bool begun = (mode.c_lflag & ICANON) && last != '\0' && last != '\n' && last != '\r' &&
                 last != mode.c_cc[VEOF];
    /* Does not block; a terminal whose input queue is full to the brim goes without it. */
    if (write(op->sink.fd, twice, begun ? 2 : 1) < 0)
        return;
}

static void exec_eof(struct op *op)
{
    if (op->sink.len > 0)
        return; /* called again when that is written */
    if (op->tty)
        end_terminal_input(op);
    sink_drop(&op->sink);
}

static void exec_signal(struct op *op, int signo)
{
    pid_t group = op->pid;
    pid_t foreground;

    if (op->pid == 0)
        return; /* reaped: its number may be another's by now */
    if (op->tty && op->sources[0].fd >= 0 &&
        ioctl(op->sources[0].fd, TIOCGPGRP, &foreground) == 0 && foreground > 1)
        group = foreground;
    (void)kill(-group, signo);
}

static void exec_resize(struct op *op, uint32_t rows, uint32_t cols)
{
    const struct winsize size = window_size(rows, cols);

    if (op->tty && op->sources[0].fd >= 0)
        (void)ioctl(op->sources[0].fd, TIOCSWINSZ, &size);
}

/* The output that was asked for ends with the process: what is there now still goes out. */
static void limit_output(struct op *op)
{
    for (unsigned i = 0; i < OP_SOURCES; i++) {
        struct source *source = &op->sources[i];
        int there = 0;

        if (!source->exists || source->ended)
            continue;
        if (op->tty)
            source_limit(source, TTY_REST);
        else if (source->fd < 0 || ioctl(source->fd, FIONREAD, &there) < 0 || there < 0)
            source_limit(source, 0);
        else
            source_limit(source, (uint32_t)there);
        if (op->cancelled) /* nobody waits for it: only what needs no more credit */
            source_limit(source, source->credit);
    }
}

static void exec_cancel(struct op *op)
{
    op->cancelled = true;
    if (op->exited)
        limit_output(op);
    else
        session_kill(op->pid);
}

void exec_ended(struct op *op, int status)
{
    op->pid = 0;
    op->exited = true;
    if (WIFSIGNALED(status)) {
        op->exit_signal = (uint32_t)WTERMSIG(status);
        op->exit_code = 128 + op->exit_signal;
    } else {
        op->exit_code = (uint32_t)WEXITSTATUS(status);
    }
    if (op->exit_code == 128 + SIGKILL && !op->cancelled && machine_out_of_memory())
        outcome_set(&op->out, PROTO_FAIL_OTHER, ENOMEM, "run", NULL);
    limit_output(op);
}

static bool exec_finished(struct op *op)
{
    return op->exited;
}

static void exec_done(struct op *op)
{
    (void)op; /* a process outlives its operation only at the end of the agent */
}

const struct op_kind op_exec = {
    .start = exec_start,
    .data = exec_data,
    .eof = exec_eof,
    .signal = exec_signal,
    .resize = exec_resize,
    .cancel = exec_cancel,
    .finished = exec_finished,
    .done = exec_done,
};
