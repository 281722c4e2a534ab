/* SPDX-License-Identifier: Apache-2.0 */
/* Copying a tree, and packing a folder to an image in the cache. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/image.h"
#include "plat/posix/tree.h"
#include "scratch.h"
#include "torture.h"

static char source[96], copy[96], cache[96];

static void make_file(const char *name, size_t size)
{
    static char content[20000];
    char path[128];

    memset(content, 'c', sizeof(content));
    snprintf(path, sizeof(path), "%s/%s", source, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0640);
    torture_must(fd >= 0 && write(fd, content, size) == (ssize_t)size, path);
    close(fd);
}

static void make_source(void)
{
    char path[128];

    snprintf(source, sizeof(source), "%s/source", torture_folder());
    snprintf(copy, sizeof(copy), "%s/copy", torture_folder());
    snprintf(cache, sizeof(cache), "%s/cache", torture_folder());
    torture_must(mkdir(source, 0755) == 0, source);
    make_file("file", 20000);
    make_file("empty", 0);
    snprintf(path, sizeof(path), "%s/folder", source);
    torture_must(mkdir(path, 0700) == 0, path);
    make_file("folder/inner", 100);
    snprintf(path, sizeof(path), "%s/link", source);
    torture_must(symlink("folder/inner", path) == 0, path);
}

static const char *tree_setup(void)
{
    make_source();
    return NULL;
}

static int fail(struct lum_error *err, int rc, const char *what)
{
    return lum_fail_errno(err, -rc, "%s", what);
}

static int transfer(struct tree_pack *pack, struct tree_unpack *unpack, struct lum_error *err)
{
    char buf[4096];
    const char *path;
    size_t n;
    int rc = 0;

    while (rc == 0 && (n = tree_pack_read(pack, buf, sizeof(buf))) > 0)
        rc = tree_unpack_write(unpack, buf, n);
    int read_errno = tree_pack_error(pack, &path);
    if (read_errno)
        return fail(err, -read_errno, "read the tree");
    if (rc == 0)
        rc = tree_unpack_finish(unpack);
    return rc < 0 ? fail(err, rc, "write the tree") : 0;
}

static void check_copy(void)
{
    char path[128];
    struct stat st;

    snprintf(path, sizeof(path), "%s/file", copy);
    torture_must(stat(path, &st) == 0 && st.st_size == 20000 && (st.st_mode & 0777) == 0640, path);
    snprintf(path, sizeof(path), "%s/link", copy);
    torture_must(stat(path, &st) == 0 && st.st_size == 100, path);
}

static int tree_play(struct lum_error *err)
{
    struct tree_unpack *unpack;
    struct tree_pack *pack;
    int rc = tree_pack_open(source, &pack);

    if (rc < 0)
        return fail(err, rc, "open the tree");
    rc = tree_unpack_open(copy, "copy", TREE_DROP_SETID, &unpack);
    if (rc < 0) {
        rc = fail(err, rc, "open the copy");
    } else {
        rc = transfer(pack, unpack, err);
        tree_unpack_close(unpack);
    }
    tree_pack_close(pack);
    inject_pause();
    if (rc == 0)
        check_copy();
    scratch_remove(AT_FDCWD, copy);
    inject_resume();
    return rc;
}

const struct scenario scenario_tree = {.name = "tree", .setup = tree_setup, .play = tree_play};

/* ---- images ---- */

static const char *image_setup(void)
{
    if (system("command -v mkfs.erofs >/dev/null") != 0)
        return "mkfs.erofs is not installed (apt-get install erofs-utils)";
    make_source();
    torture_must(setenv("XDG_CACHE_HOME", cache, 1) == 0, "environment");
    return NULL;
}

/* Nothing half made may be taken for an image later. */
static void check_image(plat_fd fd)
{
    uint8_t magic[4];

    torture_must(pread(fd, magic, sizeof(magic), 1024) == sizeof(magic) &&
                     memcmp(magic, "\xe2\xe1\xf5\xe0", 4) == 0,
                 "an EROFS image");
}

static int image_play(struct lum_error *err)
{
    enum machine_root kind;
    plat_fd fd = PLAT_FD_NONE;
    int rc = 0;

    for (int i = 0; i < 2 && rc == 0; i++) { /* made, then found */
        rc = image_open_root(source, NULL, NULL, &fd, &kind, err);
        inject_pause();
        torture_must((rc == 0) == (fd >= 0), "a descriptor exactly with success");
        if (rc == 0)
            check_image(fd);
        inject_resume();
        plat_close(&fd);
    }
    inject_pause();
    struct lum_error later;
    torture_must(image_open_root(source, NULL, NULL, &fd, &kind, &later) == 0, later.text);
    check_image(fd); /* whatever was left behind is no hindrance */
    plat_close(&fd);
    scratch_remove(AT_FDCWD, cache);
    inject_resume();
    return rc;
}

const struct scenario scenario_image = {.name = "image", .setup = image_setup, .play = image_play};
