/* SPDX-License-Identifier: Apache-2.0 */
/* See qmp.h. Jansson reads the JSON; all that is written is put together from constants. */
#include "machine/qemu/qmp.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

static void free_json(json_t **json)
{
    json_decref(*json);
}

/* Copies a string of QEMU's, unprintable bytes replaced. NULL is "". */
static void copy_text(char *buf, size_t size, const char *text)
{
    size_t i = 0;

    for (; text && text[i] && i + 1 < size; i++)
        buf[i] = text[i] >= 0x20 && text[i] < 0x7f ? text[i] : '?';
    buf[i] = '\0';
}

static void describe_version(const json_t *greeting, char *buf, size_t size)
{
    const json_t *qemu = json_object_get(json_object_get(greeting, "version"), "qemu");

    snprintf(buf, size, "%" JSON_INTEGER_FORMAT ".%" JSON_INTEGER_FORMAT ".%" JSON_INTEGER_FORMAT,
             json_integer_value(json_object_get(qemu, "major")),
             json_integer_value(json_object_get(qemu, "minor")),
             json_integer_value(json_object_get(qemu, "micro")));
}

int qmp_parse(const char *line, size_t size, struct qmp_message *ret_message, struct lum_error *err)
{
    struct qmp_message m = {.id = -1};
    json_error_t why;
    AUTO(free_json) json_t *top = json_loadb(line, size, JSON_REJECT_DUPLICATES, &why);
    const json_t *part;

    if (!json_is_object(top))
        return lum_fail(err, LUM_EGUEST, "control message from QEMU: %s",
                        top ? "not an object" : why.text);
    part = json_object_get(top, "id");
    if (json_is_integer(part) && json_integer_value(part) >= 0)
        m.id = json_integer_value(part);

    if (json_object_get(top, "return")) {
        m.kind = QMP_RETURN;
    } else if ((part = json_object_get(top, "error"))) {
        m.kind = QMP_ERROR;
        const char *why_not = json_string_value(json_object_get(part, "desc"));
        copy_text(m.text, sizeof(m.text), why_not && *why_not ? why_not : "QEMU does not say why");
    } else if ((part = json_object_get(top, "event"))) {
        if (!json_is_string(part))
            return lum_fail(err, LUM_EGUEST, "control message from QEMU: event without a name");
        m.kind = QMP_EVENT;
        copy_text(m.name, sizeof(m.name), json_string_value(part));
        const json_t *data = json_object_get(top, "data");
        const json_t *open = json_object_get(data, "open");
        if (json_is_boolean(open))
            copy_text(m.text, sizeof(m.text), json_is_true(open) ? "open" : "closed");
        else
            copy_text(m.text, sizeof(m.text), json_string_value(json_object_get(data, "reason")));
    } else if ((part = json_object_get(top, "QMP"))) {
        m.kind = QMP_GREETING;
        describe_version(part, m.text, sizeof(m.text));
    } else {
        return lum_fail(err, LUM_EGUEST, "control message from QEMU: of no known kind");
    }
    *ret_message = m;
    return 0;
}

static void close_connection(struct qmp *q)
{
    plat_watch_free(q->watch);
    q->watch = NULL;
    plat_close(&q->fd);
}

static bool take_pending(struct qmp *q, int64_t id, struct qmp_pending *ret_pending)
{
    for (size_t i = 0; i < q->n_pending; i++) {
        if (q->pending[i].id == id) {
            *ret_pending = q->pending[i];
            q->pending[i] = q->pending[--q->n_pending];
            return true;
        }
    }
    return false;
}

void qmp_abort(struct qmp *q, int rc, const char *why)
{
    close_connection(q);
    while (q->n_pending > 0) {
        struct qmp_pending p = q->pending[--q->n_pending];
        p.done(p.ctx, rc, why);
    }
}

static void broken(struct qmp *q, const char *why)
{
    qmp_abort(q, LUM_EGONE, why);
    q->owner.broken(q->owner.ctx, why);
}

static void handle_line(struct qmp *q, const char *line, size_t size)
{
    struct qmp_message m;
    struct qmp_pending p;
    struct lum_error err;

    if (qmp_parse(line, size, &m, &err) < 0) {
        broken(q, err.text);
        return;
    }
    switch (m.kind) {
    case QMP_GREETING: q->owner.greeted(q->owner.ctx, m.text); break;
    case QMP_EVENT: q->owner.event(q->owner.ctx, m.name, m.text); break;
    case QMP_RETURN:
    case QMP_ERROR:
        /* Answers that nobody waits for change nothing. */
        if (take_pending(q, m.id, &p))
            p.done(p.ctx, m.kind == QMP_RETURN ? 0 : LUM_EOS, m.text);
        break;
    }
}

/* Handles the whole lines among in_size bytes. */
static void handle_input(struct qmp *q, size_t fresh)
{
    size_t start = 0, scan = q->in_size - fresh;

    while (q->fd != PLAT_FD_NONE) {
        char *end = memchr(q->in + scan, '\n', q->in_size - scan);
        if (!end)
            break;
        size_t next = (size_t)(end - q->in) + 1;

        handle_line(q, q->in + start, next - 1 - start);
        start = scan = next;
    }
    q->in_size -= start;
    memmove(q->in, q->in + start, q->in_size);
}

void qmp_drain(struct qmp *q)
{
    /* A bound for the call: QEMU could write as fast as this reads. */
    for (int rounds = 0; rounds < 16 && q->fd != PLAT_FD_NONE; rounds++) {
        if (q->in_size == sizeof(q->in)) {
            broken(q, "control message from QEMU: line too long");
            return;
        }
        ssize_t n = plat_read(q->fd, q->in + q->in_size, sizeof(q->in) - q->in_size);
        if (n == -EAGAIN)
            return;
        if (n <= 0) {
            broken(q, "QEMU closed its control connection");
            return;
        }
        q->in_size += (size_t)n;
        handle_input(q, (size_t)n);
    }
}

static void flush(struct qmp *q)
{
    while (q->out_size > 0) {
        ssize_t n = plat_write(q->fd, q->out, q->out_size);
        if (n < 0) {
            /* Anything but a full socket shows up as its end when it is read. */
            plat_watch_set(q->watch, n == -EAGAIN ? PLAT_READ | PLAT_WRITE : PLAT_READ);
            return;
        }
        q->out_size -= (size_t)n;
        memmove(q->out, q->out + n, q->out_size);
    }
    plat_watch_set(q->watch, PLAT_READ);
}

static void on_socket(void *ctx, int events)
{
    struct qmp *q = ctx;

    if (events & PLAT_WRITE)
        flush(q);
    if (events & (PLAT_READ | PLAT_HANGUP))
        qmp_drain(q);
}

void qmp_execute(struct qmp *q, const char *command, qmp_done_fn *done, void *ctx)
{
    char *at = q->out + q->out_size;
    size_t room = sizeof(q->out) - q->out_size;

    if (q->fd == PLAT_FD_NONE) {
        done(ctx, LUM_EGONE, "QEMU has ended");
        return;
    }
    int len = snprintf(at, room, "{\"execute\":\"%s\",\"id\":%" PRId64 "}\n", command, q->next_id);
    if (len < 0 || (size_t)len >= room || q->n_pending == QMP_MAX_PENDING) {
        done(ctx, LUM_EBUSY, "too many requests to QEMU at the same time");
        return;
    }
    q->pending[q->n_pending++] = (struct qmp_pending){q->next_id++, done, ctx};
    q->out_size += (size_t)len;
    flush(q);
}

static void on_negotiated(void *ctx, int rc, const char *why)
{
    struct qmp *q = ctx;

    if (rc < 0 && q->fd != PLAT_FD_NONE)
        broken(q, why);
}

void qmp_init(struct qmp *q)
{
    *q = (struct qmp){.fd = PLAT_FD_NONE};
}

int qmp_open(struct qmp *q, struct plat_loop *loop, plat_fd *sock, const struct qmp_owner *owner,
             struct lum_error *err)
{
    q->fd = STEAL_FD(*sock);
    q->owner = *owner;
    /* Not zero: Jansson would fetch its hash seed from a file, and a sealed process opens none. */
    uint32_t seed;
    int rc = plat_random(&seed, sizeof(seed), err);
    if (rc < 0)
        return rc;
    json_object_seed(seed | 1);
    rc = plat_set_nonblock(q->fd, err);
    if (rc < 0)
        return rc;
    rc = plat_watch_create(loop, q->fd, PLAT_READ, on_socket, q, &q->watch, err);
    if (rc < 0)
        return rc;
    /* QEMU takes this as soon as it can; the greeting need not be waited for. */
    qmp_execute(q, "qmp_capabilities", on_negotiated, q);
    return 0;
}
