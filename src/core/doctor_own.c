/* SPDX-License-Identifier: Apache-2.0 */
/* What is LuminaGuard's own: its backends, its files, and QEMU. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/sha256.h"
#include "core/doctor.h"
#include "image/image.h"
#include "machine/qemu/qemu_args.h"

#define VERSION_TIMEOUT_MS 10000

const struct lum_backend *backend_named(const struct backend_list *backends, const char *name)
{
    for (size_t i = 0; i < backends->count; i++)
        if (strcmp(backends->list[i].name, name) == 0)
            return &backends->list[i];
    return NULL;
}

bool backend_is_fast(const struct lum_backend *backend)
{
    return backend && backend->usable && (backend->features & LUM_FEATURE_HARDWARE);
}

bool backend_any_usable(const struct backend_list *backends)
{
    for (size_t i = 0; i < backends->count; i++)
        if (backends->list[i].usable)
            return true;
    return false;
}

/* ---- files ---- */

#define HEAD_SIZE   1024u
#define DIGEST_TEXT 17u /* 16 hexadecimal digits */

/* Offsets of the ELF header and of the x86 boot header (Documentation/arch/x86/boot.rst). */
enum { ELF_CLASS = 4, ELF_MACHINE = 18, BOOT_FLAG = 0x1fe, BOOT_MAGIC = 0x202 };

static const char *elf_name(const uint8_t *head)
{
    if (memcmp(head, "\177ELF", 4) != 0 || head[ELF_CLASS] != 2)
        return NULL;
    switch (le16_load(head + ELF_MACHINE)) {
    case 62: return "ELF, x86-64";
    case 183: return "ELF, arm64";
    default: return NULL;
    }
}

static const char *kernel_name(const uint8_t *head)
{
    if (le16_load(head + BOOT_FLAG) == 0xaa55 && memcmp(head + BOOT_MAGIC, "HdrS", 4) == 0)
        return "bzImage";
    return elf_name(head);
}

static const char *initrd_name(const uint8_t *head)
{
    if (memcmp(head, "070701", 6) == 0)
        return "cpio";
    return head[0] == 0x1f && head[1] == 0x8b ? "cpio in gzip" : NULL;
}

/* What rootfs options go through as well, so that a cut image is told here too. */
static const char *root_name(const char *path, struct lum_error *err)
{
    AUTO(plat_close) plat_fd fd = PLAT_FD_NONE;
    enum machine_root kind = MACHINE_ROOT_INITRD;

    if (image_open_root(path, NULL, NULL, &fd, &kind, err) < 0)
        return NULL;
    return kind == MACHINE_ROOT_EROFS ? "EROFS" : kind == MACHINE_ROOT_EXT4 ? "ext4" : "cpio";
}

static const char *kind_name(const char *path, plat_fd fd, uint64_t size, enum doctor_file kind,
                             struct lum_error *err)
{
    uint8_t head[HEAD_SIZE] = {0};
    const char *name = NULL;

    if (plat_file_pread(fd, head, size < sizeof(head) ? (size_t)size : sizeof(head), 0, path, err) <
        0)
        return NULL;
    switch (kind) {
    case DOCTOR_FILE_ROOT: return root_name(path, err);
    case DOCTOR_FILE_KERNEL: name = kernel_name(head); break;
    case DOCTOR_FILE_INITRD: name = initrd_name(head); break;
    case DOCTOR_FILE_PROGRAM: name = elf_name(head); break;
    }
    if (!name)
        lum_fail(err, LUM_EFORMAT, "%s: not a %s", path,
                 kind == DOCTOR_FILE_KERNEL   ? "kernel (ELF or bzImage)"
                 : kind == DOCTOR_FILE_INITRD ? "cpio archive"
                                              : "program");
    return name;
}

static int digest_of(const char *path, plat_fd fd, uint64_t size, char ret_text[DIGEST_TEXT],
                     struct lum_error *err)
{
    uint8_t piece[16 * 1024], digest[SHA256_SIZE];
    struct sha256 sum;

    sha256_init(&sum);
    for (uint64_t at = 0; at < size;) {
        size_t n = size - at < sizeof(piece) ? (size_t)(size - at) : sizeof(piece);
        int rc = plat_file_pread(fd, piece, n, at, path, err);

        if (rc < 0)
            return rc;
        sha256_add(&sum, piece, n);
        at += n;
    }
    sha256_done(&sum, digest);
    for (size_t i = 0; i < DIGEST_TEXT / 2; i++)
        snprintf(ret_text + 2 * i, 3, "%02x", digest[i]);
    return 0;
}

static void size_text(uint64_t size, char *text, size_t room)
{
    if (size < MIB)
        snprintf(text, room, "%llu KiB", (unsigned long long)((size + KIB - 1) / KIB));
    else
        snprintf(text, room, "%llu.%llu MiB", (unsigned long long)(size / MIB),
                 (unsigned long long)(size % MIB * 10 / MIB));
}

void doctor_check_file(struct findings *out, const char *name, const char *path,
                       enum doctor_file kind, const char *remedy)
{
    AUTO(plat_close) plat_fd fd = PLAT_FD_NONE;
    char digest[DIGEST_TEXT], size_as_text[32];
    const char *format = NULL;
    struct lum_error err;
    uint64_t size = 0;
    int rc = plat_file_open(path, &fd, &size, &err);

    if (rc == 0 && kind == DOCTOR_FILE_PROGRAM && access(path, X_OK) < 0)
        rc = lum_fail(&err, LUM_EACCES, "%s: may not be executed", path);
    if (rc == 0) {
        format = kind_name(path, fd, size, kind, &err);
        rc = format ? digest_of(path, fd, size, digest, &err) : err.code;
    }
    if (rc < 0) {
        finding_from_text(out, name, LUM_FINDING_BAD, err.text, remedy);
        return;
    }
    size_text(size, size_as_text, sizeof(size_as_text));
    finding_add(out, name, LUM_FINDING_GOOD, "%s, %s, sha256 %s, %s", format, size_as_text, digest,
                path);
}

/* ---- QEMU ---- */

/* The first in PATH; relative folders are left out, as the backend does. */
static bool find_qemu(const char *path_list, char *ret_path, size_t room)
{
    const char *dir = path_list ? path_list : "";

    for (size_t len; *dir; dir += len + (dir[len] == ':')) {
        len = strcspn(dir, ":");
        int n = snprintf(ret_path, room, "%.*s/%s", (int)len, dir, QEMU_PROGRAM);

        if (dir[0] == '/' && n > 0 && (size_t)n < room && access(ret_path, X_OK) == 0)
            return true;
    }
    return false;
}

/* Reads what the program writes until it ends or its time is over. */
static bool read_output(plat_fd fd, char *buf, size_t room)
{
    uint64_t end_ns = plat_now_ns() + VERSION_TIMEOUT_MS * 1000000ull;
    size_t used = 0;

    while (used < room - 1) {
        uint64_t now = plat_now_ns();

        if (now >= end_ns ||
            plat_wait_fd(fd, false, PLAT_FD_NONE, (int)((end_ns - now) / 1000000) + 1) != 1)
            return false;
        ssize_t n = plat_read(fd, buf + used, room - 1 - used);
        if (n < 0)
            return false;
        if (n == 0)
            break;
        used += (size_t)n;
    }
    buf[used] = '\0';
    return true;
}

/* "QEMU emulator version 7.2.22 (Debian ...)" to "7.2.22". */
static bool qemu_version(const char *program, char *ret_version, size_t room)
{
    /* Programs are started with the null device as their stdout; the shell puts it right. */
    const char *const argv[] = {"/bin/sh", "-c", "exec \"$0\" --version >&3", program, NULL};
    AUTO(plat_close) plat_fd out = PLAT_FD_NONE;
    static const char mark[] = " version ";
    struct plat_start start = PLAT_START_INIT;
    struct plat_process *process;
    struct lum_error ignored;
    char text[512];
    plat_fd pipe[2];

    if (plat_pipe(pipe, &ignored) < 0)
        return false;
    out = pipe[0];
    start.argv = argv;
    start.fds = &pipe[1];
    start.n_fds = 1;
    int rc = plat_process_start(&start, &process, &ignored);
    plat_close(&pipe[1]);
    if (rc < 0)
        return false;
    bool good = read_output(out, text, sizeof(text));
    plat_process_free(process);
    const char *at = good ? strstr(text, mark) : NULL;
    if (!at)
        return false;
    at += sizeof(mark) - 1;
    snprintf(ret_version, room, "%.*s", (int)strcspn(at, " \n"), at);
    return true;
}

void doctor_check_qemu(struct findings *out, const struct backend_list *backends,
                       const char *path_list)
{
    const struct lum_backend *backend = backend_named(backends, "qemu");
    char program[512], version[64];

    if (backend && !backend->usable) {
        finding_from_text(out, "qemu",
                          backend_any_usable(backends) ? LUM_FINDING_NOTE : LUM_FINDING_BAD,
                          backend->detail, "apt-get install qemu-system-x86");
        return;
    }
    if (!find_qemu(path_list, program, sizeof(program)))
        finding_add(out, "qemu", LUM_FINDING_NOTE, "%s is not on PATH", QEMU_PROGRAM);
    else if (!qemu_version(program, version, sizeof(version)))
        finding_add(out, "qemu", LUM_FINDING_NOTE, "%s, its version could not be read", program);
    else
        finding_add(out, "qemu", LUM_FINDING_GOOD, "version %s, %s", version, program);
}
