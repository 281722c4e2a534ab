/* SPDX-License-Identifier: Apache-2.0 */
/* Tells root file systems apart by their first bytes, and whether an image is whole. */
#include "image/image.h"

#include <string.h>

#include "image/image_internal.h"

/* EROFS and ext4 both have their superblock here (linux/fs/erofs/erofs_fs.h, fs/ext4/ext4.h). */
#define SUPER_OFFSET 1024u
#define SUPER_SIZE   1024u

enum {
    EROFS_MAGIC = 0,
    EROFS_BLOCK_BITS = 12,
    EROFS_BLOCKS = 36,
    EXT4_BLOCKS_LOW = 4,
    EXT4_BLOCK_BITS = 24, /* less 10 */
    EXT4_MAGIC = 56,
    EXT4_INCOMPAT = 96,
    EXT4_BLOCKS_HIGH = 336,
};

#define EROFS_MAGIC_VALUE   0xe0f5e1e2u
#define EXT4_MAGIC_VALUE    0xef53u
#define EXT4_INCOMPAT_64BIT 0x80u

static int check_whole(uint64_t blocks, unsigned block_bits, uint64_t file_size,
                       struct lum_error *err)
{
    if (block_bits < 9 || block_bits > 16)
        return lum_fail(err, LUM_EFORMAT, "damaged image: blocks of 2^%u bytes", block_bits);
    if (blocks > file_size >> block_bits)
        return lum_fail(err, LUM_EFORMAT, "truncated image: %llu bytes of %llu blocks of %u",
                        (unsigned long long)file_size, (unsigned long long)blocks,
                        1u << block_bits);
    return 0;
}

static int detect(plat_fd fd, uint64_t size, enum machine_root *ret_kind, struct lum_error *err)
{
    uint8_t head[SUPER_OFFSET + SUPER_SIZE] = {0}, *super = head + SUPER_OFFSET;
    size_t n = size < sizeof(head) ? (size_t)size : sizeof(head);
    int rc = plat_file_pread(fd, head, n, 0, "image", err);

    if (rc < 0)
        return rc;
    if (memcmp(head, "070701", 6) == 0 || memcmp(head, "070702", 6) == 0 ||
        (head[0] == 0x1f && head[1] == 0x8b)) {
        *ret_kind = MACHINE_ROOT_INITRD;
        return 0;
    }
    if (le32_load(super + EROFS_MAGIC) == EROFS_MAGIC_VALUE) {
        *ret_kind = MACHINE_ROOT_EROFS;
        return check_whole(le32_load(super + EROFS_BLOCKS), super[EROFS_BLOCK_BITS], size, err);
    }
    if (le16_load(super + EXT4_MAGIC) == EXT4_MAGIC_VALUE) {
        uint64_t blocks = le32_load(super + EXT4_BLOCKS_LOW);
        uint32_t bits = le32_load(super + EXT4_BLOCK_BITS);

        if (le32_load(super + EXT4_INCOMPAT) & EXT4_INCOMPAT_64BIT)
            blocks |= (uint64_t)le32_load(super + EXT4_BLOCKS_HIGH) << 32;
        *ret_kind = MACHINE_ROOT_EXT4;
        return check_whole(blocks, bits > 6 ? 0 : bits + 10, size, err);
    }
    return lum_fail(err, LUM_EFORMAT, "not a folder, cpio, EROFS or ext4 image");
}

int image_open_root(const char *path, void (*progress)(void *ctx, const char *text), void *ctx,
                    plat_fd *ret_fd, enum machine_root *ret_kind, struct lum_error *err)
{
    enum machine_root kind = MACHINE_ROOT_EROFS;
    plat_fd fd = PLAT_FD_NONE;
    uint64_t size = 0;
    int rc;

    if (pack_is_folder(path)) {
        rc = pack_folder(path, progress, ctx, &fd, err);
    } else {
        rc = plat_file_open(path, &fd, &size, err);
        if (rc == 0)
            rc = detect(fd, size, &kind, err);
    }
    if (rc < 0) {
        plat_close(&fd);
        return lum_context(err, "rootfs %s", path);
    }
    *ret_fd = fd;
    *ret_kind = kind;
    return 0;
}
