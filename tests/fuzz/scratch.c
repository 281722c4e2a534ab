/* SPDX-License-Identifier: Apache-2.0 */
/* See scratch.h. */
#include "scratch.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void scratch_make(char *ret_path, size_t size)
{
    const char *parent = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";

    if ((size_t)snprintf(ret_path, size, "%s/lumina-test.XXXXXX", parent) >= size ||
        !mkdtemp(ret_path))
        abort();
}

void scratch_remove(int dir_fd, const char *name)
{
    int fd;
    DIR *dir;
    const struct dirent *entry;

    if (unlinkat(dir_fd, name, 0) == 0)
        return;
    if (fchmodat(dir_fd, name, 0700, 0) < 0)
        return;
    fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        if (fd >= 0)
            close(fd);
        return;
    }
    while ((entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            scratch_remove(fd, entry->d_name);
    }
    closedir(dir);
    (void)unlinkat(dir_fd, name, AT_REMOVEDIR);
}
