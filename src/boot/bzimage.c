/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bzImage, by the Linux/x86 boot protocol (Documentation/arch/x86/boot.rst): a real-mode part
 * that is never run here, with the setup header in it, and behind it the compressed kernel, which
 * has had a 64-bit entry point since protocol 2.12. It unpacks itself; slower than an ELF file, but
 * what distributions ship.
 */
#include "boot/boot_internal.h"

#include <string.h>

#include "base/buf.h"

/* Offsets from the start of the file, which are those of struct boot_params too. */
enum {
    HDR_SETUP_SECTS = 0x1f1,
    HDR_SYSSIZE = 0x1f4,
    HDR_JUMP_SIZE = 0x201, /* the header ends this many bytes after 0x202 */
    HDR_MAGIC = 0x202,
    HDR_VERSION = 0x206,
    HDR_LOADFLAGS = 0x211,
    HDR_INITRD_MAX = 0x22c,
    HDR_XLOADFLAGS = 0x236,
    HDR_CMDLINE_SIZE = 0x238,
    HDR_PREF_ADDRESS = 0x258,
    HDR_INIT_SIZE = 0x260,
    HDR_MIN_END = 0x264,
};

#define SECTOR           512u
#define VERSION_MIN      0x020cu
#define LOADFLAG_HIGH    1u
#define XLOADFLAG_64     1u
#define ENTRY64_OFFSET   0x200u
#define SETUP_SECTS_ZERO 4u /* what 0 stands for, since the first bzImage */

bool bzimage_is(const uint8_t *head, size_t size)
{
    return size >= HDR_MAGIC + 4 && memcmp(head + HDR_MAGIC, "HdrS", 4) == 0;
}

int bzimage_parse(plat_fd fd, uint64_t file_size, struct bzimage_kernel *ret_kernel,
                  struct lum_error *err)
{
    struct bzimage_kernel k = {0};
    uint8_t h[SETUP_HEADER_END];

    if (file_size < sizeof(h))
        return lum_fail(err, LUM_EFORMAT, "truncated: the setup header lies past its end");
    int rc = plat_file_pread(fd, h, sizeof(h), 0, "setup header", err);
    if (rc < 0)
        return rc;

    uint16_t version = le16_load(h + HDR_VERSION);
    if (version < VERSION_MIN)
        return lum_fail(err, LUM_EFORMAT, "boot protocol %u.%u, need 2.12 (Linux 3.8)",
                        version >> 8, version & 0xffu);
    if (!(h[HDR_LOADFLAGS] & LOADFLAG_HIGH) || !(le16_load(h + HDR_XLOADFLAGS) & XLOADFLAG_64))
        return lum_fail(err, LUM_EFORMAT, "no 64-bit entry point (a 32-bit kernel?)");
    uint32_t header_end = HDR_MAGIC + h[HDR_JUMP_SIZE];
    if (header_end < HDR_MIN_END || header_end > SETUP_HEADER_END)
        return lum_fail(err, LUM_EFORMAT, "setup header of %u bytes",
                        header_end - SETUP_HEADER_START);

    uint32_t sectors = h[HDR_SETUP_SECTS] ? h[HDR_SETUP_SECTS] : SETUP_SECTS_ZERO;
    uint64_t need = (uint64_t)le32_load(h + HDR_SYSSIZE) * 16;
    k.offset = (uint64_t)(sectors + 1) * SECTOR;
    /* The size counts in units of 16 bytes, rounded up: the last unit may be cut. */
    if (k.offset >= file_size || need > align_up(file_size - k.offset, 16))
        return lum_fail(err, LUM_EFORMAT,
                        "truncated: the kernel ends at byte %llu, the file has %llu",
                        (unsigned long long)(k.offset + need), (unsigned long long)file_size);
    k.size = file_size - k.offset;
    if (need <= ENTRY64_OFFSET)
        return lum_fail(err, LUM_EFORMAT, "no kernel behind the setup header");

    /*
     * A kernel runs at its preferred address or, when it can be relocated, anywhere above; loaded
     * lower, it moves itself up there first. So the preferred address is always right.
     */
    k.load_addr = le64_load(h + HDR_PREF_ADDRESS);
    k.init_size = le32_load(h + HDR_INIT_SIZE);
    if (k.load_addr < BOOT_KERNEL_MIN || k.load_addr > ARCH_RAM_HOLE_START)
        return lum_fail(err, LUM_EFORMAT, "preferred load address 0x%llx",
                        (unsigned long long)k.load_addr);
    if (k.size > k.init_size)
        return lum_fail(err, LUM_EFORMAT, "%llu bytes of kernel, but room for %llu wanted",
                        (unsigned long long)k.size, (unsigned long long)k.init_size);

    k.initrd_max = le32_load(h + HDR_INITRD_MAX);
    k.cmdline_size = le32_load(h + HDR_CMDLINE_SIZE);
    k.header_size = header_end - SETUP_HEADER_START;
    memcpy(k.header, h + SETUP_HEADER_START, k.header_size);
    *ret_kernel = k;
    return 0;
}
