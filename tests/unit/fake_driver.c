/* SPDX-License-Identifier: Apache-2.0 */
/* See fake_driver.h. */
#include "fake_driver.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/buf.h"

#define FIRST_HEAP 0x10000u
#define WAIT_NS    (5 * (uint64_t)1000000000)

static void must(bool good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "fake driver: %s\n", what);
    abort();
}

/* ---- the recording hypervisor ---- */

static struct fake_vm *fake_vm_of(struct hv_vm *vm)
{
    return container_of(vm, struct fake_vm, base);
}

static int fake_irq_route(struct hv_vm *vm, uint32_t line, bool enabled, uint64_t msi_addr,
                          uint32_t msi_data, struct lum_error *err)
{
    struct fake_route *r = &fake_vm_of(vm)->routes[line];

    (void)err;
    *r = (struct fake_route){
        .enabled = enabled, .addr = msi_addr, .data = msi_data, .calls = r->calls + 1};
    return 0;
}

static void fake_irq_pulse(struct hv_vm *vm, uint32_t line)
{
    fake_vm_of(vm)->pulses[line]++;
}

static int fake_doorbell_add(struct hv_vm *vm, uint64_t addr, uint32_t value, plat_fd event,
                             struct lum_error *err)
{
    struct fake_vm *f = fake_vm_of(vm);

    if (!f->has_doorbells)
        return lum_fail(err, LUM_ENOTSUP, "no doorbells");
    must(f->n_bells < FAKE_MAX_BELLS, "too many doorbells");
    f->bells[f->n_bells].gpa = addr;
    f->bells[f->n_bells].value = value;
    f->bells[f->n_bells].event = event;
    f->n_bells++;
    return 0;
}

static const struct hv_ops fake_hv_ops = {
    .name = "fake",
    .irq_route = fake_irq_route,
    .irq_pulse = fake_irq_pulse,
    .doorbell_add = fake_doorbell_add,
};

static void fake_log(void *ctx, int level, const char *fmt, ...) LUM_PRINTF(3, 4);

static void fake_log(void *ctx, int level, const char *fmt, ...)
{
    struct fake_host *h = ctx;
    va_list ap;

    (void)level;
    h->n_logs++;
    va_start(ap, fmt);
    vsnprintf(h->last_log, sizeof(h->last_log), fmt, ap);
    va_end(ap);
}

static void fake_console(void *ctx, const uint8_t *data, size_t size)
{
    struct fake_host *h = ctx;

    if (size > sizeof(h->console) - h->console_size)
        h->console_size = 0;
    must(size <= sizeof(h->console), "console piece is too large");
    memcpy(h->console + h->console_size, data, size);
    h->console_size += size;
}

static void loop_thread(void *ctx)
{
    plat_loop_run(ctx);
}

/* Within one batch of events the order is not that of the signals; the next batch is later. */
static void bell_rang(void *ctx, int events)
{
    struct fake_host *h = ctx;

    (void)events;
    plat_event_clear(h->bell);
    h->rung = !h->rung;
    plat_event_signal(h->rung ? h->bell : h->passed);
}

static void run_loop_thread(struct fake_host *h)
{
    struct lum_error err;

    must(plat_event_create(&h->bell, &err) == 0 && plat_event_create(&h->passed, &err) == 0 &&
             plat_watch_create(h->loop, h->bell, PLAT_READ, bell_rang, h, &h->bell_watch, &err) ==
                 0,
         "no events");
    must(plat_thread_start(&h->thread, "loop", loop_thread, h->loop, &err) == 0, "no thread");
}

void fake_host_init(struct fake_host *h, bool doorbells, bool run_loop)
{
    struct lum_error err;
    /* Page aligned as real RAM is, and with its end watched by the address sanitizer. */
    void *ram = aligned_alloc(4096, FAKE_RAM_SIZE);

    must(ram != NULL, "no memory");
    memset(ram, 0, FAKE_RAM_SIZE);
    *h = (struct fake_host){
        .vm = {.base = {.ops = &fake_hv_ops, .config = {.vcpus = 1, .ioapic_pins = HV_MAX_LINES}},
               .has_doorbells = doorbells}};
    h->mem = (struct gmem){.range = {{.base = 0, .size = FAKE_RAM_SIZE, .host = ram}},
                           .n_ranges = 1,
                           .host = ram,
                           .size = FAKE_RAM_SIZE};
    must(plat_loop_create(&h->loop, &err) == 0, "no event loop");
    h->host = (struct dev_host){.mem = &h->mem,
                                .loop = h->loop,
                                .vm = &h->vm.base,
                                .log = fake_log,
                                .ctx = h,
                                .console = fake_console};
    if (run_loop)
        run_loop_thread(h);
}

void fake_host_done(struct fake_host *h)
{
    if (h->thread) {
        plat_loop_quit(h->loop);
        plat_thread_join(h->thread);
        plat_watch_free(h->bell_watch);
        plat_close(&h->bell);
        plat_close(&h->passed);
    }
    plat_loop_free(h->loop);
    free(h->mem.host);
}

/* ---- registers ---- */

void fake_driver_init(struct fake_driver *d, struct fake_host *h, struct vdev *dev)
{
    *d = (struct fake_driver){.h = h, .dev = dev, .features = UINT64_MAX, .heap = FIRST_HEAP};
}

uint32_t fake_read(struct fake_driver *d, uint64_t reg)
{
    plat_loop_lock(d->h->loop);
    uint64_t v = vdev_mmio_read(d->dev, reg, 4);
    plat_loop_unlock(d->h->loop);
    return (uint32_t)v;
}

/* Returns when the loop has seen everything that was signalled before. */
static void settle(struct fake_host *h)
{
    plat_event_signal(h->bell);
    must(plat_wait_fd(h->passed, false, PLAT_FD_NONE, 5000) == 1, "the loop does not run");
    plat_event_clear(h->passed);
}

/* What the I/O thread does about it is done when this returns, if there is an I/O thread. */
void fake_write(struct fake_driver *d, uint64_t reg, uint32_t value)
{
    plat_loop_lock(d->h->loop);
    vdev_mmio_write(d->dev, reg, 4, value);
    plat_loop_unlock(d->h->loop);
    if (d->h->thread && (reg == 0x50 || reg == 0x70))
        settle(d->h);
}

void *fake_ram(struct fake_host *h, uint64_t addr, uint64_t size)
{
    void *p = gmem_span(&h->mem, gpa(addr), size);

    must(p != NULL, "address is outside RAM");
    return p;
}

uint64_t fake_alloc(struct fake_driver *d, uint64_t size)
{
    uint64_t at = d->heap;

    d->heap = align_up(d->heap + size, 4096);
    memset(fake_ram(d->h, at, size), 0, size);
    return at;
}

bool fake_negotiate(struct fake_driver *d)
{
    uint64_t offered = 0;

    fake_write(d, 0x70, 0);
    fake_write(d, 0x70, 1);
    fake_write(d, 0x70, 1 | 2);
    for (uint32_t i = 0; i < 2; i++) {
        fake_write(d, 0x14, i);
        offered |= (uint64_t)fake_read(d, 0x10) << (32 * i);
    }
    for (uint32_t i = 0; i < 2; i++) {
        fake_write(d, 0x24, i);
        fake_write(d, 0x20, (uint32_t)((offered & d->features) >> (32 * i)));
    }
    fake_write(d, 0x70, 1 | 2 | 8);
    return (fake_read(d, 0x70) & 8) != 0;
}

void fake_queue_setup(struct fake_driver *d, unsigned queue, uint16_t size)
{
    struct fake_queue *q = &d->queues[queue];

    if (!q->desc) { /* a driver that starts again uses its memory again */
        q->desc = fake_alloc(d, 16u * VQ_MAX_SIZE);
        q->avail = fake_alloc(d, 6u + 2u * VQ_MAX_SIZE);
        q->used = fake_alloc(d, 6u + 8u * VQ_MAX_SIZE);
    }
    memset(fake_ram(d->h, q->avail, 6u + 2u * VQ_MAX_SIZE), 0, 6u + 2u * VQ_MAX_SIZE);
    memset(fake_ram(d->h, q->used, 6u + 8u * VQ_MAX_SIZE), 0, 6u + 8u * VQ_MAX_SIZE);
    q->size = q->n_free = size;
    q->avail_idx = q->last_used = q->first_free = 0;
    for (uint16_t i = 0; i < size; i++)
        q->next_free[i] = (uint16_t)(i + 1);
    fake_write(d, 0x30, queue);
    fake_write(d, 0x38, size);
    fake_write(d, 0x80, (uint32_t)q->desc);
    fake_write(d, 0x84, (uint32_t)(q->desc >> 32));
    fake_write(d, 0x90, (uint32_t)q->avail);
    fake_write(d, 0x94, (uint32_t)(q->avail >> 32));
    fake_write(d, 0xa0, (uint32_t)q->used);
    fake_write(d, 0xa4, (uint32_t)(q->used >> 32));
    fake_write(d, 0x44, 1);
}

bool fake_start(struct fake_driver *d)
{
    if (!fake_negotiate(d))
        return false;
    for (unsigned i = 0; i < d->dev->ops->n_queues; i++) {
        fake_write(d, 0x30, i);
        fake_queue_setup(d, i, (uint16_t)fake_read(d, 0x34));
    }
    fake_write(d, 0x70, 1 | 2 | 8 | 4);
    return fake_read(d, 0x70) == (1 | 2 | 8 | 4);
}

/* ---- rings ---- */

void fake_desc(struct fake_driver *d, uint64_t table, uint16_t i, uint64_t addr, uint32_t len,
               uint16_t flags, uint16_t next)
{
    uint8_t *p = fake_ram(d->h, table + 16u * i, 16);

    le64_store(p, addr);
    le32_store(p + 8, len);
    le16_store(p + 12, flags);
    le16_store(p + 14, next);
}

void fake_avail(struct fake_driver *d, unsigned queue, uint16_t head)
{
    struct fake_queue *q = &d->queues[queue];

    le16_store(fake_ram(d->h, q->avail + 4 + 2u * (q->avail_idx % q->size), 2), head);
    q->avail_idx++;
    __atomic_store_n((uint16_t *)fake_ram(d->h, q->avail + 2, 2), q->avail_idx, __ATOMIC_SEQ_CST);
}

static uint16_t take_free(struct fake_queue *q)
{
    uint16_t i = q->first_free;

    must(q->n_free > 0, "no free descriptor");
    q->n_free--;
    q->first_free = q->next_free[i];
    return i;
}

uint16_t fake_add(struct fake_driver *d, unsigned queue, const struct fake_buf *bufs, unsigned n)
{
    struct fake_queue *q = &d->queues[queue];
    uint16_t head = q->first_free;

    for (unsigned i = 0; i < n; i++) {
        uint16_t at = take_free(q);
        bool more = i + 1 < n;

        fake_desc(d, q->desc, at, bufs[i].addr, bufs[i].size,
                  (uint16_t)((more ? 1 : 0) | (bufs[i].write ? 2 : 0)), more ? q->first_free : 0);
    }
    q->chain_length[head] = (uint16_t)n;
    fake_avail(d, queue, head);
    return head;
}

uint16_t fake_add_indirect(struct fake_driver *d, unsigned queue, const struct fake_buf *bufs,
                           unsigned n)
{
    struct fake_queue *q = &d->queues[queue];
    uint64_t table = fake_alloc(d, 16u * n);
    uint16_t head = take_free(q);

    for (unsigned i = 0; i < n; i++)
        fake_desc(d, table, (uint16_t)i, bufs[i].addr, bufs[i].size,
                  (uint16_t)((i + 1 < n ? 1 : 0) | (bufs[i].write ? 2 : 0)), (uint16_t)(i + 1));
    fake_desc(d, q->desc, head, table, 16u * n, 4, 0);
    q->chain_length[head] = 1;
    fake_avail(d, queue, head);
    return head;
}

void fake_kick(struct fake_driver *d, unsigned queue)
{
    uint64_t at = ARCH_MMIO_BASE + (uint64_t)d->dev->slot * ARCH_MMIO_SLOT_SIZE + 0x50;

    for (unsigned i = d->h->vm.n_bells; i-- > 0;) { /* the newest: slots are used again */
        if (d->h->vm.bells[i].gpa == at && d->h->vm.bells[i].value == queue) {
            plat_event_signal(d->h->vm.bells[i].event);
            return;
        }
    }
    fake_write(d, 0x50, queue);
}

static void give_back(struct fake_driver *d, struct fake_queue *q, uint16_t head)
{
    uint16_t at = head;

    for (uint16_t i = q->chain_length[head]; i > 0; i--) {
        uint16_t next = le16_load((uint8_t *)fake_ram(d->h, q->desc + 16u * at, 16) + 14);
        q->next_free[at] = q->first_free;
        q->first_free = at;
        q->n_free++;
        at = next;
    }
    q->chain_length[head] = 0;
}

bool fake_used(struct fake_driver *d, unsigned queue, uint32_t *ret_head, uint32_t *ret_len)
{
    struct fake_queue *q = &d->queues[queue];
    uint16_t idx = __atomic_load_n((uint16_t *)fake_ram(d->h, q->used + 2, 2), __ATOMIC_ACQUIRE);

    if (idx == q->last_used)
        return false;
    const uint8_t *e = fake_ram(d->h, q->used + 4 + 8u * (q->last_used % q->size), 8);
    *ret_head = le32_load(e);
    *ret_len = le32_load(e + 4);
    must(*ret_head < q->size, "used entry names no descriptor");
    q->last_used++;
    /* 2.7.10: interrupt me at the next one. */
    __atomic_store_n((uint16_t *)fake_ram(d->h, q->avail + 4 + 2u * q->size, 2), q->last_used,
                     __ATOMIC_SEQ_CST);
    give_back(d, q, (uint16_t)*ret_head);
    return true;
}

bool fake_wait(struct fake_host *h, bool (*check)(void *ctx), void *ctx)
{
    uint64_t end = plat_now_ns() + WAIT_NS;

    for (;;) {
        plat_loop_lock(h->loop);
        bool good = check(ctx);
        plat_loop_unlock(h->loop);
        if (good || plat_now_ns() > end)
            return good;
        nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
    }
}

struct used_wait {
    struct fake_driver *d;
    unsigned queue;
    uint32_t *head, *len;
};

static bool used_now(void *ctx)
{
    struct used_wait *w = ctx;

    return fake_used(w->d, w->queue, w->head, w->len);
}

bool fake_wait_used(struct fake_driver *d, unsigned queue, uint32_t *ret_head, uint32_t *ret_len)
{
    struct used_wait w = {.d = d, .queue = queue, .head = ret_head, .len = ret_len};

    return fake_wait(d->h, used_now, &w);
}

unsigned fake_pulses(struct fake_driver *d)
{
    return d->h->vm.pulses[ARCH_IRQ_BASE + d->dev->slot];
}
