/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A QEMU TCG plugin that counts the guest instructions between the kernel's entry point and the
 * first instruction of init.
 *
 * A boot time measured under emulation says nothing about real hardware and differs from run to
 * run; an instruction count does neither. It is the number that a change of the kernel's
 * configuration can be held against on any machine.
 *
 * Where it starts: at the address given by entry=, which is physical, as paging is off there.
 * Where it stops: a plugin of this interface version cannot see the privilege level, but addresses
 * tell. Once the kernel has been seen in the upper half, what runs in the lower one is its own
 * start code, still at its physical address (image=), or the real-mode trampoline of another
 * processor, under 1 MiB, or user space, and init is the first of that. An init linked to run at
 * the addresses of image= would escape notice; programs are linked to 0x400000 or far above.
 *
 * A repeated string instruction (`rep movs` and kin) is executed by QEMU once per iteration, by
 * hardware in one go. Both counts are reported.
 *
 * Arguments: entry=ADDRESS, image=START-END and out=FILE or live=FILE. With out, writes
 * "INSTRUCTIONS ITERATIONS\n" to FILE at the first instruction of init and ends QEMU. With live,
 * the machine goes on, and FILE is the counters themselves, six numbers of 8 bytes to look at
 * whenever something of interest has happened: all so far, repeats so far, both at the entry point,
 * both at init. The machine has to run all processors on one thread (-accel tcg,thread=single): the
 * counters are not atomic.
 */
#include "qemu_plugin.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

PLUGIN_EXPORT int qemu_plugin_version = 1;

#define USER_LOWEST   UINT64_C(0x100000)
#define KERNEL_LOWEST UINT64_C(0xffff800000000000)

static uint64_t entry_addr;
static uint64_t image_start;
static uint64_t image_end;
static FILE *out_file;

/* Written by translated code: everything executed, and the iterations beyond the first of repeated
 * string instructions, which QEMU runs as blocks of their own. And what they were at the marks. */
struct counters {
    uint64_t all, repeats;
    uint64_t start_all, start_repeats;
    uint64_t init_all, init_repeats;
};

static struct counters own_counters;
static struct counters *count = &own_counters; /* or in the file of live= */
static bool live;

static bool started;
static bool in_upper_half;

static void on_entry(unsigned int vcpu, void *data)
{
    (void)vcpu;
    (void)data;
    if (started)
        return;
    started = true;
    count->start_all = count->all;
    count->start_repeats = count->repeats;
}

static void on_user(unsigned int vcpu, void *data)
{
    (void)vcpu;
    (void)data;
    if (!started || count->init_all)
        return;
    count->init_all = count->all;
    count->init_repeats = count->repeats;
    if (live)
        return;

    uint64_t all = count->all - count->start_all;
    uint64_t repeats = count->repeats - count->start_repeats;

    fprintf(out_file, "%" PRIu64 " %" PRIu64 "\n", all - repeats, all);
    if (fclose(out_file) != 0)
        perror("icount: write result");
    /* QEMU has no call to end the machine from here, and nothing in the machine is worth saving. */
    _exit(0);
}

/* Whether the one-instruction block at hand is a string instruction with a repeat prefix. */
static bool is_repeat(const struct qemu_plugin_insn *insn)
{
    const uint8_t *code = qemu_plugin_insn_data(insn);
    size_t size = qemu_plugin_insn_size(insn);
    bool rep = false;
    size_t i = 0;

    if (!code || size == 0)
        return false;
    for (; i < size - 1; i++) {
        bool is_rep = code[i] == 0xf2 || code[i] == 0xf3;
        bool is_other_prefix = code[i] == 0x66 || code[i] == 0x67 || (code[i] & 0xf0) == 0x40;

        if (!is_rep && !is_other_prefix)
            return false;
        rep = rep || is_rep;
    }
    /* ins, outs, movs, cmps, stos, lods, scas; a8 and a9 between them are `test`. */
    bool is_string = (code[i] >= 0x6c && code[i] <= 0x6f) || (code[i] >= 0xa4 && code[i] <= 0xa7) ||
                     (code[i] >= 0xaa && code[i] <= 0xaf);
    return rep && is_string;
}

static bool is_user(uint64_t addr)
{
    if (addr >= KERNEL_LOWEST || addr < USER_LOWEST)
        return false;
    return addr < image_start || addr >= image_end;
}

static void on_translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    size_t insns = qemu_plugin_tb_n_insns(tb);
    uint64_t addr = qemu_plugin_tb_vaddr(tb);

    (void)id;
    if (addr == entry_addr)
        qemu_plugin_register_vcpu_tb_exec_cb(tb, on_entry, PLUGIN_CB_NO_REGS, NULL);
    if (addr >= KERNEL_LOWEST)
        in_upper_half = true;
    else if (in_upper_half && is_user(addr))
        qemu_plugin_register_vcpu_tb_exec_cb(tb, on_user, PLUGIN_CB_NO_REGS, NULL);

    qemu_plugin_register_vcpu_tb_exec_inline(tb, PLUGIN_INLINE_ADD_U64, &count->all, insns);
    if (insns == 1 && is_repeat(qemu_plugin_tb_get_insn(tb, 0)))
        qemu_plugin_register_vcpu_tb_exec_inline(tb, PLUGIN_INLINE_ADD_U64, &count->repeats, 1);
}

/* Reads a number that ends at the character last, and steps over both. */
static bool take_number(char **text, char last, uint64_t *ret_number)
{
    char *end = NULL;
    uint64_t number = strtoull(*text, &end, 0);

    if (end == *text || *end != last)
        return false;
    *text = end + 1;
    *ret_number = number;
    return true;
}

static bool map_counters(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    void *at = MAP_FAILED;

    if (fd >= 0 && ftruncate(fd, sizeof(*count)) == 0)
        at = mmap(NULL, sizeof(*count), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd >= 0)
        close(fd);
    if (at == MAP_FAILED)
        return false;
    count = at;
    live = true;
    return true;
}

static bool take_argument(char *arg)
{
    char *value = strchr(arg, '=');

    if (!value)
        return false;
    value++;
    if (strncmp(arg, "entry=", 6) == 0)
        return take_number(&value, '\0', &entry_addr);
    if (strncmp(arg, "image=", 6) == 0)
        return take_number(&value, '-', &image_start) && take_number(&value, '\0', &image_end);
    if (strncmp(arg, "live=", 5) == 0)
        return map_counters(value);
    if (strncmp(arg, "out=", 4) != 0 || out_file)
        return false;
    out_file = fopen(value, "w");
    return out_file != NULL;
}

int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info_t *info, int argc, char **argv)
{
    (void)info;
    for (int i = 0; i < argc; i++) {
        if (!take_argument(argv[i])) {
            fprintf(stderr, "icount: %s: not an argument of this plugin\n", argv[i]);
            return 1;
        }
    }
    if (entry_addr == 0 || image_end == 0 || !(out_file || live)) {
        fprintf(stderr, "icount: entry=, image=, and out= or live= are needed\n");
        return 1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
    return 0;
}
