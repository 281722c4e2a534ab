/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Life of the native machine. The order in create is fixed: memory before vCPUs before doorbells
 * (hv_kvm.c says why); everything is made before `sealed`, start only changes the goal of the
 * vCPU threads.
 */
#include "machine/native/native.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "proto.h"

static struct native *native_of(struct machine *base)
{
    return container_of(base, struct native, base);
}

/* ---- create ---- */

static int make_memory(struct native *m, struct lum_error *err)
{
    uint64_t size = m->spec->memory_bytes;
    uint64_t low = size < ARCH_RAM_HOLE_START ? size : ARCH_RAM_HOLE_START;
    void *host;
    int rc = plat_ram_alloc(size, &host, err);

    if (rc < 0)
        return rc;
    m->mem.host = host;
    m->mem.size = size;
    m->mem.range[m->mem.n_ranges++] = (struct gmem_range){.base = 0, .size = low, .host = host};
    if (size > low)
        m->mem.range[m->mem.n_ranges++] = (struct gmem_range){
            .base = ARCH_RAM_HIGH_BASE, .size = size - low, .host = m->mem.host + low};
    for (unsigned i = 0; i < m->mem.n_ranges && rc == 0; i++)
        rc = hv_mem_map(m->hv, m->mem.range[i].base, m->mem.range[i].host, m->mem.range[i].size,
                        true, err);
    return rc;
}

/* The guest's agent connects to AGENT_PORT of the host, once; nothing else is listened to. */
static int accept_agent(void *ctx, uint32_t port, plat_fd *ret_stream)
{
    struct native *m = ctx;

    if (port != AGENT_PORT || m->agent[0] == PLAT_FD_NONE)
        return LUM_ENOENT;
    *ret_stream = STEAL_FD(m->agent[0]);
    m->host.agent(m->host.ctx, STEAL_FD(m->agent[1]));
    return 0;
}

static int make_devices(struct native *m, struct lum_error *err)
{
    const struct vsock_callbacks vsock = {.accept = accept_agent, .ctx = m};
    const struct dev_host *h = &m->dev_host;
    int rc = vdev_console_create(h, NATIVE_CONSOLE, &m->dev[NATIVE_CONSOLE], err);

    if (rc == 0)
        rc = vdev_vsock_create(h, NATIVE_VSOCK, &vsock, &m->dev[NATIVE_VSOCK], err);
    if (rc == 0)
        rc = vdev_rng_create(h, NATIVE_RNG, &m->dev[NATIVE_RNG], err);
    if (rc == 0 && m->spec->root_kind != MACHINE_ROOT_INITRD) {
        uint64_t size;
        rc = plat_file_size(m->spec->root, &size, err);
        if (rc == 0)
            rc = vdev_blk_create(h, NATIVE_ROOT, m->spec->root, size, true, &m->dev[NATIVE_ROOT],
                                 err);
    }
    for (int i = 0; i < NATIVE_DEVICES && rc == 0; i++)
        if (m->dev[i])
            rc = vdev_attach(m->dev[i], err);
    /* The I/O APIC's index and data: they matter to the next access or interrupt only. */
    int posted = rc == 0 ? hv_posted_add(m->hv, ARCH_IOAPIC_BASE, 0x14, err) : LUM_ENOTSUP;
    return posted == LUM_ENOTSUP ? rc : posted;
}

/* virtio_mmio.device=<size>@<address>:<irq> for each slot in use, and the console. */
static void transport_args(const struct native *m, char *buf, size_t size)
{
    size_t n = (size_t)snprintf(buf, size, "console=hvc0");

    for (unsigned i = 0; i < NATIVE_DEVICES && n < size; i++)
        if (m->dev[i])
            n += (size_t)snprintf(buf + n, size - n, " virtio_mmio.device=%uK@0x%x:%u",
                                  ARCH_MMIO_SLOT_SIZE / 1024,
                                  ARCH_MMIO_BASE + i * ARCH_MMIO_SLOT_SIZE, ARCH_IRQ_BASE + i);
}

static int load_kernel(struct native *m, struct lum_error *err)
{
    AUTO(auto_free) char *cmdline = NULL;
    struct boot_result result;
    char transport[512];

    transport_args(m, transport, sizeof(transport));
    int rc = machine_cmdline(m->spec, transport, "vsock", &cmdline, err);
    if (rc < 0)
        return rc;
    const struct boot_config config = {
        .kernel_name = m->spec->kernel_name,
        .kernel = m->spec->kernel,
        .initrd = {m->spec->agent,
                   m->spec->root_kind == MACHINE_ROOT_INITRD ? m->spec->root : PLAT_FD_NONE},
        .cmdline = cmdline,
        .vcpus = m->spec->vcpus,
        .mem = &m->mem};
    rc = boot_load(&config, &result, err);
    if (rc == 0)
        m->boot_regs = result.regs;
    return rc;
}

bool native_needs_hardware(const struct native *m)
{
    return !m->spec->own_kernel || m->spec->hardware_only;
}

/* Waits for vCPU 0, which has used the memory that boot data goes to. */
static int check_speed(struct native *m, struct lum_error *err)
{
    int rc = vcpus_wait(m, err);

    if (rc == 0 && m->gauge.speed != HV_SPEED_HARDWARE)
        rc = lum_fail(err, LUM_ENOTSUP, "%s", m->gauge.detail);
    return rc;
}

/* The vCPUs, on their own threads, are made beside the devices and the kernel. */
static int build(struct native *m, const char *driver, struct lum_error *err)
{
    const struct hv_vm_config config = {.vcpus = m->spec->vcpus, .ioapic_pins = ARCH_IOAPIC_PINS};
    const struct hv_ops *ops = hv_find(driver);

    if (!ops)
        return lum_fail(err, LUM_EINTERNAL, "hypervisor driver %s: not in this build", driver);
    int rc = hv_vm_create(ops, &config, &m->hv, err);
    if (rc == 0)
        rc = make_memory(m, err);
    if (rc == 0)
        rc = plat_socketpair(m->agent, err);
    if (rc < 0)
        return rc;
    m->host.stage(m->host.ctx, "vm created");
    /* Before the first thread, so that all have it, and before the kernel file is looked into. */
    rc = m->host.closed(m->host.ctx, err);
    if (rc < 0)
        return rc;
    m->host.stage(m->host.ctx, "jailed");
    m->dev_host = (struct dev_host){.mem = &m->mem,
                                    .loop = m->loop,
                                    .vm = m->hv,
                                    .log = m->host.log,
                                    .ctx = m->host.ctx,
                                    .console = m->host.console,
                                    .take_posted = bus_take_posted,
                                    .machine = m};
    ioapic_init(&m->ioapic, (uint8_t)m->spec->vcpus);
    rc = vcpus_start(m, err);
    if (rc == 0)
        rc = make_devices(m, err);
    if (rc == 0 && native_needs_hardware(m))
        rc = check_speed(m, err);
    if (rc == 0)
        rc = load_kernel(m, err);
    if (rc == 0)
        m->host.stage(m->host.ctx, "kernel loaded");
    if (rc == 0)
        rc = vcpus_wait(m, err);
    if (rc == 0)
        m->host.stage(m->host.ctx, "vcpus created");
    return rc;
}

static void native_free(struct machine *base)
{
    struct native *m = native_of(base);

    if (!m)
        return;
    if (m->pause_done) {
        void (*done)(void *ctx, int rc, const char *why) = STEAL(m->pause_done);
        done(m->pause_ctx, LUM_EGONE, "the VM has ended");
    }
    if (m->lock && m->changed) {
        vcpus_set_goal(m, VCPU_QUIT);
        /*
         * A vCPU thread may be waiting for the loop's lock inside a register access; the devices
         * are still whole, so let it finish.
         */
        plat_loop_unlock(m->loop);
        vcpus_join(m);
        plat_loop_lock(m->loop);
    }
    plat_watch_free(m->wake_watch);
    plat_close(&m->wake);
    plat_close(&m->agent[0]);
    plat_close(&m->agent[1]);
    for (int i = 0; i < NATIVE_DEVICES; i++)
        vdev_free(m->dev[i]);
    hv_vm_free(m->hv);
    plat_ram_free(m->mem.host, m->mem.size);
    plat_mutex_free(m->lock);
    plat_cond_free(m->changed);
    free(m);
}

static int native_create(const char *driver, const struct vm_spec *spec, struct plat_loop *loop,
                         const struct machine_host *host, struct machine **ret_machine,
                         struct lum_error *err)
{
    struct native *m = lum_calloc(1, sizeof(*m));

    if (!m)
        return lum_fail(err, LUM_ENOMEM, "create VM: out of memory");
    m->base.ops = &machine_native_ops;
    m->host = *host;
    m->loop = loop;
    m->spec = spec;
    m->wake = m->agent[0] = m->agent[1] = PLAT_FD_NONE;
    m->lock = plat_mutex_create();
    m->changed = plat_cond_create();
    int rc = m->lock && m->changed ? plat_event_create(&m->wake, err)
                                   : lum_fail(err, LUM_ENOMEM, "create VM: out of memory");
    if (rc == 0)
        rc = plat_watch_create(loop, m->wake, PLAT_READ, vcpus_news, m, &m->wake_watch, err);
    if (rc == 0)
        rc = build(m, driver, err);
    if (rc < 0) {
        native_free(&m->base);
        return rc;
    }
    *ret_machine = &m->base;
    return 0;
}

/* ---- running ---- */

static int native_start(struct machine *base, struct lum_error *err)
{
    struct native *m = native_of(base);

    (void)err;
    vcpus_set_goal(m, VCPU_RUN);
    m->host.stage(m->host.ctx, "running");
    return 0;
}

static void native_pause(struct machine *base, void (*done)(void *ctx, int rc, const char *why),
                         void *ctx)
{
    struct native *m = native_of(base);

    m->pause_done = done;
    m->pause_ctx = ctx;
    vcpus_set_goal(m, VCPU_WAIT);
}

static void native_resume(struct machine *base, void (*done)(void *ctx, int rc, const char *why),
                          void *ctx)
{
    vcpus_set_goal(native_of(base), VCPU_RUN);
    done(ctx, 0, "");
}

static void native_dial(struct machine *base, uint32_t port, plat_fd stream,
                        void (*done)(void *ctx, int rc), void *ctx)
{
    vdev_vsock_dial(native_of(base)->dev[NATIVE_VSOCK], port, stream, done, ctx);
}

static void native_stats(struct machine *base, struct machine_stats *ret_stats)
{
    struct native *m = native_of(base);

    ret_stats->guest_touched_bytes = plat_ram_resident(m->mem.host, m->mem.size);
    for (uint32_t i = 0; i < m->n_vcpus; i++)
        ret_stats->exits += atomic_load_explicit(&m->vcpu[i].exits, memory_order_relaxed);
}

static void native_probe(const char *driver, struct machine_probe *ret_probe)
{
    const struct hv_ops *ops = hv_find(driver);
    struct lum_error err;
    struct hv_probe probe;

    if (!ops || hv_probe(ops, &probe, &err) < 0) {
        snprintf(ret_probe->detail, sizeof(ret_probe->detail), "%.190s",
                 ops ? err.text : "not in this build");
        return;
    }
    /* A hypervisor that emulates guest kernel code cannot boot Linux: honest, not usable. */
    ret_probe->usable = probe.gauge.speed == HV_SPEED_HARDWARE;
    ret_probe->max_vcpus = probe.max_vcpus < ARCH_MAX_VCPUS ? probe.max_vcpus : ARCH_MAX_VCPUS;
    ret_probe->features = LUM_FEATURE_PAUSE | LUM_FEATURE_VSOCK | LUM_FEATURE_DIAL;
    if (ret_probe->usable)
        ret_probe->features |= LUM_FEATURE_HARDWARE;
    snprintf(ret_probe->detail, sizeof(ret_probe->detail), "%s", probe.gauge.detail);
}

const struct machine_ops machine_native_ops = {
    .kind = "native",
    .probe = native_probe,
    .create = native_create,
    .free = native_free,
    .start = native_start,
    .pause = native_pause,
    .resume = native_resume,
    .dial = native_dial,
    .stats = native_stats,
};
