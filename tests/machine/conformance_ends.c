/* SPDX-License-Identifier: Apache-2.0 */
/* Conformance: files, shapes of machines, and every way in which one ends. */
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "conformance.h"

/* ---- files ---- */

static bool write_file(const char *path, const void *data, size_t size, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, mode);
    bool good = fd >= 0 && write(fd, data, size) == (ssize_t)size && fchmod(fd, mode) == 0;

    if (fd >= 0)
        close(fd);
    return good;
}

static size_t read_file(const char *path, char *buf, size_t capacity)
{
    int fd = open(path, O_RDONLY);
    ssize_t n = fd >= 0 ? read(fd, buf, capacity) : 0;

    if (fd >= 0)
        close(fd);
    return n > 0 ? (size_t)n : 0;
}

/* A host command of this test's own making. */
static int host_sh(const char *script)
{
    pid_t pid = fork();
    int status = -1;

    if (pid == 0) {
        execl("/bin/sh", "sh", "-c", script, (char *)NULL);
        _exit(127);
    }
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

void test_files(lum_vm *vm)
{
    static char big[300000], back[300001];
    char dir[] = "/tmp/lumina-test-XXXXXX", path[128], script[256];
    struct lum_error err;
    struct run r;
    struct stat st;

    if (!ok(mkdtemp(dir) != NULL, "a scratch folder"))
        return;
    for (size_t i = 0; i < sizeof(big); i++)
        big[i] = (char)(i * 7 + i / 251);
    snprintf(path, sizeof(path), "%s/big", dir);
    ok(write_file(path, big, sizeof(big), 0640), "a file of 300,000 bytes");
    ok(lum_vm_put(vm, path, "/tmp/in/", &err) == 0, "put a file into a new folder");
    ok(sh(vm, "wc -c < /tmp/in/big; stat -c %a /tmp/in/big", &r) == 0 &&
           strcmp(r.out, "300000\n640\n") == 0,
       "its size and mode: %s", r.out);
    snprintf(path, sizeof(path), "%s/back", dir);
    ok(lum_vm_get(vm, "/tmp/in/big", path, &err) == 0, "get it back");
    ok(read_file(path, back, sizeof(back)) == sizeof(big) && memcmp(big, back, sizeof(big)) == 0,
       "the same bytes");

    snprintf(
        script, sizeof(script),
        "cd %s && mkdir -p t/sub/empty && echo one >t/1 && echo two >t/sub/2 && ln -s ../1 t/sub/l",
        dir);
    ok(host_sh(script) == 0, "a folder");
    snprintf(path, sizeof(path), "%s/t", dir);
    ok(lum_vm_put(vm, path, "/tmp/tree", &err) == 0, "put a folder under a new name");
    ok(sh(vm,
          "cat /tmp/tree/1 /tmp/tree/sub/2 /tmp/tree/sub/l; readlink /tmp/tree/sub/l; test -d "
          "/tmp/tree/sub/empty && echo dir",
          &r) == 0 &&
           strcmp(r.out, "one\ntwo\none\n../1\ndir\n") == 0,
       "all of it arrived: %s", r.out);
    snprintf(path, sizeof(path), "%s/out", dir);
    ok(lum_vm_get(vm, "/tmp/tree", path, &err) == 0, "get the folder");
    snprintf(script, sizeof(script), "diff -r %s/t %s/out", dir, dir);
    ok(host_sh(script) == 0, "the folders are the same");

    ok(lum_vm_get(vm, "/no/such", path, &err) == LUM_EGUEST, "no such file there: %s", err.text);
    ok(lum_vm_put(vm, "/no/such", "/tmp", &err) == LUM_ENOENT, "no such file here: %s", err.text);
    ok(lum_vm_put(vm, path, "/proc/x/y", &err) == LUM_EGUEST, "cannot be written there: %s",
       err.text);
    ok(sh(vm,
          "mkdir /tmp/evil && ln -s /tmp/escaped /tmp/evil/a && chmod u+s /bin/true 2>/dev/null; "
          "cp /bin/busybox /tmp/evil/suid && chmod 4755 /tmp/evil/suid",
          &r) == 0 &&
           r.code == 0,
       "a folder with a link and a set-user-id program: %s", r.err_out);
    snprintf(path, sizeof(path), "%s/evil", dir);
    ok(lum_vm_get(vm, "/tmp/evil", path, &err) == 0, "get it: %s", err.text);
    snprintf(path, sizeof(path), "%s/evil/suid", dir);
    ok(stat(path, &st) == 0 && (st.st_mode & 07000) == 0, "the bit is dropped");
    snprintf(path, sizeof(path), "%s/evil/a", dir);
    ok(lstat(path, &st) == 0 && S_ISLNK(st.st_mode), "the link is a link");
    snprintf(script, sizeof(script), "rm -rf %s", dir);
    ok(host_sh(script) == 0, "cleared");
}

/* ---- ends ---- */

/* The only child of this process that is a VM's. */
static pid_t worker_pid(void)
{
    char path[64], text[256];
    pid_t found = -1;
    DIR *proc = opendir("/proc");
    struct dirent *entry;

    while (proc && (entry = readdir(proc))) {
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
        if (pid <= 0)
            continue;
        snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
        size_t n = read_file(path, text, sizeof(text) - 1);
        text[n] = '\0';
        char *end = strrchr(text, ')');
        if (end && strstr(text, "(lumina-") && strtol(end + 4, NULL, 10) == getpid() &&
            end[2] != 'Z')
            found = pid;
    }
    if (proc)
        closedir(proc);
    return found;
}

/* Starts a command that never ends by itself. */
static lum_exec *endless(lum_vm *vm, const char *script)
{
    const char *const argv[] = {"sh", "-c", script, NULL};
    struct lum_exec_options o = LUM_EXEC_OPTIONS_INIT;
    struct lum_error err;
    lum_exec *exec = NULL;

    o.argv = argv;
    if (lum_vm_exec(vm, &o, &exec, &err) < 0)
        printf("# exec: %s\n", err.text);
    return exec;
}

/* killed: the command's own end is still told, because the guest ends its processes first. */
static void ends_with(const char *what, const char *script, const char *reason, bool killed)
{
    struct lum_exit_status status = {0};
    struct lum_error err;
    char why[160] = "";
    lum_vm *vm = vm_up(NULL);

    if (!ok(vm != NULL, "%s: boots", what))
        return;
    lum_exec *exec = endless(vm, script);
    if (ok(exec != NULL, "%s: command starts", what)) {
        char buf[64];
        size_t n = 0;
        ok(lum_exec_read(exec, LUM_STDOUT, buf, sizeof(buf), run_ms, &n, &err) == 0 && n > 0,
           "%s: output before the end arrives", what);
        int rc = lum_exec_wait(exec, run_ms, &status, &err);
        ok(killed ? rc == 0 && status.signal == SIGTERM : rc == LUM_EGONE,
           "%s: the wait says: %d, signal %d, %s", what, rc, status.signal, rc ? err.text : "");
    }
    int rc = lum_vm_wait(vm, run_ms, why, sizeof(why), &err);
    ok(rc == 0 && strstr(why, reason), "%s: reason: %s", what, why);
    struct run r;
    ok(sh(vm, "true", &r) == LUM_EGONE, "%s: no more commands: %s", what, r.err.text);
    lum_exec_free(exec);
    lum_vm_free(vm);
}

static void *toggle(void *arg)
{
    struct lum_error err;
    intptr_t rc = 0;

    while (rc == 0) {
        rc = lum_vm_pause(arg, &err);
        if (rc == 0)
            rc = lum_vm_resume(arg, &err);
    }
    return (void *)rc;
}

/* Whatever a thread is waiting for, a stop from another one ends the wait. */
static void test_stop_meets_pause(void)
{
    for (int i = 0; i < 3; i++) {
        struct lum_error err;
        pthread_t thread;
        void *rc = NULL;
        lum_vm *vm = vm_up(NULL);

        if (!ok(vm != NULL, "one more boots"))
            return;
        pthread_create(&thread, NULL, toggle, vm);
        usleep(50000);
        ok(lum_vm_stop(vm, 0, &err) == 0, "stop");
        pthread_join(thread, &rc);
        ok((intptr_t)rc == LUM_EGONE, "a stop ends a pause that another thread waits for: %d",
           (int)(intptr_t)rc);
        lum_vm_free(vm);
    }
}

void test_ends(lum_vm *vm)
{
    struct lum_vm_options o = LUM_VM_OPTIONS_INIT;
    struct lum_error err;
    char why[160] = "";

    ok(lum_vm_stop(vm, 20000, &err) == 0, "polite stop");
    ok(lum_vm_wait(vm, run_ms, why, sizeof(why), &err) == 0 && strstr(why, "powered off"),
       "it powered off: %s", why);
    lum_vm_free(vm);

    ends_with("reboot", "echo x; reboot -f; exec sleep 1000", "reset", false);
    ends_with("poweroff without ceremony", "echo x; poweroff -f; exec sleep 1000", "powered off",
              false);
    ends_with("orderly poweroff", "echo x; poweroff; exec sleep 1000", "powered off", true);

    vm = vm_up(NULL);
    if (ok(vm != NULL, "one more boots")) {
        lum_exec *exec = endless(vm, "sleep 1000");
        ok(exec != NULL && lum_vm_stop(vm, 0, &err) == 0, "hard stop");
        ok(exec && lum_exec_wait(exec, run_ms, NULL, &err) == LUM_EGONE, "the wait says: %s",
           err.text);
        ok(lum_vm_stop(vm, 0, &err) == 0, "stopping twice is harmless");
        lum_exec_free(exec);
        lum_vm_free(vm);
    }

    vm = vm_up(NULL);
    if (ok(vm != NULL, "one more boots")) {
        lum_exec *exec = endless(vm, "sleep 1000");
        pid_t pid = worker_pid();
        ok(pid > 0 && kill(pid, SIGKILL) == 0, "kill the VM's process");
        ok(exec && lum_exec_wait(exec, run_ms, NULL, &err) == LUM_EGONE, "the wait says: %s",
           err.text);
        lum_exec_free(exec);
        lum_vm_free(vm);
    }

    test_stop_meets_pause();
    o.backend = backend_name;
    if (ok(lum_vm_create(&o, &vm, &err) == 0, "create alone")) {
        struct run r;
        ok(sh(vm, "true", &r) == LUM_EBUSY, "no command before the start: %s", r.err.text);
        ok(lum_vm_start(vm, 1, &err) == LUM_ETIMEDOUT, "a start has a deadline: %s", err.text);
        ok(lum_vm_wait(vm, run_ms, why, sizeof(why), &err) == 0, "and ends the VM: %s", why);
        lum_vm_free(vm);
    }
}

/* ---- shapes ---- */

static void expect(const struct lum_vm_options *o, const char *what, const char *script,
                   const char *out)
{
    struct run r;
    lum_vm *vm = vm_up(o);

    if (!ok(vm != NULL, "%s: boots", what))
        return;
    ok(sh(vm, script, &r) == 0 && strcmp(r.out, out) == 0, "%s: %s%s%s", what, r.out, r.err_out,
       r.err.text);
    lum_vm_free(vm);
}

static void test_roots(void)
{
    char dir[] = "/tmp/lumina-roots-XXXXXX", script[512], path[128];
    struct lum_vm_options o = LUM_VM_OPTIONS_INIT;
    const char *busybox = getenv("LUMINA_TEST_BUSYBOX");

    if (!busybox) {
        tap_skip("root file systems", "LUMINA_TEST_BUSYBOX is not set");
        return;
    }
    if (!ok(mkdtemp(dir) != NULL, "a scratch folder"))
        return;
    snprintf(
        script, sizeof(script),
        "cd %s && mkdir -p f/bin f/etc f/sub && cp %s f/bin/busybox && ln -s busybox f/bin/sh && "
        "ln -s busybox f/bin/cat && echo mine >f/etc/mark",
        dir, busybox);
    ok(host_sh(script) == 0, "a root folder");
    snprintf(path, sizeof(path), "%s/f", dir);
    o.rootfs = path;
    if (host_sh("command -v mkfs.erofs >/dev/null") == 0)
        expect(&o, "folder", "cat /etc/mark; echo w >/sub/w && cat /sub/w", "mine\nw\n");
    else
        tap_skip("root folder", "no mkfs.erofs on this machine");

    snprintf(script, sizeof(script), "cd %s/f && find . | cpio -o -H newc >../r.cpio 2>/dev/null",
             dir);
    if (host_sh(script) == 0) {
        snprintf(path, sizeof(path), "%s/r.cpio", dir);
        expect(&o, "cpio", "cat /etc/mark; echo w >/sub/w && cat /sub/w", "mine\nw\n");
    } else {
        tap_skip("root cpio", "no cpio on this machine");
    }

    snprintf(script, sizeof(script),
             "PATH=$PATH:/sbin:/usr/sbin; cd %s && mkfs.ext4 -q -d f r.ext4 16M >/dev/null 2>&1",
             dir);
    if (host_sh(script) == 0) {
        snprintf(path, sizeof(path), "%s/r.ext4", dir);
        expect(&o, "ext4", "cat /etc/mark; echo w >/sub/w && cat /sub/w", "mine\nw\n");
    } else {
        tap_skip("root ext4 image", "no mkfs.ext4 on this machine");
    }
    snprintf(script, sizeof(script), "rm -rf %s", dir);
    ok(host_sh(script) == 0, "cleared");
}

void test_shapes(void)
{
    struct lum_vm_options o = LUM_VM_OPTIONS_INIT;

    o.vcpus = 4;
    expect(&o, "4 vCPUs", "nproc", "4\n");
    o.vcpus = 1;
    o.memory_bytes = 64u << 20;
    expect(&o, "64 MiB", "test $(awk '/MemTotal/{print $2}' /proc/meminfo) -lt 65536 && echo yes",
           "yes\n");
    /* Above the hole under 4 GiB: two ranges of RAM. */
    o.memory_bytes = 5ull << 30;
    expect(&o, "5 GiB", "test $(awk '/MemTotal/{print $2}' /proc/meminfo) -gt 4800000 && echo yes",
           "yes\n");
    o = (struct lum_vm_options)LUM_VM_OPTIONS_INIT;
    o.hostname = "box-1";
    expect(&o, "host name", "hostname", "box-1\n");
    expect(NULL, "a second VM does not see what the first wrote",
           "test -e /first && echo leak; echo x >/first && cat /first", "x\n");
    expect(NULL, "nor a third", "test -e /first && echo leak; echo none", "none\n");
    o = (struct lum_vm_options)LUM_VM_OPTIONS_INIT;
    o.read_only = 1;
    expect(&o, "read-only root",
           "echo x >/x 2>/dev/null || echo refused; echo y >/tmp/y && cat /tmp/y", "refused\ny\n");
    o = (struct lum_vm_options)LUM_VM_OPTIONS_INIT;
    o.scratch_bytes = 8u << 20;
    expect(&o, "scratch of 8 MiB", "head -c 16000000 /dev/zero >/big 2>/dev/null || echo full",
           "full\n");
    test_roots();
}
