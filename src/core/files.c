/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files to and from the guest, and byte streams to its ports. Trees are packed and unpacked here,
 * with the caller's rights: the worker never sees the caller's file system.
 */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "core/exec.h"
#include "plat/posix/tree.h"
#include "proto.h"

#define PIECE (64u * 1024)

/* The last component of a path, for a copy that goes into a folder. Heap string, "" when there is
 * none ("/", "..", "."). */
static char *own_name(const char *path)
{
    size_t end = strlen(path);

    while (end > 0 && path[end - 1] == '/')
        end--;
    size_t start = end;
    while (start > 0 && path[start - 1] != '/')
        start--;
    char *name = lum_calloc(1, end - start + 1);
    if (name)
        memcpy(name, path + start, end - start);
    if (name && (strcmp(name, ".") == 0 || strcmp(name, "..") == 0))
        name[0] = '\0';
    return name;
}

static int check_paths(const lum_vm *vm, const char *host_path, const char *guest_path,
                       struct lum_error *err)
{
    if (!vm || !host_path || !guest_path || !host_path[0])
        return lum_fail(err, LUM_EINVAL, "vm, host_path or guest_path: NULL or empty");
    if (guest_path[0] != '/')
        return lum_fail(err, LUM_EINVAL, "guest path %s: must begin with '/'", guest_path);
    if (strlen(guest_path) >= PROTO_MAX_PATH)
        return lum_fail(err, LUM_EINVAL, "guest path: longer than %u bytes", PROTO_MAX_PATH);
    return 0;
}

uint64_t lum_vm_copied(const lum_vm *vm)
{
    return atomic_load_explicit(&vm->copied_bytes, memory_order_relaxed);
}

static void count(lum_vm *vm, size_t bytes)
{
    atomic_fetch_add_explicit(&vm->copied_bytes, bytes, memory_order_relaxed);
}

/* ---- put ---- */

static int send_tree(lum_exec *op, struct tree_pack *pack, struct lum_error *err)
{
    AUTO(auto_free) char *buf = lum_calloc(1, PIECE);
    struct lum_error write_error;
    size_t n;
    int rc = 0;

    if (!buf)
        return lum_fail(err, LUM_ENOMEM, "put: out of memory");
    while (rc == 0 && (n = tree_pack_read(pack, buf, PIECE)) > 0) {
        rc = fd_write_all(op->stream[0], buf, n, "", &write_error);
        if (rc == 0)
            count(op->vm, n);
    }
    plat_close(&op->stream[0]);
    /* A guest that stopped reading says why in its answer. */
    return rc == 0 || rc == LUM_EGONE ? 0 : (*err = write_error, rc);
}

static int put_tree(lum_vm *vm, struct tree_pack *pack, const char *host_path,
                    const struct wbuf *body, struct lum_error *err)
{
    AUTO(auto_exec) lum_exec *op = NULL;
    const char *failed_path;
    int rc = exec_start(vm, PROTO_PUT, body, 0, 1, &op, err);

    if (rc == 0)
        rc = send_tree(op, pack, err);
    if (rc == 0)
        rc = lum_exec_wait(op, -1, NULL, err);
    int pack_errno = tree_pack_error(pack, &failed_path);
    if (pack_errno)
        return lum_fail_errno(err, pack_errno, "read %s%s%s", host_path, *failed_path ? "/" : "",
                              failed_path);
    return rc;
}

int lum_vm_put(lum_vm *vm, const char *host_path, const char *guest_path, struct lum_error *err)
{
    API_ERROR(err);
    AUTO(wbuf_done) struct wbuf body = {0};
    AUTO(auto_free) char *name = NULL;
    struct tree_pack *pack;
    int rc = check_paths(vm, host_path, guest_path, e);

    if (rc < 0)
        return rc;
    name = own_name(host_path);
    if (!name)
        return lum_fail(e, LUM_ENOMEM, "put: out of memory");
    rc = tree_pack_open(host_path, &pack);
    if (rc < 0)
        return lum_fail_errno(e, -rc, "read %s", host_path);
    wbuf_str(&body, guest_path);
    wbuf_str(&body, name);
    rc = put_tree(vm, pack, host_path, &body, e);
    tree_pack_close(pack);
    return rc < 0 ? lum_context(e, "put %s", guest_path) : 0;
}

/* ---- get ---- */

/* rc is a negative errno of tree_unpack_write. */
static int unpack_failed(const struct tree_unpack *unpack, const char *host_path, int rc,
                         struct lum_error *err)
{
    const char *path = tree_unpack_path(unpack);

    if (tree_unpack_sender_failed(unpack)) {
        /* Linux numbers on both sides. */
        lum_fail(err, LUM_EGUEST, "the guest cannot read %s: %s", path[0] ? path : "it",
                 strerror(-rc));
        err->domain = LUM_DOMAIN_GUEST_ERRNO;
        err->os_code = -rc;
        return LUM_EGUEST;
    }
    if (rc == -EPROTO || rc == -EINVAL)
        return lum_fail(err, LUM_EGUEST, "the guest sent a malformed copy");
    return lum_fail_errno(err, -rc, "write %s%s%s", host_path, path[0] ? "/" : "", path);
}

static int receive_tree(lum_vm *vm, lum_exec *op, struct tree_unpack *unpack, const char *host_path,
                        struct lum_error *err)
{
    AUTO(auto_free) char *buf = lum_calloc(1, PIECE);
    size_t n = 1;
    int rc = 0;

    if (!buf)
        return lum_fail(err, LUM_ENOMEM, "get: out of memory");
    while (rc == 0 && n > 0) {
        rc = fd_read_some(vm, op->stream[1], buf, PIECE, -1, &n, err);
        int written = rc == 0 && n > 0 ? tree_unpack_write(unpack, buf, n) : 0;
        if (written < 0)
            return unpack_failed(unpack, host_path, written, err);
        count(vm, n);
    }
    return rc;
}

static int get_tree(lum_vm *vm, const char *host_path, const char *name, const struct wbuf *body,
                    struct lum_error *err)
{
    AUTO(auto_exec) lum_exec *op = NULL;
    struct tree_unpack *unpack;
    /* Asked first: nothing is made here for a file that is not there. */
    int rc = exec_start(vm, PROTO_GET, body, 0, 2, &op, err);

    if (rc < 0)
        return rc;
    rc = tree_unpack_open(host_path, name, TREE_DROP_SETID, &unpack);
    if (rc < 0)
        return lum_fail_errno(err, -rc, "write %s", host_path);
    rc = receive_tree(vm, op, unpack, host_path, err);
    if (rc == 0)
        rc = lum_exec_wait(op, -1, NULL, err);
    int finish = rc == 0 ? tree_unpack_finish(unpack) : 0;
    if (finish < 0)
        rc = lum_fail(err, LUM_EGUEST, "the guest's copy was cut off");
    tree_unpack_close(unpack);
    return rc;
}

int lum_vm_get(lum_vm *vm, const char *guest_path, const char *host_path, struct lum_error *err)
{
    API_ERROR(err);
    AUTO(wbuf_done) struct wbuf body = {0};
    AUTO(auto_free) char *name = NULL;
    int rc = check_paths(vm, host_path, guest_path, e);

    if (rc < 0)
        return rc;
    name = own_name(guest_path);
    if (!name)
        return lum_fail(e, LUM_ENOMEM, "get: out of memory");
    wbuf_str(&body, guest_path);
    rc = get_tree(vm, host_path, name, &body, e);
    return rc < 0 ? lum_context(e, "get %s", guest_path) : 0;
}

/* ---- streams ---- */

struct lum_stream {
    lum_vm *vm;
    plat_fd fd;
};

void lum_stream_free(lum_stream *stream)
{
    if (!stream)
        return;
    plat_close(&stream->fd);
    free(stream);
}

int lum_vm_dial(lum_vm *vm, uint32_t port, int32_t timeout_ms, lum_stream **ret_stream,
                struct lum_error *err)
{
    API_ERROR(err);
    AUTO(channel_close) struct channel channel = CHANNEL_INIT;
    AUTO(wbuf_done) struct wbuf body = {0};
    AUTO(plat_close) plat_fd ours = PLAT_FD_NONE, theirs = PLAT_FD_NONE;
    plat_fd pair[2] = {PLAT_FD_NONE, PLAT_FD_NONE};
    struct frame frame;

    if (!vm || !ret_stream)
        return lum_fail(e, LUM_EINVAL, "vm or ret_stream: NULL");
    lum_stream *stream = lum_calloc(1, sizeof(*stream));
    wbuf_u32(&body, port);
    if (!stream)
        return lum_fail(e, LUM_ENOMEM, "dial: out of memory");
    int rc = plat_socketpair(pair, e);
    ours = pair[0];
    theirs = pair[1];
    if (rc == 0)
        rc = vm_request(vm, CTL_DIAL, &body, &theirs, 1, &channel, e);
    plat_close(&theirs); /* or its end would not be seen */
    if (rc == 0)
        rc = vm_receive(vm, &channel, timeout_ms, &frame, e);
    if (rc == 0 && frame.type != CTL_OK)
        rc = lum_fail(e, LUM_EINTERNAL, "the VM's process sent an unexpected answer");
    if (rc < 0) {
        free(stream);
        return lum_context(e, "dial port %u", port);
    }
    stream->vm = vm;
    stream->fd = STEAL_FD(ours);
    *ret_stream = stream;
    return 0;
}

int lum_stream_read(lum_stream *stream, void *buf, size_t capacity, int32_t timeout_ms,
                    size_t *ret_size, struct lum_error *err)
{
    API_ERROR(err);

    return fd_read_some(stream->vm, stream->fd, buf, capacity, timeout_ms, ret_size, e);
}

int lum_stream_write(lum_stream *stream, const void *data, size_t size, struct lum_error *err)
{
    API_ERROR(err);

    return fd_write_all(stream->fd, data, size, "the stream has ended", e);
}

int lum_stream_shutdown(lum_stream *stream, struct lum_error *err)
{
    (void)err;
    plat_shutdown_write(stream->fd);
    return 0;
}
