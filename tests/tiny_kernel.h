/* SPDX-License-Identifier: Apache-2.0 */
/* The smallest kernel there is: an ELF file with one page of halts and the PVH note. */
#ifndef LUM_TESTS_TINY_KERNEL_H
#define LUM_TESTS_TINY_KERNEL_H

#include <elf.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* An anonymous file, or -1. */
static inline int tiny_kernel(void)
{
    enum { ENTRY = 0x1000000, HALT = 0xf4 };
    struct {
        Elf64_Ehdr head;
        Elf64_Phdr load, note;
        Elf64_Nhdr nhdr;
        char name[4];
        uint32_t entry;
        uint8_t code[64];
    } k = {.head = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB,
                                EV_CURRENT},
                    .e_type = ET_EXEC,
                    .e_machine = EM_X86_64,
                    .e_version = EV_CURRENT,
                    .e_entry = ENTRY,
                    .e_phoff = sizeof(Elf64_Ehdr),
                    .e_ehsize = sizeof(Elf64_Ehdr),
                    .e_phentsize = sizeof(Elf64_Phdr),
                    .e_phnum = 2},
           .nhdr = {.n_namesz = 4, .n_descsz = 4, .n_type = 18},
           .name = "Xen",
           .entry = ENTRY};

    memset(k.code, HALT, sizeof(k.code));
    k.load = (Elf64_Phdr){.p_type = PT_LOAD,
                          .p_flags = PF_R | PF_X,
                          .p_offset = (Elf64_Off)offsetof(__typeof__(k), code),
                          .p_vaddr = ENTRY,
                          .p_paddr = ENTRY,
                          .p_filesz = sizeof(k.code),
                          .p_memsz = sizeof(k.code)};
    k.note = (Elf64_Phdr){.p_type = PT_NOTE,
                          .p_offset = (Elf64_Off)offsetof(__typeof__(k), nhdr),
                          .p_filesz = sizeof(k.nhdr) + 8,
                          .p_memsz = sizeof(k.nhdr) + 8};
    int fd = memfd_create("kernel", MFD_CLOEXEC);
    if (fd >= 0 && write(fd, &k, sizeof(k)) != (ssize_t)sizeof(k)) {
        close(fd);
        fd = -1;
    }
    return fd;
}

#endif
