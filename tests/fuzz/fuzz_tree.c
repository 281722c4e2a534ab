/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a tree stream into an empty folder: no crash, and nothing appears next to it. The
 * first byte chooses how the stream is cut and whether set-user-id bits are dropped.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto.h"
#include "scratch.h"
#include "tree.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A file in here that is not "in" was written outside of what the stream was given. */
static char base[64];

static void check_outside(void)
{
    DIR *dir = opendir(base);
    const struct dirent *entry;

    if (!dir)
        abort();
    while ((entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
            strcmp(entry->d_name, "in") != 0)
            abort();
    }
    closedir(dir);
}

/* What was written must pack again, and unpack without an error of the protocol. */
static void read_back(const char *path)
{
    struct tree_pack *pack = NULL;
    uint8_t buf[512];

    if (tree_pack_open(path, &pack) < 0)
        return;
    while (tree_pack_read(pack, buf, sizeof(buf)) > 0)
        continue;
    tree_pack_close(pack);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char dest[80];
    struct tree_unpack *unpack = NULL;

    if (!base[0]) {
        scratch_make(base, sizeof(base));
        umask(022);
    }
    if (size < 1)
        return 0;
    snprintf(dest, sizeof(dest), "%s/in/", base);

    size_t piece = (data[0] & 0x7f) + 1u;
    if (tree_unpack_open(dest, "root", data[0] & 0x80 ? TREE_DROP_SETID : 0, &unpack) < 0)
        abort();
    int rc = 0;
    for (size_t at = 1; at < size && rc == 0; at += piece)
        rc = tree_unpack_write(unpack, data + at, size - at < piece ? size - at : piece);
    if (rc == 0)
        (void)tree_unpack_finish(unpack);
    tree_unpack_close(unpack);
    check_outside();
    read_back(dest);

    int fd = open(base, O_RDONLY | O_DIRECTORY);
    scratch_remove(fd, "in");
    close(fd);
    return 0;
}
