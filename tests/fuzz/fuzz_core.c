/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as what a worker that was taken over answers to the library: on each request's own
 * channel, on streams, as log lines and from the probe. The worker is played where the library
 * sends to it, so all happens in one thread: build with -Wl,--wrap=plat_send_fds and
 * --wrap=plat_self_dir. Whatever comes, each call returns success or one of the library's errors,
 * and nothing stays open.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "core/exec.h"
#include "image/image.h"
#include "proto.h"
#include "scratch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int __wrap_plat_send_fds(plat_fd sock, const void *data, size_t size, const plat_fd *fds,
                         size_t n_fds, struct lum_error *err);
int __wrap_plat_self_dir(char **ret_path, struct lum_error *err);

static struct {
    const uint8_t *data;
    size_t size;
} input;
static char base[64];

static void must(bool good)
{
    if (!good)
        abort();
}

static uint64_t take(unsigned bytes)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < bytes && input.size > 0; i++) {
        v |= (uint64_t)*input.data++ << (8 * i);
        input.size--;
    }
    return v;
}

/* Some of the input, as it is. */
static const uint8_t *take_bytes(size_t most, size_t *ret_size)
{
    const uint8_t *p = input.data;

    *ret_size = most < input.size ? most : input.size;
    input.data += *ret_size;
    input.size -= *ret_size;
    return p;
}

/* ---- the worker ---- */

enum { SAY_OK, SAY_ERROR, SAY_STARTED, SAY_DONE, SAY_BACKEND, SAY_ANY_FRAME, SAY_RAW, SAY_NOTHING };

/* For the compiler: what --wrap makes of the library's function. */
int __real_plat_send_fds(plat_fd sock, const void *data, size_t size, const plat_fd *fds,
                         size_t n_fds, struct lum_error *err);

/* One piece of answer: a frame of a fitting type around the input, or the input itself. */
static void say(struct wbuf *out, unsigned how)
{
    static const uint16_t types[] = {CTL_OK, CTL_ERROR, CTL_STARTED, CTL_DONE, CTL_BACKEND};
    size_t size;
    const uint8_t *body = take_bytes((size_t)take(1) * (how & 0x40 ? 64 : 1), &size);

    if (how % 8 <= SAY_BACKEND)
        frame_put(out, types[how % 8], 0, 0, body, size);
    else if (how % 8 == SAY_ANY_FRAME)
        frame_put(out, (uint16_t)take(2), 0, 0, body, size);
    else if (how % 8 == SAY_RAW)
        wbuf_put(out, body, size);
}

static void say_on(plat_fd fd, bool with_stream)
{
    AUTO(wbuf_done) struct wbuf out = {0};
    struct lum_error err;
    plat_fd pair[2];
    unsigned n = 1 + (unsigned)take(1) % 3;

    while (n-- > 0)
        say(&out, (unsigned)take(1));
    must(!out.failed && plat_socketpair(pair, &err) == 0);
    if (out.size > 60000)
        out.size = 60000; /* what a socket holds without a reader */
    (void)__real_plat_send_fds(fd, out.data, out.size, pair, with_stream ? 1 : 0, &err);
    plat_close(&pair[0]);
    plat_close(&pair[1]);
}

/* A request: the answer is there before the library looks for it, then the channel ends. */
int __wrap_plat_send_fds(plat_fd sock, const void *data, size_t size, const plat_fd *fds,
                         size_t n_fds, struct lum_error *err)
{
    uint8_t how = (uint8_t)take(1);

    (void)sock;
    must(n_fds >= 1 && size >= FRAME_HEADER && le32_load(data) == size - FRAME_HEADER);
    if (how == 0xff)
        return lum_fail(err, LUM_EGONE, "gone");
    say_on(fds[0], how & 1);
    for (size_t i = 1; i < n_fds; i++) {
        size_t n;
        const uint8_t *p = take_bytes((size_t)take(1) * 8, &n);

        if (n > 0) /* a file of a create message cannot be written: it is read-only */
            (void)plat_write(fds[i], p, n);
        plat_shutdown_write(fds[i]); /* the library only closes its own copy of this end */
        if (how & 2)
            plat_shutdown_read(fds[i]);
    }
    return 0;
}

int __wrap_plat_self_dir(char **ret_path, struct lum_error *err)
{
    *ret_path = lum_strdup(base);
    return *ret_path ? 0 : lum_fail(err, LUM_ENOMEM, "own folder");
}

/* ---- its process ---- */

struct plat_process {
    int dummy;
};

static unsigned processes;

int plat_process_start(const struct plat_start *start, struct plat_process **ret_process,
                       struct lum_error *err)
{
    must(start->n_fds >= 1 && start->argv[0][0] == '/' && start->program >= 0);
    if (take(1) == 0xff)
        return lum_fail(err, LUM_EOS, "start %s", start->argv[0]);
    if (strcmp(start->argv[1], "probe") == 0)
        say_on(start->fds[0], false);
    if (start->err_fd >= 0) {
        size_t n;
        const uint8_t *p = take_bytes((size_t)take(2) % 5000, &n);
        if (n > 0)
            (void)plat_write(start->err_fd, p, n);
    }
    *ret_process = calloc(1, sizeof(**ret_process));
    must(*ret_process != NULL);
    processes++;
    return 0;
}

int plat_process_wait(struct plat_process *process, int timeout_ms, int *ret_status)
{
    uint8_t how = (uint8_t)take(1);

    (void)process;
    (void)timeout_ms;
    *ret_status = how;
    return how != 1;
}

void plat_process_kill(struct plat_process *process)
{
    must(process != NULL);
}

void plat_process_free(struct plat_process *process)
{
    if (process)
        processes--;
    free(process);
}

void plat_process_release(struct plat_process *process)
{
    plat_process_free(process);
}

/* ---- its control group: there is none ---- */

int jail_group_create(const struct jail_limits *limits, plat_fd keeper_program,
                      struct jail_group **ret_group, struct lum_error *err)
{
    must(limits->memory_bytes >= LUM_MEMORY_MIN && keeper_program >= 0 && err);
    *ret_group = NULL;
    return 0;
}

plat_fd jail_group_fd(const struct jail_group *group)
{
    must(!group);
    return PLAT_FD_NONE;
}

bool jail_group_out_of_memory(const struct jail_group *group)
{
    must(!group);
    return take(1) & 1;
}

void jail_group_free(struct jail_group *group)
{
    must(!group);
}

int image_open_root(const char *path, void (*progress)(void *ctx, const char *text), void *ctx,
                    plat_fd *ret_fd, enum machine_root *ret_kind, struct lum_error *err)
{
    (void)progress;
    (void)ctx;
    (void)ret_fd;
    (void)ret_kind;
    return lum_fail(err, LUM_ENOENT, "rootfs %s", path);
}

/* ---- the caller ---- */

static void on_log(void *ctx, int32_t level, const char *line)
{
    unsigned *lines = ctx;

    must(level >= LUM_LOG_WARN && level <= LUM_LOG_CONSOLE && strlen(line) < 2048);
    ++*lines;
}

/* The result of a call. */
static bool good(int rc, const struct lum_error *err)
{
    must(rc <= 0 && rc >= LUM_EINTERNAL);
    must(rc == 0 || (err->code == rc && memchr(err->text, 0, sizeof(err->text))));
    return rc == 0;
}

static void use_exec(lum_vm *vm)
{
    static const char *const argv[] = {"true", NULL};
    struct lum_exec_options opts = LUM_EXEC_OPTIONS_INIT;
    struct lum_exit_status status;
    struct lum_error err;
    lum_exec *exec = NULL;
    char buf[512];
    size_t n;

    opts.argv = argv;
    opts.flags = LUM_EXEC_STDIN | (take(1) & 1 ? (uint32_t)LUM_EXEC_TTY : 0);
    if (!good(lum_vm_exec(vm, &opts, &exec, &err), &err))
        return;
    (void)good(lum_exec_write(exec, "abc", 3, &err), &err);
    if (opts.flags & LUM_EXEC_TTY)
        (void)good(lum_exec_resize(exec, 24, 80, &err), &err);
    (void)good(lum_exec_signal(exec, 15, &err), &err);
    for (int stream = 1; stream <= 2; stream++) {
        if (stream == 2 && (opts.flags & LUM_EXEC_TTY))
            break;
        do {
            n = 0;
        } while (good(lum_exec_read(exec, stream, buf, sizeof(buf), 0, &n, &err), &err) && n > 0);
    }
    if (good(lum_exec_wait(exec, 0, &status, &err), &err))
        (void)status.exit_code;
    lum_exec_free(exec);
}

static void use_files(lum_vm *vm, bool put)
{
    struct lum_error err;
    char path[80];

    snprintf(path, sizeof(path), "%s/%s", base, put ? "root.erofs" : "out");
    if (put) {
        (void)good(lum_vm_put(vm, path, "/x", &err), &err);
    } else {
        (void)good(lum_vm_get(vm, "/x", path, &err), &err);
        scratch_remove(AT_FDCWD, path);
    }
}

static void use_dial(lum_vm *vm)
{
    lum_stream *stream = NULL;
    struct lum_error err;
    char buf[64];
    size_t n;

    if (!good(lum_vm_dial(vm, 5, 0, &stream, &err), &err))
        return;
    (void)good(lum_stream_write(stream, "x", 1, &err), &err);
    (void)good(lum_stream_read(stream, buf, sizeof(buf), 0, &n, &err), &err);
    (void)good(lum_stream_shutdown(stream, &err), &err);
    lum_stream_free(stream);
}

static void use_figures(lum_vm *vm)
{
    struct lum_vm_stats stats = LUM_VM_STATS_INIT;
    struct lum_timing list[4];
    struct lum_error err;
    char reason[32];
    size_t n = 0;

    (void)good(lum_vm_stats(vm, &stats, &err), &err);
    if (good(lum_vm_timings(vm, list, 4, &n, &err), &err))
        for (size_t i = 0; i < n && i < 4; i++)
            must(memchr(list[i].stage, 0, sizeof(list[i].stage)) != NULL);
    (void)good(lum_vm_wait(vm, 0, reason, sizeof(reason), &err), &err);
}

static void use(lum_vm *vm, unsigned what)
{
    struct lum_error err;

    switch (what % 8) {
    case 0: (void)good(lum_vm_start(vm, 0, &err), &err); break;
    case 1: use_exec(vm); break;
    case 2: use_files(vm, true); break;
    case 3: use_files(vm, false); break;
    case 4: use_dial(vm); break;
    case 5: use_figures(vm); break;
    case 6: (void)good(lum_vm_pause(vm, &err), &err); break;
    default:
        (void)good(lum_vm_resume(vm, &err), &err);
        (void)good(lum_vm_stop(vm, 5, &err), &err);
        break;
    }
}

static void probe(void)
{
    struct lum_backend list[4];
    struct lum_error err;
    size_t n = 0;

    if (!good(lum_backends(list, 4, &n, &err), &err))
        return;
    for (size_t i = 0; i < n && i < 4; i++)
        must(memchr(list[i].name, 0, sizeof(list[i].name)) &&
             memchr(list[i].detail, 0, sizeof(list[i].detail)));
}

static void setup(void)
{
    static const char *const names[] = {"lumina-vmm", "lumina-qemu", "vmlinux", "agent.cpio",
                                        "root.erofs"};

    scratch_make(base, sizeof(base));
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char path[96];

        snprintf(path, sizeof(path), "%s/%s", base, names[i]);
        plat_fd fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
        must(fd >= 0 && plat_write(fd, "content", 7) == 7);
        plat_close(&fd);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct lum_vm_options opts = LUM_VM_OPTIONS_INIT;
    struct lum_error err;
    unsigned lines = 0;
    lum_vm *vm = NULL;

    if (!base[0])
        setup();
    input.data = data;
    input.size = size;
    uint8_t how = (uint8_t)take(1);
    opts.log = how & 1 ? NULL : on_log;
    opts.log_ctx = &lines;
    opts.backend = how & 4 ? "auto" : "kvm";
    if (how & 2)
        probe();
    else if (good(lum_vm_create(&opts, &vm, &err), &err))
        for (unsigned i = 0; i < 8 && input.size > 0; i++)
            use(vm, (unsigned)take(1));
    lum_vm_free(vm);
    must(processes == 0);
    /* A descriptor that stayed open would soon be the last one: dup() gives the lowest. */
    plat_fd low;
    must(plat_dup(0, &low, &err) == 0 && low < 20);
    plat_close(&low);
    return 0;
}
