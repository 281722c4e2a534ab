/* SPDX-License-Identifier: Apache-2.0 */
/* The caller's side of a VM: its worker process, requests to it, its log. Private to src/core. */
#ifndef LUM_CORE_VM_H
#define LUM_CORE_VM_H

#include <stdatomic.h>

#include "jail/jail.h"
#include "worker/ctl.h"

#define VM_OWN_STAGES 3u

struct lum_vm {
    struct plat_process *process;
    struct jail_group *group; /* NULL: the host lets us make none */
    plat_fd control, log;
    /* No two of these locks are ever held together. */
    struct plat_mutex *send_lock;    /* whole requests on the control socket */
    struct plat_mutex *log_lock;     /* log, log_buf, and one line at a time in the callback */
    struct plat_mutex *process_lock; /* process, own_stages */
    lum_log_fn *log_fn;
    void *log_ctx;
    char log_buf[2048];
    size_t log_size;
    char backend[24];
    enum jail_mode jail;
    uint32_t vcpus;
    uint64_t memory_bytes, t0_ns;
    _Atomic uint64_t copied_bytes;               /* by put and get */
    struct lum_timing own_stages[VM_OWN_STAGES]; /* what only the caller's side sees */
    size_t n_own_stages;
};

/* The programs that run VMs, in the order in which "auto" asks them; the list is one per OS. */
struct vmm_program {
    const char *file;
    const char *const *backends; /* names, NULL at the end */
    const char *device;          /* opened with the caller's rights and handed over; or NULL */
    bool starts_program;
};
extern const struct vmm_program vmm_programs[]; /* ends with file NULL */

/* Starts a program with argv[0] still to be filled in; *ret_control is our end of its control
 * socket. */
struct vmm_fence {
    enum jail_mode mode;
    const struct jail_limits *limits; /* NULL: no control group */
};
int vmm_start(const struct vmm_program *program, const char *argv[], const struct vmm_fence *fence,
              plat_fd log, struct plat_process **ret_process, struct jail_group **ret_group,
              plat_fd *ret_control, struct lum_error *err);
/* Path of a file that belongs to LuminaGuard: beside the library, or where it was installed. Heap
 * string. */
int vmm_file(const char *name, char **ret_path, struct lum_error *err);

/* A request's own channel: what has been received on it and how far it has been taken. */
struct channel {
    plat_fd fd;
    struct wbuf in;
    size_t at;
};
#define CHANNEL_INIT                                                                               \
    {                                                                                              \
        .fd = PLAT_FD_NONE                                                                         \
    }
void channel_close(struct channel *channel);

/* Sends a request; its answers come on the channel. fds stay the caller's. */
int vm_request(struct lum_vm *vm, uint16_t type, const struct wbuf *body, const plat_fd *fds,
               size_t n_fds, struct channel *ret_channel, struct lum_error *err);
/* The next frame on a channel, valid until the next call on it; a CTL_ERROR becomes the error. */
int vm_receive(struct lum_vm *vm, struct channel *channel, int32_t timeout_ms,
               struct frame *ret_frame, struct lum_error *err);
/* Request and CTL_OK in one; the frame is valid until the channel is closed. */
int vm_call(struct lum_vm *vm, uint16_t type, const struct wbuf *body, int32_t timeout_ms,
            struct channel *channel, struct frame *ret_frame, struct lum_error *err);

/* plat_wait_fd that delivers log lines meanwhile: 1 ready, 0 timeout, else -errno. */
int vm_wait_fd(struct lum_vm *vm, plat_fd fd, int32_t timeout_ms);
void vm_stage(struct lum_vm *vm, const char *name); /* the first of each name counts */

/* Starts an operation and waits until the guest has started it. streams: 3 entries, the worker's
 * ends, PLAT_FD_NONE for none. */
int vm_op(struct lum_vm *vm, uint16_t type, const struct wbuf *body, int32_t timeout_ms,
          const plat_fd streams[3], struct channel *ret_channel, struct lum_error *err);

/* Options to a checked spec with its files open. backend "auto" stays so. */
int spec_from_options(const struct lum_vm_options *opts, struct vm_spec *spec,
                      enum jail_mode *ret_jail, struct lum_error *err);

/* The caller's error or a local one: inside the library err is never NULL. */
#define API_ERROR(err)                                                                             \
    struct lum_error local_error_ = {0};                                                           \
    struct lum_error *e = (err) ? (err) : &local_error_

#endif
