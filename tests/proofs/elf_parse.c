/* SPDX-License-Identifier: Apache-2.0 */
/*
 * elf_parse on any file: it is refused, or what comes out is loadable: segments inside the file,
 * above 1 MiB, apart from each other, and an entry point inside one of them.
 * Bounds: any bytes, any file size; up to 3 program headers, a note of up to 20 bytes
 * Scale: src/boot/boot_internal.h ELF_MAX_PHDRS 3u
 * Scale: src/boot/elf.c NOTES_MAX 20u
 * Flags: --unwind 5 --unwindset scan_notes.0:3,memcmp.0:6 --unsigned-overflow-check
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

/* For the notes, of any content; what is made of them is elf_notes.c's. */
struct notes {
    uint8_t bytes[21];
};
struct notes nondet_notes(void);

static void *notes_buffer(size_t n, size_t size)
{
    static struct notes notes;

    CHECK(n == 1 && size <= sizeof(notes));
    notes = nondet_notes();
    return nondet_bool() ? NULL : &notes;
}

#define lum_calloc(n, size) notes_buffer(n, size)
#include "boot/elf.c"

static void check_segment(const struct elf_segment *s, uint64_t end)
{
    CHECK(s->paddr >= BOOT_KERNEL_MIN && s->filesz <= s->memsz && s->memsz > 0);
    CHECK(s->offset <= file_size && s->filesz <= file_size - s->offset);
    CHECK(s->memsz <= SANE_MAX && s->paddr <= SANE_MAX && s->paddr + s->memsz <= end);
}

int main(void)
{
    struct elf_kernel k;
    struct lum_error err;
    bool entered = false;

    file_size = nondet_u64();
    k.n_segments = 99;
    int rc = elf_parse(3, file_size, &k, &err);
    CHECK(rc == 0 || (rc < 0 && k.n_segments == 99));
    if (rc < 0)
        return 0;
    CHECK(k.n_segments >= 1 && k.n_segments <= ELF_MAX_PHDRS);
    for (unsigned i = 0; i < ELF_MAX_PHDRS && i < k.n_segments; i++) {
        const struct elf_segment *s = &k.segment[i];

        check_segment(s, k.end);
        entered = entered || (k.entry >= s->paddr && k.entry - s->paddr < s->memsz);
        for (unsigned j = 0; j < i; j++)
            CHECK(s->paddr >= k.segment[j].paddr + k.segment[j].memsz ||
                  k.segment[j].paddr >= s->paddr + s->memsz);
    }
    CHECK(entered);
    WITNESS(k.n_segments == 3 && !k.pvh);
    WITNESS(k.pvh && k.n_segments == 2);
    return 0;
}
