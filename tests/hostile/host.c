/* SPDX-License-Identifier: Apache-2.0 */
/* See host.h. */
#include "host.h"

#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "lumina.h"

#define ROOT_SIZE    (1 * MIB)
#define SUPER_OFFSET 1024u /* of an EROFS image; the guest reads behind it */
#define SUPER_MAGIC  0xe0f5e1e2u
#define STAGED       "LUMINA_TEST_STAGED"

static void must(bool good, const char *what)
{
    if (good)
        return;
    printf("Bail out! %s\n", what);
    exit(1);
}

/* ---- the watchdog ---- */

static char deadline_text[160];

static void on_alarm(int signo)
{
    (void)signo;
    if (write(STDOUT_FILENO, deadline_text, strlen(deadline_text)) < 0)
        _exit(2);
    _exit(1);
}

void deadline(const char *attack, unsigned seconds)
{
    alarm(0);
    snprintf(deadline_text, sizeof(deadline_text), "Bail out! %s: not over after %u s\n", attack,
             seconds);
    signal(SIGALRM, on_alarm);
    alarm(seconds);
}

/* ---- files ---- */

static void read_file(const char *path, uint8_t **ret_content, size_t *ret_size)
{
    FILE *f = fopen(path, "rb");
    struct stat st;

    must(f && fstat(fileno(f), &st) == 0, path);
    *ret_size = (size_t)st.st_size;
    *ret_content = malloc(*ret_size + 1);
    must(*ret_content && fread(*ret_content, 1, *ret_size, f) == *ret_size, path);
    fclose(f);
}

static void write_file(const char *path, const uint8_t *content, size_t size, mode_t mode)
{
    FILE *f = fopen(path, "wb");

    must(f && fwrite(content, 1, size, f) == size && fclose(f) == 0, path);
    must(chmod(path, mode) == 0, path);
}

/* Every word tells where it stands (guest/virtio.c, root_word), but for a superblock. */
static void fill_root(uint8_t *image)
{
    for (uint32_t i = 0; i < ROOT_SIZE / 4; i++)
        le32_store(image + 4 * (size_t)i, i * 2654435761u ^ 0x5bd1e995u);
    memset(image + SUPER_OFFSET, 0, 128);
    le32_store(image + SUPER_OFFSET, SUPER_MAGIC);
    image[SUPER_OFFSET + 12] = 12; /* blocks of 4 KiB */
    le32_store(image + SUPER_OFFSET + 36, ROOT_SIZE / 4096);
}

void files_make(struct files *files, const char *kernel)
{
    *files = (struct files){.folder = "/tmp/lumina-hostile-XXXXXX"};
    must(mkdtemp(files->folder) != NULL, "a folder in /tmp");
    snprintf(files->kernel.path, sizeof(files->kernel.path), "%s/kernel", files->folder);
    snprintf(files->root.path, sizeof(files->root.path), "%s/root", files->folder);
    read_file(kernel, &files->kernel.content, &files->kernel.size);
    files->root.size = ROOT_SIZE;
    files->root.content = malloc(ROOT_SIZE);
    must(files->root.content != NULL, "memory");
    fill_root(files->root.content);
    write_file(files->kernel.path, files->kernel.content, files->kernel.size, 0600);
    write_file(files->root.path, files->root.content, files->root.size, 0600);
}

static bool unchanged(const struct file *f)
{
    uint8_t *now;
    size_t size;

    read_file(f->path, &now, &size);
    bool same = size == f->size && memcmp(now, f->content, size) == 0;
    free(now);
    return same;
}

bool files_unchanged(const struct files *files)
{
    return unchanged(&files->kernel) && unchanged(&files->root);
}

void files_remove(struct files *files)
{
    unlink(files->kernel.path);
    unlink(files->root.path);
    rmdir(files->folder);
    free(files->kernel.content);
    free(files->root.content);
}

/* ---- a library with an agent beside it ---- */

static void copy_into(const char *folder, const char *from, const char *name)
{
    char path[512];
    uint8_t *content;
    size_t size;

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    read_file(from, &content, &size);
    write_file(path, content, size, 0700);
    free(content);
}

static void remove_staged(void)
{
    static const char *const names[] = {"liblumina.so.0", "lumina-vmm", "agent.cpio"};
    const char *folder = getenv(STAGED);
    char path[512];

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
        unlink(path);
    }
    rmdir(folder);
}

void stage_library(char **argv)
{
    char real[4096], beside[4200], folder[] = "/tmp/lumina-hostile-XXXXXX";
    Dl_info info;

    if (getenv(STAGED)) {
        atexit(remove_staged);
        return;
    }
    must(dladdr((const void *)(uintptr_t)&lum_version, &info) && realpath(info.dli_fname, real),
         "where the library is");
    char *slash = strrchr(real, '/');
    must(slash != NULL, real);
    snprintf(beside, sizeof(beside), "%.*s/agent.cpio", (int)(slash - real), real);
    if (access(beside, R_OK) == 0)
        return;
    must(mkdtemp(folder) != NULL, "a folder in /tmp");
    copy_into(folder, real, "liblumina.so.0");
    snprintf(beside, sizeof(beside), "%.*s/lumina-vmm", (int)(slash - real), real);
    copy_into(folder, beside, "lumina-vmm");
    copy_into(folder, "/dev/null", "agent.cpio");
    setenv("LD_LIBRARY_PATH", folder, 1);
    setenv(STAGED, folder, 1);
    execv("/proc/self/exe", argv);
    must(false, "start again with the staged library");
}

/* ---- what is open ---- */

unsigned count_fds(void)
{
    DIR *d = opendir("/proc/self/fd");
    unsigned n = 0;

    must(d != NULL, "/proc/self/fd");
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

/* Field of a line of /proc/PID/status, or 0. */
static uint64_t status_field(const char *pid, const char *field)
{
    char path[300], line[256];
    uint64_t value = 0;

    snprintf(path, sizeof(path), "/proc/%s/status", pid);
    FILE *f = fopen(path, "r");
    if (!f)
        return 0;
    while (fgets(line, sizeof(line), f))
        if (strncmp(line, field, strlen(field)) == 0)
            value = strtoull(line + strlen(field), NULL, 10);
    fclose(f);
    return value;
}

static void visit_children(unsigned *ret_n, uint64_t *ret_peak)
{
    DIR *d = opendir("/proc");
    struct dirent *e;

    *ret_n = 0;
    *ret_peak = 0;
    must(d != NULL, "/proc");
    while ((e = readdir(d)) != NULL) {
        if (e->d_name[0] < '1' || e->d_name[0] > '9' ||
            status_field(e->d_name, "PPid:") != (uint64_t)getpid())
            continue;
        uint64_t peak = status_field(e->d_name, "VmHWM:") * KIB;
        (*ret_n)++;
        if (peak > *ret_peak)
            *ret_peak = peak;
    }
    closedir(d);
}

static unsigned count_children(void)
{
    uint64_t peak;
    unsigned n;

    visit_children(&n, &peak);
    return n;
}

uint64_t children_peak(void)
{
    uint64_t peak;
    unsigned n;

    visit_children(&n, &peak);
    return peak;
}

bool nothing_left(unsigned fds)
{
    for (unsigned i = 0; i < 1000; i++) {
        if (count_fds() == fds && count_children() == 0)
            return true;
        usleep(10000);
    }
    return false;
}
