/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Folders as roots: the part of image.c that needs the operating system. tree_linux.c walks a
 * folder and names its state by a digest, pack_linux.c turns it into an image and keeps the cache.
 */
#ifndef LUM_IMAGE_INTERNAL_H
#define LUM_IMAGE_INTERNAL_H

#include "base/buf.h"
#include "base/sha256.h"
#include "image/image.h"

/* A place whose contents do not belong to the tree. */
struct tree_place {
    uint64_t dev, ino;
};

struct tree {
    uint8_t digest[SHA256_SIZE]; /* of all metadata: changes when anything in the tree does */
    uint64_t files, bytes;
    uint64_t newest_ns; /* last change of anything in it, since 1970 */
    /* Folders whose contents are left out, relative to the root: one string after another. */
    struct wbuf left_out;
};

/*
 * Walks the folder. cache names the folder where images are written, so that a root that has it
 * inside does not pack its own image. Where the caller is not root, every file is checked to be
 * readable. *ret_tree is released with tree_done.
 */
int tree_scan(const char *root, struct tree_place cache, struct tree *ret_tree,
              struct lum_error *err);
void tree_done(struct tree *tree);

bool pack_is_folder(const char *path);
int pack_folder(const char *path, void (*progress)(void *ctx, const char *text), void *ctx,
                plat_fd *ret_fd, struct lum_error *err);

/* Removes images that were not used for longest until the rest takes at most cap bytes. */
void pack_trim_cache(int dir_fd, uint64_t cap, const char *keep);

#endif
