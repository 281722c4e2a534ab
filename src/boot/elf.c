/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ELF file of a kernel (vmlinux): its loadable segments by physical address, and the PVH entry
 * point from its notes. Every number in the file is a stranger's: counts are capped, offsets and
 * sizes are compared by subtraction, before anything is added up.
 */
#include "boot/boot_internal.h"

#include <elf.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"

/* Note type of "Xen": the 32-bit physical entry point of the PVH start (xen/interface/elfnote.h).
 */
#define XEN_NOTE_PHYS32_ENTRY 18u
#define NOTES_MAX             65536u /* a kernel has some hundred bytes of them */
#define NOTE_HEADER           12u

/* No address or size of a kernel is near this; below it, sums of two cannot wrap. */
#define SANE_MAX ((uint64_t)1 << 52)

struct phdr {
    uint32_t type;
    uint64_t offset, vaddr, paddr, filesz, memsz, align;
};

bool elf_is(const uint8_t *head, size_t size)
{
    return size >= SELFMAG && memcmp(head, ELFMAG, SELFMAG) == 0;
}

static struct phdr decode_phdr(const uint8_t *p)
{
    return (struct phdr){
        .type = le32_load(p + offsetof(Elf64_Phdr, p_type)),
        .offset = le64_load(p + offsetof(Elf64_Phdr, p_offset)),
        .vaddr = le64_load(p + offsetof(Elf64_Phdr, p_vaddr)),
        .paddr = le64_load(p + offsetof(Elf64_Phdr, p_paddr)),
        .filesz = le64_load(p + offsetof(Elf64_Phdr, p_filesz)),
        .memsz = le64_load(p + offsetof(Elf64_Phdr, p_memsz)),
        .align = le64_load(p + offsetof(Elf64_Phdr, p_align)),
    };
}

static int check_in_file(const struct phdr *ph, unsigned index, uint64_t file_size,
                         struct lum_error *err)
{
    if (ph->offset > SANE_MAX || ph->filesz > SANE_MAX)
        return lum_fail(err, LUM_EFORMAT, "segment %u: absurd offset or size", index);
    if (ph->offset > file_size || ph->filesz > file_size - ph->offset)
        return lum_fail(
            err, LUM_EFORMAT, "truncated: segment %u ends at byte %llu, the file has %llu", index,
            (unsigned long long)(ph->offset + ph->filesz), (unsigned long long)file_size);
    return 0;
}

static int add_segment(struct elf_kernel *k, const struct phdr *ph, unsigned index,
                       struct lum_error *err)
{
    if (ph->memsz == 0 && ph->filesz == 0)
        return 0;
    if (ph->filesz > ph->memsz)
        return lum_fail(err, LUM_EFORMAT, "segment %u: more bytes in the file than in memory",
                        index);
    if (ph->paddr > SANE_MAX || ph->memsz > SANE_MAX)
        return lum_fail(err, LUM_EFORMAT, "segment %u: absurd address or size", index);
    if (ph->paddr < BOOT_KERNEL_MIN)
        return lum_fail(err, LUM_EFORMAT,
                        "segment %u loads at address 0x%llx, below 1 MiB: not a kernel", index,
                        (unsigned long long)ph->paddr);

    uint64_t end = ph->paddr + ph->memsz;
    for (unsigned i = 0; i < k->n_segments; i++) {
        const struct elf_segment *other = &k->segment[i];

        if (ph->paddr < other->paddr + other->memsz && other->paddr < end)
            return lum_fail(err, LUM_EFORMAT, "segments %u and %u overlap in memory", other->index,
                            index);
    }
    k->segment[k->n_segments++] = (struct elf_segment){
        .index = index,
        .paddr = ph->paddr,
        .vaddr = ph->vaddr,
        .memsz = ph->memsz,
        .filesz = ph->filesz,
        .offset = ph->offset,
    };
    if (end > k->end)
        k->end = end;
    return 0;
}

static bool is_loaded(const struct elf_kernel *k, uint64_t paddr)
{
    for (unsigned i = 0; i < k->n_segments; i++)
        if (paddr >= k->segment[i].paddr && paddr - k->segment[i].paddr < k->segment[i].memsz)
            return true;
    return false;
}

/* One note segment: looks for the PVH entry point. pad: to what names and contents are padded. */
static int scan_notes(struct elf_kernel *k, const uint8_t *notes, uint64_t size, uint64_t pad,
                      unsigned index, struct lum_error *err)
{
    uint64_t at = 0;

    while (size - at >= NOTE_HEADER) {
        uint64_t name_size = le32_load(notes + at), desc_size = le32_load(notes + at + 4);
        uint32_t type = le32_load(notes + at + 8);
        uint64_t name_at = at + NOTE_HEADER;
        uint64_t desc_at = align_up(name_at + name_size, pad); /* 32-bit sizes: cannot wrap */

        if (desc_at > size || desc_size > size - desc_at)
            return lum_fail(err, LUM_EFORMAT, "segment %u: a note runs past its end", index);
        if (type == XEN_NOTE_PHYS32_ENTRY && name_size == 4 &&
            memcmp(notes + name_at, "Xen", 4) == 0) {
            if (desc_size != 4 && desc_size != 8)
                return lum_fail(err, LUM_EFORMAT, "PVH entry note of %llu bytes",
                                (unsigned long long)desc_size);
            k->entry = desc_size == 4 ? le32_load(notes + desc_at) : le64_load(notes + desc_at);
            k->pvh = true;
            return 0;
        }
        uint64_t next = align_up(desc_at + desc_size, pad);
        at = next < size ? next : size; /* the last one may lack its padding */
    }
    return 0;
}

static int read_notes(struct elf_kernel *k, plat_fd fd, const struct phdr *ph, unsigned index,
                      struct lum_error *err)
{
    if (ph->filesz > NOTES_MAX)
        return lum_fail(err, LUM_EFORMAT, "segment %u: notes of %llu bytes", index,
                        (unsigned long long)ph->filesz);
    AUTO(auto_free) uint8_t *notes = lum_calloc(1, ph->filesz + 1);
    if (!notes)
        return lum_fail(err, LUM_ENOMEM, "notes: out of memory");
    int rc = plat_file_pread(fd, notes, ph->filesz, ph->offset, "notes", err);
    if (rc < 0)
        return rc;
    return scan_notes(k, notes, ph->filesz, ph->align == 8 ? 8 : 4, index, err);
}

static int check_header(const uint8_t *e, struct lum_error *err)
{
    uint16_t type = le16_load(e + offsetof(Elf64_Ehdr, e_type));
    uint16_t machine = le16_load(e + offsetof(Elf64_Ehdr, e_machine));
    uint16_t n = le16_load(e + offsetof(Elf64_Ehdr, e_phnum));

    if (e[EI_CLASS] != ELFCLASS64 || e[EI_DATA] != ELFDATA2LSB)
        return lum_fail(err, LUM_EFORMAT, "not a 64-bit little-endian ELF file");
    if (machine != EM_X86_64)
        return lum_fail(err, LUM_EFORMAT, "built for another processor (ELF machine %u, need %u)",
                        machine, EM_X86_64);
    if (type != ET_EXEC && type != ET_DYN)
        return lum_fail(err, LUM_EFORMAT, "ELF type %u is not an executable", type);
    if (le16_load(e + offsetof(Elf64_Ehdr, e_phentsize)) != sizeof(Elf64_Phdr) || n == 0 ||
        n > ELF_MAX_PHDRS)
        return lum_fail(err, LUM_EFORMAT, "%u program headers of %u bytes", n,
                        le16_load(e + offsetof(Elf64_Ehdr, e_phentsize)));
    return 0;
}

/* An ELF entry point is physical in Linux, virtual in other kernels: take it as what it can be. */
static int find_entry(struct elf_kernel *k, uint64_t entry, struct lum_error *err)
{
    if (is_loaded(k, entry)) {
        k->entry = entry;
        return 0;
    }
    for (unsigned i = 0; i < k->n_segments; i++) {
        const struct elf_segment *s = &k->segment[i];

        if (entry >= s->vaddr && entry - s->vaddr < s->memsz) {
            k->entry = s->paddr + (entry - s->vaddr);
            return 0;
        }
    }
    return lum_fail(err, LUM_EFORMAT, "entry point 0x%llx lies in no segment",
                    (unsigned long long)entry);
}

int elf_parse(plat_fd fd, uint64_t file_size, struct elf_kernel *ret_kernel, struct lum_error *err)
{
    uint8_t e[sizeof(Elf64_Ehdr)], table[ELF_MAX_PHDRS * sizeof(Elf64_Phdr)];
    struct elf_kernel k = {0};

    if (file_size < sizeof(e))
        return lum_fail(err, LUM_EFORMAT, "truncated: no room for an ELF header");
    int rc = plat_file_pread(fd, e, sizeof(e), 0, "ELF header", err);
    if (rc < 0)
        return rc;
    rc = check_header(e, err);
    if (rc < 0)
        return rc;

    unsigned n = le16_load(e + offsetof(Elf64_Ehdr, e_phnum));
    uint64_t at = le64_load(e + offsetof(Elf64_Ehdr, e_phoff)), size = n * sizeof(Elf64_Phdr);
    if (at > file_size || size > file_size - at)
        return lum_fail(err, LUM_EFORMAT, "truncated: the program headers lie past its end");
    rc = plat_file_pread(fd, table, size, at, "program headers", err);
    if (rc < 0)
        return rc;

    for (unsigned i = 0; i < n; i++) {
        struct phdr ph = decode_phdr(table + i * sizeof(Elf64_Phdr));

        if (ph.type != PT_LOAD && ph.type != PT_NOTE)
            continue;
        rc = check_in_file(&ph, i, file_size, err);
        if (rc == 0 && ph.type == PT_LOAD)
            rc = add_segment(&k, &ph, i, err);
        if (rc == 0 && ph.type == PT_NOTE && !k.pvh)
            rc = read_notes(&k, fd, &ph, i, err);
        if (rc < 0)
            return rc;
    }
    if (k.n_segments == 0)
        return lum_fail(err, LUM_EFORMAT, "nothing in it to load");
    if (!k.pvh)
        rc = find_entry(&k, le64_load(e + offsetof(Elf64_Ehdr, e_entry)), err);
    else if (!is_loaded(&k, k.entry))
        rc = lum_fail(err, LUM_EFORMAT, "PVH entry point 0x%llx lies in no segment",
                      (unsigned long long)k.entry);
    if (rc < 0)
        return rc;
    *ret_kernel = k;
    return 0;
}
