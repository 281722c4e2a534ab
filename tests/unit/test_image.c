/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Root file systems: telling kinds apart, and the packing of folders: what is in the image, when it
 * is made again, and that failures and kills leave nothing behind. Stand-ins for mkfs.erofs, put
 * first in PATH, make it fail, hang or count.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/sha256.h"
#include "image/image.h"
#include "image/image_internal.h"
#include "tap.h"

static char top[PATH_MAX / 4]; /* everything this test makes is in here */
static char *path_at_start;

static void die(const char *what)
{
    printf("Bail out! %s: %s\n", what, strerror(errno));
    exit(1);
}

/* A path below top; four at a time. */
static const char *in_top(const char *fmt, ...) LUM_PRINTF(1, 2);

static const char *in_top(const char *fmt, ...)
{
    static char buf[4][PATH_MAX];
    static unsigned next;
    char *p = buf[next++ % 4];
    va_list ap;

    int n = snprintf(p, PATH_MAX, "%s/", top);
    va_start(ap, fmt);
    vsnprintf(p + n, PATH_MAX - (size_t)n, fmt, ap);
    va_end(ap);
    return p;
}

static void write_file(const char *path, const void *data, size_t size, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);

    if (fd < 0 || write(fd, data, size) != (ssize_t)size || fchmod(fd, mode) < 0)
        die(path);
    close(fd);
}

static void write_text(const char *path, const char *text, mode_t mode)
{
    write_file(path, text, strlen(text), mode);
}

static void make_dir(const char *path)
{
    if (mkdir(path, 0755) < 0 && errno != EEXIST)
        die(path);
}

static int run(const char *const *argv)
{
    struct plat_process *process;
    struct lum_error err = {0};
    int status;
    struct plat_start start = PLAT_START_INIT;

    start.argv = argv;
    int rc = plat_process_start(&start, &process, &err);

    if (rc < 0) {
        tap_note("%s", err.text);
        return rc;
    }
    plat_process_wait(process, -1, &status);
    plat_process_free(process);
    return status;
}

static int shell(const char *command)
{
    const char *argv[] = {"/bin/sh", "-c", command, NULL};

    return run(argv);
}

/* Until the change times of everything made so far are safely in the past. */
static void settle(void)
{
    const struct timespec t = {.tv_nsec = 60000000};

    nanosleep(&t, NULL);
}

static unsigned n_progress;
static char last_progress[512];

static void progress(void *ctx, const char *text)
{
    (void)ctx;
    n_progress++;
    snprintf(last_progress, sizeof(last_progress), "%s", text);
}

static struct lum_error error;

static int open_root(const char *path, plat_fd *fd, enum machine_root *kind)
{
    n_progress = 0;
    error.text[0] = '\0';
    return image_open_root(path, progress, NULL, fd, kind, &error);
}

static unsigned count_cached(const char *suffix)
{
    DIR *dir = opendir(in_top("cache/lumina/rootfs"));
    const struct dirent *e;
    unsigned n = 0;

    while (dir && (e = readdir(dir))) {
        size_t len = strlen(e->d_name), s = strlen(suffix);
        n += len > s && strcmp(e->d_name + len - s, suffix) == 0;
    }
    if (dir)
        closedir(dir);
    return n;
}

/* ---- SHA-256 ---- */

static bool digest_is(const char *text, size_t times, size_t piece, const char *want)
{
    uint8_t digest[SHA256_SIZE];
    char hex[2 * SHA256_SIZE + 1];
    struct sha256 s;
    size_t len = strlen(text);

    sha256_init(&s);
    for (size_t i = 0; i < times; i++)
        for (size_t at = 0; at < len; at += piece)
            sha256_add(&s, text + at, len - at < piece ? len - at : piece);
    sha256_done(&s, digest);
    for (size_t i = 0; i < sizeof(digest); i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    return strcmp(hex, want) == 0;
}

/* The examples of FIPS 180-4, and lengths around the end of a block (from sha256sum). */
static void test_sha256(void)
{
    static const char abc[] = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    char x[66];

    ok(digest_is("", 1, 1, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
       "sha256 of nothing");
    ok(digest_is("abc", 1, 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
       "sha256 of abc");
    for (size_t piece = 1; piece < 60; piece += 29)
        ok(digest_is(abc, 1, piece,
                     "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"),
           "sha256 of 56 bytes in pieces of %zu", piece);
    ok(digest_is("aaaaaaaaaa", 100000, 7,
                 "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"),
       "sha256 of a million");
    memset(x, 'x', sizeof(x));
    for (size_t n = 55; n <= 65; n++) {
        char command[PATH_MAX], want[65];

        x[n] = '\0';
        snprintf(command, sizeof(command), "printf %%s %s | sha256sum | cut -d' ' -f1 > %s/sum", x,
                 top);
        int rc = shell(command);
        FILE *f = fopen(in_top("sum"), "re");
        if (rc != 0 || !f || !fgets(want, sizeof(want), f))
            die("sha256sum");
        fclose(f);
        ok(digest_is(x, 1, 100, want), "sha256 of %zu bytes", n);
        x[n] = 'x';
    }
}

/* ---- kinds of files ---- */

static void check_kind(const char *name, const void *data, size_t size, int want_rc,
                       enum machine_root want_kind, const char *text)
{
    const char *path = in_top("%s", name);
    enum machine_root kind = MACHINE_ROOT_INITRD;
    plat_fd fd = PLAT_FD_NONE;

    write_file(path, data, size, 0644);
    int rc = open_root(path, &fd, &kind);
    if (want_rc < 0) {
        ok(rc == want_rc && fd == PLAT_FD_NONE && strncmp(error.text, "rootfs ", 7) == 0 &&
               strstr(error.text, text) && strstr(error.text, path),
           "%s is refused: %s", name, error.text);
        return;
    }
    uint8_t byte = 0;
    ok(rc == 0 && kind == want_kind, "%s is taken %s", name, error.text);
    ok(plat_file_pread(fd, &byte, 1, 0, name, &error) == 0 && byte == *(const uint8_t *)data &&
           pwrite(fd, "x", 1, 0) < 0,
       "and open for reading only");
    plat_close(&fd);
}

static void test_kinds(void)
{
    static uint8_t erofs[8192], ext4[8192];
    static const char cpio[200] = "0707010000", crc[200] = "0707020000", gz[100] = "\x1f\x8b\x08",
                      old[200] = "0707070000";
    const char *none = "not a folder, cpio, EROFS or ext4 image";
    enum machine_root kind;
    plat_fd fd = PLAT_FD_NONE;

    check_kind("cpio", cpio, sizeof(cpio), 0, MACHINE_ROOT_INITRD, "");
    check_kind("crc", crc, sizeof(crc), 0, MACHINE_ROOT_INITRD, "");
    check_kind("gz", gz, sizeof(gz), 0, MACHINE_ROOT_INITRD, "");
    check_kind("old", old, sizeof(old), LUM_EFORMAT, 0, none);
    check_kind("short", "x", 1, LUM_EFORMAT, 0, none);
    check_kind("empty", "", 0, LUM_EFORMAT, 0, none);
    check_kind("zeros", erofs, sizeof(erofs), LUM_EFORMAT, 0, none);

    le32_store(erofs + 1024, 0xe0f5e1e2);
    erofs[1024 + 12] = 12;
    le32_store(erofs + 1024 + 36, 2);
    check_kind("erofs", erofs, sizeof(erofs), 0, MACHINE_ROOT_EROFS, "");
    check_kind("erofs-cut", erofs, sizeof(erofs) - 1, LUM_EFORMAT, 0, "truncated image");
    check_kind("erofs-head", erofs, 1028, LUM_EFORMAT, 0, "damaged image");
    erofs[1024 + 12] = 70;
    check_kind("erofs-bits", erofs, sizeof(erofs), LUM_EFORMAT, 0, "damaged image");

    le16_store(ext4 + 1080, 0xef53);
    le32_store(ext4 + 1024 + 4, 8);
    check_kind("ext4", ext4, sizeof(ext4), 0, MACHINE_ROOT_EXT4, "");
    check_kind("ext4-cut", ext4, 8191, LUM_EFORMAT, 0, "truncated image");
    le32_store(ext4 + 1024 + 336, 1); /* means nothing yet */
    check_kind("ext4-32", ext4, sizeof(ext4), 0, MACHINE_ROOT_EXT4, "");
    le32_store(ext4 + 1024 + 96, 0x80);
    check_kind("ext4-64", ext4, sizeof(ext4), LUM_EFORMAT, 0, "truncated image");
    le32_store(ext4 + 1024 + 24, UINT32_MAX);
    check_kind("ext4-bits", ext4, sizeof(ext4), LUM_EFORMAT, 0, "damaged image");

    ok(open_root(in_top("nowhere"), &fd, &kind) == LUM_ENOENT && strstr(error.text, "nowhere"),
       "no such path: %s", error.text);
    ok(open_root("/dev/null", &fd, &kind) == LUM_EINVAL, "a device: %s", error.text);
    ok(fd == PLAT_FD_NONE, "nothing is opened on failure");
}

/* ---- folders ---- */

static bool has_xattr; /* the file system of the test's folder takes them */

static void make_tree(void)
{
    char big[70000];
    struct timespec times[2] = {{1000000, 0}, {1234567890, 0}};

    for (size_t i = 0; i < sizeof(big); i++)
        big[i] = (char)(i * 31 + i / 256);
    make_dir(in_top("tree"));
    make_dir(in_top("tree/etc"));
    make_dir(in_top("tree/empty dir"));
    make_dir(in_top("tree/set-id"));
    write_text(in_top("tree/hello"), "hello, guest\n", 0640);
    write_text(in_top("tree/set-id/file"), "#!/bin/sh\n", 04755);
    write_file(in_top("tree/big"), big, sizeof(big), 0444);
    write_text(in_top("tree/.hidden"), "", 0600);
    if ((symlink("../hello", in_top("tree/etc/link")) < 0 && errno != EEXIST) ||
        (symlink("/nowhere/at/all", in_top("tree/dangling")) < 0 && errno != EEXIST) ||
        (link(in_top("tree/hello"), in_top("tree/etc/hard")) < 0 && errno != EEXIST) ||
        (mkfifo(in_top("tree/fifo"), 0622) < 0 && errno != EEXIST) ||
        utimensat(AT_FDCWD, in_top("tree/hello"), times, 0) < 0)
        die("tree");
    has_xattr = setxattr(in_top("tree/big"), "user.note", "xattr-value-7391", 16, 0) == 0;
}

/* A mode as the image has it: the tools unpack and show less. (struct erofs_inode_compact) */
static mode_t mode_in_image(plat_fd fd, const char *fd_path, const char *file)
{
    char command[PATH_MAX], text[32] = "";
    uint8_t super[128], mode[2];

    snprintf(command, sizeof(command),
             "dump.erofs --path=%s %s | sed -n 's/^NID: \\([0-9]*\\).*/\\1/p' > %s/nid", file,
             fd_path, top);
    if (shell(command) != 0)
        return 0;
    FILE *f = fopen(in_top("nid"), "re");
    bool got = f && fgets(text, sizeof(text), f);
    if (f)
        fclose(f);
    if (!got || pread(fd, super, sizeof(super), 1024) != (ssize_t)sizeof(super))
        return 0;
    uint64_t inode = (uint64_t)le32_load(super + 40) * 4096 + strtoull(text, NULL, 10) * 32;
    return pread(fd, mode, sizeof(mode), (off_t)inode + 4) == 2 ? le16_load(mode) : 0;
}

/* Unpacks the image and compares everything that a user sees. */
static void check_image(plat_fd fd)
{
    char fd_path[64], command[PATH_MAX * 2];

    snprintf(fd_path, sizeof(fd_path), "/proc/%d/fd/%d", (int)getpid(), fd);
    snprintf(command, sizeof(command),
             "cd %s && rm -rf out && mkdir out && fsck.erofs --preserve --extract=out %s &&"
             " diff -r --no-dereference --exclude=fifo tree out &&"
             " [ -p out/fifo ] &&"
             /* The set-user-id bit is lost in unpacking: looked at below. */
             " chmod 4755 out/set-id/file && (cd tree && find . -printf '%%P %%y %%m %%U %%G "
             "%%l\\n' | sort) > want &&"
             " (cd out && find . -printf '%%P %%y %%m %%U %%G %%l\\n' | sort) > got &&"
             " cmp want got",
             top, fd_path);
    if (geteuid() != 0) {
        tap_skip("contents of the image", "only root can unpack owners");
        return;
    }
    ok(shell(command) == 0, "the image holds what the folder does");
    ok(mode_in_image(fd, fd_path, "/set-id/file") == (S_IFREG | 04755),
       "set-user-id bits are kept");
    if (has_xattr) {
        snprintf(command, sizeof(command), "grep -aq xattr-value-7391 %s", fd_path);
        ok(shell(command) == 0, "extended attributes are in it");
    }
    snprintf(command, sizeof(command), "[ \"$(stat -c %%Y %s/out/hello)\" = 1234567890 ]", top);
    ok(shell(command) == 0, "file times are kept");
}

static void test_folder(void)
{
    struct stat first, second;
    enum machine_root kind = MACHINE_ROOT_INITRD;
    plat_fd a = PLAT_FD_NONE, b = PLAT_FD_NONE;

    make_tree();
    settle();
    if (!ok(open_root(in_top("tree"), &a, &kind) == 0, "folder is packed: %s", error.text))
        return;
    ok(kind == MACHINE_ROOT_EROFS && n_progress == 1 && strstr(last_progress, "packing "),
       "as EROFS, with a word about it: %s", last_progress);
    ok(count_cached(".erofs") == 1 && count_cached(".tmp") == 0, "one image in the cache");
    check_image(a);

    const struct timespec old[2] = {{1000, 0}, {1000, 0}};
    if (futimens(a, old) < 0)
        die("futimens");
    ok(open_root(in_top("tree/../tree/"), &b, &kind) == 0 && n_progress == 0,
       "the second time it is found by another name: %s", error.text);
    ok(fstat(a, &first) == 0 && fstat(b, &second) == 0 && first.st_ino == second.st_ino,
       "the same image");
    ok(first.st_mtim.tv_sec > 1000, "and its use is noted");
    plat_close(&b);

    /* Another byte, but same size and modification time. */
    struct timespec times[2] = {{1000000, 0}, {1234567890, 0}};
    write_text(in_top("tree/hello"), "hellO, guest\n", 0640);
    if (utimensat(AT_FDCWD, in_top("tree/hello"), times, 0) < 0)
        die("utimensat");
    settle();
    ok(open_root(in_top("tree"), &b, &kind) == 0 && n_progress == 1,
       "a change of contents is seen behind size and time: %s", error.text);
    check_image(b);
    plat_close(&b);

    static const char *const changes[] = {
        "chmod 600 tree/big",
        "mv tree/big tree/bigger",
        "ln -sfn ./hello tree/etc/link",
        "touch 'tree/empty dir/new'",
        "rm tree/.hidden",
        "rmdir tree/x 2>/dev/null; mkdir tree/x",
    };
    for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
        char command[PATH_MAX];

        snprintf(command, sizeof(command), "cd %s && %s", top, changes[i]);
        if (shell(command) != 0)
            die(command);
        settle();
        ok(open_root(in_top("tree"), &b, &kind) == 0 && n_progress == 1, "packed again after: %s",
           changes[i]);
        plat_close(&b);
    }
    plat_close(&a);
}

/* A stand-in for mkfs.erofs; REAL in it becomes the real one's path. */
static void fake_mkfs(const char *script)
{
    char text[2048], path[4096];

    make_dir(in_top("bin"));
    snprintf(text, sizeof(text), "#!/bin/sh\nTOP='%s'\nPATH='%s'\n%s\n", top, path_at_start,
             script);
    write_text(in_top("bin/mkfs.erofs"), text, 0755);
    snprintf(path, sizeof(path), "%s/bin:%s", top, path_at_start);
    setenv("PATH", path, 1);
}

static void real_mkfs(void)
{
    setenv("PATH", path_at_start, 1);
}

static void test_failures(void)
{
    enum machine_root kind;
    plat_fd fd = PLAT_FD_NONE;
    unsigned before = count_cached(".erofs");

    setenv("PATH", "/nonexistent", 1);
    ok(open_root(in_top("tree"), &fd, &kind) == LUM_ENOENT &&
           strstr(error.text, "apt-get install erofs-utils"),
       "no mkfs.erofs: %s", error.text);

    fake_mkfs("for a; do prev=$out; out=$a; done\n"
              "echo half > \"$prev\"; echo first line >&2; echo disk on fire >&2; exit 3");
    ok(open_root(in_top("tree"), &fd, &kind) == LUM_EOS &&
           strstr(error.text, "mkfs.erofs failed with status 3: disk on fire"),
       "a failing one: %s", error.text);

    fake_mkfs("date +%N > $TOP/tree/changing; exec mkfs.erofs \"$@\"");
    ok(open_root(in_top("tree"), &fd, &kind) == LUM_EBUSY && strstr(error.text, "keeps changing"),
       "a folder that never rests: %s", error.text);
    real_mkfs();
    ok(count_cached(".erofs") == before && count_cached(".tmp") == 0 && fd == PLAT_FD_NONE,
       "failures leave nothing behind");

    /* Killed in the middle: the temporary file stays until the next pack of anything. */
    fake_mkfs("for a; do prev=$out; out=$a; done\n"
              "echo half > \"$prev\"; touch $TOP/hanging; exec sleep 100");
    settle();
    pid_t child = fork();
    if (child == 0) {
        open_root(in_top("tree"), &fd, &kind);
        _exit(0);
    }
    for (int i = 0; i < 1000 && access(in_top("hanging"), F_OK) < 0; i++)
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    ok(count_cached(".tmp") == 1, "a temporary file while it is packed");
    real_mkfs();
    make_dir(in_top("other"));
    settle();
    ok(open_root(in_top("other"), &fd, &kind) == 0, "another folder is packed: %s", error.text);
    ok(count_cached(".tmp") == 1, "which leaves the first one's file alone");
    plat_close(&fd);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    ok(count_cached(".tmp") == 1, "a killed process leaves its file");
    write_text(in_top("other/x"), "x", 0644);
    settle();
    ok(open_root(in_top("other"), &fd, &kind) == 0 && count_cached(".tmp") == 0,
       "the next pack removes it %s", error.text);
    plat_close(&fd);
    ok(open_root(in_top("tree"), &fd, &kind) == 0, "and the folder can be packed: %s", error.text);
    plat_close(&fd);
}

/* A tree that changed a moment ago may change again unseen: its image is not kept. */
static void test_fresh_tree(void)
{
    enum machine_root kind;
    plat_fd fd = PLAT_FD_NONE;
    bool not_kept = false;

    for (int i = 0; i < 50 && !not_kept; i++) {
        unsigned before = count_cached(".erofs");

        write_text(in_top("other/x"), "y", 0644);
        if (!ok(open_root(in_top("other"), &fd, &kind) == 0, "a fresh tree: %s", error.text))
            return;
        not_kept = count_cached(".erofs") == before;
        plat_close(&fd);
    }
    ok(not_kept && count_cached(".tmp") == 0, "the image of a fresh tree is not kept");
}

/* The first allocation fails, then the second, and so on until one pack gets all it asks for. */
static void test_out_of_memory(void)
{
    unsigned before = count_cached(".erofs");
    enum machine_root kind;
    plat_fd fd = PLAT_FD_NONE;
    long n = 0;
    int rc;

    write_text(in_top("other/x"), "memory", 0644);
    settle();
    do {
        lum_alloc_fail_at = n++;
        rc = open_root(in_top("other"), &fd, &kind);
        lum_alloc_fail_at = -1;
    } while (rc == LUM_ENOMEM && fd == PLAT_FD_NONE && count_cached(".tmp") == 0 &&
             count_cached(".erofs") == before && n < 1000);
    ok(rc == 0 && n > 5 && count_cached(".erofs") == before + 1,
       "out of memory at each of %ld allocations: %s", n, error.text);
    plat_close(&fd);
}

static void test_together(void)
{
    pid_t child[6];
    unsigned good = 0;
    enum machine_root kind;
    plat_fd fd;

    fake_mkfs("echo >> $TOP/runs; sleep 0.2; exec mkfs.erofs \"$@\"");
    write_text(in_top("other/x"), "together", 0644);
    settle();
    for (size_t i = 0; i < ARRAY_LEN(child); i++) {
        child[i] = fork();
        if (child[i] == 0)
            _exit(open_root(in_top("other"), &fd, &kind) == 0 ? 0 : 1);
    }
    for (size_t i = 0; i < ARRAY_LEN(child); i++) {
        int status = 1;
        waitpid(child[i], &status, 0);
        good += status == 0;
    }
    struct stat st = {0};
    ok(good == ARRAY_LEN(child) && count_cached(".tmp") == 0, "%u of 6 processes at once succeed",
       good);
    ok(stat(in_top("runs"), &st) == 0 && st.st_size == 1, "and pack once (%lld times)",
       (long long)st.st_size);
    real_mkfs();
}

/* The cache inside the folder: must not pack itself, nor count as a change. */
static void test_cache_inside(void)
{
    enum machine_root kind;
    plat_fd fd = PLAT_FD_NONE;
    char fd_path[64], command[PATH_MAX];

    setenv("XDG_CACHE_HOME", in_top("tree/a+b (c)"), 1);
    settle();
    if (!ok(open_root(in_top("tree"), &fd, &kind) == 0, "cache in the folder: %s", error.text))
        return;
    snprintf(fd_path, sizeof(fd_path), "/proc/%d/fd/%d", (int)getpid(), fd);
    snprintf(command, sizeof(command),
             "cd %s && rm -rf out2 && mkdir out2 && fsck.erofs --extract=out2 %s &&"
             " [ -d 'out2/a+b (c)/lumina/rootfs' ] &&"
             " [ -z \"$(ls -A 'out2/a+b (c)/lumina/rootfs')\" ] && [ -f out2/hello ]",
             top, fd_path);
    ok(shell(command) == 0, "the image has its folder, but empty");
    plat_close(&fd);
    settle();
    open_root(in_top("tree"), &fd, &kind);
    plat_close(&fd);
    ok(open_root(in_top("tree"), &fd, &kind) == 0 && n_progress == 0, "and it is found again");
    plat_close(&fd);
    setenv("XDG_CACHE_HOME", in_top("cache"), 1);
}

static void test_trim(void)
{
    static const char *const names[] = {"a.erofs", "b.erofs", "c.erofs", "keep.erofs", "x.txt"};
    char block[8192];
    DIR *dir;

    memset(block, 'b', sizeof(block));
    make_dir(in_top("trim"));
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        /* "keep" is the oldest, then b, a, c. */
        const struct timespec t[2] = {{0, 0}, {i == 3 ? 1 : i == 1 ? 10 : 20 + (time_t)i, 0}};

        write_file(in_top("trim/%s", names[i]), block, sizeof(block), 0644);
        if (utimensat(AT_FDCWD, in_top("trim/%s", names[i]), t, 0) < 0)
            die("trim");
    }
    sync(); /* blocks are counted when they are on disk */
    dir = opendir(in_top("trim"));
    if (!dir)
        die("trim");
    pack_trim_cache(dirfd(dir), 4 * sizeof(block) + 4096, "keep.erofs");
    ok(access(in_top("trim/a.erofs"), F_OK) == 0 && access(in_top("trim/b.erofs"), F_OK) == 0,
       "a cache below its cap is left alone");
    pack_trim_cache(dirfd(dir), 3 * sizeof(block) + 4096, "keep.erofs");
    ok(access(in_top("trim/b.erofs"), F_OK) < 0 && access(in_top("trim/a.erofs"), F_OK) == 0 &&
           access(in_top("trim/c.erofs"), F_OK) == 0,
       "the image that was not used for longest goes first");
    pack_trim_cache(dirfd(dir), 0, "keep.erofs");
    ok(access(in_top("trim/a.erofs"), F_OK) < 0 && access(in_top("trim/c.erofs"), F_OK) < 0 &&
           access(in_top("trim/keep.erofs"), F_OK) == 0 && access(in_top("trim/x.txt"), F_OK) == 0,
       "the one in use and other files stay");
    closedir(dir);
}

/* As another user: unreadable entries are named, and all files belong to root. */
static void test_not_root(void)
{
    char command[PATH_MAX * 2];

    if (geteuid() != 0) {
        tap_skip("as another user", "only root can become one");
        return;
    }
    snprintf(command, sizeof(command),
             "cd %s && chmod 755 . && rm -rf mine && mkdir -p mine/sub nobody-cache &&"
             " echo s > mine/sub/secret && chmod 755 mine mine/sub && chmod 600 mine/sub/secret &&"
             " chown -R 1234:1234 mine &&"
             " chown 65534:65534 nobody-cache",
             top);
    if (shell(command) != 0)
        die("chown");
    for (int round = 0; round < 3; round++) {
        int pipe_fd[2];
        char got[300] = "";
        enum machine_root kind;
        plat_fd fd = PLAT_FD_NONE;

        if (round == 1 && chmod(in_top("mine/sub"), 0700) < 0)
            die("chmod");
        if (round == 2 &&
            (chmod(in_top("mine/sub"), 0755) < 0 || chmod(in_top("mine/sub/secret"), 0644) < 0))
            die("chmod");
        if (pipe(pipe_fd) < 0)
            die("pipe");
        settle();
        pid_t child = fork();
        if (child == 0) {
            if (setgid(65534) < 0 || setuid(65534) < 0)
                _exit(9);
            setenv("XDG_CACHE_HOME", in_top("nobody-cache"), 1);
            int rc = open_root(in_top("mine"), &fd, &kind);
            if (rc == 0)
                snprintf(error.text, sizeof(error.text), "packed");
            ssize_t n = write(pipe_fd[1], error.text, strlen(error.text));
            _exit(n < 0 ? 9 : rc == 0 ? 0 : rc == LUM_EACCES ? 1 : 2);
        }
        close(pipe_fd[1]);
        ssize_t n = read(pipe_fd[0], got, sizeof(got) - 1);
        close(pipe_fd[0]);
        int status = -1;
        waitpid(child, &status, 0);
        if (round == 2)
            ok(status == 0, "readable now: %s", got);
        else
            ok(n > 0 && WEXITSTATUS(status) == 1 &&
                   strstr(got, round == 0 ? "/mine/sub/secret: Permission denied"
                                          : "/mine/sub: Permission denied"),
               "named: %s", got);
    }
    snprintf(command, sizeof(command),
             "cd %s && rm -rf out3 && mkdir out3 &&"
             " fsck.erofs --preserve --extract=out3 nobody-cache/lumina/rootfs/*.erofs &&"
             " [ \"$(stat -c %%u:%%g out3/sub/secret)\" = 0:0 ]",
             top);
    ok(shell(command) == 0, "packed by another user, files belong to root");
}

int main(void)
{
    const char *tmp = getenv("TMPDIR");
    char cleanup[PATH_MAX];

    path_at_start = getenv("PATH");
    snprintf(top, sizeof(top), "%s/lumina-image-XXXXXX", tmp && tmp[0] == '/' ? tmp : "/tmp");
    if (!path_at_start || !mkdtemp(top))
        die("mkdtemp");
    path_at_start = strdup(path_at_start);
    setenv("XDG_CACHE_HOME", in_top("cache"), 1);

    test_sha256();
    test_kinds();
    if (shell("command -v mkfs.erofs && command -v fsck.erofs") == 0) {
        test_folder();
        test_failures();
        test_fresh_tree();
        test_out_of_memory();
        test_together();
        test_cache_inside();
        test_not_root();
    } else {
        tap_skip("folders", "no mkfs.erofs");
    }
    test_trim();

    snprintf(cleanup, sizeof(cleanup), "chmod -R u+rwx %s; rm -rf %s", top, top);
    ok(shell(cleanup) == 0, "clean up");
    free(path_at_start);
    return tap_done();
}
