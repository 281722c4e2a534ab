/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Folders become EROFS images by way of mkfs.erofs, and stay in the user's cache under the digest
 * of the tree they were made from. Uncompressed: packing takes less time, and the guest reads it
 * without unpacking, through the host's page cache which all guests of one image share.
 *
 * An image is written under "<digest>.tmp", whose lock its maker holds, and renamed when it is
 * whole and on disk. So whoever wants the same image waits for it instead of making it again, and
 * a temporary file without a lock is what a killed process left: the next pack removes it.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "image/image_internal.h"

#define CACHE_CAP      (8 * GIB)
#define CACHE_SUB      "rootfs"
#define IMAGE_SUFFIX   ".erofs"
#define TEMP_SUFFIX    ".tmp"
#define NAME_SIZE      (2 * SHA256_SIZE + 8)
#define MAX_ATTEMPTS   3
#define FORMAT_VERSION 1u /* raised when the same tree has to give another image than before */

/*
 * Change times come from a coarse clock. A tree that changed this short a time ago might change
 * again without showing it; its image is used once and not kept.
 */
#define SETTLE_NS        20000000u
#define SETTLE_COARSE_NS 2000000000u /* file systems that store whole seconds */

struct pack {
    const char *path;
    char *source; /* the same, absolute and without links */
    char *cache_dir;
    int dir_fd; /* of cache_dir */
    struct tree_place cache;
    char mkfs[PATH_MAX];
    struct stat mkfs_stat;
    void (*progress)(void *ctx, const char *text);
    void *ctx;
};

static void pack_done(struct pack *p)
{
    free(p->source);
    free(p->cache_dir);
    plat_close(&p->dir_fd);
}

static void auto_tree(struct tree *tree)
{
    tree_done(tree);
}

static void auto_fd(plat_fd *fd)
{
    plat_close(fd);
}

bool pack_is_folder(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static void tell(const struct pack *p, const char *fmt, ...) LUM_PRINTF(2, 3);

static void tell(const struct pack *p, const char *fmt, ...)
{
    char text[512];
    va_list ap;

    if (!p->progress)
        return;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (n > 0)
        p->progress(p->ctx, text);
}

static int find_mkfs(struct pack *p, struct lum_error *err)
{
    const char *at = getenv("PATH");

    while (at && *at) {
        size_t n = strcspn(at, ":");
        int len = snprintf(p->mkfs, sizeof(p->mkfs), "%.*s/mkfs.erofs", (int)n, at);

        if (at[0] == '/' && len > 0 && (size_t)len < sizeof(p->mkfs) &&
            access(p->mkfs, X_OK) == 0 && stat(p->mkfs, &p->mkfs_stat) == 0)
            return 0;
        at += n + (at[n] == ':');
    }
    return lum_fail(err, LUM_ENOENT,
                    "a folder is packed with mkfs.erofs, which is not in PATH: "
                    "install it (Debian, Ubuntu: apt-get install erofs-utils)");
}

static int pack_init(struct pack *p, struct lum_error *err)
{
    struct stat st;
    int rc = find_mkfs(p, err);

    if (rc < 0)
        return rc;
    p->source = realpath(p->path, NULL);
    if (!p->source)
        return lum_fail_errno(err, errno, "resolve");
    rc = plat_cache_dir(CACHE_SUB, &p->cache_dir, err);
    if (rc < 0)
        return rc;
    p->dir_fd = open(p->cache_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (p->dir_fd < 0 || fstat(p->dir_fd, &st) < 0)
        return lum_fail_errno(err, errno, "open cache folder %s", p->cache_dir);
    p->cache = (struct tree_place){st.st_dev, st.st_ino};
    return 0;
}

/* The image's name: the tree's digest with whatever else decides what the image is. */
static void image_key(const struct pack *p, const struct tree *tree, char ret_key[NAME_SIZE])
{
    const uint64_t fields[] = {
        FORMAT_VERSION,
        geteuid() == 0,
        /* Which mkfs.erofs: cheaper than running it for its version, and as good. */
        p->mkfs_stat.st_dev,
        p->mkfs_stat.st_ino,
        (uint64_t)p->mkfs_stat.st_size,
        (uint64_t)p->mkfs_stat.st_mtim.tv_sec,
    };
    uint8_t word[8], digest[SHA256_SIZE];
    struct sha256 hash;

    sha256_init(&hash);
    sha256_add(&hash, tree->digest, sizeof(tree->digest));
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        le64_store(word, fields[i]);
        sha256_add(&hash, word, sizeof(word));
    }
    sha256_done(&hash, digest);
    for (size_t i = 0; i < sizeof(digest); i++)
        snprintf(ret_key + 2 * i, 3, "%02x", digest[i]);
}

/* Opens the cached image and notes that it was used. False: there is none. */
static bool open_cached(const struct pack *p, const char *image, plat_fd *ret_fd)
{
    struct stat st;
    int fd = openat(p->dir_fd, image, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0)
        return false;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size == 0) {
        close(fd);
        return false;
    }
    /* For the eviction only, so a cache that cannot be written is no failure. */
    if (futimens(fd, NULL) < 0)
        tell(p, "cannot note the use of %s/%s", p->cache_dir, image);
    *ret_fd = fd;
    return true;
}

/* Is this open file still what the name stands for? */
static bool still_named(const struct pack *p, int fd, const char *name)
{
    struct stat by_fd, by_name;

    return fstat(fd, &by_fd) == 0 && fstatat(p->dir_fd, name, &by_name, AT_SYMLINK_NOFOLLOW) == 0 &&
           by_fd.st_dev == by_name.st_dev && by_fd.st_ino == by_name.st_ino;
}

static int lock(int fd, int how)
{
    int rc;

    do {
        rc = flock(fd, how);
    } while (rc < 0 && errno == EINTR);
    return rc;
}

/* The empty, locked temporary file. Waits while another process makes the same image. */
static int lock_temp(const struct pack *p, const char *temp, plat_fd *ret_fd, struct lum_error *err)
{
    for (;;) {
        AUTO(auto_fd)
        plat_fd fd = openat(p->dir_fd, temp, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

        if (fd < 0)
            return lum_fail_errno(err, errno, "create %s/%s", p->cache_dir, temp);
        int rc = lock(fd, LOCK_EX | LOCK_NB);
        if (rc < 0 && errno == EWOULDBLOCK) {
            tell(p, "waiting for another process that packs %s", p->path);
            rc = lock(fd, LOCK_EX);
        }
        if (rc < 0)
            return lum_fail_errno(err, errno, "lock %s/%s", p->cache_dir, temp);
        /* Whoever held the lock may have renamed or removed the file: then it is not ours. */
        if (!still_named(p, fd, temp))
            continue;
        if (ftruncate(fd, 0) < 0)
            return lum_fail_errno(err, errno, "empty %s/%s", p->cache_dir, temp);
        *ret_fd = STEAL_FD(fd);
        return 0;
    }
}

static bool has_suffix(const char *name, const char *suffix)
{
    size_t n = strlen(name), s = strlen(suffix);

    return n > s && strcmp(name + n - s, suffix) == 0;
}

/* The cache folder for reading, from its start. */
static DIR *list_dir(int dir_fd)
{
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;

    if (!dir && fd >= 0)
        close(fd);
    return dir;
}

static void remove_stale(const struct pack *p)
{
    DIR *dir = list_dir(p->dir_fd);
    const struct dirent *e;

    while (dir && (e = readdir(dir))) {
        if (!has_suffix(e->d_name, TEMP_SUFFIX))
            continue;
        AUTO(auto_fd) plat_fd fd = openat(p->dir_fd, e->d_name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
        if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0 && still_named(p, fd, e->d_name))
            unlinkat(p->dir_fd, e->d_name, 0);
    }
    if (dir)
        closedir(dir);
}

struct cached {
    char name[NAME_SIZE];
    uint64_t used_ns, bytes;
};

static int compare_use(const void *a, const void *b)
{
    uint64_t x = ((const struct cached *)a)->used_ns, y = ((const struct cached *)b)->used_ns;

    return x < y ? -1 : x > y;
}

/* A guest that runs from a removed image keeps it: the file lives as long as it is open. */
void pack_trim_cache(int dir_fd, uint64_t cap, const char *keep)
{
    AUTO(auto_free) struct cached *list = NULL;
    DIR *dir = list_dir(dir_fd);
    const struct dirent *e;
    size_t n = 0, capacity = 0;
    uint64_t total = 0;
    struct stat st;

    while (dir && (e = readdir(dir))) {
        if (!has_suffix(e->d_name, IMAGE_SUFFIX) || strlen(e->d_name) >= NAME_SIZE ||
            fstatat(dir_fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
            continue;
        uint64_t bytes = (uint64_t)st.st_blocks * 512;
        total += bytes;
        if (strcmp(e->d_name, keep) == 0)
            continue;
        if (n == capacity) {
            capacity = capacity ? capacity * 2 : 64;
            struct cached *more = lum_realloc(list, capacity * sizeof(*list));
            if (!more)
                break;
            list = more;
        }
        list[n].bytes = bytes;
        list[n].used_ns = (uint64_t)st.st_mtim.tv_sec * 1000000000u + (uint64_t)st.st_mtim.tv_nsec;
        memcpy(list[n++].name, e->d_name, strlen(e->d_name) + 1);
    }
    if (dir)
        closedir(dir);
    if (n > 1)
        qsort(list, n, sizeof(*list), compare_use);
    for (size_t i = 0; i < n && total > cap; i++)
        if (unlinkat(dir_fd, list[i].name, 0) == 0)
            total -= list[i].bytes;
}

/* "--exclude-regex=^PATH/": everything in the folder, but not the folder. Heap string. */
static char *exclude_option(const char *path)
{
    static const char start[] = "--exclude-regex=^";
    char *option = lum_calloc(1, sizeof(start) + 2 * strlen(path) + 2);

    if (!option)
        return NULL;
    memcpy(option, start, sizeof(start) - 1);
    char *at = option + sizeof(start) - 1;
    for (; *path; path++) {
        if (strchr("\\.[]{}()*+?^$|", *path))
            *at++ = '\\';
        *at++ = *path;
    }
    *at = '/';
    return option;
}

/* The last line of what mkfs.erofs said. */
static void last_line(plat_fd fd, char *ret_line, size_t size)
{
    char text[1024];
    struct lum_error ignored;
    uint64_t end = 0;
    size_t n = 0;

    if (plat_file_size(fd, &end, &ignored) == 0) {
        n = end < sizeof(text) - 1 ? (size_t)end : sizeof(text) - 1;
        if (plat_file_pread(fd, text, n, end - n, "messages", &ignored) < 0)
            n = 0;
    }
    while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == ' '))
        n--;
    text[n] = '\0';
    const char *newline = strrchr(text, '\n');
    snprintf(ret_line, size, "%.*s", (int)size - 1, newline ? newline + 1 : text);
}

static int start_and_wait(const char *const *argv, plat_fd messages, struct lum_error *err)
{
    struct plat_process *process;
    char line[160];
    int status;
    struct plat_start start = PLAT_START_INIT;

    start.argv = argv;
    start.err_fd = messages;
    start.die_with_thread = true;
    int rc = plat_process_start(&start, &process, err);

    if (rc < 0)
        return rc;
    plat_process_wait(process, -1, &status);
    plat_process_free(process);
    if (status == 0)
        return 0;
    last_line(messages, line, sizeof(line));
    return lum_fail(err, LUM_EOS, "mkfs.erofs failed with status %d%s%s", status,
                    line[0] ? ": " : "", line);
}

static int run_mkfs(const struct pack *p, const struct tree *tree, const char *temp,
                    struct lum_error *err)
{
    AUTO(auto_fd) plat_fd messages = PLAT_FD_NONE;
    char output[PATH_MAX];
    size_t n_left_out = 0, n = 0;

    int len = snprintf(output, sizeof(output), "%s/%s", p->cache_dir, temp);
    if (len < 0 || (size_t)len >= sizeof(output))
        return lum_fail(err, LUM_EINVAL, "path of the cache folder is too long");
    int rc = plat_memfile("mkfs.erofs messages", "", 0, &messages, err);
    if (rc < 0)
        return rc;

    for (size_t i = 0; i < tree->left_out.size; i++)
        n_left_out += tree->left_out.data[i] == '\0';
    const char **argv = lum_calloc(n_left_out + 6, sizeof(*argv));
    char **exclude = lum_calloc(n_left_out + 1, sizeof(*exclude));
    bool ready = argv && exclude;
    const char *path = (const char *)tree->left_out.data;
    for (size_t i = 0; ready && i < n_left_out; i++, path += strlen(path) + 1) {
        exclude[i] = exclude_option(path);
        ready = exclude[i] != NULL;
    }
    if (ready) {
        argv[n++] = p->mkfs;
        argv[n++] = "--quiet";
        if (geteuid() != 0)
            argv[n++] = "--all-root";
        for (size_t i = 0; i < n_left_out; i++)
            argv[n++] = exclude[i];
        argv[n++] = output;
        argv[n++] = p->source;
        rc = start_and_wait(argv, messages, err);
    } else {
        rc = lum_fail(err, LUM_ENOMEM, "out of memory");
    }
    for (size_t i = 0; exclude && i < n_left_out; i++)
        free(exclude[i]);
    free(exclude);
    free(argv);
    return rc;
}

/*
 * Makes the image of the tree under the temporary name. 1: done; 0: the tree changed meanwhile and
 * *tree is its new state.
 */
static int make_image(const struct pack *p, struct tree *tree, const char *temp, plat_fd temp_fd,
                      struct lum_error *err)
{
    tell(p, "packing %s (%llu files, %llu MiB)", p->path, (unsigned long long)tree->files,
         (unsigned long long)(tree->bytes / MIB));
    int rc = run_mkfs(p, tree, temp, err);
    if (rc < 0)
        return rc;

    struct tree after;
    rc = tree_scan(p->source, p->cache, &after, err);
    if (rc < 0)
        return rc;
    bool same = memcmp(after.digest, tree->digest, sizeof(after.digest)) == 0;
    tree_done(tree);
    *tree = after;
    if (!same)
        return 0;
    if (fsync(temp_fd) < 0)
        return lum_fail_errno(err, errno, "write the image to %s", p->cache_dir);
    return 1;
}

static bool is_settled(const struct tree *tree, uint64_t scanned_ns)
{
    uint64_t window = tree->newest_ns % 1000000000u ? SETTLE_NS : SETTLE_COARSE_NS;

    return tree->newest_ns < scanned_ns && scanned_ns - tree->newest_ns > window;
}

/* One attempt with the tree as it is now. 1: *ret_fd is the image; 0: it changed, try again. */
static int pack_once(const struct pack *p, struct lum_error *err, plat_fd *ret_fd)
{
    AUTO(auto_tree) struct tree tree = {0};
    AUTO(auto_fd) plat_fd temp_fd = PLAT_FD_NONE;
    char key[NAME_SIZE], image[NAME_SIZE + 8], temp[NAME_SIZE + 8];

    uint64_t scanned_ns = plat_realtime_ns();
    int rc = tree_scan(p->source, p->cache, &tree, err);
    if (rc < 0)
        return rc;
    image_key(p, &tree, key);
    snprintf(image, sizeof(image), "%s" IMAGE_SUFFIX, key);
    snprintf(temp, sizeof(temp), "%s" TEMP_SUFFIX, key);
    if (open_cached(p, image, ret_fd))
        return 1;

    remove_stale(p);
    rc = lock_temp(p, temp, &temp_fd, err);
    if (rc < 0)
        return rc;
    if (open_cached(p, image, ret_fd)) { /* made while we waited for the lock */
        unlinkat(p->dir_fd, temp, 0);
        return 1;
    }

    bool settled = is_settled(&tree, scanned_ns);
    rc = make_image(p, &tree, temp, temp_fd, err);
    plat_fd fd = PLAT_FD_NONE;
    if (rc == 1) {
        fd = openat(p->dir_fd, temp, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
            rc = lum_fail_errno(err, errno, "open %s/%s", p->cache_dir, temp);
        else if (settled && renameat(p->dir_fd, temp, p->dir_fd, image) < 0)
            rc = lum_fail_errno(err, errno, "rename %s/%s", p->cache_dir, temp);
    }
    if (rc != 1 || !settled)
        unlinkat(p->dir_fd, temp, 0);
    if (rc != 1) {
        plat_close(&fd);
        return rc;
    }
    pack_trim_cache(p->dir_fd, CACHE_CAP, image);
    *ret_fd = fd;
    return 1;
}

int pack_folder(const char *path, void (*progress)(void *ctx, const char *text), void *ctx,
                plat_fd *ret_fd, struct lum_error *err)
{
    struct pack p = {.path = path, .dir_fd = PLAT_FD_NONE, .progress = progress, .ctx = ctx};
    int rc = pack_init(&p, err);

    for (int i = 0; rc == 0 && i < MAX_ATTEMPTS; i++)
        rc = pack_once(&p, err, ret_fd);
    pack_done(&p);
    if (rc == 0)
        return lum_fail(err, LUM_EBUSY, "keeps changing while it is packed");
    return rc < 0 ? rc : 0;
}
