/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a kernel file to a guest that can start: which kind of file, where everything goes, and the
 * loading itself. Whole pages of a file are mapped copy-on-write where file offset and guest
 * address allow it: that costs no copy, and what a guest only reads stays shared with the page
 * cache and with every other guest of the same kernel. The price is that a file which shrinks under
 * a running guest ends that guest.
 */
#include "boot/boot_internal.h"

#include <string.h>

struct kernel_file {
    bool is_elf;
    union {
        struct elf_kernel elf;
        struct bzimage_kernel bz;
    } u;
};

void boot_put(const struct gmem *mem, uint64_t at, const void *data, uint64_t size)
{
    memcpy(gmem_span(mem, gpa(at), size), data, size);
}

static int parse_kernel(plat_fd fd, struct kernel_file *ret_file, struct lum_error *err)
{
    uint8_t head[SETUP_HEADER_END] = {0};
    uint64_t size;
    int rc = plat_file_size(fd, &size, err);

    if (rc < 0)
        return rc;
    if (size == 0)
        return lum_fail(err, LUM_EFORMAT, "the file is empty");
    size_t n = size < sizeof(head) ? (size_t)size : sizeof(head);
    rc = plat_file_pread(fd, head, n, 0, "header", err);
    if (rc < 0)
        return rc;

    ret_file->is_elf = elf_is(head, n);
    if (ret_file->is_elf)
        return elf_parse(fd, size, &ret_file->u.elf, err);
    if (bzimage_is(head, n))
        return bzimage_parse(fd, size, &ret_file->u.bz, err);
    return lum_fail(err, LUM_EFORMAT, "not a Linux kernel (neither ELF nor bzImage)");
}

int boot_check_kernel(plat_fd kernel, const char *name, struct lum_error *err)
{
    struct kernel_file file;

    if (parse_kernel(kernel, &file, err) < 0)
        return lum_context(err, "kernel %s", name);
    return 0;
}

/* size bytes of the file to a place that lies in RAM. */
static int load_bytes(const struct gmem *mem, uint64_t at, plat_fd fd, uint64_t offset,
                      uint64_t size, const char *name, struct lum_error *err)
{
    if (size == 0)
        return 0;
    uint8_t *host = gmem_span(mem, gpa(at), size);
    if (!host)
        return lum_fail(err, LUM_EINTERNAL, "%s: placed outside guest memory", name);

    uint64_t map_at = align_up(at, BOOT_PAGE), map_end = align_down(at + size, BOOT_PAGE);
    if (at % BOOT_PAGE != offset % BOOT_PAGE || map_at >= map_end)
        return plat_file_pread(fd, host, size, offset, name, err);

    /*
     * The partial pages at both ends are copied: what lies beyond them in the file is not this
     * part's, and the kernel wants zeros there.
     */
    uint64_t first = map_at - at, mapped = map_end - map_at, rest = size - first - mapped;
    int rc = plat_file_pread(fd, host, first, offset, name, err);
    if (rc == 0)
        rc = plat_ram_map_file(host + first, mapped, fd, offset + first, err);
    if (rc == 0)
        rc = plat_file_pread(fd, host + first + mapped, rest, offset + first + mapped, name, err);
    return rc;
}

static int load_elf(const struct gmem *mem, plat_fd fd, const struct elf_kernel *elf,
                    struct lum_error *err)
{
    for (unsigned i = 0; i < elf->n_segments; i++) {
        const struct elf_segment *s = &elf->segment[i];
        int rc = load_bytes(mem, s->paddr, fd, s->offset, s->filesz, "segment", err);

        if (rc < 0)
            return rc;
    }
    return 0;
}

/*
 * The archives lie at the top of low RAM, each on a page of its own: the kernel skips zeros between
 * archives, and a page-aligned one can be mapped instead of copied.
 */
static int load_initrds(const struct boot_config *config, uint64_t floor, uint64_t ceiling,
                        struct boot_info *info, struct lum_error *err)
{
    uint64_t size[BOOT_MAX_INITRDS] = {0}, start[BOOT_MAX_INITRDS] = {0};
    uint64_t total = 0, end = 0;
    int rc;

    for (unsigned i = 0; i < BOOT_MAX_INITRDS; i++) {
        if (config->initrd[i] == PLAT_FD_NONE)
            continue;
        rc = plat_file_size(config->initrd[i], &size[i], err);
        if (rc < 0)
            return rc;
        if (size[i] > ARCH_RAM_HOLE_START)
            return lum_fail(err, LUM_EINVAL, "initrd %u: %llu bytes are more than a guest can take",
                            i + 1, (unsigned long long)size[i]);
        start[i] = total;
        end = start[i] + size[i];
        total = align_up(end, BOOT_PAGE);
    }
    if (total == 0)
        return 0;

    ceiling = align_down(ceiling, BOOT_PAGE);
    floor = align_up(floor, BOOT_PAGE);
    uint64_t space = ceiling > floor ? ceiling - floor : 0;
    if (total > space)
        return lum_fail(err, LUM_EINVAL,
                        "initrd: %llu KiB do not fit into the %llu KiB of memory beside the kernel",
                        (unsigned long long)(total / KIB), (unsigned long long)(space / KIB));
    info->initrd_addr = ceiling - total;
    info->initrd_size = end;
    for (unsigned i = 0; i < BOOT_MAX_INITRDS; i++) {
        rc = load_bytes(config->mem, info->initrd_addr + start[i], config->initrd[i], 0, size[i],
                        "initrd", err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static void fill_map(const struct gmem *mem, struct boot_info *info)
{
    struct boot_map_entry *e = info->map;

    *e++ = (struct boot_map_entry){0, BOOT_LOW_RAM_END, BOOT_MAP_RAM};
    *e++ = (struct boot_map_entry){BOOT_LOW_RAM_END, BOOT_KERNEL_MIN - BOOT_LOW_RAM_END,
                                   BOOT_MAP_RESERVED};
    *e++ = (struct boot_map_entry){BOOT_KERNEL_MIN, mem->range[0].size - BOOT_KERNEL_MIN,
                                   BOOT_MAP_RAM};
    if (mem->n_ranges > 1)
        *e++ = (struct boot_map_entry){mem->range[1].base, mem->range[1].size, BOOT_MAP_RAM};
    info->n_map = (unsigned)(e - info->map);
}

static int check_config(const struct boot_config *config, struct lum_error *err)
{
    const struct gmem *mem = config->mem;

    if (config->vcpus < 1 || config->vcpus > ARCH_MAX_VCPUS)
        return lum_fail(err, LUM_EINVAL, "vcpus: %u, must be 1 to %u", config->vcpus,
                        ARCH_MAX_VCPUS);
    if (mem->n_ranges < 1 || mem->range[0].base != 0 || mem->range[0].size <= BOOT_KERNEL_MIN ||
        mem->range[0].size > ARCH_RAM_HOLE_START)
        return lum_fail(err, LUM_EINVAL, "memory: no usable RAM from address 0");
    size_t len = strlen(config->cmdline);
    if (len >= BOOT_CMDLINE_MAX)
        return lum_fail(err, LUM_EINVAL, "kernel command line: %zu bytes, at most %u", len,
                        BOOT_CMDLINE_MAX - 1);
    return 0;
}

/* The kernel's own needs against this guest; *ret_end is the first address it leaves free. */
static int check_fit(const struct boot_config *config, const struct kernel_file *file,
                     uint64_t *ret_end, struct lum_error *err)
{
    uint64_t low_end = config->mem->range[0].size, end;

    if (file->is_elf) {
        end = file->u.elf.end;
    } else {
        const struct bzimage_kernel *bz = &file->u.bz;
        size_t len = strlen(config->cmdline);

        if (len > bz->cmdline_size)
            return lum_fail(err, LUM_EINVAL,
                            "kernel command line: %zu bytes, this kernel takes at most %u", len,
                            bz->cmdline_size);
        end = bz->load_addr + bz->init_size;
    }
    if (end > low_end)
        return lum_fail(err, LUM_EINVAL,
                        "needs memory up to %llu KiB, the guest has %llu KiB below 3 GiB",
                        (unsigned long long)(end / KIB), (unsigned long long)(low_end / KIB));
    *ret_end = end;
    return 0;
}

int boot_load(const struct boot_config *config, struct boot_result *ret_result,
              struct lum_error *err)
{
    const struct gmem *mem = config->mem;
    struct boot_info info = {.mem = mem};
    struct boot_result result = {0};
    struct kernel_file file = {0};
    uint64_t kernel_end = 0;

    int rc = check_config(config, err);
    if (rc < 0)
        return rc;
    rc = parse_kernel(config->kernel, &file, err);
    if (rc == 0)
        rc = check_fit(config, &file, &kernel_end, err);
    if (rc == 0)
        rc = file.is_elf ? load_elf(mem, config->kernel, &file.u.elf, err)
                         : load_bytes(mem, file.u.bz.load_addr, config->kernel, file.u.bz.offset,
                                      file.u.bz.size, "kernel image", err);
    if (rc < 0)
        return lum_context(err, "kernel %s", config->kernel_name);

    uint64_t ceiling = mem->range[0].size;
    if (!file.is_elf && file.u.bz.initrd_max < ceiling)
        ceiling = file.u.bz.initrd_max + 1;
    rc = load_initrds(config, kernel_end, ceiling, &info, err);
    if (rc < 0)
        return rc;

    info.cmdline_size = (uint32_t)strlen(config->cmdline) + 1;
    boot_put(mem, BOOT_CMDLINE_ADDR, config->cmdline, info.cmdline_size);
    fill_map(mem, &info);
    mptable_write(mem, config->vcpus);
    if (file.is_elf && file.u.elf.pvh) {
        result.protocol = BOOT_PVH;
        pvh_setup(&info, file.u.elf.entry, &result.regs);
    } else if (file.is_elf) {
        result.protocol = BOOT_LINUX64;
        linux_x86_setup(&info, NULL, file.u.elf.entry, &result.regs);
    } else {
        result.protocol = BOOT_BZIMAGE64;
        linux_x86_setup(&info, &file.u.bz, file.u.bz.load_addr + 0x200, &result.regs);
    }
    *ret_result = result;
    return 0;
}
