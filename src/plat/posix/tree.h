/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files and folders as a stream of bytes (the tree stream of proto.h), to be cut anywhere and
 * carried in frames. Built into lumina-init and into liblumina, so it knows neither: results are 0
 * or a negative errno. Neither direction waits for anything but the file system.
 *
 * The stream is depth first: all of a folder comes before the folder's next sibling. The unpacker
 * insists on it, which is what lets it keep one descriptor per level and walk no path twice.
 */
#ifndef LUM_PLAT_TREE_H
#define LUM_PLAT_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Folders within folders, the root included; deeper is ELOOP. One descriptor is open for each. */
#define TREE_MAX_DEPTH 128

struct tree_pack;
struct tree_unpack;

/*
 * Starts a copy of the file, folder or link at path; a link is only followed when path ends in '/'.
 * Fails with what lstat or open said, or -ENOTSUP for a device, socket or fifo.
 */
int tree_pack_open(const char *path, struct tree_pack **ret_pack);

/*
 * Puts the next bytes of the stream into buf: size of them unless it ends first; 0 is the end. What
 * cannot be read becomes an ERROR record, after which the stream ends: see tree_pack_error.
 */
size_t tree_pack_read(struct tree_pack *pack, void *buf, size_t size);

/* The errno (positive) of the ERROR record written, and the path it is about; or 0. */
int tree_pack_error(const struct tree_pack *pack, const char **ret_path);

void tree_pack_close(struct tree_pack *pack); /* NULL is allowed */

enum tree_flag {
    TREE_DROP_SETID = 1 /* set-user-id and set-group-id bits of the stream are not applied */
};

/*
 * Prepares to write a copy to dest. When dest ends in '/' or is a folder, the copy becomes own_name
 * in it (one plain name, else -EINVAL). Missing folders above are made. dest itself is the caller's
 * and may contain links; of the stream nothing is trusted: it never gets a link followed, never
 * leaves the place of its root and makes nothing but files, folders and links. Files and links that
 * are in the way are replaced; folders that exist are kept with their mode and added to.
 */
int tree_unpack_open(const char *dest, const char *own_name, unsigned flags,
                     struct tree_unpack **ret_unpack);

/* Takes the next bytes of a stream. After a failure every further call fails the same way. */
int tree_unpack_write(struct tree_unpack *unpack, const void *data, size_t size);

/* The stream has ended: 0 when it was whole, -ENODATA when it was cut off, or the earlier failure.
 */
int tree_unpack_finish(struct tree_unpack *unpack);

/* The entry that failed, relative to the root of the copy ("" is the root). */
const char *tree_unpack_path(const struct tree_unpack *unpack);

/* The failure is the sender's, told by an ERROR record: it could not read that entry. */
bool tree_unpack_sender_failed(const struct tree_unpack *unpack);

/* A file of which not all has come is removed. NULL is allowed. */
void tree_unpack_close(struct tree_unpack *unpack);

#endif
