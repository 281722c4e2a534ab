/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hypervisor driver trait under the native machine: guest memory, vCPUs, normalised exits,
 * interrupts, doorbells, state. Devices and boot code never see a hypervisor's own types. hv.c
 * checks arguments once and calls through the table; nobody else does. Drivers live in the worker
 * process and may install the signal handler that their kicks need.
 *
 * Order (hv_kvm.c says what another one costs): hv_vm_create, all hv_mem_map, then vCPUs, then
 * doorbells and interrupts.
 */
#ifndef LUM_HV_H
#define LUM_HV_H

#include "arch.h"
#include "plat/plat.h"

enum hv_cap {
    HV_CAP_STATE = 1 << 0,    /* vcpu_save/load, vm_save/load */
    HV_CAP_DOORBELL = 1 << 1, /* doorbell_add; without it a notify is an ordinary MMIO exit */
    HV_CAP_POSTED = 1 << 2,   /* posted_add, posted_take; without it those writes are MMIO exits */
};

enum hv_speed {
    HV_SPEED_HARDWARE, /* guest kernel code runs on the CPU */
    HV_SPEED_EMULATED, /* it is emulated: correct for tiny guests, useless for Linux */
};

/* Measured with a loop of guest kernel-mode code. */
struct hv_gauge {
    enum hv_speed speed;
    uint32_t picoseconds_per_instruction;
    char detail[192];
};

struct hv_probe {
    struct hv_gauge gauge;
    uint32_t caps; /* enum hv_cap */
    uint32_t max_vcpus;
};

#define HV_GAUGE_RAM 0x10000u /* bytes at guest address 0 that a gauge uses */

struct hv_vm;
struct hv_vcpu;

enum hv_exit_reason {
    HV_EXIT_KICKED, /* hv_vcpu_kick */
    HV_EXIT_HALT,   /* only where the driver has no interrupt controller */
    HV_EXIT_MMIO,
    HV_EXIT_PIO,
    HV_EXIT_EOI,      /* addr: vector, for level-triggered I/O APIC pins */
    HV_EXIT_SHUTDOWN, /* triple fault */
    HV_EXIT_RESET,    /* the hypervisor saw a reset request */
    HV_EXIT_CRASH,    /* the hypervisor cannot go on; text says why */
};

/*
 * One exit. MMIO and PIO accesses are of 1, 2, 4 or 8 bytes; string instructions come as one exit
 * an element. For a read (!is_write) the answer is put into data before the next hv_vcpu_run. The
 * struct given to hv_vcpu_run stays where it is until the next run or save of that vCPU: there the
 * answer is read.
 */
struct hv_exit {
    enum hv_exit_reason reason;
    bool is_write;
    uint8_t size;
    uint64_t addr, data;
    char text[96]; /* CRASH only */
};

#define HV_MAX_LINES 24u

struct hv_vm_config {
    uint32_t vcpus;
    uint32_t ioapic_pins; /* interrupt lines that hv_irq_route may name, 1 to HV_MAX_LINES */
};

struct hv_ops {
    const char *name;
    /* Creates nothing that lasts; gauges with a VM of its own. */
    int (*probe)(struct hv_probe *ret_probe, struct lum_error *err);
    int (*vm_create)(const struct hv_vm_config *config, struct hv_vm **ret_vm,
                     struct lum_error *err);
    void (*vm_free)(struct hv_vm *vm); /* after all its vCPUs; half-made too */
    int (*mem_map)(struct hv_vm *vm, uint64_t gpa, void *host, uint64_t size, bool writable,
                   struct lum_error *err);

    /* vCPU calls: all on the vCPU's own thread (create, run, load, save, free), except kick. */
    int (*vcpu_create)(struct hv_vm *vm, uint32_t index, struct hv_vcpu **ret_vcpu,
                       struct lum_error *err);
    void (*vcpu_free)(struct hv_vcpu *vcpu);
    /*
     * Runs a small loop in ram, the VM's memory at guest address 0, which is zero before and after,
     * and tells its speed; precise: to a tenth of a nanosecond, else only which kind it is. Before
     * the vCPU's first run; its registers are as new afterwards.
     */
    int (*vcpu_gauge)(struct hv_vcpu *vcpu, void *ram, bool precise, struct hv_gauge *ret_gauge,
                      struct lum_error *err);
    /* Blocks until an exit. A halted vCPU waits inside. Returns <0 only when the host fails. */
    int (*vcpu_run)(struct hv_vcpu *vcpu, struct hv_exit *exit, struct lum_error *err);
    void (*vcpu_kick)(
        struct hv_vcpu *vcpu); /* any thread; never lost: this run or the next returns KICKED */
    int (*vcpu_get_regs)(struct hv_vcpu *vcpu, struct arch_regs *ret_regs, struct lum_error *err);
    int (*vcpu_set_regs)(struct hv_vcpu *vcpu, const struct arch_regs *regs, struct lum_error *err);

    /* Edge interrupt lines. route gives a line its MSI message (enabled false: masked); pulse fires
     * it. Any thread. */
    int (*irq_route)(struct hv_vm *vm, uint32_t line, bool enabled, uint64_t msi_addr,
                     uint32_t msi_data, struct lum_error *err);
    void (*irq_pulse)(struct hv_vm *vm, uint32_t line);

    /* HV_CAP_DOORBELL: a 4-byte guest write of exactly `value` to gpa signals event and does not
     * exit. */
    int (*doorbell_add)(struct hv_vm *vm, uint64_t gpa, uint32_t value, plat_fd event,
                        struct lum_error *err);

    /*
     * HV_CAP_POSTED: guest writes to this range, wholly inside it, wait in order instead of
     * exiting. Whoever handles an access takes all of them first, under the lock that guards what
     * they go to: then nobody sees a difference. For registers whose writes only matter to later
     * accesses, or to something else before which all are taken.
     */
    int (*posted_add)(struct hv_vm *vm, uint64_t gpa, uint32_t size, struct lum_error *err);
    bool (*posted_take)(struct hv_vm *vm, struct hv_exit *ret_write);

    /*
     * HV_CAP_STATE: save only while no vCPU of the VM is in run, or their clocks disagree; an exit
     * that was returned is completed first (the save does it). LUM_EBUSY: the vCPU is inside an
     * instruction with several accesses; never so after HV_EXIT_KICKED. load goes to a new vCPU.
     */
    int (*vcpu_save)(struct hv_vcpu *vcpu, struct arch_vcpu_state *ret_state,
                     struct lum_error *err);
    int (*vcpu_load)(struct hv_vcpu *vcpu, const struct arch_vcpu_state *state,
                     struct lum_error *err);
    int (*vm_save)(struct hv_vm *vm, struct arch_vm_state *ret_state, struct lum_error *err);
    int (*vm_load)(struct hv_vm *vm, const struct arch_vm_state *state, struct lum_error *err);
};

/* Drivers embed these first. */
struct hv_vm {
    const struct hv_ops *ops;
    struct hv_vm_config config;
};

struct hv_vcpu {
    struct hv_vm *vm;
    uint32_t index;
};

/* NULL-terminated; one list file per OS (hv_drivers_<os>.c). */
extern const struct hv_ops *const hv_drivers[];

/*
 * The hypervisor's device as the caller opened it, for all drivers that have one, or a number that
 * is not open: then they open it themselves. Stays the caller's.
 */
void hv_use_device(plat_fd fd);

const struct hv_ops *hv_find(const char *name); /* NULL: no such driver */
int hv_probe(const struct hv_ops *ops, struct hv_probe *ret_probe, struct lum_error *err);
int hv_vm_create(const struct hv_ops *ops, const struct hv_vm_config *config, struct hv_vm **ret_vm,
                 struct lum_error *err);
void hv_vm_free(struct hv_vm *vm);
int hv_mem_map(struct hv_vm *vm, uint64_t gpa, void *host, uint64_t size, bool writable,
               struct lum_error *err);
int hv_vcpu_create(struct hv_vm *vm, uint32_t index, struct hv_vcpu **ret_vcpu,
                   struct lum_error *err);
void hv_vcpu_free(struct hv_vcpu *vcpu);
int hv_vcpu_gauge(struct hv_vcpu *vcpu, void *ram, bool precise, struct hv_gauge *ret_gauge,
                  struct lum_error *err);
int hv_vcpu_run(struct hv_vcpu *vcpu, struct hv_exit *exit, struct lum_error *err);
void hv_vcpu_kick(struct hv_vcpu *vcpu);
int hv_vcpu_get_regs(struct hv_vcpu *vcpu, struct arch_regs *ret_regs, struct lum_error *err);
int hv_vcpu_set_regs(struct hv_vcpu *vcpu, const struct arch_regs *regs, struct lum_error *err);
int hv_irq_route(struct hv_vm *vm, uint32_t line, bool enabled, uint64_t msi_addr,
                 uint32_t msi_data, struct lum_error *err);
void hv_irq_pulse(struct hv_vm *vm, uint32_t line);
int hv_doorbell_add(struct hv_vm *vm, uint64_t gpa, uint32_t value, plat_fd event,
                    struct lum_error *err); /* LUM_ENOTSUP without HV_CAP_DOORBELL */
int hv_posted_add(struct hv_vm *vm, uint64_t gpa, uint32_t size,
                  struct lum_error *err); /* LUM_ENOTSUP without HV_CAP_POSTED */
bool hv_posted_take(struct hv_vm *vm, struct hv_exit *ret_write); /* false: none waits */
int hv_vcpu_save(struct hv_vcpu *vcpu, struct arch_vcpu_state *ret_state, struct lum_error *err);
int hv_vcpu_load(struct hv_vcpu *vcpu, const struct arch_vcpu_state *state, struct lum_error *err);
int hv_vm_save(struct hv_vm *vm, struct arch_vm_state *ret_state, struct lum_error *err);
int hv_vm_load(struct hv_vm *vm, const struct arch_vm_state *state, struct lum_error *err);

#endif
