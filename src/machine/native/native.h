/* SPDX-License-Identifier: Apache-2.0 */
/* The native machine: our own monitor over an hv driver. Private to this folder. */
#ifndef LUM_MACHINE_NATIVE_H
#define LUM_MACHINE_NATIVE_H

#include <stdatomic.h>

#include "boot/boot.h"
#include "dev/dev.h"
#include "machine/machine.h"

/* What the vCPU threads are asked to do. */
enum vcpu_goal { VCPU_WAIT, VCPU_RUN, VCPU_QUIT };

struct native;

struct vcpu {
    struct native *machine;
    uint32_t index;
    struct hv_vcpu *hv; /* made and freed by its own thread */
    struct plat_thread *thread;
    bool made, parked;
    struct lum_error error; /* of making it */
    _Atomic uint64_t exits;
};

enum { NATIVE_CONSOLE, NATIVE_VSOCK, NATIVE_RNG, NATIVE_ROOT, NATIVE_DEVICES };
_Static_assert(NATIVE_DEVICES <= ARCH_MMIO_SLOTS, "each device has a slot");

struct native {
    struct machine base;
    struct machine_host host;
    struct plat_loop *loop;
    const struct vm_spec *spec; /* outlives the machine */
    struct hv_vm *hv;
    struct gmem mem;
    struct dev_host dev_host;
    struct vdev *dev[NATIVE_DEVICES];
    plat_fd agent[2]; /* the agent's stream, made while streams may be made: for the device and the
                         host; none once the agent has connected */
    struct serial serial;
    struct rtc rtc;
    struct i8042 i8042;
    struct ioapic ioapic;
    struct arch_regs boot_regs;
    struct hv_gauge gauge; /* of vCPU 0, where needs_hardware */

    /* vCPU threads and the loop meet under this lock. Order: the loop's lock before this one. */
    struct plat_mutex *lock;
    struct plat_cond *changed;
    enum vcpu_goal goal;
    struct vcpu vcpu[ARCH_MAX_VCPUS];
    uint32_t n_vcpus, n_made, n_parked;
    plat_fd wake; /* signalled by vCPU threads: the I/O thread looks at the end and the pause */
    struct plat_watch *wake_watch;
    bool ended, end_told;
    enum machine_end end;
    char end_text[160];

    void (*pause_done)(void *ctx, int rc, const char *why);
    void *pause_ctx;
};

/*
 * A hypervisor that emulates guest kernel code cannot boot Linux. A kernel that the caller brought
 * may be one that it can run.
 */
bool native_needs_hardware(const struct native *m);

/* vcpu.c */
int vcpus_start(struct native *m, struct lum_error *err);
int vcpus_wait(struct native *m, struct lum_error *err); /* until all are made, sealed, and wait */
void vcpus_set_goal(struct native *m, enum vcpu_goal goal);
void vcpus_join(struct native *m);      /* after VCPU_QUIT, loop lock not held */
void vcpus_news(void *ctx, int events); /* watch of m->wake, ctx: the machine; may free it */

/* bus.c: register accesses of vCPUs, which take the loop's lock for them. */
enum bus_result { BUS_OK, BUS_RESET };
void bus_take_posted(void *machine); /* struct native; loop lock held */
void bus_mmio(struct native *m, struct hv_exit *exit);
enum bus_result bus_pio(struct native *m, struct hv_exit *exit);

#endif
