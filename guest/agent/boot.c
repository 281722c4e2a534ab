/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every step that the guest cannot do without ends the machine when it fails, with one line that
 * names it. The steps are in the order that needs the fewest calls: they are on the path to the
 * first command.
 */
#include "boot.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "console.h"
#include "machine.h"
#include "text.h"

#define DISK         "/dev/vda"
#define CMDLINE_SIZE 4096
#define MAX_FILES    1048576
#define SOFT_FILES   65536

/* A deeper initramfs keeps its lower folders: it is memory not given back, and no more than that.
 */
#define MAX_REMOVE_DEPTH 16

_Noreturn void boot_failed(const char *what, const char *name)
{
    /* The host takes a line with these words for the reason of the end: see src/worker/console.c.
     */
    console_line("cannot boot: ", what, name ? " " : "", name ? name : "", ": ", strerror(errno),
                 NULL);
    machine_end(-1);
}

static void mount_or_end(const char *source, const char *dir, const char *type, unsigned long flags,
                         const char *data)
{
    char what[64];

    if (mount(source, dir, type, flags, data) == 0)
        return;
    (void)text_join(what, sizeof(what), "mount ", source, " as ", type, " on", NULL);
    boot_failed(what, dir);
}

/* An image need not have the folders that we mount on; where it cannot be written, it has to. */
static void make_folder(const char *dir, mode_t mode)
{
    if (mkdir(dir, mode) < 0 && errno != EEXIST && errno != EROFS)
        boot_failed("make folder", dir);
}

/* ---- beginning ---- */

static bool take_value(const char *word, const char *key, char *place, size_t size)
{
    size_t key_len = strlen(key);

    if (strncmp(word, key, key_len) != 0)
        return false;

    const char *value = word + key_len;
    size_t len = strlen(value);
    if (len == 0 || len >= size) {
        errno = EINVAL;
        boot_failed("kernel command line:", word);
    }
    memcpy(place, value, len + 1);
    return true;
}

static void take_word(const char *word, struct boot_options *options)
{
    char flag[2];

    if (strncmp(word, "lumina.", 7) != 0)
        return;
    if (take_value(word, "lumina.agent=", options->agent, sizeof(options->agent)) ||
        take_value(word, "lumina.root=", options->root, sizeof(options->root)) ||
        take_value(word, "lumina.scratch=", options->scratch, sizeof(options->scratch)) ||
        take_value(word, "lumina.hostname=", options->hostname, sizeof(options->hostname)))
        return;
    if (take_value(word, "lumina.ro=", flag, sizeof(flag)))
        options->read_only = flag[0] == '1';
}

static void read_cmdline(struct boot_options *options)
{
    char text[CMDLINE_SIZE] = "";
    int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

    if (n < 0)
        boot_failed("read", "/proc/cmdline");
    close(fd);
    for (char *word = text; *word;) {
        size_t len = strcspn(word, " \n");
        bool last = word[len] == '\0';

        word[len] = '\0';
        take_word(word, options);
        word += last ? len : len + 1;
    }

    errno = EINVAL;
    if (options->scratch[strspn(options->scratch, "0123456789")] != '\0')
        boot_failed("kernel command line: lumina.scratch", NULL);
    if (options->agent[0] == '\0')
        boot_failed("kernel command line: lumina.agent", NULL);
}

void boot_begin(struct boot_options *ret_options)
{
    memset(ret_options, 0, sizeof(*ret_options));
    (void)mkdir("/dev", 0755);
    (void)mkdir("/proc", 0555);
    mount_or_end("dev", "/dev", "devtmpfs", MS_NOSUID, "mode=0755");
    /* The kernel opened a console for us if the initramfs has a node for one. */
    if (fcntl(2, F_GETFD) < 0) {
        int fd = open("/dev/console", O_RDWR | O_NOCTTY);
        while (fd >= 0 && fd < 2)
            fd = dup(fd);
    }
    mount_or_end("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    read_cmdline(ret_options);
}

/* ---- root ---- */

/* What is left of the initramfs is memory. Mounts in it are not entered. */
static void remove_contents(int dirfd, dev_t device, unsigned depth)
{
    DIR *dir = fdopendir(dirfd);
    const struct dirent *entry;
    struct stat st;

    if (!dir) {
        close(dirfd);
        return;
    }
    while ((entry = readdir(dir)) != NULL) {
        const char *name = entry->d_name;

        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
            continue;
        if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_dev != device)
            continue;
        if (!S_ISDIR(st.st_mode)) {
            (void)unlinkat(dirfd, name, 0);
            continue;
        }
        int fd =
            depth == 0 ? -1 : openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd >= 0)
            remove_contents(fd, device, depth - 1);
        (void)unlinkat(dirfd, name, AT_REMOVEDIR);
    }
    closedir(dir);
}

static void mount_overlay(const struct boot_options *options)
{
    char size[40] = "mode=0755";

    if (options->scratch[0])
        (void)text_join(size, sizeof(size), "mode=0755,size=", options->scratch, NULL);
    make_folder("/scratch", 0700);
    mount_or_end("scratch", "/scratch", "tmpfs", 0, size);
    make_folder("/scratch/upper", 0755);
    make_folder("/scratch/work", 0700);
    mount_or_end("root", "/newroot", "overlay", 0,
                 "lowerdir=/lower,upperdir=/scratch/upper,workdir=/scratch/work");
    /* The overlay holds both for itself; nobody else shall see them. */
    if (umount2("/scratch", MNT_DETACH) < 0 || umount2("/lower", MNT_DETACH) < 0)
        boot_failed("detach the layers of the root", NULL);
}

static void move_into(const char *to, const char *from)
{
    make_folder(to, 0755);
    if (mount(from, to, NULL, MS_MOVE, NULL) < 0)
        boot_failed("move to", to);
}

static void switch_root(void)
{
    struct stat st;
    int old = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    move_into("/newroot/dev", "/dev");
    move_into("/newroot/proc", "/proc");
    if (old < 0 || fstat(old, &st) < 0 || chdir("/newroot") < 0 ||
        mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 || chdir("/") < 0)
        boot_failed("switch to the root", NULL);
    remove_contents(old, st.st_dev, MAX_REMOVE_DEPTH);
}

void boot_root(const struct boot_options *options)
{
    bool erofs = strcmp(options->root, "erofs") == 0;

    if (strcmp(options->root, "initrd") == 0)
        return;
    if (!erofs && strcmp(options->root, "ext4") != 0) {
        errno = EINVAL;
        boot_failed("kernel command line: lumina.root", options->root);
    }

    const char *dir = options->read_only ? "/newroot" : "/lower";
    make_folder("/newroot", 0755);
    make_folder(dir, 0755);
    /* ext4 would replay its journal even when mounted read-only: the disk may be shared. */
    mount_or_end(DISK, dir, options->root, MS_RDONLY, erofs ? NULL : "noload");
    if (!options->read_only)
        mount_overlay(options);
    switch_root();
}

/* ---- rest ---- */

static const struct place {
    const char *dir, *type, *data;
    unsigned long flags;
    mode_t mode;
    bool optional; /* a read-only image without the folder goes without it */
} places[] = {
    {"/sys", "sysfs", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC, 0555, false},
    {"/sys/fs/cgroup", "cgroup2", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC, 0, true},
    {"/dev/pts", "devpts", "gid=5,mode=620,ptmxmode=666", MS_NOSUID | MS_NOEXEC, 0755, false},
    {"/dev/shm", "tmpfs", "mode=1777", MS_NOSUID | MS_NODEV, 0755, false},
    {"/run", "tmpfs", "mode=0755", MS_NOSUID | MS_NODEV, 0755, true},
    {"/tmp", "tmpfs", "mode=1777", MS_NOSUID | MS_NODEV, 0755, true},
};

static void mount_places(void)
{
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        const struct place *p = &places[i];

        if (mount(p->type, p->dir, p->type, p->flags, p->data) == 0)
            continue;
        if (errno == ENOENT && p->mode) {
            make_folder(p->dir, p->mode);
            if (mount(p->type, p->dir, p->type, p->flags, p->data) == 0)
                continue;
        }
        /* ENODEV: a kernel without control groups or the like is still a kernel. */
        if (p->optional && (errno == ENOENT || errno == ENODEV))
            continue;
        char what[32];
        (void)text_join(what, sizeof(what), "mount ", p->type, " on", NULL);
        boot_failed(what, p->dir);
    }
}

static void link_streams(void)
{
    /* In a devtmpfs that was populated before, such as a restarted one, they are there. */
    if ((symlink("/proc/self/fd", "/dev/fd") < 0 && errno != EEXIST) ||
        (symlink("/proc/self/fd/0", "/dev/stdin") < 0 && errno != EEXIST) ||
        (symlink("/proc/self/fd/1", "/dev/stdout") < 0 && errno != EEXIST) ||
        (symlink("/proc/self/fd/2", "/dev/stderr") < 0 && errno != EEXIST))
        boot_failed("make links in", "/dev");
}

static void write_text(const char *path, int flags, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC | flags, 0644);

    if (fd < 0)
        return;
    if (write(fd, text, strlen(text)) < 0)
        console_line("write ", path, ": ", strerror(errno), NULL);
    close(fd);
}

/* Its address comes with it. */
static void loopback_up(void)
{
    struct ifreq request = {.ifr_name = "lo"};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    request.ifr_flags = IFF_UP;
    if (fd < 0)
        return; /* a kernel without IP */
    if (ioctl(fd, SIOCSIFFLAGS, &request) < 0)
        boot_failed("bring up", "lo");
    close(fd);
}

static void name_host(const char *hostname)
{
    char hosts[256];

    if (hostname[0] && sethostname(hostname, strlen(hostname)) < 0)
        boot_failed("set the host name to", hostname);
    (void)text_join(hosts, sizeof(hosts), "127.0.0.1 localhost ", hostname, "\n::1 localhost\n",
                    NULL);
    write_text("/etc/hosts", O_CREAT | O_EXCL, hosts); /* only where there is none */
}

void boot_finish(const struct boot_options *options)
{
    const struct rlimit files = {.rlim_cur = SOFT_FILES, .rlim_max = MAX_FILES};

    mount_places();
    link_streams();
    loopback_up();
    name_host(options->hostname);
    /* Everybody may ping, as in a container. */
    write_text("/proc/sys/net/ipv4/ping_group_range", 0, "0 2147483647");
    /* The C library's setrlimit wants to tell all threads, with code for that. */
    if (prlimit(0, RLIMIT_NOFILE, &files, NULL) < 0)
        boot_failed("set the limit of open files", NULL);
    /* An initramfs as root: last, as folders may have been made in it. */
    if (options->read_only && strcmp(options->root, "initrd") == 0 &&
        mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY, NULL) < 0)
        boot_failed("make the root read-only", NULL);
}
