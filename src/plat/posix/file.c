/* SPDX-License-Identifier: Apache-2.0 */
/* Files: opening, whole positional reads, the cache folder. */
#include "plat/plat.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"

int plat_file_size(plat_fd fd, uint64_t *ret_size, struct lum_error *err)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return lum_fail_errno(err, errno, "stat descriptor %d", fd);
    *ret_size = (uint64_t)st.st_size;
    return 0;
}

plat_fd plat_device_open(const char *path)
{
    return open(path, O_RDWR | O_CLOEXEC | O_NOCTTY);
}

int plat_file_open(const char *path, plat_fd *ret_fd, uint64_t *ret_size, struct lum_error *err)
{
    /* Non-blocking, so that a fifo in a file's place cannot hang the open. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat st;

    if (fd < 0)
        return lum_fail_errno(err, errno, "open %s", path);
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return lum_fail(err, LUM_EINVAL, "%s: not a regular file", path);
    }
    *ret_fd = fd;
    *ret_size = (uint64_t)st.st_size;
    return 0;
}

int plat_file_pread(plat_fd fd, void *buf, size_t size, uint64_t offset, const char *name,
                    struct lum_error *err)
{
    size_t done = 0;

    while (done < size) {
        ssize_t n = pread(fd, (char *)buf + done, size - done, (off_t)(offset + done));
        if (n > 0)
            done += (size_t)n;
        else if (n == 0)
            return lum_fail(err, LUM_EFORMAT, "%s: truncated at byte %llu", name,
                            (unsigned long long)(offset + done));
        else if (errno != EINTR)
            return lum_fail_errno(err, errno, "read %s", name);
    }
    return 0;
}

/* Makes one folder and all its parents. path is changed and restored meanwhile. */
static int make_dirs(char *path, struct lum_error *err)
{
    for (char *p = path + 1;; p++) {
        if (*p != '/' && *p != '\0')
            continue;
        char end = *p;
        *p = '\0';
        if (mkdir(path, 0755) < 0 && errno != EEXIST) {
            int e = errno;
            return lum_fail_errno(err, e, "make folder %s", path);
        }
        *p = end;
        if (end == '\0')
            return 0;
    }
}

/* The password entry goes to buf: another thread of the caller may be asking for its own. */
static const char *home_dir(char *buf, size_t size)
{
    const char *home = getenv("HOME");
    struct passwd entry, *pw = NULL;

    if (home && home[0] == '/')
        return home;
    if (getpwuid_r(getuid(), &entry, buf, size, &pw) != 0 || !pw)
        return "/tmp";
    return pw->pw_dir && pw->pw_dir[0] == '/' ? pw->pw_dir : "/tmp";
}

int plat_cache_dir(const char *sub, char **ret_path, struct lum_error *err)
{
    const char *base = getenv("XDG_CACHE_HOME");
    char path[4096], entry[4096];
    int n;

    if (base && base[0] == '/')
        n = snprintf(path, sizeof(path), "%s/lumina/%s", base, sub);
    else
        n = snprintf(path, sizeof(path), "%s/.cache/lumina/%s", home_dir(entry, sizeof(entry)),
                     sub);
    if (n < 0 || (size_t)n >= sizeof(path))
        return lum_fail(err, LUM_EINVAL, "cache folder: path too long");
    int rc = make_dirs(path, err);
    if (rc < 0)
        return rc;
    char *copy = lum_strdup(path);
    if (!copy)
        return lum_fail(err, LUM_ENOMEM, "cache folder: out of memory");
    *ret_path = copy;
    return 0;
}
