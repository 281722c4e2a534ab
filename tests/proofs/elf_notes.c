/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The note scanner: any bytes, read only where they are, each note once.
 * Bounds: any content of up to 40 bytes (3 notes), both paddings
 * Flags: --unwind 5 --unsigned-overflow-check
 */
#include "env.h"

int plat_file_pread(plat_fd fd, void *buf, size_t size, uint64_t offset, const char *name,
                    struct lum_error *err)
{
    return lum_fail(err, LUM_EFORMAT, "not read here");
}

#include "boot/elf.c"

int main(void)
{
    struct elf_kernel k = {.n_segments = 0};
    struct lum_error err;
    uint64_t size = nondet_u8();

    ASSUME(size <= 40);
    uint8_t *notes = malloc(size);
    ASSUME(notes);
    int rc = scan_notes(&k, notes, size, nondet_bool() ? 8 : 4, nondet_u32(), &err);
    CHECK(rc == 0 || (rc == LUM_EFORMAT && !k.pvh));
    WITNESS(k.pvh && k.entry > UINT32_MAX && notes[0] == 1);
    return 0;
}
