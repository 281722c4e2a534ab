/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine trait: what users see as a backend. It lives in the worker process. Every call is
 * made on the I/O thread with the loop's lock held and returns soon; what takes time reports
 * through struct machine_host. machine.c holds the registry and is the only caller through the
 * table.
 */
#ifndef LUM_MACHINE_H
#define LUM_MACHINE_H

#include "lumina.h"
#include "plat/plat.h"

/* What a VM may have; the backend's own limits may be tighter. */
#define LUM_MEMORY_MIN (32 * MIB)
#define LUM_MEMORY_MAX (1 * TIB)
#define LUM_VCPUS_MAX  32u

enum machine_root {
    MACHINE_ROOT_INITRD, /* the root is the (second) initrd */
    MACHINE_ROOT_EROFS,
    MACHINE_ROOT_EXT4,
};

/* Checked options with every file already open. Descriptors belong to the spec. */
struct vm_spec {
    char backend[24];
    bool hardware_only; /* refuse a backend that does not run guests at hardware speed */
    bool own_kernel;    /* brought by the caller: may be a payload that is no Linux */
    uint32_t vcpus;
    uint64_t memory_bytes;
    char *cmdline_extra; /* may be "" */
    char *hostname;
    char *kernel_name; /* for messages */
    plat_fd kernel;
    plat_fd agent; /* cpio with the agent, always first initrd */
    plat_fd root;  /* image or cpio */
    enum machine_root root_kind;
    bool read_only;
    uint64_t scratch_bytes;
};

void vm_spec_init(struct vm_spec *spec);
void vm_spec_done(struct vm_spec *spec);
/* What goes on the kernel command line: refused before the worker is asked, and again where it is
 * put together. */
int vm_spec_check_texts(const char *hostname, const char *cmdline_extra, struct lum_error *err);

enum machine_end {
    MACHINE_POWERED_OFF,
    MACHINE_RESET,   /* the guest asked for a reset, which ends a micro-VM */
    MACHINE_CRASHED, /* triple fault, hypervisor error, helper process died: text says what */
};

/* What a machine tells its owner. Called from the loop. ctx is the first argument of each. */
struct machine_host {
    void *ctx;
    void (*log)(void *ctx, int level, const char *fmt, ...) LUM_PRINTF(3, 4);
    void (*console)(void *ctx, const uint8_t *data, size_t size);
    void (*agent)(void *ctx,
                  plat_fd stream); /* the guest's agent has connected: takes the stream */
    void (*agent_closed)(
        void *ctx); /* it has closed its end, where the stream itself cannot tell */
    void (*ended)(void *ctx, enum machine_end end, const char *text); /* once */
    void (*stage)(void *ctx, const char *name);                       /* for the ledger */
    /*
     * The fence, where a backend's own order allows it. closed: every file, device and program of
     * the machine is open (memory and threads may still be made). vcpu_sealed: on each vCPU
     * thread, before guest code. start_program: a helper program, before closed.
     */
    int (*closed)(void *ctx, struct lum_error *err);
    int (*vcpu_sealed)(void *ctx, struct lum_error *err);
    int (*start_program)(void *ctx, const struct plat_start *start,
                         struct plat_process **ret_process, struct lum_error *err);
};

struct machine_probe {
    bool usable;
    uint32_t features; /* enum lum_feature */
    uint32_t max_vcpus;
    char detail[192];
};

struct machine_stats {
    uint64_t guest_touched_bytes;
    uint64_t helper_rss_bytes; /* of processes other than the worker */
    uint64_t exits;
};

struct machine;

struct machine_ops {
    const char *kind; /* "native", "qemu", ... */
    void (*probe)(const char *driver, struct machine_probe *ret_probe);
    /*
     * Everything open, nothing running. driver: the hv driver or NULL. LUM_ENOTSUP: cannot run
     * here, or not as spec wants it. A machine that is slower than hardware logs a warning.
     */
    int (*create)(const char *driver, const struct vm_spec *spec, struct plat_loop *loop,
                  const struct machine_host *host, struct machine **ret_machine,
                  struct lum_error *err);
    void (*free)(struct machine *machine); /* any state; kills */
    int (*start)(struct machine *machine, struct lum_error *err);
    /* done is called once from the loop. */
    void (*pause)(struct machine *machine, void (*done)(void *ctx, int rc, const char *why),
                  void *ctx);
    void (*resume)(struct machine *machine, void (*done)(void *ctx, int rc, const char *why),
                   void *ctx);
    /* Optional (else the agent forwards): connects stream, which is taken, to a guest vsock port.
     */
    void (*dial)(struct machine *machine, uint32_t port, plat_fd stream,
                 void (*done)(void *ctx, int rc), void *ctx);
    void (*stats)(struct machine *machine, struct machine_stats *ret_stats);
};

struct machine {
    const struct machine_ops *ops;
};

/* A name that users see. */
struct machine_backend {
    const char *name;
    const struct machine_ops *ops;
    const char *driver;
};
extern const struct machine_backend
    machine_backends[]; /* ends with name NULL; one list file per worker program */

const struct machine_backend *machine_find(const char *name);

/*
 * Kernel command line of every backend: quiet start, root description for the agent, then the
 * spec's extra arguments. agent_port says how the agent reaches the host: "vsock" or a
 * virtio-serial port name. Heap string.
 */
int machine_cmdline(const struct vm_spec *spec, const char *transport_args, const char *agent_port,
                    char **ret_cmdline, struct lum_error *err);

extern const struct machine_ops machine_native_ops;
extern const struct machine_ops machine_qemu_ops;

#endif
