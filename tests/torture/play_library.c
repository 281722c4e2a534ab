/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The library with a worker process: create, start, a command, files, a port, the end. With a fake
 * worker, so that each answer comes, the library's own calls fail; with the real one (torture_vmm,
 * on the null driver) those of the worker do.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "core/vm.h"
#include "play.h"
#include "scratch.h"
#include "torture.h"

int __wrap_plat_self_dir(char **ret_path, struct lum_error *err);

/* In place of the system's list: one program, for the fake worker and for the real one. */
static const char *const backends[] = {"null", NULL};
const struct vmm_program vmm_programs[] = {
    {.file = "lumina-vmm", .backends = backends},
    {.file = NULL},
};

/* No control group: its keeper has to be the real program. */
int __wrap_jail_group_create(const struct jail_limits *limits, plat_fd keeper_program,
                             struct jail_group **ret_group, struct lum_error *err);
int __wrap_jail_group_create(const struct jail_limits *limits, plat_fd keeper_program,
                             struct jail_group **ret_group, struct lum_error *err)
{
    (void)limits;
    (void)keeper_program;
    (void)err;
    *ret_group = NULL;
    return 0;
}

static bool prepared;
static const char *jail = "default";

/* Where the library finds its worker and files: the scenario's folder. */
int __wrap_plat_self_dir(char **ret_path, struct lum_error *err)
{
    *ret_path = lum_strdup(torture_folder());
    return *ret_path ? 0 : lum_fail(err, LUM_ENOMEM, "own folder: out of memory");
}

static void make_file(const char *name, const void *data, size_t size)
{
    char path[128];

    snprintf(path, sizeof(path), "%s/%s", torture_folder(), name);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    torture_must(fd >= 0 && write(fd, data, size) == (ssize_t)size, path);
    close(fd);
}

/* The worker lies beside this program. */
static const char *prepare(const char *worker)
{
    static uint8_t file[16384];
    char self[256], target[300], link[128];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

    torture_must(n > 0 && !prepared, "own path");
    prepared = true;
    self[n] = '\0';
    *strrchr(self, '/') = '\0';
    snprintf(target, sizeof(target), "%s/%s", self, worker);
    snprintf(link, sizeof(link), "%s/lumina-vmm", torture_folder());
    torture_must(access(target, X_OK) == 0 && symlink(target, link) == 0, target);
    make_file("vmlinux", file, play_elf(file));
    make_file("agent.cpio", file, 5000);
    make_file("root.erofs", file, 8192);
    return NULL;
}

static void on_log(void *ctx, int32_t level, const char *line)
{
    (void)ctx;
    (void)level;
    (void)line;
}

static int run_command(lum_vm *vm, struct lum_error *err)
{
    /* An argument that makes the request larger than what is sent at once. */
    static char large[20000];
    static const char *const argv[] = {"hello", large, NULL};
    struct lum_exec_options opts = LUM_EXEC_OPTIONS_INIT;
    struct lum_exit_status status = {0};
    char buf[64];
    lum_exec *exec = NULL;
    size_t n = 1, have = 0;

    memset(large, 'x', sizeof(large) - 1);
    opts.argv = argv;
    opts.flags = LUM_EXEC_STDIN;
    int rc = lum_vm_exec(vm, &opts, &exec, err);
    if (rc < 0)
        return rc;
    rc = lum_exec_signal(exec, 15, err);
    while (rc == 0 && n > 0 && have < sizeof(buf)) {
        rc = lum_exec_read(exec, 1, buf + have, sizeof(buf) - have, -1, &n, err);
        have += rc == 0 ? n : 0;
    }
    if (rc == 0)
        rc = lum_exec_wait(exec, -1, &status, err);
    if (rc == 0)
        torture_must(have == 5 && memcmp(buf, "hello", 5) == 0 && status.exit_code == 7, "output");
    lum_exec_free(exec);
    return rc;
}

static int copy_files(lum_vm *vm, struct lum_error *err)
{
    char from[128], to[128];

    snprintf(from, sizeof(from), "%s/agent.cpio", torture_folder());
    snprintf(to, sizeof(to), "%s/out", torture_folder());
    int rc = lum_vm_put(vm, from, "/x", err);
    if (rc == 0)
        rc = lum_vm_get(vm, "/x", to, err);
    inject_pause();
    scratch_remove(AT_FDCWD, to);
    inject_resume();
    return rc;
}

static int dial(lum_vm *vm, struct lum_error *err)
{
    lum_stream *stream = NULL;
    char buf[8];
    size_t n = 0;
    int rc = lum_vm_dial(vm, 5, 5000, &stream, err);

    if (rc == 0)
        rc = lum_stream_read(stream, buf, sizeof(buf), -1, &n, err);
    lum_stream_free(stream);
    return rc;
}

static int figures(lum_vm *vm, struct lum_error *err)
{
    struct lum_vm_stats stats = LUM_VM_STATS_INIT;
    struct lum_timing list[8];
    size_t n;
    int rc = lum_vm_stats(vm, &stats, err);

    return rc == 0 ? lum_vm_timings(vm, list, ARRAY_LEN(list), &n, err) : rc;
}

static int create(lum_vm **ret_vm, struct lum_error *err)
{
    struct lum_vm_options opts = LUM_VM_OPTIONS_INIT;
    char kernel[128];

    snprintf(kernel, sizeof(kernel), "%s/vmlinux", torture_folder());
    opts.kernel = kernel;
    opts.log = on_log;
    opts.vcpus = 2;
    opts.memory_bytes = 64 * MIB;
    opts.jail = jail;
    opts.backend = "null";
    *ret_vm = NULL;
    int rc = lum_vm_create(&opts, ret_vm, err);
    torture_must((rc == 0) == (*ret_vm != NULL), "a VM exactly with success");
    return rc;
}

/* With the namespaces of the default jail, where they are allowed. */
static const char *library_setup(void)
{
    struct lum_error err;
    lum_vm *vm;

    (void)prepare("torture_fake_worker");
    if (create(&vm, &err) < 0)
        jail = "off";
    lum_vm_free(vm);
    return NULL;
}

static int library_play(struct lum_error *err)
{
    struct lum_backend list[2];
    lum_vm *vm = NULL;
    size_t n;
    char reason[64];
    int rc = lum_backends(list, ARRAY_LEN(list), &n, err);

    if (rc < 0)
        return rc;
    rc = create(&vm, err);
    if (rc == 0)
        rc = lum_vm_start(vm, 10000, err);
    if (rc == 0)
        rc = run_command(vm, err);
    if (rc == 0)
        rc = copy_files(vm, err);
    if (rc == 0)
        rc = dial(vm, err);
    if (rc == 0)
        rc = figures(vm, err);
    if (rc == 0)
        rc = lum_vm_stop(vm, 100, err);
    if (rc == 0)
        rc = lum_vm_wait(vm, -1, reason, sizeof(reason), err);
    lum_vm_free(vm);
    return rc;
}

const struct scenario scenario_library = {
    .name = "library", .setup = library_setup, .play = library_play};

/* ---- the worker itself ---- */

static const char *worker_setup(void)
{
    static char path[128];

    (void)prepare("torture_vmm");
    jail = "off"; /* its filter would not let it count */
    snprintf(path, sizeof(path), "%s/inject", torture_folder());
    inject_share(path, true);
    return NULL;
}

/* A worker that dies of its failures would be a finding; that it says so and ends is not. */
static int judge(int rc, const struct lum_error *err)
{
    torture_must(rc == 0 || !strstr(err->text, "signal"), err->text);
    return rc;
}

static int life(lum_vm *vm, struct lum_error *err)
{
    char reason[160];
    int rc = judge(lum_vm_start(vm, 20000, err), err);

    /* The guest of torture_vmm asks for a reset at once. */
    torture_must(rc < 0, "there is no agent");
    if (rc == LUM_EGUEST && strcmp(err->text, "the guest ended while booting: reset") == 0)
        rc = 0;
    if (rc == 0)
        rc = judge(figures(vm, err), err);
    if (rc == 0)
        rc = judge(lum_vm_wait(vm, -1, reason, sizeof(reason), err), err);
    if (rc == 0)
        rc = judge(lum_vm_stop(vm, 100, err), err);
    return rc;
}

static int worker_play(struct lum_error *err)
{
    lum_vm *vm;
    int rc = judge(create(&vm, err), err);

    if (rc == 0)
        rc = life(vm, err);
    lum_vm_free(vm);
    return rc;
}

const struct scenario scenario_worker = {
    .name = "worker", .setup = worker_setup, .play = worker_play};
