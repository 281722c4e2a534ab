/* SPDX-License-Identifier: Apache-2.0 */
/* Public entry points of machines: lum_vm_* and what concerns no machine. The contracts are in
 * lumina.h. */
#include "core/vm.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

#define STR_(x) #x
#define STR(x)  STR_(x)

uint32_t lum_version(void)
{
    return LUM_VERSION_MAJOR << 16 | LUM_VERSION_MINOR << 8 | LUM_VERSION_PATCH;
}

const char *lum_version_string(void)
{
    return STR(LUM_VERSION_MAJOR) "." STR(LUM_VERSION_MINOR) "." STR(LUM_VERSION_PATCH);
}

/* ---- backends ---- */

static int backend_from_frame(const struct frame *f, struct lum_backend *ret_backend,
                              struct lum_error *err)
{
    struct rbuf in = rbuf_of(f->data, f->size);
    struct lum_backend b = {0};
    AUTO(auto_free) char *name = rbuf_str(&in, sizeof(b.name) - 1);

    b.usable = rbuf_u8(&in);
    b.features = rbuf_u32(&in);
    b.max_vcpus = rbuf_u32(&in);
    AUTO(auto_free) char *detail = rbuf_str(&in, sizeof(b.detail) - 1);
    if (f->type != CTL_BACKEND || !rbuf_done(&in))
        return lum_fail(err, LUM_EINTERNAL, "the probe sent a malformed answer");
    snprintf(b.name, sizeof(b.name), "%s", name);
    snprintf(b.detail, sizeof(b.detail), "%s", detail);
    *ret_backend = b;
    return 0;
}

static int read_to_end(plat_fd fd, struct wbuf *out, struct lum_error *err)
{
    for (;;) {
        uint8_t piece[4096];
        ssize_t n = plat_read(fd, piece, sizeof(piece));

        if (n < 0)
            return lum_fail_errno(err, (int)-n, "read the probe's answer");
        if (n == 0)
            return 0;
        wbuf_put(out, piece, (size_t)n);
        if (out->failed)
            return lum_fail(err, LUM_ENOMEM, "probe: out of memory");
    }
}

static void add_missing(const struct vmm_program *program, struct lum_backend *list,
                        size_t capacity, size_t *count, const char *why)
{
    for (size_t i = 0; program->backends[i]; i++, ++*count) {
        if (*count >= capacity)
            continue;
        struct lum_backend *b = &list[*count];
        snprintf(b->name, sizeof(b->name), "%s", program->backends[i]);
        snprintf(b->detail, sizeof(b->detail), "%.190s", why);
    }
}

/* Appends what one program says; count goes on beyond capacity. */
static int probe_program(const struct vmm_program *program, struct lum_backend *list,
                         size_t capacity, size_t *count, struct lum_error *err)
{
    AUTO(wbuf_done) struct wbuf in = {0};
    AUTO(plat_close) plat_fd control = PLAT_FD_NONE;
    const char *argv[] = {NULL, "probe", NULL};
    struct plat_process *process;
    struct frame frame;
    size_t at = 0, had = *count;
    const struct vmm_fence fence = {.mode = JAIL_OFF};
    int rc = vmm_start(program, argv, &fence, PLAT_FD_NONE, &process, NULL, &control, err);

    if (rc == LUM_ENOENT) { /* an installation without it */
        add_missing(program, list, capacity, count, err->text);
        return 0;
    }
    if (rc < 0)
        return lum_context(err, "probe");
    rc = read_to_end(control, &in, err);
    plat_process_free(process);
    while (rc == 0 && frame_next(&in, &at, &frame) > 0) {
        struct lum_backend b;
        rc = backend_from_frame(&frame, &b, err);
        if (rc == 0 && *count < capacity)
            list[*count] = b;
        ++*count;
    }
    return rc == 0 && *count == had
               ? lum_fail(err, LUM_EINTERNAL, "the probe ended without an answer")
               : rc;
}

/* As create_somewhere does: the first at hardware speed, else the last that can be used. */
static void mark_automatic(struct lum_backend *list, size_t n)
{
    struct lum_backend *best = NULL;

    for (size_t i = 0; i < n; i++)
        if (list[i].usable && !(best && (best->features & LUM_FEATURE_HARDWARE)))
            best = &list[i];
    if (best)
        best->automatic = 1;
}

#define MAX_BACKENDS 16u

int lum_backends(struct lum_backend *list, size_t capacity, size_t *ret_count,
                 struct lum_error *err)
{
    API_ERROR(err);
    struct lum_backend all[MAX_BACKENDS] = {0};
    size_t count = 0;
    int rc = 0;

    if (!ret_count || (!list && capacity > 0))
        return lum_fail(e, LUM_EINVAL, "list or ret_count: NULL");
    for (const struct vmm_program *p = vmm_programs; p->file && rc == 0; p++)
        rc = probe_program(p, all, MAX_BACKENDS, &count, e);
    if (rc < 0)
        return rc;
    count = count < MAX_BACKENDS ? count : MAX_BACKENDS;
    mark_automatic(all, count);
    for (size_t i = 0; i < count && i < capacity; i++)
        list[i] = all[i];
    *ret_count = count;
    return 0;
}

/* ---- life of a machine ---- */

void lum_vm_free(lum_vm *vm)
{
    if (!vm)
        return;
    plat_process_free(vm->process);
    jail_group_free(vm->group);
    plat_close(&vm->control);
    plat_close(&vm->log);
    plat_mutex_free(vm->send_lock);
    plat_mutex_free(vm->log_lock);
    plat_mutex_free(vm->process_lock);
    free(vm);
}

static void auto_vm(lum_vm **vm)
{
    lum_vm_free(*vm);
}

static lum_vm *vm_new(const struct lum_vm_options *opts)
{
    AUTO(auto_vm) lum_vm *vm = lum_calloc(1, sizeof(*vm));

    if (!vm)
        return NULL;
    vm->control = vm->log = PLAT_FD_NONE;
    vm->send_lock = plat_mutex_create();
    vm->log_lock = plat_mutex_create();
    vm->process_lock = plat_mutex_create();
    if (!vm->send_lock || !vm->log_lock || !vm->process_lock)
        return NULL;
    vm->log_fn = opts->log;
    vm->log_ctx = opts->log_ctx;
    return STEAL(vm);
}

static int make_log(lum_vm *vm, plat_fd *ret_write, struct lum_error *err)
{
    plat_fd log[2];

    if (!vm->log_fn)
        return 0;
    int rc = plat_pipe(log, err);
    if (rc < 0)
        return rc;
    vm->log = log[0];
    *ret_write = log[1];
    /* Both ends: a slow reader loses lines instead of stopping the VM. */
    rc = plat_set_nonblock(log[0], err);
    return rc < 0 ? rc : plat_set_nonblock(log[1], err);
}

static int start_worker(lum_vm *vm, const struct vmm_program *program, struct lum_error *err)
{
    AUTO(plat_close) plat_fd log_write = PLAT_FD_NONE;
    const char *argv[] = {NULL, "worker", jail_mode_names[vm->jail], NULL};
    const struct jail_limits limits = {
        .memory_bytes = vm->memory_bytes, .vcpus = vm->vcpus, .program = program->starts_program};
    const struct vmm_fence fence = {.mode = vm->jail,
                                    .limits = vm->jail == JAIL_OFF ? NULL : &limits};
    int rc = make_log(vm, &log_write, err);

    if (rc == 0)
        rc = vmm_start(program, argv, &fence, log_write, &vm->process, &vm->group, &vm->control,
                       err);
    return rc < 0 ? lum_context(err, "create VM") : 0;
}

static int send_create(lum_vm *vm, const struct vm_spec *spec, struct lum_error *err)
{
    AUTO(wbuf_done) struct wbuf body = {0};
    AUTO(channel_close) struct channel channel = CHANNEL_INIT;
    const plat_fd fds[] = {spec->kernel, spec->agent, spec->root};
    struct frame frame = {0};

    ctl_put_spec(&body, spec);
    int rc = vm_request(vm, CTL_CREATE, &body, fds, spec->root >= 0 ? 3 : 2, &channel, err);
    if (rc == 0)
        rc = vm_receive(vm, &channel, -1, &frame, err);
    if (rc < 0)
        return rc;
    struct rbuf in = rbuf_of(frame.data, frame.size);
    AUTO(auto_free) char *backend = rbuf_str(&in, sizeof(vm->backend) - 1);
    if (frame.type != CTL_OK || !rbuf_done(&in))
        return lum_fail(err, LUM_EINTERNAL, "the VM's process sent a malformed answer");
    snprintf(vm->backend, sizeof(vm->backend), "%s", backend);
    return 0;
}

/* One attempt with one backend of one program. A worker that refuses has ended. */
static int create_with(lum_vm *vm, const struct vmm_program *program, const char *backend,
                       bool hardware_only, struct vm_spec *spec, struct lum_error *err)
{
    snprintf(spec->backend, sizeof(spec->backend), "%s", backend);
    spec->hardware_only = hardware_only;
    int rc = start_worker(vm, program, err);
    vm_stage(vm, "process started");
    if (rc == 0)
        rc = send_create(vm, spec, err);
    if (rc < 0) {
        plat_process_free(STEAL(vm->process));
        jail_group_free(STEAL(vm->group));
        plat_close(&vm->control);
        plat_close(&vm->log);
        vm->log_size = 0;
    }
    return rc;
}

static bool last_backend(const struct vmm_program *program, size_t i)
{
    return !program[1].file && !program->backends[i + 1];
}

static bool another_may_do(int rc)
{
    return rc == LUM_ENOTSUP || rc == LUM_EACCES;
}

/*
 * "auto": each backend in order, where it runs guests at hardware speed; the last one as it is.
 * Then whatever can run at all. A device that this user may not open is no reason to stop.
 */
static int create_somewhere(lum_vm *vm, struct vm_spec *spec, struct lum_error *err)
{
    int rc = LUM_ENOTSUP;

    for (int pass = 0; pass < 2; pass++) {
        for (const struct vmm_program *p = vmm_programs; p->file && another_may_do(rc); p++)
            for (size_t i = 0; p->backends[i] && another_may_do(rc); i++)
                if (pass == 0 || !last_backend(p, i))
                    rc = create_with(vm, p, p->backends[i], pass == 0 && !last_backend(p, i), spec,
                                     err);
    }
    if (rc == LUM_ENOTSUP)
        lum_fail(err, LUM_ENOTSUP,
                 "no backend can run here; see `lumina backends` for each one's remedy");
    return rc;
}

static int create_named(lum_vm *vm, struct vm_spec *spec, struct lum_error *err)
{
    const char *name = vm->backend;

    for (const struct vmm_program *p = vmm_programs; p->file; p++)
        for (size_t i = 0; p->backends[i]; i++)
            if (strcmp(p->backends[i], name) == 0)
                return create_with(vm, p, p->backends[i], false, spec, err);
    return lum_fail(err, LUM_ENOENT, "backend %s: no such backend; see `lumina backends`", name);
}

int lum_vm_create(const struct lum_vm_options *opts, lum_vm **ret_vm, struct lum_error *err)
{
    API_ERROR(err);
    uint64_t t0 = plat_now_ns();
    AUTO(vm_spec_done) struct vm_spec spec;
    AUTO(auto_vm) lum_vm *vm = NULL;
    enum jail_mode jail = JAIL_DEFAULT;

    vm_spec_init(&spec);
    if (!ret_vm)
        return lum_fail(e, LUM_EINVAL, "ret_vm: NULL");
    int rc = spec_from_options(opts, &spec, &jail, e);
    if (rc < 0)
        return rc;
    vm = vm_new(opts);
    if (!vm)
        return lum_fail(e, LUM_ENOMEM, "create VM: out of memory");
    vm->t0_ns = t0;
    vm->jail = jail;
    vm->vcpus = spec.vcpus;
    vm->memory_bytes = spec.memory_bytes;
    vm_stage(vm, "options checked");
    if (jail == JAIL_OFF && vm->log_fn)
        vm->log_fn(vm->log_ctx, LUM_LOG_WARN,
                   "jail off: a guest that breaks out of the monitor has your rights");
    snprintf(vm->backend, sizeof(vm->backend), "%s", spec.backend);
    rc = strcmp(spec.backend, "auto") == 0 ? create_somewhere(vm, &spec, e)
                                           : create_named(vm, &spec, e);
    if (rc < 0)
        return rc;
    *ret_vm = STEAL(vm);
    return 0;
}

/* A request that is answered with a bare OK. */
static int simple_call(lum_vm *vm, uint16_t type, const struct wbuf *body, int32_t timeout_ms,
                       struct lum_error *err)
{
    AUTO(channel_close) struct channel channel = CHANNEL_INIT;
    struct frame frame;

    return vm_call(vm, type, body, timeout_ms, &channel, &frame, err);
}

int lum_vm_start(lum_vm *vm, int32_t timeout_ms, struct lum_error *err)
{
    API_ERROR(err);
    int rc = simple_call(vm, CTL_START, NULL, timeout_ms, e);

    if (rc == LUM_ETIMEDOUT) {
        struct lum_error stop_error; /* the deadline is the news */
        if (lum_vm_stop(vm, 0, &stop_error) < 0)
            plat_process_kill(vm->process);
        lum_fail(e, LUM_ETIMEDOUT, "the guest was not ready within %d ms", timeout_ms);
    }
    return rc;
}

int lum_vm_pause(lum_vm *vm, struct lum_error *err)
{
    API_ERROR(err);
    int rc = simple_call(vm, CTL_PAUSE, NULL, -1, e);
    return rc < 0 ? lum_context(e, "pause") : 0;
}

int lum_vm_resume(lum_vm *vm, struct lum_error *err)
{
    API_ERROR(err);
    int rc = simple_call(vm, CTL_RESUME, NULL, -1, e);
    return rc < 0 ? lum_context(e, "resume") : 0;
}

int lum_vm_stop(lum_vm *vm, int32_t grace_ms, struct lum_error *err)
{
    API_ERROR(err);
    AUTO(wbuf_done) struct wbuf body = {0};

    wbuf_u32(&body, grace_ms > 0 ? (uint32_t)grace_ms : 0);
    int rc = simple_call(vm, CTL_STOP, &body, -1, e);
    return rc == LUM_EGONE ? 0 : rc; /* a process that has died has stopped */
}

int lum_vm_wait(lum_vm *vm, int32_t timeout_ms, char *ret_reason, size_t reason_size,
                struct lum_error *err)
{
    API_ERROR(err);
    AUTO(channel_close) struct channel channel = CHANNEL_INIT;
    AUTO(auto_free) char *reason = NULL;
    struct frame frame;
    int rc = vm_call(vm, CTL_WAIT, NULL, timeout_ms, &channel, &frame, e);

    if (rc == 0) {
        struct rbuf in = rbuf_of(frame.data, frame.size);
        reason = rbuf_str(&in, 1024);
        if (!rbuf_done(&in))
            return lum_fail(e, LUM_EINTERNAL, "the VM's process sent a malformed answer");
    } else if (rc != LUM_EGONE) {
        return rc;
    }
    if (ret_reason && reason_size)
        snprintf(ret_reason, reason_size, "%s", reason ? reason : e->text);
    return 0;
}

const char *lum_vm_backend(const lum_vm *vm)
{
    return vm->backend;
}

/* ---- figures ---- */

static int by_time(const void *a, const void *b)
{
    const struct lum_timing *x = a, *y = b;

    return (x->at_ns > y->at_ns) - (x->at_ns < y->at_ns);
}

static int worker_timings(lum_vm *vm, struct lum_timing *all, size_t capacity, size_t *count,
                          struct lum_error *err)
{
    AUTO(channel_close) struct channel channel = CHANNEL_INIT;
    struct frame frame;
    int rc = vm_call(vm, CTL_TIMINGS, NULL, -1, &channel, &frame, err);

    if (rc < 0)
        return rc;
    struct rbuf in = rbuf_of(frame.data, frame.size);
    for (uint32_t n = rbuf_u32(&in); n > 0 && *count < capacity && !in.bad; n--) {
        AUTO(auto_free) char *name = rbuf_str(&in, sizeof(all->stage) - 1);
        all[*count].at_ns = rbuf_u64(&in);
        if (!in.bad)
            snprintf(all[(*count)++].stage, sizeof(all->stage), "%s", name);
    }
    return rbuf_done(&in) ? 0
                          : lum_fail(err, LUM_EINTERNAL, "the VM's process sent malformed timings");
}

int lum_vm_timings(lum_vm *vm, struct lum_timing *list, size_t capacity, size_t *ret_count,
                   struct lum_error *err)
{
    API_ERROR(err);
    struct lum_timing all[64];
    size_t count = 0;

    if (!ret_count || (!list && capacity > 0))
        return lum_fail(e, LUM_EINVAL, "list or ret_count: NULL");
    plat_mutex_lock(vm->process_lock);
    for (; count < vm->n_own_stages; count++)
        all[count] = vm->own_stages[count];
    plat_mutex_unlock(vm->process_lock);
    int rc = worker_timings(vm, all, ARRAY_LEN(all), &count, e);
    if (rc < 0)
        return rc;
    qsort(all, count, sizeof(all[0]), by_time);
    for (size_t i = 0; i < count && i < capacity; i++) {
        list[i] = all[i];
        list[i].at_ns -= vm->t0_ns;
    }
    *ret_count = count;
    return 0;
}

int lum_vm_stats(lum_vm *vm, struct lum_vm_stats *ret_stats, struct lum_error *err)
{
    API_ERROR(err);
    AUTO(channel_close) struct channel channel = CHANNEL_INIT;
    struct lum_vm_stats s = LUM_VM_STATS_INIT;
    struct frame frame;

    if (!ret_stats || ret_stats->struct_size < sizeof(uint32_t) ||
        ret_stats->struct_size > sizeof(s))
        return lum_fail(e, LUM_EINVAL, "ret_stats: NULL or of another version of lumina.h");
    int rc = vm_call(vm, CTL_STATS, NULL, -1, &channel, &frame, e);
    if (rc < 0)
        return rc;
    struct rbuf in = rbuf_of(frame.data, frame.size);
    s.struct_size = ret_stats->struct_size;
    s.vcpus = vm->vcpus;
    s.memory_bytes = vm->memory_bytes;
    s.guest_touched_bytes = rbuf_u64(&in);
    s.process_rss_bytes = rbuf_u64(&in);
    s.exits = rbuf_u64(&in);
    if (!rbuf_done(&in))
        return lum_fail(e, LUM_EINTERNAL, "the VM's process sent malformed figures");
    memcpy(ret_stats, &s, ret_stats->struct_size);
    return 0;
}
