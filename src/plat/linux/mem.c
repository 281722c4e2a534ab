/* SPDX-License-Identifier: Apache-2.0 */
/* Memory, anonymous files, and where this code was loaded from. */
#include "plat/plat.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/alloc.h"

int plat_memfile(const char *name, const void *data, size_t size, plat_fd *ret_fd,
                 struct lum_error *err)
{
    int fd = memfd_create(name, MFD_CLOEXEC);
    size_t done = 0;

    if (fd < 0)
        return lum_fail_errno(err, errno, "memfd_create %s", name);
    while (done < size) {
        ssize_t n = pwrite(fd, (const char *)data + done, size - done, (off_t)done);
        if (n < 0 && errno != EINTR) {
            int e = errno;
            close(fd);
            return lum_fail_errno(err, e, "write memory file %s", name);
        }
        if (n > 0)
            done += (size_t)n;
    }
    *ret_fd = fd;
    return 0;
}

int plat_self_dir(char **ret_path, struct lum_error *err)
{
    char buf[PATH_MAX], path[PATH_MAX];
    Dl_info info;

    /*
     * A shared liblumina is where the dynamic loader says; in a program that carries the library
     * inside, the loader knows only argv[0], and the program's own link is right.
     */
    if (dladdr((const void *)(uintptr_t)&plat_self_dir, &info) && info.dli_fname &&
        strstr(info.dli_fname, ".so") && realpath(info.dli_fname, path)) {
    } else {
        ssize_t n = readlink("/proc/self/exe", buf, sizeof(buf) - 1);
        if (n < 0)
            return lum_fail_errno(err, errno, "read /proc/self/exe");
        buf[n] = '\0';
        memcpy(path, buf, (size_t)n + 1);
    }
    char *slash = strrchr(path, '/');
    if (slash)
        *slash = '\0';
    char *copy = lum_strdup(path);
    if (!copy)
        return lum_fail(err, LUM_ENOMEM, "own folder: out of memory");
    *ret_path = copy;
    return 0;
}

int plat_ram_alloc(uint64_t size, void **ret_mem, struct lum_error *err)
{
    void *mem = mmap(NULL, size, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (mem == MAP_FAILED)
        return lum_fail_errno(err, errno, "map %llu MiB of guest memory",
                              (unsigned long long)(size / MIB));
    *ret_mem = mem;
    return 0;
}

void plat_ram_free(void *mem, uint64_t size)
{
    if (mem)
        munmap(mem, size);
}

uint64_t plat_ram_resident(const void *mem, uint64_t size)
{
    /* One byte a page; asked in pieces so that a 1 TiB guest needs no 256 MiB answer. */
    unsigned char vec[4096];
    const char *at = mem;
    uint64_t pages = 0, page = (uint64_t)sysconf(_SC_PAGESIZE);

    while (size > 0) {
        uint64_t piece = sizeof(vec) * page < size ? sizeof(vec) * page : size;
        /* seccomp io: mincore */
        if (mincore((void *)(uintptr_t)at, piece, vec) < 0)
            return pages * page;
        for (uint64_t i = 0; i < piece / page; i++)
            pages += vec[i] & 1;
        at += piece;
        size -= piece;
    }
    return pages * page;
}

int plat_ram_map_file(void *at, uint64_t size, plat_fd fd, uint64_t offset, struct lum_error *err)
{
    if (mmap(at, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, fd,
             (off_t)offset) == MAP_FAILED)
        return lum_fail_errno(err, errno, "map a file into guest memory");
    return 0;
}

/* The number under which /proc knows the process, whatever pid namespace we are in. */
static long long pid_in_proc(plat_fd pidfd)
{
    char path[64], text[512];

    snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t n = plat_read(fd, text, sizeof(text) - 1);
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    const char *pid = strstr(text, "\nPid:");
    return pid ? strtoll(pid + 5, NULL, 10) : -1;
}

plat_fd plat_rss_open(plat_fd pidfd)
{
    char path[64] = "/proc/self/statm";

    if (pidfd >= 0)
        snprintf(path, sizeof(path), "/proc/%lld/statm", pid_in_proc(pidfd));
    return open(path, O_RDONLY | O_CLOEXEC);
}

uint64_t plat_rss_read(plat_fd rss)
{
    char text[128], *end;
    ssize_t n = rss >= 0 ? plat_pread(rss, text, sizeof(text) - 1, 0) : 0;

    if (n <= 0)
        return 0;
    text[n] = '\0';
    (void)strtoull(text, &end, 10); /* the first figure is the size */
    return strtoull(end, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE);
}
