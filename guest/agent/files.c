/* SPDX-License-Identifier: Apache-2.0 */
/* PUT and GET: tree streams into and out of the guest's files. */
#include <errno.h>
#include <stddef.h>

#include "op.h"
#include "tree.h"

/* A GET fills at most this much of the output buffer at a time, so that others get a share. */
#define GET_PORTION (WIRE_OUT_SIZE / 2)

static enum op_start put_start(struct op *op, struct cursor *cursor, struct outcome *out)
{
    const char *path = cursor_string(cursor);
    const char *name = cursor_string(cursor);

    if (!cursor_ended(cursor))
        return OP_BAD_FRAME;

    int rc = tree_unpack_open(path, name, 0, &op->unpack);
    if (rc < 0) {
        outcome_set(out, PROTO_FAIL_OTHER, -rc, "write to", path);
        return OP_FAILED;
    }
    sink_init(&op->sink, -1);
    return OP_STARTED;
}

/* The operation ends now. Its id is free after DONE: what the host still sends is dropped there. */
static void put_end(struct op *op, int rc)
{
    if (rc < 0)
        outcome_set(&op->out, PROTO_FAIL_OTHER, -rc, "write", tree_unpack_path(op->unpack));
    op->exited = true;
}

static int put_data(struct op *op, const uint8_t *data, uint32_t size)
{
    int rc = sink_take(&op->sink, data, size);

    if (rc < 0 || op->exited)
        return rc;
    rc = tree_unpack_write(op->unpack, data, size);
    if (rc < 0)
        put_end(op, rc);
    return 0;
}

static void put_eof(struct op *op)
{
    if (!op->exited)
        put_end(op, tree_unpack_finish(op->unpack));
}

static void put_cancel(struct op *op)
{
    if (!op->exited)
        put_end(op, -ECANCELED);
}

static bool put_finished(struct op *op)
{
    return op->exited;
}

static void put_done(struct op *op)
{
    tree_unpack_close(op->unpack);
}

const struct op_kind op_put = {
    .start = put_start,
    .data = put_data,
    .eof = put_eof,
    .cancel = put_cancel,
    .finished = put_finished,
    .done = put_done,
};

static enum op_start get_start(struct op *op, struct cursor *cursor, struct outcome *out)
{
    const char *path = cursor_string(cursor);

    if (!cursor_ended(cursor))
        return OP_BAD_FRAME;

    int rc = tree_pack_open(path, &op->pack);
    if (rc < 0) {
        outcome_set(out, PROTO_FAIL_OTHER, -rc, "read", path);
        return OP_FAILED;
    }
    source_init(&op->sources[0], -1);
    return OP_STARTED;
}

static int no_data(struct op *op, const uint8_t *data, uint32_t size)
{
    (void)op;
    (void)data;
    (void)size;
    return -EPROTO;
}

static void no_eof(struct op *op)
{
    (void)op;
}

static void get_work(struct op *op, struct wire *wire)
{
    struct source *source = &op->sources[0];
    const char *path;

    while (!source->ended && source->credit > 0 && wire_room(wire) > GET_PORTION) {
        uint32_t want = source->credit < PROTO_MAX_DATA ? source->credit : PROTO_MAX_DATA;
        uint32_t n = (uint32_t)tree_pack_read(op->pack, wire_place(wire), want);

        if (n > 0)
            wire_commit(wire, PROTO_DATA, 1, op->id, n);
        source->credit -= n;
        source->ended = n < want;
    }
    int error = tree_pack_error(op->pack, &path);
    if (source->ended && error && !op->out.error)
        outcome_set(&op->out, PROTO_FAIL_OTHER, error, "read", path);
}

static void get_cancel(struct op *op)
{
    if (op->sources[0].ended)
        return;
    outcome_set(&op->out, PROTO_FAIL_OTHER, ECANCELED, "read", NULL);
    op->sources[0].ended = true;
}

static bool get_finished(struct op *op)
{
    return op->sources[0].ended;
}

static void get_done(struct op *op)
{
    tree_pack_close(op->pack);
}

const struct op_kind op_get = {
    .start = get_start,
    .data = no_data,
    .eof = no_eof,
    .work = get_work,
    .cancel = get_cancel,
    .finished = get_finished,
    .done = get_done,
};
