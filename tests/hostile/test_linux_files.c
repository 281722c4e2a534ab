/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files of a hostile guest: what a copy out of it meets, and disks that have to stay as they are.
 *
 *     test_linux_files BACKEND
 *
 * LUMINA_TEST_TOOL is the tool for the guest, LUMINA_TEST_ROOT an EROFS image, LUMINA_TEST_BUSYBOX
 * a static busybox for an ext4 one.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test_linux_kit.h"

static const char *tool;

static lum_vm *armed_vm(const struct lum_vm_options *opts)
{
    struct lum_error err;
    lum_vm *vm = vm_up(opts);

    if (vm && !ok(lum_vm_put(vm, tool, "/run/tool", &err) == 0, "the tool is in the guest"))
        tap_note("%s", err.text);
    return vm;
}

/* ---- copies ---- */

static int get(lum_vm *vm, const char *guest, const char *name, struct lum_error *err)
{
    char path[128];

    *err = (struct lum_error){0};
    snprintf(path, sizeof(path), "%s/out/%s", scratch, name);
    struct guard *guard = guard_start(vm, 120000);
    int rc = lum_vm_get(vm, guest, path, err);
    ok(!guard_end(guard) && (rc == 0 || one_line(err->text)), "get %s: %d %s", guest, rc,
       err->text);
    return rc;
}

/* Nothing but the copy was made, and nothing of it leads out or is more than files and links. */
static void check_out(const char *name)
{
    ok(host_sh("cd %s/out && test \"$(ls -A)\" = %s || test -z \"$(ls -A)\"", scratch, name) == 0,
       "%s: nothing beside the copy", name);
    ok(host_sh("test -z \"$(find %s/out ! -type f ! -type d ! -type l)\"", scratch) == 0,
       "%s: only files, folders and links", name);
    ok(host_sh("test -z \"$(find %s/out -perm /6000)\"", scratch) == 0, "%s: no set-user-id bits",
       name);
}

static void clear_out(void)
{
    (void)host_sh("chmod -R u+rwx %s/out; rm -rf %s/out/*", scratch, scratch);
}

static void test_traps(lum_vm *vm)
{
    struct rlimit old, limit;
    struct lum_error err;
    struct run r;

    ok(sh(vm, "mkdir /run/traps && cd /run/traps && /run/tool make-traps && touch plain", &r) == 0,
       "traps are laid: %s", r.err_out);
    (void)signal(SIGXFSZ, SIG_IGN);
    (void)getrlimit(RLIMIT_FSIZE, &old);
    limit = (struct rlimit){.rlim_cur = 2 * MIB, .rlim_max = old.rlim_max};
    (void)setrlimit(RLIMIT_FSIZE, &limit);
    int rc = get(vm, "/run/traps", "traps", &err);
    (void)setrlimit(RLIMIT_FSIZE, &old);
    ok(rc == LUM_EOS && strstr(err.text, "/sparse: File too large"),
       "a file larger than it looks stops at the limit");
    check_out("traps");
    clear_out();
    ok(sh(vm, "rm /run/traps/sparse", &r) == 0, "without it");
    ok(get(vm, "/run/traps", "traps", &err) == 0, "the rest is copied");
    check_out("traps");
    ok(host_sh(
           "cd %s/out/traps && test \"$(readlink link)\" ="
           " ../../../../../../../../etc/shadow && test -L folder && test -L loop && test -f plain",
           scratch) == 0,
       "links are links");
    ok(host_sh("cd %s/out/traps && test $(find . -name '*control*' | wc -l) -ge 1", scratch) == 0,
       "odd names are names");
    check_alive(vm, "traps");
    clear_out();
}

/* Copied over an earlier copy, links in the way are replaced, not followed. */
static void test_twice(lum_vm *vm)
{
    struct lum_error err;
    struct run r;

    ok(host_sh("echo untouched >%s/victim && mkdir %s/out/t && ln -s ../../victim %s/out/t/f &&"
               " ln -s ../.. %s/out/t/d",
               scratch, scratch, scratch, scratch) == 0,
       "links where a copy wants to write");
    ok(sh(vm, "mkdir -p /run/t/d && echo evil >/run/t/f && echo evil >/run/t/d/victim", &r) == 0,
       "the same names in the guest");
    int rc = lum_vm_get(vm, "/run/t/f", scratch, &err);
    tap_note("into a folder: %d", rc);
    ok(host_sh("test \"$(cat %s/f)\" = evil && rm %s/f", scratch, scratch) == 0,
       "a folder as target takes the file under its own name");
    char path[128];
    snprintf(path, sizeof(path), "%s/out/t/", scratch);
    rc = lum_vm_get(vm, "/run/t", path, &err);
    ok(rc == 0, "into a folder with links: %d", rc);
    snprintf(path, sizeof(path), "%s/out", scratch);
    rc = lum_vm_get(vm, "/run/t", path, &err);
    ok(rc < 0 && one_line(err.text), "over links: %d %s", rc, rc < 0 ? err.text : "");
    ok(host_sh("test \"$(cat %s/victim)\" = untouched && rm %s/victim", scratch, scratch) == 0,
       "what they point to is untouched");
    clear_out();
}

static void test_shapes(lum_vm *vm)
{
    struct lum_error err;
    struct run r;

    ok(sh(vm, "mkdir /run/deep && cd /run/deep && /run/tool make-deep 100", &r) == 0,
       "a deep tree");
    ok(get(vm, "/run/deep", "deep", &err) == 0, "is copied");
    ok(host_sh("test $(find %s/out/deep -name bottom | wc -l) = 1", scratch) == 0, "to its bottom");
    clear_out();
    ok(sh(vm, "mkdir /run/deeper && cd /run/deeper && /run/tool make-deep 1500", &r) == 0,
       "a deeper tree: %s", r.out);
    ok(get(vm, "/run/deeper", "deeper", &err) == LUM_EGUEST, "is refused");
    check_out("deeper");
    clear_out();
    ok(sh(vm,
          "rm -rf /run/deep /run/deeper; mkdir /run/many && cd /run/many && /run/tool make-many "
          "10000",
          &r) == 0 &&
           strcmp(r.out, "many\n") == 0,
       "10,000 files: %s%s", r.out, r.err_out);
    ok(get(vm, "/run/many", "many", &err) == 0, "are copied");
    ok(host_sh(
           "test $(ls %s/out/many | wc -l) = 10000 && test \"$(cat %s/out/many/f9999)\" = f9999",
           scratch, scratch) == 0,
       "all of them");
    clear_out();
}

/* Files that are no files: no copy of one may wait for ever. */
static void test_specials(lum_vm *vm)
{
    static const char *const paths[] = {"/dev/vda",   "/dev/zero",   "/dev/hvc0", "/run/fifo",
                                        "/proc/kmsg", "/proc/1/mem", "/proc",     "/sys"};
    struct rlimit old, limit;
    struct lum_error err;
    struct run r;

    ok(sh(vm, "mkfifo /run/fifo", &r) == 0, "a fifo");
    (void)getrlimit(RLIMIT_FSIZE, &old);
    limit = (struct rlimit){.rlim_cur = 2 * MIB, .rlim_max = old.rlim_max};
    (void)setrlimit(RLIMIT_FSIZE, &limit);
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        int rc = get(vm, paths[i], "special", &err);
        if (strncmp(paths[i], "/dev/", 5) == 0 || strcmp(paths[i], "/run/fifo") == 0)
            ok(rc == LUM_EGUEST, "%s: is not copied", paths[i]);
        check_out("special");
        clear_out();
    }
    (void)setrlimit(RLIMIT_FSIZE, &old);
    check_alive(vm, "special files");
}

static void test_full_disk(lum_vm *vm)
{
    char path[128];
    struct lum_error err;
    struct run r;

    snprintf(path, sizeof(path), "%s/small", scratch);
    if (mkdir(path, 0755) < 0 || mount("small", path, "tmpfs", 0, "size=1m") < 0) {
        tap_skip("a full disk", "a small file system cannot be mounted here");
        return;
    }
    ok(host_sh("echo untouched >%s/keep", path) == 0, "a small disk with a file");
    ok(sh(vm,
          "mkdir /run/large && cd /run/large && echo first >a && dd if=/dev/zero of=b bs=64k "
          "count=64",
          &r) == 0,
       "something that does not fit");
    snprintf(path, sizeof(path), "%s/small/copy", scratch);
    int rc = lum_vm_get(vm, "/run/large", path, &err);
    ok(rc == LUM_EOS && strstr(err.text, "/b: No space left on device") && one_line(err.text),
       "a full disk is one clear line: %d %s", rc, rc < 0 ? err.text : "");
    ok(host_sh("cd %s/small && test \"$(ls -A | tr '\\n' ' ')\" = 'copy keep ' &&"
               " test -z \"$(ls -A copy | grep -vx '[ab]')\" && test \"$(cat keep)\" = untouched",
               scratch) == 0,
       "no more than a part of the copy is there");
    ok(host_sh("rm -r %s/small/copy", scratch) == 0, "that can be removed");
    ok(lum_vm_get(vm, "/run/large/a", path, &err) == 0, "then the disk takes what fits");
    snprintf(path, sizeof(path), "%s/small", scratch);
    ok(umount2(path, MNT_DETACH) == 0, "unmounted");
    check_alive(vm, "a full disk of the host");
}

/* The agent itself waits in the guest's file system: only the end of the VM helps, and does. */
static void test_mute(lum_vm *vm)
{
    struct lum_error err = {0};
    char path[128];
    lum_exec *exec = spawn(vm, "mkdir /run/mute && exec /run/tool mute-files /run/mute");

    sleep(1);
    snprintf(path, sizeof(path), "%s/out/mute", scratch);
    struct guard *guard = guard_start(vm, 2000);
    int rc = lum_vm_get(vm, "/run/mute/file", path, &err);
    ok(guard_end(guard) && rc == LUM_EGONE, "a file system that never answers: %d %s", rc,
       err.text);
    ok(host_sh("test -z \"$(ls -A %s/out)\"", scratch) == 0, "nothing was made for it");
    lum_exec_free(exec);
}

/* ---- disks ---- */

static void attack_disk(const char *image, const char *kind, bool read_only)
{
    struct lum_vm_options o = vm_options();
    struct lum_error err;
    struct run r;

    ok(host_sh("sha256sum %s >%s/before", image, scratch) == 0, "%s: its digest", kind);
    o.rootfs = image;
    o.read_only = read_only;
    lum_vm *vm = armed_vm(&o);
    if (!ok(vm != NULL, "%s: boots%s", kind, read_only ? ", read-only" : ""))
        return;
    ok(only_read(image), "%s: nobody has the image open for writing", kind);
    int rc = sh(vm,
                "/run/tool write-disk /dev/vda; blockdev --setrw /dev/vda;"
                " dd if=/dev/zero of=/dev/vda bs=4k count=64 conv=fsync;"
                " mknod /run/disk b 254 0; dd if=/dev/zero of=/run/disk bs=4k count=64 conv=fsync;"
                " mkdir /run/m; for t in ext4 erofs; do mount -t $t -o rw,remount /dev/vda /;"
                " mount -t $t -o rw /dev/vda /run/m && touch /run/m/written; done;"
                " mount -o remount,rw /; sync; echo over",
                &r);
    ok(rc == 0 && strstr(r.out, "over\n") && !strstr(r.out, "write: done") &&
           !strstr(r.out, "directly: done"),
       "%s: root writes to the disk in every way: %s%s", kind, r.out, r.err.text);
    rc = sh(vm, "echo x >/etc/written && cat /etc/written", &r);
    ok(rc == 0 &&
           (read_only ? r.code != 0 && strstr(r.err_out, "Read-only") : strcmp(r.out, "x\n") == 0),
       "%s: the root %s: %s%s", kind, read_only ? "stays read-only" : "has its writable layer",
       r.out, r.err_out);
    ok(lum_vm_stop(vm, 20000, &err) == 0, "%s: an orderly end, which syncs", kind);
    lum_vm_free(vm);
    ok(host_sh("sha256sum -c %s/before >/dev/null 2>&1", scratch) == 0,
       "%s: the image is the same to the last bit", kind);
}

/* A way around a read-only root that another sandbox had: remounting what is only mounted so. */
static void test_read_only(void)
{
    const char *busybox = getenv("LUMINA_TEST_BUSYBOX"), *root = kit_path("LUMINA_TEST_ROOT");
    char image[128];

    snprintf(image, sizeof(image), "%s/image.erofs", scratch);
    ok(host_sh("cp %s %s && chmod 666 %s", root, image, image) == 0, "an EROFS image of our own");
    attack_disk(image, "erofs", false);
    attack_disk(image, "erofs", true);

    snprintf(image, sizeof(image), "%s/image.ext4", scratch);
    if (!busybox ||
        host_sh("PATH=$PATH:/sbin:/usr/sbin; cd %s && mkdir -p r/bin r/etc r/run r/tmp"
                " r/dev r/proc r/sys && cp %s r/bin/busybox &&"
                " for a in $(%s --list | grep -vx busybox); do ln -sf busybox r/bin/$a; done &&"
                " mkfs.ext4 -q -d r image.ext4 16M >/dev/null && chmod 666 image.ext4",
                scratch, busybox, busybox) != 0) {
        tap_skip("ext4 image", "no busybox or no mkfs.ext4 on this machine");
        return;
    }
    attack_disk(image, "ext4", false);
    attack_disk(image, "ext4", true);
}

int main(int argc, char **argv)
{
    struct lum_vm_options o = vm_options();

    tool = kit_path("LUMINA_TEST_TOOL");
    if (!kit_begin(argc, argv) || !tool)
        return kit_end();
    o.backend = backend_name;
    lum_vm *vm = armed_vm(&o);
    if (ok(vm != NULL, "a VM boots")) {
        uint64_t before = monitor_bytes(vm);
        test_traps(vm);
        test_twice(vm);
        test_shapes(vm);
        test_specials(vm);
        test_full_disk(vm);
        check_memory(vm, "copies", before);
        test_mute(vm);
        lum_vm_free(vm);
    }
    test_read_only();
    return kit_end();
}
