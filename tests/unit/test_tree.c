/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tree stream: round trips cut at every kind of place, what is replaced and what is kept, and
 * streams by somebody who wants out of the folder that was given to him.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto.h"
#include "tap.h"
#include "tree.h"

static char base[] = "/tmp/test_tree.XXXXXX";

static const char *in_base(const char *name)
{
    static char paths[4][PROTO_MAX_PATH];
    static unsigned next;
    char *path = paths[next++ % 4];

    snprintf(path, PROTO_MAX_PATH, "%s/%s", base, name);
    return path;
}

static void write_file(const char *path, const char *data, size_t size, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    if (fd < 0 || write(fd, data, size) != (ssize_t)size || fchmod(fd, mode) < 0)
        ok(false, "make %s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
}

static bool file_is(const char *path, const char *data, size_t size)
{
    static char found[1 << 20];
    int fd = open(path, O_RDONLY | O_NOFOLLOW);
    ssize_t n = fd < 0 ? -1 : read(fd, found, sizeof(found));

    if (fd >= 0)
        close(fd);
    return n == (ssize_t)size && memcmp(found, data, size) == 0;
}

static unsigned mode_of(const char *path)
{
    struct stat st;

    return lstat(path, &st) < 0 ? 0 : (unsigned)st.st_mode & 07777u;
}

static bool exists(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0;
}

/* Copies in pieces of that size; the result of the receiving end, or of the first step that failed.
 */
static int copy(const char *from, const char *to, const char *name, size_t piece, unsigned flags)
{
    static uint8_t buf[70000];
    struct tree_pack *pack = NULL;
    struct tree_unpack *unpack = NULL;
    size_t n;
    int rc = tree_pack_open(from, &pack);

    if (rc < 0)
        return rc;
    rc = tree_unpack_open(to, name, flags, &unpack);
    while (rc == 0 && (n = tree_pack_read(pack, buf, piece)) > 0)
        rc = tree_unpack_write(unpack, buf, n);
    if (rc == 0)
        rc = tree_unpack_finish(unpack);
    tree_pack_close(pack);
    tree_unpack_close(unpack);
    return rc;
}

static size_t record(uint8_t *p, unsigned kind, unsigned mode, uint64_t size, const char *path,
                     const char *body)
{
    size_t n = strlen(path);

    memset(p, 0, PROTO_TREE_HEADER);
    p[0] = (uint8_t)kind;
    p[1] = (uint8_t)mode;
    p[2] = (uint8_t)(mode >> 8);
    for (unsigned i = 0; i < 8; i++)
        p[13 + i] = (uint8_t)(size >> (8 * i));
    p[21] = (uint8_t)n;
    p[22] = (uint8_t)(n >> 8);
    memcpy(p + PROTO_TREE_HEADER, path, n);
    memcpy(p + PROTO_TREE_HEADER + n, body, strlen(body));
    return PROTO_TREE_HEADER + n + strlen(body);
}

/* One stream of up to four records after a root folder; the result of the receiving end. */
struct entry {
    unsigned kind, mode;
    const char *path, *body;
};

static int feed(const char *dest, unsigned flags, const struct entry *entries, size_t count)
{
    static uint8_t buf[65536];
    struct tree_unpack *unpack = NULL;
    size_t size = record(buf, PROTO_TREE_DIR, 0755, 0, "", "");
    int rc;

    for (size_t i = 0; i < count; i++) {
        const struct entry *e = &entries[i];
        size += record(buf + size, e->kind, e->mode, strlen(e->body), e->path, e->body);
    }
    size += record(buf + size, PROTO_TREE_END, 0, 0, "", "");
    rc = tree_unpack_open(dest, "x", flags, &unpack);
    if (rc == 0)
        rc = tree_unpack_write(unpack, buf, size);
    if (rc == 0)
        rc = tree_unpack_finish(unpack);
    tree_unpack_close(unpack);
    return rc;
}

static char big[300000];

static void make_source(void)
{
    const struct timespec times[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};

    for (size_t i = 0; i < sizeof(big); i++)
        big[i] = (char)(i * 7 + i / 251);
    mkdir(in_base("src"), 0755);
    mkdir(in_base("src/sub"), 0755);
    mkdir(in_base("src/sub/deep"), 0755);
    mkdir(in_base("src/empty"), 0700);
    write_file(in_base("src/big"), big, sizeof(big), 0644);
    write_file(in_base("src/sub/small"), "small", 5, 04751);
    write_file(in_base("src/sub/deep/none"), "", 0, 0600);
    if (symlink("../big", in_base("src/sub/link")) < 0 || mkfifo(in_base("src/fifo"), 0600) < 0)
        ok(false, "make links: %s", strerror(errno));
    utimensat(AT_FDCWD, in_base("src/big"), times, 0);
    chmod(in_base("src/sub"), 0555);
    utimensat(AT_FDCWD, in_base("src/sub"), times, 0);
}

static void check_copy(const char *name)
{
    char path[256];
    char target[64];
    struct stat st;

#define AT(rest) (snprintf(path, sizeof(path), "%s%s", name, rest), in_base(path))
    ok(file_is(AT("/big"), big, sizeof(big)), "%s: large file", name);
    ok(file_is(AT("/sub/small"), "small", 5), "%s: small file", name);
    ok(file_is(AT("/sub/deep/none"), "", 0), "%s: empty file", name);
    ok(mode_of(AT("/sub")) == 0555, "%s: mode of a folder is set in the end", name);
    ok(mode_of(AT("/empty")) == 0700, "%s: empty folder", name);
    ok(!exists(AT("/fifo")), "%s: no fifo", name);
    ssize_t n = readlink(AT("/sub/link"), target, sizeof(target));
    ok(n == 6 && memcmp(target, "../big", 6) == 0, "%s: link", name);
    ok(lstat(AT("/big"), &st) == 0 && st.st_mtime == 1000000000, "%s: time of a file", name);
    ok(lstat(AT("/sub"), &st) == 0 && st.st_mtime == 1000000000, "%s: time of a folder", name);
#undef AT
}

static void test_round_trip(void)
{
    const size_t pieces[] = {1, 7, 4096, 32768, 70000};
    char name[32];

    for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
        snprintf(name, sizeof(name), "copy%zu", pieces[i]);
        int rc = copy(in_base("src"), in_base(name), "src", pieces[i], 0);
        ok(rc == 0, "copy in pieces of %zu: %d", pieces[i], rc);
        check_copy(name);
    }
    ok(mode_of(in_base("copy7/sub/small")) == 04751, "set-user-id bit is kept");
    ok(copy(in_base("src"), in_base("plain"), "src", 512, TREE_DROP_SETID) == 0, "copy, no setid");
    ok(mode_of(in_base("plain/sub/small")) == 0751, "set-user-id bit is dropped");
}

static void test_destination(void)
{
    mkdir(in_base("there"), 0700);
    ok(copy(in_base("src/big"), in_base("there"), "big", 9999, 0) == 0 &&
           file_is(in_base("there/big"), big, sizeof(big)),
       "into a folder that exists");
    ok(copy(in_base("src/big"), in_base("new/folder/"), "other", 9999, 0) == 0 &&
           file_is(in_base("new/folder/other"), big, sizeof(big)),
       "into a folder that is made, because of the slash");
    ok(copy(in_base("src/big"), in_base("p/q/file"), "big", 9999, 0) == 0 &&
           file_is(in_base("p/q/file"), big, sizeof(big)),
       "to a path whose parents are made");
    ok(copy(in_base("src/sub/link"), in_base("alink"), "l", 9999, 0) == 0 &&
           readlink(in_base("alink"), (char[8]){0}, 8) == 6,
       "a link alone stays a link");
    write_file(in_base("there/big"), "old", 3, 0600);
    ok(link(in_base("there/big"), in_base("second")) == 0 &&
           copy(in_base("src/big"), in_base("there/big"), "x", 9999, 0) == 0 &&
           file_is(in_base("second"), "old", 3),
       "a file in the way is replaced, not written into");
    mkdir(in_base("there/isdir"), 0700);
    ok(feed(in_base("there"), 0, &(struct entry){PROTO_TREE_FILE, 0644, "a", "hello"}, 1) == 0 &&
           file_is(in_base("there/x/a"), "hello", 5),
       "folder into folder");
    ok(copy(in_base("src"), in_base("there"), "..", 9999, 0) == -EINVAL, "own name \"..\"");
    ok(copy(in_base("src"), in_base("there"), "a/b", 9999, 0) == -EINVAL, "own name with slash");
    ok(copy(in_base("src"), in_base("there"), "", 9999, 0) == -EINVAL, "own name empty");
    ok(copy(in_base("nothing"), in_base("y"), "y", 9, 0) == -ENOENT, "no source");
    ok(copy(in_base("src/fifo"), in_base("y"), "y", 9, 0) == -ENOTSUP, "a fifo as source");
    ok(copy(in_base("src/big"), in_base("there/big/more"), "y", 9, 0) == -ENOTDIR,
       "a file where a folder is needed");
}

static void test_hostile(void)
{
    const struct {
        const char *what;
        int rc;
        struct entry e[3];
        size_t count;
    } cases[] = {
        {"..", -EPROTO, {{PROTO_TREE_FILE, 0644, "..", "x"}}, 1},
        {"../up", -EPROTO, {{PROTO_TREE_FILE, 0644, "../up", "x"}}, 1},
        {"/abs", -EPROTO, {{PROTO_TREE_FILE, 0644, "/abs", "x"}}, 1},
        {"a/../../up",
         -EPROTO,
         {{PROTO_TREE_DIR, 0755, "a", ""}, {PROTO_TREE_FILE, 0644, "a/../../up", "x"}},
         2},
        {"a//b",
         -EPROTO,
         {{PROTO_TREE_DIR, 0755, "a", ""}, {PROTO_TREE_FILE, 0644, "a//b", "x"}},
         2},
        {"a/.", -EPROTO, {{PROTO_TREE_DIR, 0755, "a", ""}, {PROTO_TREE_DIR, 0755, "a/.", ""}}, 2},
        {"no parent", -EPROTO, {{PROTO_TREE_FILE, 0644, "q/f", "x"}}, 1},
        {"prefix is no parent",
         -EPROTO,
         {{PROTO_TREE_DIR, 0755, "a", ""}, {PROTO_TREE_FILE, 0644, "ab/f", "x"}},
         2},
        {"second root", -EPROTO, {{PROTO_TREE_DIR, 0755, "", ""}}, 1},
        {"through own link",
         -EPROTO,
         {{PROTO_TREE_LINK, 0777, "l", "/tmp"}, {PROTO_TREE_FILE, 0644, "l/f", "x"}},
         2},
        {"folder over own link",
         -ENOTDIR,
         {{PROTO_TREE_LINK, 0777, "l", "/tmp"}, {PROTO_TREE_DIR, 0755, "l", ""}},
         2},
        {"folder with size", -EPROTO, {{PROTO_TREE_DIR, 0755, "d", "body"}}, 1},
        {"kind 9", -EPROTO, {{9, 0644, "d", ""}}, 1},
        {"mode 0100000", -EPROTO, {{PROTO_TREE_FILE, 0x8000, "d", ""}}, 1},
        {"empty link", -EPROTO, {{PROTO_TREE_LINK, 0777, "d", ""}}, 1},
        {"sender's error", -EACCES, {{PROTO_TREE_ERROR, EACCES, "d", ""}}, 1},
        {"sender's error 0", -EIO, {{PROTO_TREE_ERROR, 0, "d", ""}}, 1},
    };

    mkdir(in_base("jail"), 0755);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char name[32];
        snprintf(name, sizeof(name), "jail/%zu", i);
        int rc = feed(in_base(name), TREE_DROP_SETID, cases[i].e, cases[i].count);
        ok(rc == cases[i].rc, "hostile: %s: %d", cases[i].what, rc);
    }
    ok(!exists(in_base("jail/up")) && !exists(in_base("up")) && !exists("/abs"),
       "nothing was written outside");

    /* A link that was there before, under the name of a file and of a folder. */
    write_file(in_base("victim"), "mine", 4, 0600);
    mkdir(in_base("outside"), 0755);
    mkdir(in_base("pre"), 0755);
    if (symlink(in_base("victim"), in_base("pre/f")) < 0 ||
        symlink(in_base("outside"), in_base("pre/d")) < 0)
        ok(false, "make links: %s", strerror(errno));
    const struct entry file = {PROTO_TREE_FILE, 0644, "f", "theirs"};
    const struct entry folder[] = {{PROTO_TREE_DIR, 0755, "d", ""},
                                   {PROTO_TREE_FILE, 0644, "d/f", "x"}};
    mkdir(in_base("pre/x"), 0755);
    if (rename(in_base("pre/f"), in_base("pre/x/f")) < 0 ||
        rename(in_base("pre/d"), in_base("pre/x/d")) < 0)
        ok(false, "move links: %s", strerror(errno));
    ok(feed(in_base("pre"), 0, &file, 1) == 0 && file_is(in_base("victim"), "mine", 4) &&
           file_is(in_base("pre/x/f"), "theirs", 6),
       "a link in the way of a file is replaced, not followed");
    ok(feed(in_base("pre"), 0, folder, 2) == -ENOTDIR && !exists(in_base("outside/f")),
       "a link in the way of a folder is not followed");
}

static void test_cut(void)
{
    static uint8_t buf[4096];
    struct tree_unpack *unpack = NULL;
    unsigned wrong = 0, partial = 0;
    size_t size = record(buf, PROTO_TREE_DIR, 0755, 0, "", "");

    size += record(buf + size, PROTO_TREE_FILE, 0644, 5, "f", "hello");
    size_t file_end = size;
    size += record(buf + size, PROTO_TREE_LINK, 0777, 3, "l", "abc");
    size += record(buf + size, PROTO_TREE_END, 0, 0, "", "");
    for (size_t cut = 0; cut <= size; cut++) {
        if (tree_unpack_open(in_base("cut/"), "c", 0, &unpack) < 0)
            break;
        int rc = tree_unpack_write(unpack, buf, cut);
        if (rc == 0)
            rc = tree_unpack_finish(unpack);
        tree_unpack_close(unpack);
        wrong += rc != (cut == size ? 0 : -ENODATA);
        partial += exists(in_base("cut/c/f")) != (cut >= file_end);
    }
    ok(wrong == 0, "every cut is noticed: %u were not", wrong);
    ok(partial == 0, "a file is there when it is whole, and only then");
    size_t root = record(buf + size, PROTO_TREE_FILE, 0644, 5, "", "hello") - 1;
    ok(tree_unpack_open(in_base("half"), "c", 0, &unpack) == 0 &&
           tree_unpack_write(unpack, buf + size, root) == 0 && exists(in_base("half")),
       "a single file, all but a byte of it");
    tree_unpack_close(unpack);
    ok(!exists(in_base("half")), "it is not left behind");

    int rc = tree_unpack_open(in_base("cut/"), "c", 0, &unpack);
    if (rc == 0) {
        rc = tree_unpack_write(unpack, buf, size);
        ok(rc == 0 && tree_unpack_write(unpack, "x", 1) == -EPROTO, "bytes after the end");
        ok(tree_unpack_finish(unpack) == -EPROTO, "a failure stays");
        tree_unpack_close(unpack);
    }
}

static void test_deep(void)
{
    char path[PROTO_MAX_PATH];
    size_t len = (size_t)snprintf(path, sizeof(path), "%s", in_base("deep"));

    for (unsigned i = 0; i < TREE_MAX_DEPTH; i++) {
        mkdir(path, 0755);
        memcpy(path + len, "/d", 3);
        len += 2;
    }
    ok(copy(in_base("deep"), in_base("deep2"), "d", 9999, 0) == 0, "%d levels", TREE_MAX_DEPTH);
    mkdir(path, 0755);
    ok(copy(in_base("deep"), in_base("deep3"), "d", 9999, 0) == -ELOOP, "one level more");
}

static void test_changes(void)
{
    static uint8_t buf[65536];
    struct tree_pack *pack = NULL;
    struct tree_unpack *unpack = NULL;
    const char *path = "";
    size_t n;
    int rc;

    write_file(in_base("shrinks"), big, sizeof(big), 0600);
    if (tree_pack_open(in_base("shrinks"), &pack) < 0 ||
        tree_unpack_open(in_base("shrunk"), "s", 0, &unpack) < 0 ||
        truncate(in_base("shrinks"), 100000) < 0) {
        ok(false, "set up: %s", strerror(errno));
        return;
    }
    while ((n = tree_pack_read(pack, buf, sizeof(buf))) > 0 &&
           tree_unpack_write(unpack, buf, n) == 0)
        continue;
    rc = tree_unpack_finish(unpack);
    ok(rc == -EIO, "a file that shrinks while it is read: %d", rc);
    ok(tree_pack_error(pack, &path) == EIO, "the sender knows as well");
    tree_pack_close(pack);
    tree_unpack_close(unpack);

    rc = copy("/proc/self/status", in_base("status"), "s", 100, 0);
    struct stat st;
    ok(rc == 0 && stat(in_base("status"), &st) == 0 && st.st_size > 100,
       "a file of /proc, whose size is said to be 0");
}

static void test_unreadable(void)
{
    if (geteuid() == 0) {
        tap_skip("unreadable file", "root reads everything");
        return;
    }
    mkdir(in_base("secret"), 0755);
    write_file(in_base("secret/f"), "x", 1, 0);
    ok(copy(in_base("secret"), in_base("secret2"), "s", 99, 0) == -EACCES, "unreadable file");
}

static void remove_tree(const char *path)
{
    DIR *dir;
    const struct dirent *entry;
    char below[2 * PROTO_MAX_PATH];

    chmod(path, 0700);
    dir = opendir(path);
    while (dir && (entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        snprintf(below, sizeof(below), "%s/%s", path, entry->d_name);
        if (unlink(below) < 0)
            remove_tree(below);
    }
    if (dir)
        closedir(dir);
    rmdir(path);
}

int main(void)
{
    umask(022);
    if (!mkdtemp(base))
        return 1;
    make_source();
    test_round_trip();
    test_destination();
    test_hostile();
    test_cut();
    test_deep();
    test_changes();
    test_unreadable();
    remove_tree(base);
    return tap_done();
}
