/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The receiving half of tree.h. The stream may come from a hostile guest: every name is a single
 * component looked up in the descriptor of its parent folder with O_NOFOLLOW, so neither a path nor
 * a link, whenever it was made, leads out of the copy.
 */
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
#include "tree.h"
#include "tree_record.h"

#define MAX_ERRNO 4095

/* A folder that the stream is inside of. Its mode and time are set when the stream leaves it. */
struct unpack_level {
    int fd;
    bool made; /* by us: one that was there keeps its mode and time */
    mode_t mode;
    time_t mtime;
    size_t path_len;
};

enum unpack_state { IN_HEADER, IN_PATH, IN_BODY, AT_END };

struct tree_unpack {
    struct unpack_level levels[TREE_MAX_DEPTH];
    unsigned depth;
    unsigned flags;
    enum unpack_state state;
    int error;
    int parent_fd; /* holds the root of the copy, under the name root_name */
    bool root_seen;
    bool sender_failed;
    char root_name[NAME_MAX + 1];
    uint8_t head[PROTO_TREE_HEADER];
    size_t have; /* bytes of the header, path or link target at hand */
    struct tree_record rec;
    char path[PROTO_MAX_PATH + 1];
    char folder[PROTO_MAX_PATH + 1]; /* path of the innermost level */
    char target[PROTO_MAX_PATH];
    int fd; /* the file being written, or -1 */
    uint64_t left;
};

static bool plain_name(const char *name)
{
    return name[0] != '\0' && !strchr(name, '/') && strcmp(name, ".") != 0 &&
           strcmp(name, "..") != 0 && strlen(name) <= NAME_MAX;
}

static int make_folders(char *path)
{
    for (char *p = path + 1;; p++) {
        char c = *p;
        if (c != '/' && c != '\0')
            continue;
        *p = '\0';
        int rc = mkdir(path, 0755);
        int error = errno;
        *p = c;
        if (rc < 0 && error != EEXIST)
            return -error;
        if (c == '\0')
            return 0;
    }
}

static int open_folder(char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0 && errno == ENOENT) {
        int rc = make_folders(path);
        if (rc < 0)
            return rc;
        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }
    return fd < 0 ? -errno : fd;
}

/* Splits dest into the folder that receives the copy and the copy's name there. */
static int place_root(struct tree_unpack *unpack, const char *dest, const char *own_name)
{
    char folder[PROTO_MAX_PATH + 1];
    size_t len = strlen(dest);
    const char *name = own_name;
    struct stat st;

    if (len == 0)
        return -ENOENT;
    if (len > PROTO_MAX_PATH)
        return -ENAMETOOLONG;
    memcpy(folder, dest, len + 1);

    bool into = dest[len - 1] == '/' || (stat(dest, &st) == 0 && S_ISDIR(st.st_mode));
    if (!into) {
        char *slash = strrchr(folder, '/');
        name = slash ? dest + (slash - folder) + 1 : dest;
        if (!slash)
            memcpy(folder, ".", 2);
        else if (slash == folder)
            slash[1] = '\0';
        else
            *slash = '\0';
    }
    if (strlen(name) > NAME_MAX)
        return -ENAMETOOLONG;
    if (!plain_name(name))
        return -EINVAL;
    memcpy(unpack->root_name, name, strlen(name) + 1);

    int fd = open_folder(folder);
    if (fd < 0)
        return fd;
    unpack->parent_fd = fd;
    return 0;
}

int tree_unpack_open(const char *dest, const char *own_name, unsigned flags,
                     struct tree_unpack **ret_unpack)
{
    struct tree_unpack *unpack = malloc(sizeof(*unpack));

    if (!unpack)
        return -ENOMEM;
    /* Field by field: clearing it all would touch pages that most copies never use. */
    unpack->depth = 0;
    unpack->flags = flags;
    unpack->state = IN_HEADER;
    unpack->error = 0;
    unpack->parent_fd = -1;
    unpack->root_seen = false;
    unpack->sender_failed = false;
    unpack->have = 0;
    unpack->path[0] = '\0';
    unpack->fd = -1;
    unpack->left = 0;

    int rc = place_root(unpack, dest, own_name);
    if (rc < 0) {
        tree_unpack_close(unpack);
        return rc;
    }
    *ret_unpack = unpack;
    return 0;
}

static mode_t wanted_mode(const struct tree_unpack *unpack)
{
    mode_t mode = (mode_t)unpack->rec.mode;

    return unpack->flags & TREE_DROP_SETID ? mode & (mode_t)~06000 : mode;
}

static int set_attributes(int fd, mode_t mode, time_t mtime)
{
    const struct timespec times[2] = {{.tv_sec = mtime}, {.tv_sec = mtime}};

    if (fchmod(fd, mode) < 0 || futimens(fd, times) < 0)
        return -errno;
    return 0;
}

static int leave_folder(struct tree_unpack *unpack)
{
    struct unpack_level *level = &unpack->levels[--unpack->depth];
    int rc = level->made ? set_attributes(level->fd, level->mode, level->mtime) : 0;

    close(level->fd);
    return rc;
}

/*
 * Leaves folders until the innermost one is the parent of unpack->path, and gives that parent's
 * descriptor and the name in it.
 */
static int find_parent(struct tree_unpack *unpack, int *ret_fd, const char **ret_name)
{
    if (unpack->rec.path_len == 0) {
        if (unpack->root_seen)
            return -EPROTO;
        unpack->root_seen = true;
        *ret_fd = unpack->parent_fd;
        *ret_name = unpack->root_name;
        return 0;
    }
    if (unpack->depth == 0)
        return -EPROTO; /* no root yet, or one that is no folder */

    for (;;) {
        const struct unpack_level *level = &unpack->levels[unpack->depth - 1];
        size_t len = level->path_len;
        bool inside = len == 0 ||
                      (strncmp(unpack->path, unpack->folder, len) == 0 && unpack->path[len] == '/');

        if (inside) {
            const char *name = unpack->path + (len ? len + 1 : 0);
            if (!plain_name(name))
                return -EPROTO;
            *ret_fd = level->fd;
            *ret_name = name;
            return 0;
        }
        int rc = leave_folder(unpack);
        if (rc < 0)
            return rc;
    }
}

static int enter_folder(struct tree_unpack *unpack, int parent, const char *name)
{
    if (unpack->depth == TREE_MAX_DEPTH)
        return -ELOOP;

    bool made = mkdirat(parent, name, 0700) == 0;
    if (!made && errno != EEXIST)
        return -errno;

    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -errno;

    struct unpack_level *level = &unpack->levels[unpack->depth++];
    level->fd = fd;
    level->made = made;
    level->mode = wanted_mode(unpack);
    level->mtime = (time_t)unpack->rec.mtime;
    level->path_len = unpack->rec.path_len;
    memcpy(unpack->folder, unpack->path, level->path_len);
    return 0;
}

/* Takes away what is in the way of a new file or link; a folder stays. */
static int make_way(int parent, const char *name)
{
    struct stat st;

    if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (S_ISDIR(st.st_mode))
        return -EISDIR;
    if (unlinkat(parent, name, 0) < 0 && errno != ENOENT)
        return -errno;
    return 0;
}

static int create_file(int parent, const char *name)
{
    const int how = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    int fd = openat(parent, name, how, 0600);

    if (fd < 0 && errno == EEXIST) {
        int rc = make_way(parent, name);
        if (rc < 0)
            return rc;
        fd = openat(parent, name, how, 0600);
    }
    return fd < 0 ? -errno : fd;
}

static int end_file(struct tree_unpack *unpack)
{
    int rc = set_attributes(unpack->fd, wanted_mode(unpack), (time_t)unpack->rec.mtime);

    if (close(unpack->fd) < 0 && rc == 0)
        rc = -errno;
    unpack->fd = -1;
    return rc;
}

static int end_link(struct tree_unpack *unpack)
{
    const struct timespec times[2] = {{.tv_sec = (time_t)unpack->rec.mtime},
                                      {.tv_sec = (time_t)unpack->rec.mtime}};
    const char *name = NULL;
    int parent = -1;

    unpack->target[unpack->have] = '\0';
    if (strlen(unpack->target) != unpack->have)
        return -EPROTO;
    int rc = find_parent(unpack, &parent, &name);
    if (rc == 0)
        rc = make_way(parent, name);
    if (rc < 0)
        return rc;
    if (symlinkat(unpack->target, parent, name) < 0)
        return -errno;
    /* Not every file system keeps times of links, and nobody relies on them. */
    (void)utimensat(parent, name, times, AT_SYMLINK_NOFOLLOW);
    return 0;
}

static int end_body(struct tree_unpack *unpack)
{
    int rc = unpack->rec.kind == PROTO_TREE_FILE ? end_file(unpack) : end_link(unpack);

    unpack->state = IN_HEADER;
    unpack->have = 0;
    return rc;
}

static int end_stream(struct tree_unpack *unpack)
{
    const struct tree_record *rec = &unpack->rec;

    if (!unpack->root_seen || rec->mode || rec->mtime || rec->size || rec->path_len)
        return -EPROTO;
    unpack->state = AT_END;
    while (unpack->depth > 0) {
        int rc = leave_folder(unpack);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* The header and the path of a record are there. */
static int begin_record(struct tree_unpack *unpack)
{
    const struct tree_record *rec = &unpack->rec;
    const char *name = NULL;
    int parent = -1;
    int rc;

    unpack->path[rec->path_len] = '\0';
    unpack->have = 0;
    unpack->left = rec->size;
    unpack->state = IN_HEADER;
    if (strlen(unpack->path) != rec->path_len)
        return -EPROTO;

    switch (rec->kind) {
    case PROTO_TREE_END: return end_stream(unpack);
    case PROTO_TREE_ERROR:
        unpack->sender_failed = true;
        return rec->mode > 0 && rec->mode <= MAX_ERRNO ? -(int)rec->mode : -EIO;
    case PROTO_TREE_DIR:
        rc = rec->size ? -EPROTO : find_parent(unpack, &parent, &name);
        return rc < 0 ? rc : enter_folder(unpack, parent, name);
    case PROTO_TREE_FILE:
        rc = find_parent(unpack, &parent, &name);
        if (rc == 0)
            rc = create_file(parent, name);
        if (rc < 0)
            return rc;
        unpack->fd = rc;
        break;
    case PROTO_TREE_LINK:
        if (rec->size == 0 || rec->size >= sizeof(unpack->target))
            return rec->size ? -ENAMETOOLONG : -EPROTO;
        break;
    default: return -EPROTO;
    }
    unpack->state = IN_BODY;
    return unpack->left == 0 ? end_body(unpack) : 0;
}

static int begin_path(struct tree_unpack *unpack)
{
    struct tree_record *rec = &unpack->rec;

    tree_record_decode(unpack->head, rec);
    unpack->have = 0;
    unpack->path[0] = '\0';
    if (rec->path_len > PROTO_MAX_PATH || rec->mtime > INT64_MAX)
        return -EPROTO;
    if (rec->mode > 07777 && rec->kind != PROTO_TREE_ERROR)
        return -EPROTO;
    unpack->state = IN_PATH;
    return rec->path_len == 0 ? begin_record(unpack) : 0;
}

/* Collects bytes until want are there; returns how many it took. */
static size_t collect(struct tree_unpack *unpack, void *place, size_t want, const uint8_t *data,
                      size_t size)
{
    size_t n = want - unpack->have < size ? want - unpack->have : size;

    memcpy((uint8_t *)place + unpack->have, data, n);
    unpack->have += n;
    return n;
}

static int write_body(struct tree_unpack *unpack, const uint8_t *data, size_t size, size_t *ret_n)
{
    if (unpack->rec.kind == PROTO_TREE_LINK) {
        *ret_n = collect(unpack, unpack->target, (size_t)unpack->rec.size, data, size);
        unpack->left -= *ret_n;
        return 0;
    }

    size_t want = unpack->left < size ? (size_t)unpack->left : size;
    ssize_t n = write(unpack->fd, data, want);
    if (n < 0 && errno != EINTR)
        return -errno;
    *ret_n = n < 0 ? 0 : (size_t)n;
    unpack->left -= *ret_n;
    return 0;
}

static int step(struct tree_unpack *unpack, const uint8_t *data, size_t size, size_t *ret_n)
{
    int rc;

    switch (unpack->state) {
    case IN_HEADER:
        *ret_n = collect(unpack, unpack->head, PROTO_TREE_HEADER, data, size);
        return unpack->have == PROTO_TREE_HEADER ? begin_path(unpack) : 0;
    case IN_PATH:
        *ret_n = collect(unpack, unpack->path, unpack->rec.path_len, data, size);
        return unpack->have == unpack->rec.path_len ? begin_record(unpack) : 0;
    case IN_BODY:
        rc = write_body(unpack, data, size, ret_n);
        return rc == 0 && unpack->left == 0 ? end_body(unpack) : rc;
    case AT_END: break;
    }
    return -EPROTO; /* bytes after the end */
}

int tree_unpack_write(struct tree_unpack *unpack, const void *data, size_t size)
{
    const uint8_t *p = data;

    while (size > 0 && unpack->error == 0) {
        size_t n = 0;

        unpack->error = step(unpack, p, size, &n);
        p += n;
        size -= n;
    }
    return unpack->error;
}

int tree_unpack_finish(struct tree_unpack *unpack)
{
    if (unpack->error == 0 && unpack->state != AT_END)
        unpack->error = -ENODATA;
    return unpack->error;
}

const char *tree_unpack_path(const struct tree_unpack *unpack)
{
    return unpack->path;
}

bool tree_unpack_sender_failed(const struct tree_unpack *unpack)
{
    return unpack->sender_failed;
}

/* A file that was cut off must not be taken for a whole one. */
static void drop_partial_file(struct tree_unpack *unpack)
{
    const struct unpack_level *level = unpack->depth ? &unpack->levels[unpack->depth - 1] : NULL;

    close(unpack->fd);
    if (level)
        (void)unlinkat(level->fd, unpack->path + (level->path_len ? level->path_len + 1 : 0), 0);
    else
        (void)unlinkat(unpack->parent_fd, unpack->root_name, 0);
}

void tree_unpack_close(struct tree_unpack *unpack)
{
    if (!unpack)
        return;
    if (unpack->fd >= 0)
        drop_partial_file(unpack);
    while (unpack->depth > 0)
        close(unpack->levels[--unpack->depth].fd);
    if (unpack->parent_fd >= 0)
        close(unpack->parent_fd);
    free(unpack);
}
