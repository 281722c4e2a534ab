/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bzimage_parse on any file: it is refused, or what comes out is loadable: the kernel lies in the
 * file, behind its header, with a preferred place above 1 MiB that holds it.
 * Bounds: any bytes, any file size
 * Flags: --unwind 5 --unsigned-overflow-check
 */
#include "env.h"

static uint64_t file_size;

/* The caller's buffers hold any bytes from the start, so none need be written. */
int plat_file_pread(plat_fd fd, void *buf, size_t size, uint64_t offset, const char *name,
                    struct lum_error *err)
{
    CHECK(WRITABLE(buf, size) && offset <= file_size && size <= file_size - offset);
    if (nondet_bool())
        return lum_fail(err, LUM_EFORMAT, "truncated");
    return 0;
}

#include "boot/bzimage.c"

int main(void)
{
    struct bzimage_kernel k;
    struct lum_error err;

    file_size = nondet_u64();
    /* No file system has larger files, and sizes are rounded up here. */
    ASSUME(file_size <= INT64_MAX);
    k.header_size = 9999;
    int rc = bzimage_parse(3, file_size, &k, &err);
    CHECK(rc == 0 || (rc < 0 && k.header_size == 9999));
    if (rc < 0)
        return 0;
    CHECK(k.offset >= 2 * SECTOR && k.offset < file_size && k.size == file_size - k.offset);
    CHECK(k.load_addr >= BOOT_KERNEL_MIN && k.load_addr <= ARCH_RAM_HOLE_START);
    CHECK(k.init_size <= UINT32_MAX && k.size <= k.init_size);
    CHECK(k.header_size <= sizeof(k.header) && k.header_size >= HDR_MIN_END - SETUP_HEADER_START);
    WITNESS(k.header_size == sizeof(k.header) && k.offset == 256 * SECTOR);
    return 0;
}
