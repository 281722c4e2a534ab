/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hostile kernels and root file systems.
 *
 *     test_linux_boot BACKEND
 *
 * LUMINA_TEST_KERNEL is an ELF kernel, LUMINA_TEST_BZIMAGE the same as a bzImage, LUMINA_TEST_ROOT
 * an EROFS image, LUMINA_TEST_BUSYBOX a static busybox.
 *
 * A file that is wrong in itself is refused by lum_vm_create, by name, whichever backend is asked.
 * What only a guest can find out ends that guest: with an answer, within the deadline of the start.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test_linux_kit.h"

/* Only spent where a guest runs wild without an end. */
#define WILD_MS 4000

static char file[128]; /* the bent copy */

static uint64_t size_of(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

static bool copy_file(const char *from)
{
    return ok(host_sh("cp %s %s", from, file) == 0, "a copy of %s", from);
}

/* The first size bytes of a file; larger sizes first, as what is cut is gone. */
static bool cut_to(uint64_t size)
{
    return truncate(file, (off_t)size) == 0;
}

static void change(uint64_t at, const void *with, size_t size, void *ret_old)
{
    int fd = open(file, O_RDWR | O_CLOEXEC);
    bool good = fd >= 0 && (!ret_old || pread(fd, ret_old, size, (off_t)at) == (ssize_t)size) &&
                pwrite(fd, with, size, (off_t)at) == (ssize_t)size;

    if (!good)
        ok(false, "%s can be changed at %llu", file, (unsigned long long)at);
    if (fd >= 0)
        close(fd);
}

static struct lum_vm_options options_for(bool is_kernel, const char *backend)
{
    struct lum_vm_options o = vm_options();

    o.backend = backend;
    if (is_kernel)
        o.kernel = file;
    else
        o.rootfs = file;
    return o;
}

/* Refused by every backend, with an error that names the file. */
static void refused(const char *what, bool is_kernel)
{
    static const char *const backends[] = {"kvm", "qemu"};

    for (size_t i = 0; i < 2; i++) {
        struct lum_vm_options o = options_for(is_kernel, backends[i]);
        struct lum_error err = {0};
        lum_vm *vm = NULL;
        int rc = lum_vm_create(&o, &vm, &err);

        ok((rc == LUM_EFORMAT || rc == LUM_EINVAL) && strstr(err.text, file) && one_line(err.text),
           "%s, %s: %d %s", what, backends[i], rc, err.text);
        if (rc == 0)
            lum_vm_free(vm);
    }
}

/* Let in, or not; the guest starts, or not. An answer comes in time, and the worker is still there.
 */
static void answered(const char *what, bool is_kernel)
{
    struct lum_vm_options o = options_for(is_kernel, backend_name);
    struct lum_error err = {0}, ignored;
    char why[240] = "";
    struct run r;
    lum_vm *vm = NULL;

    o.memory_bytes = 128 * MIB;
    int rc = lum_vm_create(&o, &vm, &err);
    if (rc < 0) {
        ok(strstr(err.text, file) && one_line(err.text), "%s: refused: %d %s", what, rc, err.text);
        return;
    }
    rc = lum_vm_start(vm, WILD_MS, &err);
    if (rc == 0) {
        rc = sh_within(vm, "true", WILD_MS, &r);
        err = r.err;
    }
    if (rc == 0) {
        ok(true, "%s: it runs all the same", what);
    } else {
        bool ended = lum_vm_stop(vm, 0, &ignored) == 0 &&
                     lum_vm_wait(vm, run_ms, why, sizeof(why), &ignored) == 0;
        ok(ended && one_line(why) && !strstr(why, "died of signal"), "%s: %d %s; the end: %s", what,
           rc, err.text, why);
    }
    lum_vm_free(vm);
}

/* ---- ELF ---- */

struct bend {
    const char *what;
    uint64_t at; /* in the header or program header */
    unsigned size;
    uint64_t value;
};

#define EHDR(field) offsetof(Elf64_Ehdr, field), sizeof(((Elf64_Ehdr *)0)->field)
#define PHDR(field) offsetof(Elf64_Phdr, field), sizeof(((Elf64_Phdr *)0)->field)

static const struct bend elf_header[] = {
    {"ELF class 32", EI_CLASS, 1, ELFCLASS32},
    {"ELF big-endian", EI_DATA, 1, ELFDATA2MSB},
    {"ELF for another processor", EHDR(e_machine), EM_AARCH64},
    {"ELF relocatable", EHDR(e_type), ET_REL},
    {"no program headers", EHDR(e_phnum), 0},
    {"65535 program headers", EHDR(e_phnum), 65535},
    {"program headers of 0 bytes", EHDR(e_phentsize), 0},
    {"program headers of 57 bytes", EHDR(e_phentsize), 57},
    {"program headers at 2^63", EHDR(e_phoff), 1ull << 63},
    {"program headers that wrap", EHDR(e_phoff), UINT64_MAX - 10},
};

/* Of the first loadable segment. */
static const struct bend elf_load[] = {
    {"segment offset wraps", PHDR(p_offset), UINT64_MAX},
    {"segment offset 2^52 + 1", PHDR(p_offset), (1ull << 52) + 1},
    {"segment size in the file wraps", PHDR(p_filesz), UINT64_MAX},
    {"segment size in memory 0", PHDR(p_memsz), 0},
    {"segment size in memory wraps", PHDR(p_memsz), UINT64_MAX},
    {"segment address 0", PHDR(p_paddr), 0},
    {"segment address below 1 MiB", PHDR(p_paddr), 0xfffff},
    {"segment address wraps", PHDR(p_paddr), UINT64_MAX},
};

static const struct bend elf_wild[] = {
    {"segment of a tebibyte", PHDR(p_memsz), 1ull << 40},
    {"segment address 2^51", PHDR(p_paddr), 1ull << 51},
    {"segment address above memory", PHDR(p_paddr), 1ull << 31},
    {"segment at another offset", PHDR(p_offset), 1ull << 12},
    {"segment of no kind", PHDR(p_type), PT_NULL},
};

static void bend_and(void (*check)(const char *what, bool is_kernel), const struct bend *bend,
                     uint64_t base)
{
    uint64_t old = 0;

    change(base + bend->at, &bend->value, bend->size, &old);
    check(bend->what, true);
    change(base + bend->at, &old, bend->size, NULL);
}

struct elf {
    Elf64_Ehdr ehdr;
    Elf64_Phdr phdr[16];
    uint64_t load[2], note; /* places of program headers in the file */
    const Elf64_Phdr *note_header;
    uint64_t end; /* of what has to be there */
};

static bool read_elf(const char *path, struct elf *ret_elf)
{
    struct elf e = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    unsigned loads = 0;
    bool good =
        fd >= 0 && pread(fd, &e.ehdr, sizeof(e.ehdr), 0) == sizeof(e.ehdr) && e.ehdr.e_phnum <= 16;
    size_t size = e.ehdr.e_phnum * sizeof(e.phdr[0]);

    good = good && pread(fd, e.phdr, size, (off_t)e.ehdr.e_phoff) == (ssize_t)size;
    if (fd >= 0)
        close(fd);
    *ret_elf = e;
    for (unsigned i = 0; good && i < e.ehdr.e_phnum; i++) {
        const Elf64_Phdr *p = &ret_elf->phdr[i];
        uint64_t at = e.ehdr.e_phoff + i * sizeof(*p);

        if (p->p_type == PT_LOAD && loads < 2)
            ret_elf->load[loads++] = at;
        if (p->p_type == PT_NOTE) {
            ret_elf->note = at;
            ret_elf->note_header = p;
        }
        if (p->p_type == PT_LOAD && p->p_offset + p->p_filesz > ret_elf->end)
            ret_elf->end = p->p_offset + p->p_filesz;
    }
    return good && loads == 2 && ret_elf->note;
}

/* Numbers of the first note: of its name, of its contents; and the contents themselves. */
static void test_notes(const struct elf *e)
{
    const uint64_t note = e->note_header->p_offset;
    const struct bend bends[] = {
        {"note segment of 1 MiB", e->note + offsetof(Elf64_Phdr, p_filesz), 8, MIB},
        {"note segment past the end", e->note + offsetof(Elf64_Phdr, p_offset), 8, 1ull << 40},
        {"note name of 4 GiB", note, 4, 0xffffffff},
        {"note contents of 4 GiB", note + 4, 4, 0xffffffff},
        {"note contents past its segment", note + 4, 4, (uint32_t)e->note_header->p_filesz},
    };

    for (size_t i = 0; i < sizeof(bends) / sizeof(bends[0]); i++)
        bend_and(refused, &bends[i], 0);

    /* The entry point of PVH lies somewhere in the notes: each is made to point nowhere. */
    int fd = open(file, O_RDWR | O_CLOEXEC);
    static uint8_t notes[65536], bent[65536];
    size_t size =
        e->note_header->p_filesz < sizeof(notes) ? e->note_header->p_filesz : sizeof(notes);
    bool good = fd >= 0 && pread(fd, notes, size, (off_t)note) == (ssize_t)size;
    if (fd >= 0)
        close(fd);
    static const uint8_t xen[] = {18, 0, 0, 0, 'X', 'e', 'n', 0};
    uint8_t *at = good ? memmem(notes, size, xen, sizeof(xen)) : NULL;
    if (!ok(at != NULL, "the kernel has a PVH note"))
        return;
    memcpy(bent, notes, size);
    memset(bent + (at - notes) + sizeof(xen), 0xee, 4);
    change(note, bent, size, NULL);
    refused("entry point outside", true);
    memcpy(bent, notes, size);
    bent[at - notes - 4] = 5;
    change(note, bent, size, NULL);
    refused("entry point of 5 bytes", true);
    /* Without the note the header's entry counts. */
    memcpy(bent, notes, size);
    bent[at - notes] = 99;
    change(note, bent, size, NULL);
    const struct bend entry = {"entry point in no segment", EHDR(e_entry), 1ull << 62};
    bend_and(refused, &entry, 0);
    change(note, notes, size, NULL);
}

static void test_elf(const char *kernel)
{
    static struct elf e;
    struct bend bend;

    if (!copy_file(kernel) || !ok(read_elf(file, &e), "its headers"))
        return;
    for (size_t i = 0; i < sizeof(elf_header) / sizeof(elf_header[0]); i++)
        bend_and(refused, &elf_header[i], 0);
    bend = (struct bend){"program headers at the end", EHDR(e_phoff), size_of(file) - 1};
    bend_and(refused, &bend, 0);
    for (size_t i = 0; i < sizeof(elf_load) / sizeof(elf_load[0]); i++)
        bend_and(refused, &elf_load[i], e.load[0]);
    bend = (struct bend){"overlapping segments", PHDR(p_paddr), e.phdr[0].p_paddr};
    bend_and(refused, &bend, e.load[1]);
    test_notes(&e);
    for (size_t i = 0; i < sizeof(elf_wild) / sizeof(elf_wild[0]); i++)
        bend_and(answered, &elf_wild[i], e.load[0]);
    ok(host_sh("cmp %s %s", kernel, file) == 0, "every bend was taken back");
    struct lum_vm_options o = options_for(true, backend_name);
    lum_vm *vm = vm_up(&o);
    if (ok(vm != NULL, "the kernel itself runs"))
        vm_down(vm);

    const uint64_t cuts[] = {e.end - 1, e.end / 2, 4096, 4095, 64, 63, 1, 0};
    for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
        char what[64];
        snprintf(what, sizeof(what), "ELF cut to %llu bytes", (unsigned long long)cuts[i]);
        ok(cut_to(cuts[i]), "cut");
        refused(what, true);
    }
}

/* ---- bzImage ---- */

static const struct bend bz_refused[] = {
    {"no bzImage magic", 0x202, 4, 0},
    {"boot protocol 2.3", 0x206, 2, 0x0203},
    {"not loaded high", 0x211, 1, 0},
    {"no 64-bit entry", 0x236, 2, 0},
    {"setup header of 0 bytes", 0x201, 1, 0},
    {"setup header of 255 bytes", 0x201, 1, 255},
    {"kernel of 64 GiB", 0x1f4, 4, 0xffffffff},
    {"kernel of 0 bytes", 0x1f4, 4, 0},
    {"preferred address 0", 0x258, 8, 0},
    {"preferred address that wraps", 0x258, 8, UINT64_MAX},
    {"preferred address above 4 GiB", 0x258, 8, 1ull << 33},
    {"room of 0 bytes", 0x260, 4, 0},
};

static const struct bend bz_wild[] = {
    {"one sector of setup", 0x1f1, 1, 1},
    {"255 sectors of setup", 0x1f1, 1, 255},
    {"setup of 0 sectors", 0x1f1, 1, 0},
    {"room of 4 GiB", 0x260, 4, 0xffffffff},
    {"preferred address 3 GiB", 0x258, 8, 3ull << 30},
    {"preferred address 1 MiB", 0x258, 8, 1ull << 20},
    {"command line of 0 bytes", 0x238, 4, 0},
    {"initrd below 0 bytes", 0x22c, 4, 0},
};

static void test_bzimage(const char *kernel)
{
    if (!kernel || !copy_file(kernel))
        return;
    for (size_t i = 0; i < sizeof(bz_refused) / sizeof(bz_refused[0]); i++)
        bend_and(refused, &bz_refused[i], 0);
    for (size_t i = 0; i < sizeof(bz_wild) / sizeof(bz_wild[0]); i++)
        bend_and(answered, &bz_wild[i], 0);
    ok(host_sh("cmp %s %s", kernel, file) == 0, "every bend was taken back");

    uint64_t size = size_of(file);
    const uint64_t cuts[] = {size - 17, size / 2, 4096, 4095, 0x290, 0x28f, 512, 511, 64, 1, 0};
    for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
        char what[64];
        snprintf(what, sizeof(what), "bzImage cut to %llu bytes", (unsigned long long)cuts[i]);
        ok(cut_to(cuts[i]), "cut");
        refused(what, true);
    }
}

/* ---- images ---- */

static void test_cut_image(const char *kind)
{
    uint64_t size = size_of(file);
    const uint64_t cuts[] = {size - 1, size / 2, 4096, 4095, 2048, 2047, 1024, 1023, 1, 0};

    for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
        char what[64];
        snprintf(what, sizeof(what), "%s cut to %llu bytes", kind, (unsigned long long)cuts[i]);
        ok(cut_to(cuts[i]), "cut");
        refused(what, false);
    }
}

/* Damage that only the guest's kernel can see: its agent says so, and that is the answer. */
static void unbootable(const char *what)
{
    struct lum_vm_options o = options_for(false, backend_name);
    struct lum_error err = {0};
    lum_vm *vm = NULL;
    int rc = lum_vm_create(&o, &vm, &err);

    if (rc == 0)
        rc = lum_vm_start(vm, boot_ms, &err);
    ok(rc == LUM_EGUEST && strstr(err.text, "cannot boot: mount /dev/vda") && one_line(err.text),
       "%s: %d %s", what, rc, err.text);
    lum_vm_free(vm);
}

static void bend_image(const char *what, bool must_refuse, uint64_t at, uint64_t value,
                       unsigned size)
{
    uint64_t old = 0;

    change(at, &value, size, &old);
    if (must_refuse)
        refused(what, false);
    else
        unbootable(what);
    change(at, &old, size, NULL);
}

static void test_erofs(const char *image)
{
    if (!image || !copy_file(image))
        return;
    bend_image("EROFS without magic", true, 1024, 0, 4);
    bend_image("EROFS of 2^255 byte blocks", true, 1024 + 12, 255, 1);
    bend_image("EROFS of 2^32 blocks", true, 1024 + 36, 0xffffffff, 4);
    bend_image("EROFS with another root", false, 1024 + 14, 0xffff, 2);
    bend_image("EROFS with unknown features", false, 1024 + 80, 0xffffffff, 4);
    bend_image("EROFS with its inodes elsewhere", false, 1024 + 40, 0x7fffffff, 4);
    test_cut_image("EROFS");
}

static void test_ext4(const char *busybox)
{
    if (!busybox || host_sh("PATH=$PATH:/sbin:/usr/sbin; mkdir -p %s/r/bin && cp %s %s/r/bin/sh &&"
                            " rm -f %s && mkfs.ext4 -q -d %s/r %s 16M >/dev/null 2>&1",
                            scratch, busybox, scratch, file, scratch, file) != 0) {
        tap_skip("ext4 images", "no busybox or no mkfs.ext4 on this machine");
        return;
    }
    bend_image("ext4 without magic", true, 1024 + 56, 0, 2);
    bend_image("ext4 of 2^70 byte blocks", true, 1024 + 24, 60, 4);
    bend_image("ext4 of 2^32 blocks", true, 1024 + 4, 0xffffffff, 4);
    bend_image("ext4 without inodes", false, 1024 + 40, 0, 4);
    bend_image("ext4 with its first block elsewhere", false, 1024 + 20, 0xffffff, 4);
    bend_image("ext4 with unknown features", false, 1024 + 96, 0xffffffff, 4);
    test_cut_image("ext4");
}

static void test_cpio(const char *busybox)
{
    if (!busybox || host_sh("cd %s && rm -rf c && mkdir -p c/bin && cp %s c/bin/sh && cd c &&"
                            " find . | cpio -o -H newc >%s 2>/dev/null",
                            scratch, busybox, file) != 0) {
        tap_skip("cpio archives", "no busybox or no cpio on this machine");
        return;
    }
    uint64_t size = size_of(file);
    const uint64_t cuts[] = {size - 600, size / 2, 300, 111, 109, 6};
    for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
        char what[64];
        snprintf(what, sizeof(what), "cpio cut to %llu bytes", (unsigned long long)cuts[i]);
        ok(cut_to(cuts[i]), "cut");
        answered(what, false);
    }
    ok(cut_to(5), "cut");
    refused("cpio cut to 5 bytes", false);
    ok(host_sh("printf '\\037\\213junk that no one can unpack' >%s", file) == 0, "junk as gzip");
    answered("junk that begins like gzip", false);
    ok(host_sh("cd %s/c && find . | cpio -o -H newc 2>/dev/null | sed 's/0000/ffff/g' >%s", scratch,
               file) == 0,
       "nonsense numbers");
    answered("cpio with nonsense numbers", false);
}

/* ---- folders ---- */

static void test_folder(const char *busybox)
{
    struct run r;

    if (!busybox || host_sh("command -v mkfs.erofs >/dev/null") != 0) {
        tap_skip("folders", "no busybox or no mkfs.erofs on this machine");
        return;
    }
    ok(host_sh("rm -rf %s && mkdir -p %s/bin && cp %s %s/bin/busybox && cd %s &&"
               " for a in sh ls cat; do ln -s busybox bin/$a; done && mkfifo fifo &&"
               " ln -s loop loop && ln -s /etc/shadow out && ln -s .. up && ln bin/busybox hard &&"
               " touch \"$(printf 'new\\nline\\033[2J')\" \"$(printf 'latin\\377')\" &&"
               " truncate -s 1G sparse",
               file, file, busybox, file, file) == 0,
       "a folder full of traps");
    bool device = host_sh("cd %s && mknod null c 1 3 && mknod disk b 254 0", file) == 0;
    /* A socket of a program that is there. */
    ok(host_sh("cd %s && if command -v python3 >/dev/null; then python3 -c "
               "'import socket; socket.socket(socket.AF_UNIX).bind(\"socket\")'; fi",
               file) == 0,
       "with%s devices, a fifo and a socket", device ? "" : "out");
    struct lum_vm_options o = options_for(false, backend_name);
    lum_vm *vm = vm_up(&o);
    if (ok(vm != NULL, "it is packed and boots")) {
        int rc = sh(vm, "ls -la /; cat /out; test -p /fifo && echo fifo", &r);
        ok(rc == 0 && strstr(r.out, "fifo\n"), "and the guest sees it: %s", r.err.text);
        vm_down(vm);
    }
    ok(host_sh(
           "cd %s && i=0; while [ $i -lt 600 ]; do mkdir d && cd d || exit 1; i=$((i + 1)); done",
           file) == 0,
       "a folder of 600 levels");
    refused("a folder of 600 levels", false);
    ok(host_sh("rm -rf %s", file) == 0, "cleared");
}

/* What the caller may not read, an image of it may not hold: seen by somebody who is not root. */
static int create_as_nobody(void)
{
    struct lum_vm_options o = options_for(false, "qemu");
    struct lum_error err;
    lum_vm *vm;
    int status = 0;
    pid_t pid = fork();

    if (pid == 0) {
        bool dropped = geteuid() != 0 || (setgid(65534) == 0 && setuid(65534) == 0);
        if (!dropped || access(getenv("LUMINA_TEST_KERNEL"), R_OK) < 0)
            _exit(77);
        int rc = lum_vm_create(&o, &vm, &err);
        bool good = rc == LUM_EACCES && strstr(err.text, "secret") && one_line(err.text);
        if (!good)
            printf("# %d %s\n", rc, rc < 0 ? err.text : "created");
        fflush(stdout);
        _exit(good ? 0 : 1);
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

static void test_unreadable(void)
{
    if (host_sh("command -v mkfs.erofs >/dev/null") != 0) {
        tap_skip("an unreadable file", "no mkfs.erofs on this machine");
        return;
    }
    ok(host_sh("rm -rf %s && mkdir -p %s && echo x >%s/secret && chmod 000 %s/secret &&"
               " chmod 755 %s && chmod 777 %s/cache",
               file, file, file, file, scratch, scratch) == 0,
       "a folder with an unreadable file");
    int rc = create_as_nobody();
    if (rc == 77)
        tap_skip("an unreadable file", "another user cannot reach the build folder");
    else
        ok(rc == 0, "is refused, and the file is named");
    ok(host_sh("rm -rf %s", file) == 0, "cleared");
}

int main(int argc, char **argv)
{
    const char *kernel = kit_path("LUMINA_TEST_KERNEL"), *bzimage = kit_path("LUMINA_TEST_BZIMAGE"),
               *root = kit_path("LUMINA_TEST_ROOT"), *busybox = getenv("LUMINA_TEST_BUSYBOX");

    if (!kit_begin(argc, argv) || !kernel)
        return kit_end();
    snprintf(file, sizeof(file), "%s/bent", scratch);
    test_elf(kernel);
    test_bzimage(bzimage);
    test_erofs(root);
    test_ext4(busybox);
    test_cpio(busybox);
    test_folder(busybox);
    test_unreadable();
    return kit_end();
}
