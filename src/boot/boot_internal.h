/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the parts of kernel loading share. A kernel file is parsed first, on its own (elf.c,
 * bzimage.c: everything that is wrong with the file is found here, by boot_check_kernel too), then
 * placed and loaded into a given guest (load.c), then described to itself in the words of its boot
 * protocol (linux_x86.c, pvh.c) and of its firmware (mptable.c).
 *
 * Boot data lies below 1 MiB, where no kernel may load. Every kernel copies what it wants to keep
 * before it gives out memory, so the places are free choices, except that of the MP table.
 */
#ifndef LUM_BOOT_INTERNAL_H
#define LUM_BOOT_INTERNAL_H

#include "boot/boot.h"

#define BOOT_PAGE 4096u

#define BOOT_GDT_ADDR         0x500u
#define BOOT_START_INFO_ADDR  0x2000u /* PVH start info, its module list and its memory map */
#define BOOT_ZERO_PAGE_ADDR   0x3000u /* struct boot_params */
#define BOOT_CMDLINE_ADDR     0x4000u
#define BOOT_PAGE_TABLES_ADDR 0x8000u  /* six pages */
#define BOOT_LOW_RAM_END      0x9fc00u /* the last KiB below 640 KiB is the MP table's */
#define BOOT_MPTABLE_SIZE     0x400u
#define BOOT_KERNEL_MIN       0x100000u

/* ---- kernel files ---- */

#define ELF_MAX_PHDRS 64u

struct elf_segment {
    unsigned index; /* in the program headers, for messages */
    uint64_t paddr, vaddr, memsz, filesz, offset;
};

struct elf_kernel {
    unsigned n_segments;
    struct elf_segment segment[ELF_MAX_PHDRS];
    uint64_t end; /* first address after the highest segment */
    bool pvh;
    uint64_t entry; /* physical; the PVH one where there is one */
};

#define SETUP_HEADER_START 0x1f1u
#define SETUP_HEADER_END   0x290u

struct bzimage_kernel {
    uint64_t offset, size; /* of the 64-bit part in the file */
    uint64_t load_addr, init_size;
    uint64_t initrd_max; /* last byte an initrd may use */
    uint32_t cmdline_size;
    uint32_t header_size;
    uint8_t header[SETUP_HEADER_END - SETUP_HEADER_START];
};

/* Does the file begin like one? Says nothing about the rest. */
bool elf_is(const uint8_t *head, size_t size);
bool bzimage_is(const uint8_t *head, size_t size);

/* The whole file is checked: LUM_EFORMAT says what is wrong with it. */
int elf_parse(plat_fd fd, uint64_t file_size, struct elf_kernel *ret_kernel, struct lum_error *err);
int bzimage_parse(plat_fd fd, uint64_t file_size, struct bzimage_kernel *ret_kernel,
                  struct lum_error *err);

/* ---- what the kernel is told ---- */

enum boot_map_type { BOOT_MAP_RAM = 1, BOOT_MAP_RESERVED = 2 }; /* numbers of e820 and PVH */

struct boot_map_entry {
    uint64_t base, size;
    enum boot_map_type type;
};

#define BOOT_MAP_MAX 4u

struct boot_info {
    const struct gmem *mem;
    uint32_t cmdline_size; /* at BOOT_CMDLINE_ADDR, with its NUL */
    uint64_t initrd_addr, initrd_size;
    unsigned n_map;
    struct boot_map_entry map[BOOT_MAP_MAX];
};

/* The 64-bit Linux boot protocol; bz is NULL for an ELF file, which brings no setup header. */
void linux_x86_setup(const struct boot_info *info, const struct bzimage_kernel *bz, uint64_t entry,
                     struct arch_regs *ret_regs);
void pvh_setup(const struct boot_info *info, uint64_t entry, struct arch_regs *ret_regs);

/* Flat segments of one kind (with a GDT that holds the same) in registers that are else zero. */
void boot_flat_segments(const struct gmem *mem, bool long_mode, struct arch_regs *regs);

/* Writes at BOOT_LOW_RAM_END. 1 <= vcpus <= ARCH_MAX_VCPUS. */
void mptable_write(const struct gmem *mem, uint32_t vcpus);

/* Boot data has its place in RAM that boot_load checked to be there. */
void boot_put(const struct gmem *mem, uint64_t at, const void *data, uint64_t size);

#endif
