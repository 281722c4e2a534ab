/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The part of QEMU 7.2's TCG plugin interface (version 1) that the instruction counter uses.
 *
 * Debian 12 ships no header for it. The symbols are exported by the qemu-system-x86_64 binary
 * itself and bound when it loads the plugin. QEMU 9 asks for version 2, where counters are declared
 * to QEMU instead of being plain memory.
 */
#ifndef ICOUNT_QEMU_PLUGIN_H
#define ICOUNT_QEMU_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#define PLUGIN_EXPORT __attribute__((visibility("default")))

typedef uint64_t qemu_plugin_id_t;

/* Opaque: what QEMU tells about the machine, a translated block, one instruction of it. */
struct qemu_info_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;

/* The flag that promises a callback touches no guest register, and the only inline operation. */
enum { PLUGIN_CB_NO_REGS = 0 };
enum { PLUGIN_INLINE_ADD_U64 = 0 };

typedef void (*plugin_tb_trans_fn)(qemu_plugin_id_t id, struct qemu_plugin_tb *tb);
typedef void (*plugin_exec_fn)(unsigned int vcpu, void *data);

/* Runs whenever QEMU translates a block, before the block first executes. */
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, plugin_tb_trans_fn fn);

/* Valid only inside a translation callback. */
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);

/* Call fn, or add value to the uint64_t at counter, each time the block is entered. */
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb, plugin_exec_fn fn, int flags,
                                          void *data);
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *tb, int op, void *counter,
                                              uint64_t value);

/* What this plugin has to define. */
extern PLUGIN_EXPORT int qemu_plugin_version;
PLUGIN_EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info_t *info, int argc,
                                      char **argv);

#endif
