/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The attacks. Each begins on a machine that has just started. One that returns is followed by
 * finish(): the guest resets every device, uses each as a good driver would, and says HELLO to the
 * host as an agent does; that makes lum_vm_start succeed, which nothing but working devices can.
 */
#ifndef LUM_HOSTILE_ATTACKS_H
#define LUM_HOSTILE_ATTACKS_H

#include "kit.h"

struct attack {
    const char *name;
    void (*run)(void);
    bool returns;
};
extern const struct attack attacks[]; /* ends with a NULL name; attacks.c */

/* The number in an attack's name: which of its variants. */
extern unsigned attack_number;

_Noreturn void finish(void); /* virtio.c */

void attack_none(void); /* virtio.c: only what finish does */

/* attack_queue.c */
void attack_chain_loops(void);
void attack_chain_indirect(void);
void attack_chain_wrap(void);
void attack_chain_order(void);
void attack_avail_jump(void);
void attack_event_index(void);
void attack_ring_places(void);
void attack_buffer_places(void);
void attack_buffer_on_rings(void);
void attack_rings_overlap(void);
void attack_index_wrap(void);
void attack_chain_race(void);

/* attack_transport.c */
void attack_registers(void);
void attack_config_writes(void);
void attack_queue_frozen(void);
void attack_queue_early(void);
void attack_status_order(void);
void attack_features(void);
void attack_doorbells(void);
void attack_reset_in_flight(void);
void attack_reset_race(void);
void attack_posted_flood(void);
void attack_hammer(void);

/* attack_blk.c */
void attack_blk_bounds(void);
void attack_blk_read_only(void);
void attack_blk_direction(void);
void attack_blk_segments(void);
void attack_blk_aliases(void);

/* attack_devices.c */
void attack_console_flood(void);
void attack_serial_flood(void);
void attack_console_shapes(void);
void attack_rng_shapes(void);

/* attack_vsock.c */
void attack_vsock_short(void);
void attack_vsock_rx_buffers(void);
void attack_vsock_addresses(void);
void attack_vsock_flood(void);
void attack_vsock_half_open(void);
void attack_agent_half_open(void);
void attack_agent_garbage(void);
void attack_agent_oversized(void);
void attack_agent_version(void);
void attack_agent_slow(void);
void attack_agent_hang_up(void);
void attack_agent_frames(void);
void attack_agent_short(void);
void attack_agent_crowd(void);
void attack_agent_overrun(void);
void attack_agent_credit(void);

/* attack_platform.c */
void attack_ports(void);
void attack_keyboard(void);
void attack_serial_rtc(void);
void attack_strings(void);
void attack_string_for_ever(void);
void attack_string_to_nowhere(void);
void attack_ioapic(void);
void attack_lapic(void);
void attack_smi(void);
void attack_apic_base(void);

/* attack_cpu.c */
void attack_msrs(void);
void attack_msrs_unknown(void);
void attack_kvm_msrs(void);
void attack_cpuid(void);
void attack_instruction(void);
void attack_no_memory(void);
void attack_boot_data(void);
void attack_mmio_instruction(void);
void attack_fetch_device(void);
void attack_fetch_lapic(void);
void attack_fetch_nowhere(void);
void attack_tables_device(void);
void attack_tables_lapic(void);
void attack_tables_nowhere(void);
void attack_table_entry_device(void);
void attack_stack_device(void);
void attack_idt_device(void);
void attack_triple_fault(void);
void attack_halt(void);
void attack_spin(void);
void attack_storm(void);
void attack_storm_all(void);
void attack_ipi_storm(void);
void attack_changing_code(void);

#endif
