/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sending half: walks a tree with an explicit stack, one open folder per level, and stages one
 * record at a time. Contents of larger files go straight from the file into the caller's buffer.
 */
#include "tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto.h"
#include "tree_record.h"

/*
 * Up to this size a file is read before its header is written, so that the header tells the truth
 * even for files of /proc and /sys, whose size is not known beforehand.
 */
#define SMALL_FILE 16384

struct pack_level {
    DIR *dir;
    size_t path_len;
};

struct tree_pack {
    struct pack_level levels[TREE_MAX_DEPTH];
    unsigned depth;
    char path[PROTO_MAX_PATH + 1]; /* of the entry at hand, relative to the root */
    size_t path_len;
    int fd; /* the large file being sent, or -1 */
    uint64_t left;
    int error;
    bool short_file; /* the file ended before its size was reached; zeros fill it up */
    bool finished;   /* nothing comes after what is staged */
    size_t stage_start, stage_end;
    uint8_t stage[PROTO_TREE_HEADER + PROTO_MAX_PATH + SMALL_FILE];
};

static void stage_record(struct tree_pack *pack, uint8_t kind, uint32_t mode, int64_t mtime,
                         uint64_t size)
{
    struct tree_record rec = {.kind = kind, .mode = mode, .size = size};

    rec.mtime = mtime < 0 ? 0 : (uint64_t)mtime;
    rec.path_len = (uint16_t)pack->path_len;
    tree_record_encode(&rec, pack->stage);
    memcpy(pack->stage + PROTO_TREE_HEADER, pack->path, pack->path_len);
    pack->stage_start = 0;
    pack->stage_end = PROTO_TREE_HEADER + pack->path_len;
}

static void stage_error(struct tree_pack *pack, int error)
{
    pack->error = error;
    pack->finished = true;
    stage_record(pack, PROTO_TREE_ERROR, (uint32_t)error, 0, 0);
}

/* Where the body of a staged record goes; its size is put right by stage_body. */
static uint8_t *body_place(struct tree_pack *pack)
{
    return pack->stage + PROTO_TREE_HEADER + pack->path_len;
}

static void stage_with_body(struct tree_pack *pack, uint8_t kind, const struct stat *st,
                            size_t size)
{
    stage_record(pack, kind, (uint32_t)st->st_mode & 07777u, (int64_t)st->st_mtime, size);
    pack->stage_end += size;
}

static ssize_t read_some(int fd, void *buf, size_t size)
{
    ssize_t n;

    do {
        n = read(fd, buf, size);
    } while (n < 0 && errno == EINTR);
    return n;
}

/* Takes fd. */
static int pack_small(struct tree_pack *pack, int fd, const struct stat *st)
{
    size_t have = 0;
    int error = 0;

    while (have < SMALL_FILE) {
        ssize_t n = read_some(fd, body_place(pack) + have, SMALL_FILE - have);
        if (n < 0)
            error = -errno;
        if (n <= 0)
            break;
        have += (size_t)n;
    }
    close(fd);
    if (error)
        return error;
    if (have == SMALL_FILE && st->st_size == 0)
        return -EFBIG; /* size unknown, and more than can be held to count it */
    stage_with_body(pack, PROTO_TREE_FILE, st, have);
    return 0;
}

static int pack_file(struct tree_pack *pack, int dirfd, const char *name)
{
    struct stat st;
    /* O_NONBLOCK: should a fifo have taken the file's place, open must not wait for its writer. */
    int fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

    if (fd < 0)
        return -errno;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return -EBUSY; /* it was a regular file a moment ago */
    }
    if (st.st_size <= SMALL_FILE)
        return pack_small(pack, fd, &st);
    pack->fd = fd;
    pack->left = (uint64_t)st.st_size;
    stage_record(pack, PROTO_TREE_FILE, (uint32_t)st.st_mode & 07777u, (int64_t)st.st_mtime,
                 pack->left);
    return 0;
}

static int pack_link(struct tree_pack *pack, int dirfd, const char *name, const struct stat *st)
{
    ssize_t n = readlinkat(dirfd, name, (char *)body_place(pack), PROTO_MAX_PATH);

    if (n < 0)
        return -errno;
    if (n == PROTO_MAX_PATH)
        return -ENAMETOOLONG;
    stage_with_body(pack, PROTO_TREE_LINK, st, (size_t)n);
    return 0;
}

static int pack_folder(struct tree_pack *pack, int dirfd, const char *name, const struct stat *st)
{
    if (pack->depth == TREE_MAX_DEPTH)
        return -ELOOP;

    int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -errno;

    DIR *dir = fdopendir(fd);
    if (!dir) {
        int error = -errno;
        close(fd);
        return error;
    }
    pack->levels[pack->depth].dir = dir;
    pack->levels[pack->depth].path_len = pack->path_len;
    pack->depth++;
    stage_record(pack, PROTO_TREE_DIR, (uint32_t)st->st_mode & 07777u, (int64_t)st->st_mtime, 0);
    return 0;
}

/* Stages the record of one entry; -ENOTSUP when it is of a kind that is not copied. */
static int pack_entry(struct tree_pack *pack, int dirfd, const char *name)
{
    struct stat st;

    if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    if (S_ISREG(st.st_mode))
        return pack_file(pack, dirfd, name);
    if (S_ISLNK(st.st_mode))
        return pack_link(pack, dirfd, name, &st);
    if (S_ISDIR(st.st_mode))
        return pack_folder(pack, dirfd, name, &st);
    return -ENOTSUP;
}

static bool append_name(struct tree_pack *pack, const char *name)
{
    size_t len = strlen(name);
    size_t at = pack->path_len;

    if (at + 1 >= PROTO_MAX_PATH || len > PROTO_MAX_PATH - at - 1)
        return false;
    if (at > 0)
        pack->path[at++] = '/';
    memcpy(pack->path + at, name, len + 1);
    pack->path_len = at + len;
    return true;
}

static void cut_path(struct tree_pack *pack, size_t len)
{
    pack->path_len = len;
    pack->path[len] = '\0';
}

/* Stages the next record, or nothing when there was something to step over. */
static void pack_next(struct tree_pack *pack)
{
    if (pack->fd >= 0) {
        close(pack->fd);
        pack->fd = -1;
    }
    if (pack->short_file) {
        stage_error(pack, EIO);
        return;
    }
    if (pack->depth == 0) {
        cut_path(pack, 0);
        stage_record(pack, PROTO_TREE_END, 0, 0, 0);
        pack->finished = true;
        return;
    }

    struct pack_level *level = &pack->levels[pack->depth - 1];
    cut_path(pack, level->path_len);
    errno = 0;
    const struct dirent *entry = readdir(level->dir);
    if (!entry) {
        int error = errno;
        closedir(level->dir);
        pack->depth--;
        if (error)
            stage_error(pack, error);
        return;
    }
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
        return;
    if (!append_name(pack, entry->d_name)) {
        stage_error(pack, ENAMETOOLONG);
        return;
    }

    int rc = pack_entry(pack, dirfd(level->dir), entry->d_name);
    if (rc < 0 && rc != -ENOTSUP && rc != -ENOENT) /* -ENOENT: deleted since it was listed */
        stage_error(pack, -rc);
}

int tree_pack_open(const char *path, struct tree_pack **ret_pack)
{
    struct tree_pack *pack = malloc(sizeof(*pack));

    if (!pack)
        return -ENOMEM;
    /* Field by field: clearing it all would touch pages that most copies never use. */
    pack->depth = 0;
    pack->fd = -1;
    pack->left = 0;
    pack->error = 0;
    pack->short_file = false;
    pack->finished = false;
    cut_path(pack, 0);

    int rc = pack_entry(pack, AT_FDCWD, path);
    if (rc < 0) {
        tree_pack_close(pack);
        return rc;
    }
    *ret_pack = pack;
    return 0;
}

static size_t pack_body(struct tree_pack *pack, uint8_t *buf, size_t size)
{
    size_t want = pack->left < size ? (size_t)pack->left : size;

    if (!pack->short_file) {
        ssize_t n = read_some(pack->fd, buf, want);
        if (n > 0) {
            pack->left -= (uint64_t)n;
            return (size_t)n;
        }
        /* The size is promised already: keep the promise with zeros, then tell. */
        pack->short_file = true;
    }
    memset(buf, 0, want);
    pack->left -= want;
    return want;
}

size_t tree_pack_read(struct tree_pack *pack, void *buf, size_t size)
{
    uint8_t *out = buf;
    size_t done = 0;

    while (done < size) {
        size_t staged = pack->stage_end - pack->stage_start;

        if (staged > 0) {
            size_t n = staged < size - done ? staged : size - done;
            memcpy(out + done, pack->stage + pack->stage_start, n);
            pack->stage_start += n;
            done += n;
        } else if (pack->left > 0) {
            done += pack_body(pack, out + done, size - done);
        } else if (pack->finished) {
            break;
        } else {
            pack_next(pack);
        }
    }
    return done;
}

int tree_pack_error(const struct tree_pack *pack, const char **ret_path)
{
    if (pack->error)
        *ret_path = pack->path;
    return pack->error;
}

void tree_pack_close(struct tree_pack *pack)
{
    if (!pack)
        return;
    while (pack->depth > 0)
        closedir(pack->levels[--pack->depth].dir);
    if (pack->fd >= 0)
        close(pack->fd);
    free(pack);
}
