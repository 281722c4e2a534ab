/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Root file systems: any bytes as an image file, and folders whose names, links and modes are any
 * bytes (the first byte chooses). An image is told apart or refused; the digest of a folder is the
 * same when it is taken twice and another one when something was added.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/image_internal.h"
#include "scratch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char base[64];

static void must(bool good)
{
    if (!good)
        abort();
}

static void check_image(const uint8_t *data, size_t size)
{
    enum machine_root kind = MACHINE_ROOT_INITRD;
    plat_fd file, fd = PLAT_FD_NONE;
    struct lum_error err;
    char path[32];

    must(plat_memfile("image", data, size, &file, &err) == 0);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
    int rc = image_open_root(path, NULL, NULL, &fd, &kind, &err);
    must((rc == 0) == (fd >= 0) && kind <= MACHINE_ROOT_EXT4);
    must(rc == 0 || strncmp(err.text, "rootfs /proc", 12) == 0);
    plat_close(&fd);
    plat_close(&file);
}

/* One entry from the input: how it is made, then its name up to a slash or NUL. */
static void make_entry(int dir_fd, const uint8_t **data, size_t *size)
{
    char name[300] = "";
    uint8_t how = **data;
    size_t n = 0;

    for (++*data, --*size; *size > 0 && **data != 0 && **data != '/'; ++*data, --*size)
        if (n < sizeof(name) - 1)
            name[n++] = (char)**data;
    if (*size > 0) {
        ++*data;
        --*size;
    }
    if (n == 0 || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return;
    switch (how % 4) { /* refusals (a name that is there, or too long) are no finding */
    case 0: (void)mkdirat(dir_fd, name, 0700); break;
    case 1: (void)!symlinkat(name, dir_fd, name); break;
    case 2: (void)mkfifoat(dir_fd, name, 0600); break;
    default: {
        plat_fd fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK,
                            (mode_t)(how & 0300) | 0400);
        plat_close(&fd);
    }
    }
}

static void check_folder(const uint8_t *data, size_t size)
{
    struct tree one = {0}, two = {0};
    struct lum_error err;
    char folder[80];

    snprintf(folder, sizeof(folder), "%s/root", base);
    must(mkdir(folder, 0700) == 0);
    int dir_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    must(dir_fd >= 0);
    for (unsigned i = 0; i < 40 && size > 0; i++)
        make_entry(dir_fd, &data, &size);
    const struct tree_place cache = {0, 0};
    must(tree_scan(folder, cache, &one, &err) == 0 && tree_scan(folder, cache, &two, &err) == 0);
    must(memcmp(one.digest, two.digest, sizeof(one.digest)) == 0 && one.files == two.files);
    tree_done(&two);
    must(mkdirat(dir_fd, "\x01 added here", 0700) == 0 || one.files > 1);
    must(tree_scan(folder, cache, &two, &err) == 0);
    must(two.files == one.files || memcmp(one.digest, two.digest, sizeof(one.digest)) != 0);
    tree_done(&one);
    tree_done(&two);
    close(dir_fd);
    scratch_remove(AT_FDCWD, folder);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!base[0]) {
        scratch_make(base, sizeof(base));
        umask(022);
    }
    if (size < 1)
        return 0;
    if (data[0] & 1)
        check_folder(data + 1, size - 1);
    else
        check_image(data + 1, size - 1);
    return 0;
}
