/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Root file systems: from the path a user names to an open file that a backend can take. Runs in
 * the caller's process, before there is a worker; what lies behind the path is data, never trusted.
 */
#ifndef LUM_IMAGE_H
#define LUM_IMAGE_H

#include "machine/machine.h"

/*
 * Opens a root, read-only. Accepted: a cpio archive (newc, plain or in gzip: becomes an initrd), an
 * EROFS or ext4 image, or a folder, which is packed into an EROFS image that is kept in the user's
 * cache and used again for as long as nothing in the folder has changed.
 *
 * In the image of a folder, modes, times, links, extended attributes and special files are as they
 * are. Owners too, when root packs; for anybody else all files belong to root, since who owns a
 * tree on the host says nothing about who should own it in the guest. What is mounted on a place
 * inside the folder is left out: such a place is an empty folder in the image.
 *
 * progress (may be NULL) is told, on this thread, when something takes a while: a line of text.
 *
 * Errors begin with "rootfs PATH: ". LUM_ENOENT (also: no mkfs.erofs; the text says what to
 * install), LUM_EACCES (names the file that cannot be read), LUM_EFORMAT (neither of these, or cut
 * short), LUM_EBUSY (the folder keeps changing while it is packed), LUM_EOS, LUM_ENOMEM.
 */
int image_open_root(const char *path, void (*progress)(void *ctx, const char *text), void *ctx,
                    plat_fd *ret_fd, enum machine_root *ret_kind, struct lum_error *err);

#endif
