/* SPDX-License-Identifier: Apache-2.0 */
/* The native machine's life: on the null driver with a script, and on /dev/kvm with a real guest.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "hv/hv_null.h"
#include "play.h"
#include "torture.h"

static struct vm_spec spec;

struct seen {
    struct plat_loop *loop;
    bool ended, answered;
    enum machine_end end;
    char text[160];
};

static void on_log(void *ctx, int level, const char *fmt, ...) LUM_PRINTF(3, 4);

static void on_log(void *ctx, int level, const char *fmt, ...)
{
    (void)ctx;
    (void)level;
    (void)fmt;
}

static void on_console(void *ctx, const uint8_t *data, size_t size)
{
    (void)ctx;
    (void)data;
    (void)size;
}

static void on_agent(void *ctx, plat_fd stream)
{
    (void)ctx;
    plat_close(&stream);
}

static void on_ended(void *ctx, enum machine_end end, const char *text)
{
    struct seen *s = ctx;

    torture_must(!s->ended, "an end is told once");
    s->ended = true;
    s->end = end;
    snprintf(s->text, sizeof(s->text), "%s", text);
    plat_loop_quit(s->loop);
}

static void on_stage(void *ctx, const char *name)
{
    (void)ctx;
    (void)name;
}

static void on_answer(void *ctx, int rc, const char *why)
{
    struct seen *s = ctx;

    (void)rc;
    (void)why;
    torture_must(!s->answered, "an answer comes once");
    s->answered = true;
    plat_loop_quit(s->loop);
}

static int fence(void *ctx, struct lum_error *err)
{
    (void)ctx;
    (void)err;
    return 0;
}

static const char *setup(void)
{
    static uint8_t file[16384];
    struct lum_error err;

    vm_spec_init(&spec);
    spec.vcpus = 2;
    spec.memory_bytes = 64 * MIB;
    spec.own_kernel = true; /* the driver's speed does not matter */
    spec.cmdline_extra = lum_strdup("");
    spec.hostname = lum_strdup("test");
    spec.kernel_name = lum_strdup("tiny");
    spec.root_kind = MACHINE_ROOT_EROFS;
    torture_must(spec.cmdline_extra && spec.hostname && spec.kernel_name &&
                     plat_memfile("kernel", file, play_elf(file), &spec.kernel, &err) == 0 &&
                     plat_memfile("agent", file, 5000, &spec.agent, &err) == 0 &&
                     plat_memfile("root", file, 8192, &spec.root, &err) == 0,
                 "spec");
    return NULL;
}

/* Asks for a pause and a resume, and waits for the answers or the end. */
static void pause_and_resume(struct machine *m, struct seen *s)
{
    s->answered = false;
    plat_loop_lock(s->loop);
    m->ops->pause(m, on_answer, s);
    plat_loop_unlock(s->loop);
    plat_loop_run(s->loop);
    if (!s->answered)
        return; /* told when the machine goes */
    s->answered = false;
    plat_loop_lock(s->loop);
    m->ops->resume(m, on_answer, s);
    plat_loop_unlock(s->loop);
    torture_must(s->answered, "a resume is answered at once");
    plat_loop_run(s->loop); /* takes back that it was asked to end */
}

static int run(struct machine *m, struct seen *s, bool pause, struct lum_error *err)
{
    struct machine_stats stats;

    plat_loop_lock(s->loop);
    int rc = m->ops->start(m, err);
    m->ops->stats(m, &stats);
    plat_loop_unlock(s->loop);
    if (rc < 0)
        return rc;
    if (pause)
        pause_and_resume(m, s);
    else
        plat_loop_run(s->loop);
    /* Without memory to say what has happened the machine ends the loop, and with it the worker. */
    if (!s->ended && !s->answered)
        return lum_fail(err, LUM_EGONE, "the machine ended the loop");
    if (s->ended && s->end != MACHINE_RESET)
        return lum_fail(err, LUM_EGUEST, "ended: %s", s->text);
    return 0;
}

static int life(const char *driver, bool pause, struct lum_error *err)
{
    struct seen s = {0};
    struct machine *m = NULL;
    int rc = plat_loop_create(&s.loop, err);

    if (rc < 0)
        return rc;
    const struct machine_host host = {.ctx = &s,
                                      .log = on_log,
                                      .console = on_console,
                                      .agent = on_agent,
                                      .ended = on_ended,
                                      .stage = on_stage,
                                      .closed = fence,
                                      .vcpu_sealed = fence};
    plat_loop_lock(s.loop);
    rc = machine_native_ops.create(driver, &spec, s.loop, &host, &m, err);
    plat_loop_unlock(s.loop);
    torture_must((rc == 0) == (m != NULL), "a machine exactly with success");
    if (rc == 0) {
        rc = run(m, &s, pause, err);
        plat_loop_lock(s.loop);
        m->ops->free(m);
        plat_loop_unlock(s.loop);
    }
    plat_loop_free(s.loop);
    return rc;
}

static int null_play(struct lum_error *err)
{
    static const struct null_step steps[] = {
        {.op = NULL_PIO_WRITE, .addr = 0x3f8, .size = 1, .value = 'h'},
        {.op = NULL_MMIO_READ, .addr = ARCH_MMIO_BASE, .size = 4, .value = 0x74726976},
        {.op = NULL_PIO_WRITE, .addr = 0x64, .size = 1, .value = 0xfe},
    };
    static struct null_bench bench;

    bench.scripts[0] = (struct null_script){steps, ARRAY_LEN(steps)};
    hv_null_use(&bench);
    int rc = life("null", false, err);
    hv_null_use(NULL); /* all vCPUs halt */
    return rc == 0 ? life("null", true, err) : rc;
}

const struct scenario scenario_native = {.name = "native", .setup = setup, .play = null_play};

static const char *kvm_setup(void)
{
    int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    struct lum_error err;

    if (fd < 0)
        return errno == ENOENT ? "there is no /dev/kvm" : "/dev/kvm cannot be opened";
    close(fd);
    (void)setup();
    if (life("kvm", false, &err) < 0) {
        static char why[300];
        snprintf(why, sizeof(why), "/dev/kvm does not run the guest: %s", err.text);
        return why;
    }
    return NULL;
}

static int kvm_play(struct lum_error *err)
{
    return life("kvm", false, err);
}

const struct scenario scenario_kvm = {.name = "kvm", .setup = kvm_setup, .play = kvm_play};
