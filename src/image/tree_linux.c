/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state of a folder in one digest: the metadata of everything in it, in order of name. No file
 * is opened for it: the change time, which no program can set back, moves with every change of
 * contents, attributes or owner. Nothing outside the folder is reached: links are not followed.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "image/image_internal.h"

#define MAX_DEPTH    512u
#define MAX_LEFT_OUT 256u

struct walk {
    struct tree *tree;
    struct sha256 hash;
    struct tree_place cache;
    uint64_t root_dev;
    bool check_readable;
    unsigned depth, n_left_out;
    const char *root;    /* for messages */
    size_t len;          /* of path */
    char path[PATH_MAX]; /* relative to the root, "" for itself */
};

struct names {
    char **name;
    size_t n, capacity;
};

static void names_done(struct names *names)
{
    for (size_t i = 0; i < names->n; i++)
        free(names->name[i]);
    free(names->name);
}

static int cannot_read(const struct walk *w, int os_errno, struct lum_error *err)
{
    return lum_fail_errno(err, os_errno, "cannot read %s%s%s", w->root, w->len > 0 ? "/" : "",
                          w->path);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int read_names(const struct walk *w, DIR *dir, struct names *names, struct lum_error *err)
{
    for (;;) {
        errno = 0;
        const struct dirent *e = readdir(dir);
        if (!e && errno)
            return cannot_read(w, errno, err);
        if (!e)
            break;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        if (names->n == names->capacity) {
            size_t capacity = names->capacity ? names->capacity * 2 : 64;
            char **more = lum_realloc(names->name, capacity * sizeof(*more));
            if (!more)
                return lum_fail(err, LUM_ENOMEM, "out of memory");
            names->name = more;
            names->capacity = capacity;
        }
        names->name[names->n] = lum_strdup(e->d_name);
        if (!names->name[names->n])
            return lum_fail(err, LUM_ENOMEM, "out of memory");
        names->n++;
    }
    if (names->n > 1)
        qsort(names->name, names->n, sizeof(*names->name), compare_names);
    return 0;
}

static uint64_t time_ns(const struct timespec *t)
{
    return (uint64_t)t->tv_sec * 1000000000u + (uint64_t)t->tv_nsec;
}

static void hash_entry(struct walk *w, const char *name, const struct stat *st)
{
    const uint64_t fields[] = {
        st->st_dev,
        st->st_ino,
        st->st_mode,
        st->st_uid,
        st->st_gid,
        st->st_rdev,
        (uint64_t)st->st_size,
        time_ns(&st->st_mtim),
        time_ns(&st->st_ctim),
    };
    uint8_t record[sizeof(fields)];

    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        le64_store(record + 8 * i, fields[i]);
    sha256_add(&w->hash, name, strlen(name) + 1);
    sha256_add(&w->hash, record, sizeof(record));

    w->tree->files++;
    if (S_ISREG(st->st_mode))
        w->tree->bytes += (uint64_t)st->st_size;
    if (time_ns(&st->st_ctim) > w->tree->newest_ns)
        w->tree->newest_ns = time_ns(&st->st_ctim);
}

/* Its times tell as much, except where a file system is careless about those of links. */
static int hash_link(struct walk *w, int dir_fd, const char *name, struct lum_error *err)
{
    char target[PATH_MAX];
    ssize_t n = readlinkat(dir_fd, name, target, sizeof(target));

    if (n < 0)
        return cannot_read(w, errno, err);
    sha256_add(&w->hash, target, (size_t)n);
    return 0;
}

static bool belongs(const struct walk *w, const struct stat *st)
{
    return st->st_dev == w->root_dev && !(st->st_dev == w->cache.dev && st->st_ino == w->cache.ino);
}

static int leave_out(struct walk *w, struct lum_error *err)
{
    if (++w->n_left_out > MAX_LEFT_OUT)
        return lum_fail(err, LUM_EINVAL, "more than %u other file systems are mounted inside",
                        MAX_LEFT_OUT);
    wbuf_put(&w->tree->left_out, w->path, w->len + 1);
    if (w->tree->left_out.failed)
        return lum_fail(err, LUM_ENOMEM, "out of memory");
    return 0;
}

static int walk_folder(struct walk *w, int fd, struct lum_error *err);

/* w->path names the entry. */
static int walk_entry(struct walk *w, int dir_fd, const char *name, struct lum_error *err)
{
    struct stat st;

    if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return cannot_read(w, errno, err);
    if (S_ISDIR(st.st_mode) && !belongs(w, &st)) {
        /* Its times tell of contents that do not matter here. */
        st = (struct stat){.st_mode = st.st_mode, .st_uid = st.st_uid, .st_gid = st.st_gid};
        hash_entry(w, name, &st);
        return leave_out(w, err);
    }
    hash_entry(w, name, &st);
    if (S_ISLNK(st.st_mode))
        return hash_link(w, dir_fd, name, err);
    if (S_ISREG(st.st_mode) && w->check_readable && faccessat(dir_fd, name, R_OK, AT_EACCESS) < 0)
        return cannot_read(w, errno, err);
    if (!S_ISDIR(st.st_mode))
        return 0;
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return cannot_read(w, errno, err);
    return walk_folder(w, fd, err);
}

/* Takes fd. */
static int walk_folder(struct walk *w, int fd, struct lum_error *err)
{
    struct names names = {0};
    size_t len = w->len;
    DIR *dir = fdopendir(fd);

    if (!dir) {
        int e = errno;
        close(fd);
        return cannot_read(w, e, err);
    }
    int rc = ++w->depth > MAX_DEPTH
                 ? lum_fail(err, LUM_EINVAL, "more than %u folders inside each other", MAX_DEPTH)
                 : read_names(w, dir, &names, err);
    for (size_t i = 0; rc == 0 && i < names.n; i++) {
        size_t name_len = strlen(names.name[i]), slash = len > 0;

        if (name_len + slash >= sizeof(w->path) - len) {
            rc = lum_fail(err, LUM_EINVAL, "a path in it is too long");
            break;
        }
        if (slash)
            w->path[len] = '/';
        memcpy(w->path + len + slash, names.name[i], name_len + 1);
        w->len = len + slash + name_len;
        rc = walk_entry(w, fd, names.name[i], err);
    }
    /* An empty name cannot occur in a folder, so it marks the end of one. */
    sha256_add(&w->hash, "", 1);
    w->len = len;
    w->path[len] = '\0';
    w->depth--;
    names_done(&names);
    closedir(dir);
    return rc;
}

int tree_scan(const char *root, struct tree_place cache, struct tree *ret_tree,
              struct lum_error *err)
{
    struct tree tree = {0};
    struct walk w = {.tree = &tree, .cache = cache, .root = root, .check_readable = geteuid() != 0};
    struct stat st;

    sha256_init(&w.hash);
    int fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return cannot_read(&w, errno, err);
    if (fstat(fd, &st) < 0) {
        int e = errno;
        close(fd);
        return cannot_read(&w, e, err);
    }
    w.root_dev = st.st_dev;
    hash_entry(&w, "", &st);
    int rc = walk_folder(&w, fd, err);
    if (rc < 0) {
        tree_done(&tree);
        return rc;
    }
    sha256_done(&w.hash, tree.digest);
    *ret_tree = tree;
    return 0;
}

void tree_done(struct tree *tree)
{
    wbuf_done(&tree->left_out);
}
