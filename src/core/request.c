/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Talking to the worker: each request has a channel of its own, so that threads never meet. While a
 * thread waits it delivers the VM's log lines.
 */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "core/vm.h"
#include "proto.h"

/*
 * In a build folder everything lies together; an installed library has its helpers in libexec. It
 * does not move while it is loaded, so one look is enough for the process.
 */
static const char *own_folder(struct lum_error *err)
{
    static _Atomic(char *) known;
    AUTO(auto_free) char *dir = atomic_load(&known);
    char vmm[4096], *none = NULL;

    if (dir)
        return STEAL(dir);
    if (plat_self_dir(&dir, err) < 0)
        return NULL;
    snprintf(vmm, sizeof(vmm), "%s/%s", dir, vmm_programs[0].file);
    if (access(vmm, X_OK) < 0) {
        free(dir);
        dir = lum_strdup(LUMINA_LIBEXEC_DIR);
    }
    if (!dir) {
        lum_fail(err, LUM_ENOMEM, "own folder: out of memory");
        return NULL;
    }
    return atomic_compare_exchange_strong(&known, &none, dir) ? STEAL(dir) : none;
}

int vmm_file(const char *name, char **ret_path, struct lum_error *err)
{
    const char *dir = own_folder(err);
    char path[4096];

    if (!dir)
        return err->code;
    int n = snprintf(path, sizeof(path), "%s/%s", dir, name);
    if (n < 0 || (size_t)n >= sizeof(path))
        return lum_fail(err, LUM_EINVAL, "%s: path too long", name);
    *ret_path = lum_strdup(path);
    return *ret_path ? 0 : lum_fail(err, LUM_ENOMEM, "%s: out of memory", name);
}

/*
 * What finds a program and its libraries, and nothing else: the rest of the caller's environment
 * may hold secrets, and a guest that broke out would read them.
 */
static const char *const passed_on[] = {"PATH=", "LD_LIBRARY_PATH="};
#define PASSED_ON ARRAY_LEN(passed_on)

static void pick_environment(const char *ret_env[static PASSED_ON + 1])
{
    size_t n = 0;

    for (size_t i = 0; i < PASSED_ON; i++)
        for (char **e = environ; e && *e; e++)
            if (strncmp(*e, passed_on[i], strlen(passed_on[i])) == 0) {
                ret_env[n++] = *e;
                break;
            }
    ret_env[n] = NULL;
}

int vmm_start(const struct vmm_program *program, const char *argv[], const struct vmm_fence *fence,
              plat_fd log, struct plat_process **ret_process, struct jail_group **ret_group,
              plat_fd *ret_control, struct lum_error *err)
{
    struct jail_group *group = NULL;
    AUTO(auto_free) char *path = NULL;
    AUTO(plat_close) plat_fd file = PLAT_FD_NONE, ours = PLAT_FD_NONE, theirs = PLAT_FD_NONE;
    AUTO(plat_close) plat_fd device = PLAT_FD_NONE;
    struct plat_start start = PLAT_START_INIT;
    const char *env[PASSED_ON + 1] = {NULL};
    plat_fd pair[2] = {PLAT_FD_NONE, PLAT_FD_NONE};
    uint64_t size;
    int rc = vmm_file(program->file, &path, err);

    /* By descriptor: the one who executes it may not be allowed to walk to it. */
    if (rc == 0)
        rc = plat_file_open(path, &file, &size, err);
    if (rc == 0)
        rc = plat_socketpair(pair, err);
    if (rc < 0)
        return rc;
    ours = pair[0];
    theirs = pair[1];
    /* A device that cannot be opened is explained by the program's own attempt. */
    if (program->device)
        device = plat_device_open(program->device);
    argv[0] = path;
    start.argv = argv;
    start.program = file;
    pick_environment(env);
    start.env = env;
    start.fds = (const plat_fd[]){theirs, device};
    start.n_fds = device >= 0 ? 2 : 1;
    start.err_fd = log;
    if (fence->limits)
        rc = jail_group_create(fence->limits, file, &group, err);
    if (rc < 0)
        return rc;
    start.cgroup = jail_group_fd(group);
    rc = jail_start_worker(fence->mode, &start, ret_process, err);
    if (rc < 0) {
        jail_group_free(group);
        return rc;
    }
    if (ret_group)
        *ret_group = group;
    *ret_control = STEAL_FD(ours);
    return 0;
}

/* ---- log ---- */

static void deliver_line(struct lum_vm *vm, char *line)
{
    int level = LUM_LOG_WARN; /* a line without a level was written by something that broke */

    if (line[0] >= '0' + LUM_LOG_WARN && line[0] <= '0' + LUM_LOG_CONSOLE)
        level = *line++ - '0';
    vm->log_fn(vm->log_ctx, level, line);
}

/* What a pipe holds, and no more at a time: a guest that writes faster than its lines are taken
 * must not hold a call up. */
#define LOG_PORTION (64u * 1024)

/* Delivers what is there. The lock keeps lines whole and in order. */
static void pump_log(struct lum_vm *vm)
{
    size_t done = 0;

    plat_mutex_lock(vm->log_lock);
    while (vm->log >= 0 && done < LOG_PORTION) {
        size_t room = sizeof(vm->log_buf) - 1 - vm->log_size;
        ssize_t n = plat_read(vm->log, vm->log_buf + vm->log_size, room);
        if (n == -EAGAIN)
            break;
        if (n <= 0) {
            plat_close(&vm->log);
            break;
        }
        vm->log_size += (size_t)n;
        done += (size_t)n;
        char *line = vm->log_buf, *end = vm->log_buf + vm->log_size, *newline;
        while ((newline = memchr(line, '\n', (size_t)(end - line)))) {
            *newline = '\0';
            deliver_line(vm, line);
            line = newline + 1;
        }
        vm->log_size = (size_t)(end - line);
        if (vm->log_size == sizeof(vm->log_buf) - 1) { /* longer than any line of ours */
            *end = '\0';
            deliver_line(vm, line);
            vm->log_size = 0;
        }
        memmove(vm->log_buf, line, vm->log_size);
    }
    plat_mutex_unlock(vm->log_lock);
}

static int32_t time_left(uint64_t start_ns, int32_t timeout_ms)
{
    uint64_t spent = (plat_now_ns() - start_ns) / 1000000;

    if (timeout_ms < 0)
        return -1;
    return spent >= (uint64_t)timeout_ms ? 0 : timeout_ms - (int32_t)spent;
}

int vm_wait_fd(struct lum_vm *vm, plat_fd fd, int32_t timeout_ms)
{
    uint64_t start = plat_now_ns();
    int32_t left = timeout_ms;

    for (;;) {
        plat_mutex_lock(vm->log_lock);
        plat_fd log = vm->log;
        plat_mutex_unlock(vm->log_lock);
        int rc = plat_wait_fd(fd, false, log, left);
        if (log >= 0)
            pump_log(vm);
        if (rc != 2)
            return rc;
        left = time_left(start, timeout_ms);
        if (left == 0) /* more of the log is no reason to wait on */
            return plat_wait_fd(fd, false, PLAT_FD_NONE, 0);
    }
}

/* ---- requests ---- */

/* The worker has gone without an answer: say how it ended. */
static int worker_gone(struct lum_vm *vm, struct lum_error *err)
{
    int status = -1;

    plat_mutex_lock(vm->process_lock);
    int ended = plat_process_wait(vm->process, 2000, &status);
    plat_mutex_unlock(vm->process_lock);
    if (ended && status == 128 + 9 && jail_group_out_of_memory(vm->group))
        return lum_fail(err, LUM_EGONE,
                        "the VM's process was killed by the kernel: it needed more memory than "
                        "its control group allows");
    if (ended && status == 128 + 9)
        return lum_fail(err, LUM_EGONE,
                        "the VM's process was killed (by the user, or for lack of memory)");
    if (ended && status == 128 + SIGSYS)
        return lum_fail(err, LUM_EGONE,
                        "the VM's process was stopped by its jail: it made a system call that it "
                        "never needs (a guest that broke out, or a bug of ours)");
    if (ended && status > 128)
        return lum_fail(err, LUM_EGONE, "the VM's process died of signal %d", status - 128);
    return lum_fail(err, LUM_EGONE, "the VM's process has ended");
}

void channel_close(struct channel *c)
{
    plat_close(&c->fd);
    wbuf_done(&c->in);
    c->at = 0;
}

int vm_request(struct lum_vm *vm, uint16_t type, const struct wbuf *body, const plat_fd *fds,
               size_t n_fds, struct channel *ret_channel, struct lum_error *err)
{
    AUTO(wbuf_done) struct wbuf out = {0};
    plat_fd pair[2], all[PLAT_MAX_FDS];
    int rc;

    if (n_fds >= PLAT_MAX_FDS)
        return lum_fail(err, LUM_EINTERNAL, "too many descriptors in a request");
    if (body && !body->failed && body->size > FRAME_MAX_PAYLOAD)
        return lum_fail(err, LUM_EINVAL, "arguments and environment are larger than 256 KiB");
    if (body && body->failed)
        out.failed = true;
    else
        frame_put(&out, type, 0, 0, body ? body->data : NULL, body ? body->size : 0);
    if (out.failed)
        return lum_fail(err, LUM_ENOMEM, "request: out of memory");
    rc = plat_socketpair(pair, err);
    if (rc < 0)
        return rc;
    all[0] = pair[1];
    for (size_t i = 0; i < n_fds; i++)
        all[i + 1] = fds[i];
    plat_mutex_lock(vm->send_lock);
    rc = plat_send_fds(vm->control, out.data, out.size, all, n_fds + 1, err);
    plat_mutex_unlock(vm->send_lock);
    plat_close(&pair[1]);
    if (rc < 0) {
        plat_close(&pair[0]);
        return rc == LUM_EGONE ? worker_gone(vm, err) : rc;
    }
    ret_channel->fd = pair[0];
    return 0;
}

/* Appends what has arrived to the channel's buffer. */
static int receive_more(struct lum_vm *vm, struct channel *c, struct lum_error *err)
{
    enum { PIECE = 4096 };
    size_t had = c->in.size;
    uint8_t *room = wbuf_room(&c->in, PIECE);

    if (!room)
        return lum_fail(err, LUM_ENOMEM, "answer: out of memory");
    ssize_t n = plat_read(c->fd, room, PIECE);
    c->in.size = had + (n > 0 ? (size_t)n : 0);
    if (n == 0 || n == -ECONNRESET)
        return worker_gone(vm, err);
    return n < 0 ? lum_fail_errno(err, (int)-n, "receive an answer") : 0;
}

int vm_receive(struct lum_vm *vm, struct channel *c, int32_t timeout_ms, struct frame *ret_frame,
               struct lum_error *err)
{
    uint64_t start = plat_now_ns();
    int got;

    wbuf_drop(&c->in, c->at);
    c->at = 0;
    while ((got = frame_next(&c->in, &c->at, ret_frame)) == 0) {
        int rc = vm_wait_fd(vm, c->fd, time_left(start, timeout_ms));
        if (rc == 0)
            return lum_fail(err, LUM_ETIMEDOUT, "no answer within %d ms", timeout_ms);
        if (rc < 0)
            return lum_fail_errno(err, -rc, "wait for an answer");
        rc = receive_more(vm, c, err);
        if (rc < 0)
            return rc;
    }
    if (got < 0)
        return lum_fail(err, LUM_EINTERNAL, "the VM's process sent a malformed answer");
    return ret_frame->type == CTL_ERROR ? ctl_get_error(ret_frame, err) : 0;
}

int vm_call(struct lum_vm *vm, uint16_t type, const struct wbuf *body, int32_t timeout_ms,
            struct channel *channel, struct frame *ret_frame, struct lum_error *err)
{
    int rc = vm_request(vm, type, body, NULL, 0, channel, err);

    if (rc == 0)
        rc = vm_receive(vm, channel, timeout_ms, ret_frame, err);
    if (rc == 0 && ret_frame->type != CTL_OK)
        rc = lum_fail(err, LUM_EINTERNAL, "the VM's process sent an unexpected answer");
    return rc;
}

int vm_op(struct lum_vm *vm, uint16_t type, const struct wbuf *body, int32_t timeout_ms,
          const plat_fd streams[3], struct channel *ret_channel, struct lum_error *err)
{
    AUTO(wbuf_done) struct wbuf out = {0};
    AUTO(channel_close) struct channel channel = CHANNEL_INIT;
    struct frame frame;
    plat_fd fds[3];
    size_t n_fds = 0;
    uint8_t mask = 0;

    for (int i = 0; i < 3; i++) {
        if (streams[i] < 0)
            continue;
        mask = (uint8_t)(mask | 1 << i);
        fds[n_fds++] = streams[i];
    }
    wbuf_u16(&out, type);
    wbuf_u32(&out, (uint32_t)timeout_ms);
    wbuf_u8(&out, mask);
    wbuf_put(&out, body->data, body->size);
    out.failed |= body->failed;
    int rc = vm_request(vm, CTL_OP, &out, fds, n_fds, &channel, err);
    if (rc == 0)
        rc = vm_receive(vm, &channel, -1, &frame, err);
    if (rc == 0 && frame.type != CTL_STARTED)
        rc = lum_fail(err, LUM_EINTERNAL, "the VM's process sent an unexpected answer");
    if (rc < 0)
        return rc;
    *ret_channel = channel;
    channel = (struct channel)CHANNEL_INIT;
    return 0;
}

void vm_stage(struct lum_vm *vm, const char *name)
{
    uint64_t now = plat_now_ns();

    plat_mutex_lock(vm->process_lock);
    size_t i = 0;
    while (i < vm->n_own_stages && strcmp(vm->own_stages[i].stage, name) != 0)
        i++;
    if (i == vm->n_own_stages && i < VM_OWN_STAGES) {
        struct lum_timing *t = &vm->own_stages[vm->n_own_stages++];
        snprintf(t->stage, sizeof(t->stage), "%s", name);
        t->at_ns = now;
    }
    plat_mutex_unlock(vm->process_lock);
}
