/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The PVH start (xen/interface/hvm/start_info.h and Xen's docs/misc/pvh.pandoc): 32-bit protected
 * mode without paging, and one small structure instead of a zero page. The kernel takes it from
 * there without unpacking anything, which makes it the quickest way in.
 */
#include "boot/boot_internal.h"

#include "base/buf.h"

#define START_INFO_MAGIC   0x336ec578u
#define START_INFO_VERSION 1u /* the first with a memory map */

/* Layout of the page at BOOT_START_INFO_ADDR. */
enum {
    AT_MODULES = 0x40,
    AT_MAP = 0x80,
    MAP_ENTRY_SIZE = 24,
    PAGE_USED = AT_MAP + (int)BOOT_MAP_MAX * MAP_ENTRY_SIZE,
};

#define CR0_PE (1u << 0)
#define CR0_ET (1u << 4)

void pvh_setup(const struct boot_info *info, uint64_t entry, struct arch_regs *ret_regs)
{
    struct arch_regs regs = {0};
    uint8_t page[PAGE_USED] = {0};

    le32_store(page, START_INFO_MAGIC);
    le32_store(page + 4, START_INFO_VERSION);
    if (info->initrd_size > 0) {
        le32_store(page + 12, 1);
        le64_store(page + 16, BOOT_START_INFO_ADDR + AT_MODULES);
        le64_store(page + AT_MODULES, info->initrd_addr);
        le64_store(page + AT_MODULES + 8, info->initrd_size);
    }
    le64_store(page + 24, BOOT_CMDLINE_ADDR);
    le64_store(page + 40, BOOT_START_INFO_ADDR + AT_MAP);
    le32_store(page + 48, info->n_map);
    for (unsigned i = 0; i < info->n_map; i++) {
        uint8_t *e = page + AT_MAP + i * MAP_ENTRY_SIZE;

        le64_store(e, info->map[i].base);
        le64_store(e + 8, info->map[i].size);
        le32_store(e + 16, info->map[i].type);
    }
    boot_put(info->mem, BOOT_START_INFO_ADDR, page, sizeof(page));

    boot_flat_segments(info->mem, false, &regs);
    regs.cr0 = CR0_PE | CR0_ET;
    regs.rip = entry;
    regs.rbx = BOOT_START_INFO_ADDR;
    *ret_regs = regs;
}
