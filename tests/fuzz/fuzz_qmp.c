/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as what QEMU says on its control connection, while commands are sent. Each command is
 * answered exactly once, and once broken the connection stays so. The first byte says how the input
 * is cut; each newline-free piece is also parsed by itself.
 */
#include <stdlib.h>
#include <string.h>

#include "machine/qemu/qmp.h"
#include "step_loop.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct {
    struct qmp qmp;
    unsigned asked, answered, broken;
} bench;

static void must(bool good)
{
    if (!good)
        abort();
}

static void printable(const char *text, size_t size)
{
    must(strnlen(text, size) < size);
    for (; *text; text++)
        must(*text >= 0x20 && *text < 0x7f);
}

static void on_greeted(void *ctx, const char *version)
{
    (void)ctx;
    printable(version, sizeof(((struct qmp_message *)NULL)->text));
}

static void on_done(void *ctx, int rc, const char *why)
{
    (void)ctx;
    must(rc <= 0 && (rc == 0 || why));
    bench.answered++;
}

static void on_event(void *ctx, const char *name, const char *reason)
{
    (void)ctx;
    printable(name, sizeof(((struct qmp_message *)NULL)->name));
    printable(reason, sizeof(((struct qmp_message *)NULL)->text));
    bench.asked++;
    qmp_execute(&bench.qmp, "cont", on_done,
                NULL); /* from inside a callback, as the machine does */
}

static void on_broken(void *ctx, const char *why)
{
    (void)ctx;
    must(why && why[0] && bench.broken == 0);
    bench.broken++;
}

static void parse(const uint8_t *data, size_t size)
{
    struct qmp_message m;
    struct lum_error err;

    if (qmp_parse((const char *)data, size, &m, &err) < 0) {
        must(err.code == LUM_EGUEST && err.text[0] != '\0');
        return;
    }
    must(m.kind <= QMP_EVENT && m.id >= -1);
    printable(m.name, sizeof(m.name));
    printable(m.text, sizeof(m.text));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct qmp_owner owner = {.greeted = on_greeted, .event = on_event, .broken = on_broken};
    struct lum_error err;
    struct plat_loop *loop;
    plat_fd pair[2];

    if (size < 1 || size > 100000)
        return 0;
    for (size_t at = 1, end; at < size; at = end + 1) {
        const uint8_t *newline = memchr(data + at, '\n', size - at);
        end = newline ? (size_t)(newline - data) : size;
        parse(data + at, end - at);
    }
    memset(&bench, 0, sizeof(bench));
    must(plat_loop_create(&loop, &err) == 0 && plat_socketpair(pair, &err) == 0 &&
         plat_set_nonblock(pair[1], &err) == 0);
    qmp_init(&bench.qmp);
    must(qmp_open(&bench.qmp, loop, &pair[0], &owner, &err) == 0);
    for (size_t at = 1; at < size && !bench.broken;) {
        size_t piece = data[0] ? (size_t)data[0] * 3 : size;
        char sink[1024];

        if (piece > size - at)
            piece = size - at;
        ssize_t n = plat_write(pair[1], data + at, piece);
        if (n <= 0)
            break;
        at += (size_t)n;
        bench.asked++;
        qmp_execute(&bench.qmp, "stop", on_done, NULL);
        step_loop_run(loop);
        while (plat_read(pair[1], sink, sizeof(sink)) > 0)
            ;
    }
    plat_close(&pair[1]);
    qmp_drain(&bench.qmp);
    qmp_abort(&bench.qmp, LUM_EGONE, "over");
    must(bench.asked == bench.answered && bench.qmp.fd == PLAT_FD_NONE);
    bench.asked++;
    qmp_execute(&bench.qmp, "quit", on_done, NULL);
    must(bench.asked == bench.answered);
    step_loop_run(loop);
    plat_loop_free(loop);
    return 0;
}
