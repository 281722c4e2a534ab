/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The native machine on the null driver: its whole life without a CPU. A script stands for what a
 * guest does; the loop runs as in the worker.
 */
#include <stdatomic.h>
#include <string.h>

#include "base/alloc.h"
#include "hv/hv_null.h"
#include "machine/machine.h"
#include "no_fence.h"
#include "tap.h"
#include "tiny_kernel.h"

struct seen {
    struct plat_loop *loop;
    struct machine *machine;
    char console[256];
    size_t console_size;
    bool ended, paused;
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
    struct seen *s = ctx;

    for (size_t i = 0; i < size && s->console_size < sizeof(s->console) - 1; i++)
        s->console[s->console_size++] = (char)data[i];
}

static void on_agent(void *ctx, plat_fd stream)
{
    (void)ctx;
    plat_close(&stream);
}

static void on_ended(void *ctx, enum machine_end end, const char *text)
{
    struct seen *s = ctx;

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

static void make_spec(struct vm_spec *spec, uint32_t vcpus)
{
    struct lum_error err;

    vm_spec_init(spec);
    spec->vcpus = vcpus;
    spec->memory_bytes = 64 * MIB;
    spec->own_kernel = true; /* the scripted driver's speed does not matter */
    spec->cmdline_extra = lum_strdup("");
    spec->hostname = lum_strdup("test");
    spec->kernel_name = lum_strdup("tiny");
    spec->root_kind = MACHINE_ROOT_INITRD;
    spec->kernel = tiny_kernel();
    ok(spec->kernel >= 0, "a kernel file");
    ok(plat_memfile("agent", "07070", 5, &spec->agent, &err) == 0, "an agent file");
}

static struct machine *make(struct seen *s, const struct vm_spec *spec)
{
    const struct machine_host host = {.ctx = s,
                                      .log = on_log,
                                      .console = on_console,
                                      .agent = on_agent,
                                      .ended = on_ended,
                                      .stage = on_stage,
                                      NO_FENCE};
    struct lum_error err;
    struct machine *m = NULL;

    *s = (struct seen){0};
    ok(plat_loop_create(&s->loop, &err) == 0, "a loop");
    plat_loop_lock(s->loop);
    if (!ok(machine_native_ops.create("null", spec, s->loop, &host, &m, &err) == 0, "create"))
        tap_note("%s", err.text);
    plat_loop_unlock(s->loop);
    s->machine = m;
    return m;
}

static void start(struct seen *s)
{
    struct lum_error err;

    plat_loop_lock(s->loop);
    ok(s->machine->ops->start(s->machine, &err) == 0, "start");
    plat_loop_unlock(s->loop);
}

static void finish(struct seen *s)
{
    plat_loop_lock(s->loop);
    s->machine->ops->free(s->machine);
    plat_loop_unlock(s->loop);
    plat_loop_free(s->loop);
}

/* Plays one script on one vCPU to the machine's end. */
static void play(struct seen *s, const struct null_step *steps, size_t n, enum machine_end end,
                 const char *text)
{
    static struct null_bench bench;
    struct vm_spec spec;

    memset(&bench, 0, sizeof(bench));
    bench.scripts[0] = (struct null_script){steps, n};
    hv_null_use(&bench);
    make_spec(&spec, 1);
    if (make(s, &spec)) {
        start(s);
        plat_loop_run(s->loop);
        ok(s->ended && s->end == end && strstr(s->text, text), "it ended: %s", s->text);
        ok(atomic_load(&bench.mismatches) == 0, "the guest saw what it should: %s", bench.mismatch);
        finish(s);
    }
    vm_spec_done(&spec);
    hv_null_use(NULL);
}

static void test_bus(void)
{
    static const struct null_step steps[] = {
        {.op = NULL_PIO_WRITE, .addr = 0x3f8, .size = 1, .value = 'h'},
        {.op = NULL_PIO_WRITE, .addr = 0x3f8, .size = 1, .value = 'i'},
        {.op = NULL_MMIO_READ, .addr = ARCH_MMIO_BASE, .size = 4, .value = 0x74726976},
        {.op = NULL_MMIO_READ, .addr = ARCH_MMIO_BASE + 0x2000 + 8, .size = 4, .value = 4},
        {.op = NULL_MMIO_READ, .addr = ARCH_MMIO_BASE + 0x4000, .size = 4, .value = 0xffffffff},
        {.op = NULL_MMIO_READ, .addr = 0xe0000000, .size = 2, .value = 0xffff},
        {.op = NULL_MMIO_WRITE, .addr = 0xe0000000, .size = 8, .value = 1},
        {.op = NULL_MMIO_WRITE, .addr = ARCH_IOAPIC_BASE, .size = 4, .value = 1},
        {.op = NULL_MMIO_READ,
         .addr = ARCH_IOAPIC_BASE + 0x10,
         .size = 4,
         .value = 0x11 | (ARCH_IOAPIC_PINS - 1) << 16},
        {.op = NULL_PIO_READ, .addr = 0xcfc, .size = 4, .value = 0xffffffff},
        {.op = NULL_PIO_READ, .addr = 0x61, .size = 1, .value = 0},
        {.op = NULL_PIO_WRITE, .addr = 0x70, .size = 1, .value = 0xd},
        {.op = NULL_PIO_READ, .addr = 0x71, .size = 1, .value = 0x80},
        {.op = NULL_PIO_WRITE, .addr = 0x64, .size = 1, .value = 0xfe},
    };
    struct seen s;

    play(&s, steps, ARRAY_LEN(steps), MACHINE_RESET, "keyboard controller");
    ok(strcmp(s.console, "hi") == 0, "serial output: %s", s.console);
}

static void test_ends(void)
{
    static const struct null_step fault[] = {{.op = NULL_SHUTDOWN}};
    static const struct null_step reset[] = {{.op = NULL_RESET}};
    static const struct null_step crash[] = {{.op = NULL_CRASH}};
    struct seen s;

    play(&s, fault, 1, MACHINE_RESET, "triple fault");
    play(&s, reset, 1, MACHINE_RESET, "reset");
    play(&s, crash, 1, MACHINE_CRASHED, "");
}

static void pause_done(void *ctx, int rc, const char *why)
{
    struct seen *s = ctx;

    (void)why;
    s->paused = rc == 0;
    plat_loop_quit(s->loop);
}

static void resume_done(void *ctx, int rc, const char *why)
{
    struct seen *s = ctx;

    (void)why;
    s->paused = rc != 0;
}

static void pause_refused(void *ctx, int rc, const char *why)
{
    struct seen *s = ctx;

    (void)why;
    s->paused = rc == LUM_EGONE; /* so it was told */
}

/* The machine goes while a pause is on its way: whoever asked is told. */
static void test_free_while_pausing(void)
{
    struct vm_spec spec;
    struct seen s;

    make_spec(&spec, 2);
    if (make(&s, &spec)) {
        start(&s);
        plat_loop_lock(s.loop);
        s.machine->ops->pause(s.machine, pause_refused, &s);
        plat_loop_unlock(s.loop);
        finish(&s);
        ok(s.paused, "a pause that the end overtook is answered");
    }
    vm_spec_done(&spec);
}

/* 4 vCPUs, halted for ever: pausing, resuming and freeing reach each of them. */
static void test_pause(void)
{
    struct vm_spec spec;
    struct seen s;

    make_spec(&spec, 4);
    if (make(&s, &spec)) {
        start(&s);
        plat_loop_lock(s.loop);
        s.machine->ops->pause(s.machine, pause_done, &s);
        plat_loop_unlock(s.loop);
        plat_loop_run(s.loop);
        ok(s.paused, "paused");
        plat_loop_lock(s.loop);
        s.machine->ops->resume(s.machine, resume_done, &s);
        plat_loop_unlock(s.loop);
        ok(!s.paused, "resumed");
        finish(&s);
        ok(!s.ended, "freed while running");
    }
    vm_spec_done(&spec);
}

static void give_up(void *ctx)
{
    struct seen *s = ctx;

    plat_loop_quit(s->loop);
}

/* Pauses that come before the vCPUs have woken from the one before. */
static void test_pause_again(void)
{
    struct plat_timer *timer = NULL;
    struct vm_spec spec;
    struct lum_error err;
    struct seen s;
    int n = 0;

    make_spec(&spec, 4);
    if (make(&s, &spec)) {
        start(&s);
        plat_loop_lock(s.loop);
        ok(plat_timer_create(s.loop, give_up, &s, &timer, &err) == 0, "a timer");
        plat_loop_unlock(s.loop);
        for (s.paused = true; n < 200 && s.paused; n++) {
            s.paused = false;
            plat_loop_lock(s.loop);
            plat_timer_set(timer, 10000000000u);
            s.machine->ops->pause(s.machine, pause_done, &s);
            plat_loop_unlock(s.loop);
            plat_loop_run(s.loop);
            plat_loop_lock(s.loop);
            if (s.paused) {
                s.machine->ops->resume(s.machine, resume_done, &s);
                s.paused = true;
            }
            plat_loop_unlock(s.loop);
        }
        ok(n == 200 && s.paused, "each of 200 pauses that follow a resume at once is answered: %d",
           n);
        plat_loop_lock(s.loop);
        plat_timer_free(timer);
        plat_loop_unlock(s.loop);
        finish(&s);
    }
    vm_spec_done(&spec);
}

static void test_refusals(void)
{
    struct vm_spec spec;
    struct seen s;
    struct lum_error err;
    struct machine *m;
    const struct machine_host host = {.ctx = &s, .log = on_log, .stage = on_stage, NO_FENCE};

    make_spec(&spec, 1);
    plat_close(&spec.kernel);
    ok(plat_memfile("kernel", "not a kernel", 12, &spec.kernel, &err) == 0, "a bad kernel");
    ok(plat_loop_create(&s.loop, &err) == 0, "a loop");
    plat_loop_lock(s.loop);
    ok(machine_native_ops.create("null", &spec, s.loop, &host, &m, &err) == LUM_EFORMAT,
       "refused: %s", err.text);
    ok(machine_native_ops.create("nosuch", &spec, s.loop, &host, &m, &err) == LUM_EINTERNAL,
       "no such driver: %s", err.text);
    /* Every allocation on the way fails once; nothing leaks (LeakSanitizer) and nothing is half
     * made. */
    vm_spec_done(&spec);
    make_spec(&spec, 1);
    int rc = LUM_ENOMEM;
    long n = 0;
    for (; rc < 0 && n < 1000; n++) {
        lum_alloc_fail_at = n;
        m = NULL;
        rc = machine_native_ops.create("null", &spec, s.loop, &host, &m, &err);
        lum_alloc_fail_at = -1;
        if (rc < 0 && (rc != LUM_ENOMEM || m))
            break;
    }
    ok(rc == 0 && n > 10, "create survives the failure of each of its %ld allocations: %s", n,
       rc < 0 ? err.text : "");
    if (rc == 0)
        m->ops->free(m);
    plat_loop_unlock(s.loop);
    plat_loop_free(s.loop);
    vm_spec_done(&spec);
}

int main(void)
{
    test_bus();
    test_ends();
    test_pause();
    test_pause_again();
    test_free_while_pausing();
    test_refusals();
    return tap_done();
}
