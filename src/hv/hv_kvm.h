/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside the KVM driver: what its architecture-neutral part (hv_kvm.c, hv_kvm_vcpu.c,
 * hv_kvm_probe.c) and its architecture part (hv_kvm_x86*.c) share. Only these files and the driver
 * list include it.
 */
#ifndef LUM_HV_KVM_H
#define LUM_HV_KVM_H

#include <linux/kvm.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "hv/hv.h"

extern const struct hv_ops hv_kvm_ops;

/* An interrupt line: an MSI message that an eventfd fires. */
struct kvm_line {
    uint64_t msi_addr;
    uint32_t msi_data;
    atomic_bool enabled;
    atomic_int event; /* PLAT_FD_NONE until the line is first enabled */
};

struct kvm_vm {
    struct hv_vm base;
    int sys_fd, vm_fd;
    size_t run_size; /* of the area that a vCPU shares with the kernel */
    uint32_t n_slots;
    bool has_doorbells;
    int posted_page;                        /* of the ring in a vCPU's area; 0: not offered */
    struct kvm_coalesced_mmio_ring *posted; /* NULL: not offered, or no vCPU yet */
    struct plat_mutex *lock; /* lines, the kernel's routing table, the TSC offset; a leaf */
    struct kvm_line lines[HV_MAX_LINES];
    struct kvm_arch *arch;
};

/*
 * The memory or port access that an exit is about: `count` elements in the shared area, `index` of
 * them done. Strings and accesses of odd sizes have several.
 */
struct kvm_access {
    enum hv_exit_reason reason;
    bool is_write;
    uint8_t size; /* of an element */
    uint64_t addr, step;
    uint8_t *data;
    uint32_t count, index;
};

struct kvm_vcpu {
    struct hv_vcpu base;
    int fd;
    struct kvm_run *run;
    pid_t thread;
    atomic_bool in_run; /* a kick must also signal the thread */
    atomic_bool kicked;
    struct kvm_access access;
    struct hv_exit *handed; /* where the answer to the element access.index will be */
    bool fresh;             /* run holds an exit that nobody has seen yet */
};

/* ---- hv_kvm.c ---- */

int kvm_open(int *ret_fd, struct lum_error *err); /* checks the API version and the capabilities */
int kvm_cap(int fd, int cap);                     /* 0: not there */
int kvm_enable_cap(int vm_fd, uint32_t cap, uint64_t arg, const char *name, struct lum_error *err);
int kvm_vm_create(const struct hv_vm_config *config, struct hv_vm **ret_vm, struct lum_error *err);
void kvm_vm_free(struct hv_vm *base);
int kvm_mem_map(struct hv_vm *base, uint64_t gpa, void *host, uint64_t size, bool writable,
                struct lum_error *err);

/* Gives each interrupt line its event: with vCPU 0, so after the memory and before guest code. */
int kvm_connect_lines(struct kvm_vm *vm, struct lum_error *err);

/* ---- hv_kvm_vcpu.c ---- */

int kvm_install_kick(struct lum_error *err);
int kvm_vcpu_create(struct hv_vm *base, uint32_t index, struct hv_vcpu **ret_vcpu,
                    struct lum_error *err);
void kvm_vcpu_free(struct hv_vcpu *base);
int kvm_vcpu_run(struct hv_vcpu *base, struct hv_exit *exit, struct lum_error *err);
void kvm_vcpu_kick(struct hv_vcpu *base);
/* From the vCPU's own thread: kicks it after this time, until stopped. */
int kvm_guard_start(struct kvm_vcpu *vcpu, unsigned ms, timer_t *ret_guard, struct lum_error *err);
void kvm_guard_stop(struct kvm_vcpu *vcpu, timer_t guard);
/* Lets KVM finish the instruction whose exit was answered, so that registers are whole. LUM_EBUSY:
 * it has more accesses. */
int kvm_vcpu_settle(struct kvm_vcpu *vcpu, struct lum_error *err);
/* ioctl on the vCPU that names itself when it fails; returns the ioctl's result. */
int kvm_vcpu_ioctl(const struct kvm_vcpu *vcpu, unsigned long request, const char *name, void *arg,
                   struct lum_error *err);

/* ---- hv_kvm_posted.c ---- */

int kvm_posted_map(struct kvm_vm *vm, int vcpu_fd, struct lum_error *err); /* with vCPU 0 */
void kvm_posted_unmap(struct kvm_vm *vm);
int kvm_posted_add(struct hv_vm *base, uint64_t gpa, uint32_t size, struct lum_error *err);
bool kvm_posted_take(struct hv_vm *base, struct hv_exit *ret_write);

/* ---- hv_kvm_probe.c ---- */

int kvm_probe(struct hv_probe *ret_probe, struct lum_error *err);
int kvm_vcpu_gauge(struct hv_vcpu *vcpu, void *ram, bool precise, struct hv_gauge *ret_gauge,
                   struct lum_error *err);

/* ---- the architecture ---- */

struct kvm_need {
    int cap;
    const char *name;
};
extern const struct kvm_need kvm_arch_needs[]; /* ends with a NULL name */

int kvm_arch_vm_create(struct kvm_vm *vm, struct lum_error *err);
void kvm_arch_vm_free(struct kvm_vm *vm); /* half-made too */
int kvm_arch_vcpu_create(struct kvm_vcpu *vcpu, struct lum_error *err);
/* Exits of this architecture only: true when it filled exit or vcpu->access. */
bool kvm_arch_exit(struct kvm_vcpu *vcpu, struct hv_exit *exit);
bool kvm_arch_pc(struct kvm_vcpu *vcpu, uint64_t *ret_pc); /* for crash texts */
int kvm_arch_get_regs(struct hv_vcpu *base, struct arch_regs *ret_regs, struct lum_error *err);
int kvm_arch_set_regs(struct hv_vcpu *base, const struct arch_regs *regs, struct lum_error *err);
int kvm_arch_vcpu_save(struct hv_vcpu *base, struct arch_vcpu_state *ret_state,
                       struct lum_error *err);
int kvm_arch_vcpu_load(struct hv_vcpu *base, const struct arch_vcpu_state *state,
                       struct lum_error *err);
int kvm_arch_vm_save(struct hv_vm *base, struct arch_vm_state *ret_state, struct lum_error *err);
int kvm_arch_vm_load(struct hv_vm *base, const struct arch_vm_state *state, struct lum_error *err);
/*
 * Puts a kernel-mode loop of 2 * rounds instructions into ram and the vCPU at its start. The loop
 * ends with a one-byte port or memory write; the next run of the vCPU repeats the loop.
 */
int kvm_arch_probe_guest(struct hv_vcpu *vcpu, uint8_t *ram, uint32_t rounds,
                         struct lum_error *err);

#endif
