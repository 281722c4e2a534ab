/* SPDX-License-Identifier: Apache-2.0 */
/* See play.h. */
#include "play.h"

#include <elf.h>
#include <string.h>

#include "base/buf.h"
#include "torture.h"

#define ENTRY 0x1000000u

static void put_phdr(uint8_t *p, uint32_t type, uint64_t offset, uint64_t size)
{
    le32_store(p, type);
    le32_store(p + 4, PF_R | PF_X);
    le64_store(p + 8, offset);
    le64_store(p + 16, ENTRY);
    le64_store(p + 24, ENTRY);
    le64_store(p + 32, size);
    le64_store(p + 40, size);
    le64_store(p + 48, 4);
}

size_t play_elf(uint8_t *file)
{
    /* The keyboard controller's reset: mov $0xfe, %al; out %al, $0x64; 1: hlt; jmp 1b. */
    static const uint8_t code[] = {0xb0, 0xfe, 0xe6, 0x64, 0xf4, 0xeb, 0xfd};
    uint8_t *note = file + 0x200;

    memset(file, 0, 0x1000);
    memcpy(file, ELFMAG "\x02\x01\x01", 7);
    le16_store(file + 16, ET_EXEC);
    le16_store(file + 18, EM_X86_64);
    le64_store(file + 24, ENTRY);
    le64_store(file + 32, 64);
    le16_store(file + 54, sizeof(Elf64_Phdr));
    le16_store(file + 56, 2);
    put_phdr(file + 64, PT_LOAD, 0x1000, 0x1800);
    put_phdr(file + 64 + sizeof(Elf64_Phdr), PT_NOTE, 0x200, 20);
    le32_store(note, 4);
    le32_store(note + 4, 4);
    le32_store(note + 8, 18); /* the PVH entry point */
    memcpy(note + 12, "Xen", 4);
    le32_store(note + 16, ENTRY);
    memset(file + 0x1000, 0xf4, 0x1800);
    memcpy(file + 0x1000, code, sizeof(code));
    return 0x2800;
}

size_t play_bzimage(uint8_t *file)
{
    memset(file, 0, 0x400);
    memset(file + 0x400, 0xf4, 0x1000);
    file[0x1f1] = 1;
    le32_store(file + 0x1f4, 0x1000 / 16);
    le16_store(file + 0x1fe, 0xaa55);
    file[0x201] = 0x6a;
    memcpy(file + 0x202, "HdrS", 4);
    le16_store(file + 0x206, 0x020f);
    file[0x211] = 1;
    le32_store(file + 0x22c, 0x7fffffff);
    le16_store(file + 0x236, 1);
    le32_store(file + 0x238, 2047);
    le64_store(file + 0x258, ENTRY);
    le32_store(file + 0x260, 0x100000);
    return 0x1400;
}

static void quit(void *ctx)
{
    plat_loop_quit(ctx);
}

/* The call that ends the run comes with everything else that is ready. */
void play_loop(struct plat_loop *loop)
{
    struct lum_error err;

    inject_pause();
    torture_must(plat_loop_post(loop, quit, loop, &err) == 0, "post to the loop");
    inject_resume();
    plat_loop_run(loop);
}
