/* SPDX-License-Identifier: Apache-2.0 */
/* Public entry points of commands: lum_vm_exec and lum_exec_*. The contracts are in lumina.h. */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "core/exec.h"
#include "proto.h"

#define MAX_STRINGS 4096u

/* ---- starting ---- */

static void put_strings(struct wbuf *out, const char *const *list)
{
    uint32_t n = 0;

    while (list && list[n])
        n++;
    wbuf_u32(out, n);
    for (uint32_t i = 0; i < n; i++)
        wbuf_str(out, list[i]);
}

static int check_options(const struct lum_exec_options *opts, struct lum_exec_options *ret_copy,
                         struct lum_error *err)
{
    struct lum_exec_options o = LUM_EXEC_OPTIONS_INIT;
    size_t n = 0;

    if (!opts || opts->struct_size < sizeof(uint32_t) || opts->struct_size > sizeof(o))
        return lum_fail(err, LUM_EINVAL, "exec options: NULL or of another version of lumina.h");
    memcpy(&o, opts, opts->struct_size);
    if (!o.argv || !o.argv[0] || !o.argv[0][0])
        return lum_fail(err, LUM_EINVAL, "argv: no command");
    if (o.flags & ~(uint32_t)(LUM_EXEC_TTY | LUM_EXEC_STDIN))
        return lum_fail(err, LUM_EINVAL, "flags: unknown bits");
    while (o.argv[n])
        n++;
    if (n > MAX_STRINGS)
        return lum_fail(err, LUM_EINVAL, "argv: more than %u arguments", MAX_STRINGS);
    for (n = 0; o.env && o.env[n]; n++)
        if (!strchr(o.env[n], '=') || o.env[n][0] == '=')
            return lum_fail(err, LUM_EINVAL, "env: %s: not NAME=value", o.env[n]);
    if (n > MAX_STRINGS)
        return lum_fail(err, LUM_EINVAL, "env: more than %u variables", MAX_STRINGS);
    if (o.rows > 65535 || o.cols > 65535)
        return lum_fail(err, LUM_EINVAL, "terminal: %u x %u is too large", o.rows, o.cols);
    *ret_copy = o;
    return 0;
}

void lum_exec_free(lum_exec *exec)
{
    if (!exec)
        return;
    channel_close(&exec->channel);
    for (int i = 0; i < 3; i++)
        plat_close(&exec->stream[i]);
    free(exec);
}

void auto_exec(lum_exec **exec)
{
    lum_exec_free(*exec);
}

static lum_exec *exec_new(lum_vm *vm)
{
    lum_exec *exec = lum_calloc(1, sizeof(*exec));

    if (exec) {
        exec->vm = vm;
        exec->channel = (struct channel)CHANNEL_INIT;
        exec->stream[0] = exec->stream[1] = exec->stream[2] = PLAT_FD_NONE;
    }
    return exec;
}

static void close_three(plat_fd (*fds)[3])
{
    for (int i = 0; i < 3; i++)
        plat_close(&(*fds)[i]);
}

/* A socket pair for each stream in the mask: one end stays with the object, theirs goes to the
 * worker. */
static int open_streams(lum_exec *exec, unsigned mask, plat_fd theirs[3], struct lum_error *err)
{
    for (int i = 0; i < 3; i++) {
        plat_fd pair[2];

        if (!(mask & 1u << i))
            continue;
        int rc = plat_socketpair(pair, err);
        if (rc < 0)
            return rc;
        exec->stream[i] = pair[0];
        theirs[i] = pair[1];
    }
    return 0;
}

int exec_start(lum_vm *vm, uint16_t type, const struct wbuf *body, int32_t timeout_ms,
               unsigned mask, lum_exec **ret_exec, struct lum_error *err)
{
    AUTO(close_three) plat_fd theirs[3] = {PLAT_FD_NONE, PLAT_FD_NONE, PLAT_FD_NONE};
    AUTO(auto_exec) lum_exec *exec = exec_new(vm);

    if (!exec)
        return lum_fail(err, LUM_ENOMEM, "out of memory");
    int rc = open_streams(exec, mask, theirs, err);
    if (rc == 0)
        rc = vm_op(vm, type, body, timeout_ms, theirs, &exec->channel, err);
    if (rc < 0)
        return rc;
    *ret_exec = STEAL(exec);
    return 0;
}

int lum_vm_exec(lum_vm *vm, const struct lum_exec_options *opts, lum_exec **ret_exec,
                struct lum_error *err)
{
    API_ERROR(err);
    AUTO(wbuf_done) struct wbuf body = {0};
    struct lum_exec_options o = LUM_EXEC_OPTIONS_INIT;

    if (!vm || !ret_exec)
        return lum_fail(e, LUM_EINVAL, "vm or ret_exec: NULL");
    int rc = check_options(opts, &o, e);
    if (rc < 0)
        return rc;
    bool tty = o.flags & LUM_EXEC_TTY, has_stdin = o.flags & LUM_EXEC_STDIN;
    wbuf_u32(&body, (tty ? PROTO_EXEC_TTY : 0u) | (has_stdin ? PROTO_EXEC_STDIN : 0u));
    wbuf_u32(&body, o.rows ? o.rows : 24);
    wbuf_u32(&body, o.cols ? o.cols : 80);
    wbuf_str(&body, o.cwd);
    wbuf_str(&body, o.user);
    put_strings(&body, o.argv);
    put_strings(&body, o.env);
    rc = exec_start(vm, PROTO_EXEC, &body, o.timeout_ms > 0 ? o.timeout_ms : 0,
                    (has_stdin ? 1u : 0u) | 2u | (tty ? 0u : 4u), ret_exec, e);
    if (rc == 0)
        (*ret_exec)->tty = tty;
    return rc;
}

/* ---- streams ---- */

int fd_write_all(plat_fd fd, const void *data, size_t size, const char *gone, struct lum_error *err)
{
    size_t done = 0;

    while (done < size) {
        ssize_t n = plat_write(fd, (const char *)data + done, size - done);
        if (n == -EPIPE || n == -ECONNRESET)
            return lum_fail(err, LUM_EGONE, "%s", gone);
        if (n < 0)
            return lum_fail_errno(err, (int)-n, "write");
        done += (size_t)n;
    }
    return 0;
}

int fd_read_some(lum_vm *vm, plat_fd fd, void *buf, size_t capacity, int32_t timeout_ms,
                 size_t *ret_size, struct lum_error *err)
{
    if (!buf || capacity == 0 || !ret_size)
        return lum_fail(err, LUM_EINVAL, "buf, capacity or ret_size: nothing to read into");
    int rc = vm_wait_fd(vm, fd, timeout_ms);
    if (rc == 0)
        return lum_fail(err, LUM_ETIMEDOUT, "nothing to read within %d ms", timeout_ms);
    if (rc < 0)
        return lum_fail_errno(err, -rc, "wait for data");
    ssize_t n = plat_read(fd, buf, capacity);
    if (n == -ECONNRESET)
        n = 0;
    if (n < 0)
        return lum_fail_errno(err, (int)-n, "read");
    *ret_size = (size_t)n;
    return 0;
}

int lum_exec_write(lum_exec *exec, const void *data, size_t size, struct lum_error *err)
{
    API_ERROR(err);

    if (exec->stream[0] < 0)
        return lum_fail(e, LUM_EBUSY, "stdin is closed");
    return fd_write_all(exec->stream[0], data, size, "the command reads its stdin no more", e);
}

int lum_exec_close_stdin(lum_exec *exec, struct lum_error *err)
{
    (void)err;
    plat_close(&exec->stream[0]);
    return 0;
}

int lum_exec_read(lum_exec *exec, int32_t stream, void *buf, size_t capacity, int32_t timeout_ms,
                  size_t *ret_size, struct lum_error *err)
{
    API_ERROR(err);

    if ((stream != LUM_STDOUT && stream != LUM_STDERR) || exec->stream[stream] < 0)
        return lum_fail(e, LUM_EINVAL, "stream %d: this command has none", stream);
    int rc = fd_read_some(exec->vm, exec->stream[stream], buf, capacity, timeout_ms, ret_size, e);
    if (rc == 0 && *ret_size > 0)
        vm_stage(exec->vm, "first output");
    return rc;
}

/* ---- while it runs ---- */

static int channel_send(lum_exec *exec, uint16_t type, const void *body, size_t size,
                        struct lum_error *err)
{
    AUTO(wbuf_done) struct wbuf out = {0};

    frame_put(&out, type, 0, 0, body, size);
    if (out.failed)
        return lum_fail(err, LUM_ENOMEM, "out of memory");
    int rc = fd_write_all(exec->channel.fd, out.data, out.size, "", err);
    return rc == LUM_EGONE ? 0 : rc; /* it has ended: nothing left to do it to */
}

int lum_exec_resize(lum_exec *exec, uint32_t rows, uint32_t cols, struct lum_error *err)
{
    API_ERROR(err);
    uint8_t body[8];

    if (!exec->tty)
        return lum_fail(e, LUM_EBUSY, "the command has no terminal");
    if (rows == 0 || cols == 0 || rows > 65535 || cols > 65535)
        return lum_fail(e, LUM_EINVAL, "terminal: %u x %u is not a size", rows, cols);
    le32_store(body, rows);
    le32_store(body + 4, cols);
    return channel_send(exec, PROTO_RESIZE, body, sizeof(body), e);
}

int lum_exec_signal(lum_exec *exec, int32_t signo, struct lum_error *err)
{
    API_ERROR(err);
    uint8_t body[4];

    if (signo < 1 || signo > 64)
        return lum_fail(e, LUM_EINVAL, "signal %d: not in 1 to 64", signo);
    le32_store(body, (uint32_t)signo);
    return channel_send(exec, PROTO_SIGNAL, body, sizeof(body), e);
}

int lum_exec_wait(lum_exec *exec, int32_t timeout_ms, struct lum_exit_status *ret_status,
                  struct lum_error *err)
{
    API_ERROR(err);
    struct frame frame;

    if (!exec->over) {
        struct lum_error end = {0};
        int rc = vm_receive(exec->vm, &exec->channel, timeout_ms, &frame, &end);

        if (rc == LUM_ETIMEDOUT) {
            *e = end;
            return rc;
        }
        exec->over = true;
        if (rc == 0 && (frame.type != CTL_DONE || frame.size != 16))
            lum_fail(&end, LUM_EINTERNAL, "the VM's process sent an unexpected answer");
        exec->end_error = end;
        if (end.code == 0) {
            int32_t signal = (int32_t)le32_load(frame.data + 4);
            exec->status.exit_code = signal ? 128 + signal : (int32_t)le32_load(frame.data);
            exec->status.signal = signal;
            exec->status.timed_out = (int32_t)le32_load(frame.data + 8);
            exec->status.out_of_memory = (int32_t)le32_load(frame.data + 12);
        }
    }
    if (exec->end_error.code) {
        *e = exec->end_error;
        return e->code;
    }
    if (ret_status)
        *ret_status = exec->status;
    return 0;
}
