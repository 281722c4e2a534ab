/* SPDX-License-Identifier: Apache-2.0 */
/*
 * LuminaGuard: give each piece of untrusted code a Linux micro-VM of its own.
 *
 * The whole public interface of liblumina. Clean as C99 and as C++.
 *
 * Errors. Every fallible call returns 0 or a negative enum lum_code and takes, as its last
 * parameter, a caller-owned struct lum_error (or NULL). The struct is written only on failure and
 * never needs a release. Outputs go through ret_ parameters and are written only on success.
 *
 * Threads. There is no global state: objects of different VMs never meet. On one VM every call may
 * be made from any thread and calls may overlap, with two exceptions: lum_vm_free must be the last
 * call on the VM and overlap none, and all lum_exec and lum_stream objects of a VM are freed before
 * it. On one lum_exec or lum_stream, one thread may read each stream while another writes and a
 * third waits or signals. lum_vm_stop may be called at any moment; calls blocked on that VM then
 * return LUM_EGONE.
 *
 * Processes. Each VM is one child process (lumina-vmm) of the caller, reaped by lum_vm_free; when
 * the caller dies, however it dies, the child ends by itself. The library starts no lasting
 * threads, installs no signal handlers and writes to no standard stream. SIGPIPE is never raised by
 * it.
 *
 * A caller that forks without exec keeps its VMs alive until that child has ended too.
 *
 * Times are in milliseconds; a negative timeout waits for ever.
 */
#ifndef LUMINA_H
#define LUMINA_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define LUM_API
#elif defined(__GNUC__)
#define LUM_API __attribute__((visibility("default")))
#else
#define LUM_API
#endif

#if defined(__GNUC__)
#define LUM_MUST_USE __attribute__((warn_unused_result))
#else
#define LUM_MUST_USE
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define LUM_VERSION_MAJOR 0
#define LUM_VERSION_MINOR 1
#define LUM_VERSION_PATCH 0

/* Version of the library in use, (major << 16) | (minor << 8) | patch. Any thread. */
LUM_API uint32_t lum_version(void);

/* The same as text, such as "0.1.0"; static storage. */
LUM_API const char *lum_version_string(void);

/* ---- errors ---- */

enum lum_code {
    LUM_EINVAL = -1,    /* an argument or option is wrong; the text names it */
    LUM_ENOMEM = -2,    /* out of memory on the host */
    LUM_ENOTSUP = -3,   /* this backend or host cannot do that */
    LUM_EOS = -4,       /* the operating system refused; domain and os_code say how */
    LUM_EACCES = -5,    /* permission denied; the text names the remedy */
    LUM_ENOENT = -6,    /* a named thing does not exist (file, folder, backend, port) */
    LUM_EFORMAT = -7,   /* a file is not what it should be (kernel, image) */
    LUM_ETIMEDOUT = -8, /* the deadline passed */
    LUM_EGUEST = -9,    /* the guest broke the protocol, crashed or refused */
    LUM_EGONE = -10,    /* the VM has ended: stopped, powered off, killed or died */
    LUM_EBUSY = -11,    /* not possible in this state (for instance: already started) */
    LUM_ENOEXEC = -12,  /* the command exists in the guest but cannot be executed (126) */
    LUM_ENOCMD = -13,   /* the command was not found in the guest (127) */
    LUM_EINTERNAL = -14 /* a bug of ours */
};

enum lum_domain {
    LUM_DOMAIN_NONE = 0,
    LUM_DOMAIN_ERRNO = 1,      /* os_code is the host's errno */
    LUM_DOMAIN_GUEST_ERRNO = 2 /* os_code is an errno of the Linux guest */
};

struct lum_error {
    int32_t code;   /* enum lum_code */
    int32_t domain; /* enum lum_domain: whose number os_code is */
    int64_t os_code;
    char text[240]; /* one line without a newline, "outer: inner" */
};

/* ---- backends ---- */

enum lum_feature {
    LUM_FEATURE_HARDWARE = 1 << 0, /* runs guests at hardware speed on this host */
    LUM_FEATURE_PAUSE = 1 << 1,    /* lum_vm_pause and lum_vm_resume */
    LUM_FEATURE_VSOCK = 1 << 2,    /* guests have a virtio-vsock device */
    LUM_FEATURE_DIAL = 1 << 3      /* lum_vm_dial */
};

struct lum_backend {
    char name[24];      /* what lum_vm_options.backend takes */
    uint32_t usable;    /* 1: a VM can be created with it here and now */
    uint32_t automatic; /* 1: "auto" would choose this one */
    uint32_t features;  /* enum lum_feature */
    uint32_t max_vcpus;
    char detail[192]; /* what the probe found, one line; when not usable: why, and the remedy */
};

/*
 * Probes every backend of this build, best first, and fills at most capacity entries. *ret_count
 * gets the number of backends there are, which may be more. A probe is honest: it runs a small
 * guest and measures it; this takes some milliseconds and creates nothing that lasts. Errors:
 * LUM_EINVAL (list NULL with capacity > 0), LUM_ENOENT (lumina-vmm not found), LUM_EOS, LUM_ENOMEM.
 */
LUM_API LUM_MUST_USE int lum_backends(struct lum_backend *list, size_t capacity, size_t *ret_count,
                                      struct lum_error *err);

/* ---- the host ---- */

enum lum_finding_state {
    LUM_FINDING_GOOD = 1, /* as it should be */
    LUM_FINDING_NOTE = 2, /* worth knowing; little or nothing to gain */
    LUM_FINDING_SLOW = 3, /* costs time */
    LUM_FINDING_BAD = 4   /* no VM can run, or only with less protection */
};

struct lum_finding {
    char name[32];    /* what it is about, such as "kvm"; no name comes twice */
    int32_t state;    /* enum lum_finding_state */
    char found[256];  /* what was read, tried or measured; one line */
    char remedy[256]; /* what to do, most often a command; one line. Never empty where the state is
                         LUM_FINDING_SLOW or LUM_FINDING_BAD, else mostly */
};

/*
 * Looks at what this host can do for VMs and what slows them, and fills at most capacity entries;
 * *ret_count gets the number of findings there are. The first is named "run" and sums up: a VM was
 * started with default options and thrown away, and found says how that went (LUM_FINDING_BAD: it
 * did not run). The rest is in order of state, worst first. What could not be read is said so in
 * found. Takes about as long as a start, and changes nothing on the host: what it creates to try
 * things (a VM, namespaces, an empty cgroup) is gone when it returns. Errors: LUM_EINVAL (list NULL
 * with capacity > 0), LUM_ENOMEM.
 */
LUM_API LUM_MUST_USE int lum_doctor(struct lum_finding *list, size_t capacity, size_t *ret_count,
                                    struct lum_error *err);

/* ---- machines ---- */

typedef struct lum_vm lum_vm;
typedef struct lum_exec lum_exec;
typedef struct lum_stream lum_stream;

enum lum_log_level {
    LUM_LOG_WARN = 1, /* something the user should know */
    LUM_LOG_INFO = 2,
    LUM_LOG_DEBUG = 3,
    LUM_LOG_CONSOLE = 4 /* a line of the guest's console */
};

/*
 * Receives one line, without its newline, unprintable bytes escaped. Called on a thread that is
 * inside a lum_ call for this VM, one line at a time; lines that arrive between calls wait (up to a
 * pipe's worth, later ones are dropped). Must not call lum_ functions of the same VM.
 */
typedef void lum_log_fn(void *ctx, int32_t level, const char *line);

struct lum_vm_options {
    uint32_t struct_size;  /* set by LUM_VM_OPTIONS_INIT */
    uint32_t vcpus;        /* 1 to 32; 0: 1 */
    uint64_t memory_bytes; /* 32 MiB to 1 TiB, whole MiB; 0: 256 MiB. The host pays for touched
                              pages only */
    const char *backend;   /* "kvm", "qemu", ... ; NULL or "auto": the best that can run here */
    const char
        *kernel; /* path of an ELF vmlinux or a bzImage; NULL: the one built with LuminaGuard */
    const char *kernel_args; /* appended to the kernel command line; NULL: none */
    const char
        *rootfs; /* path of a folder, cpio, EROFS or ext4 image; NULL: the built-in busybox root */
    uint32_t
        read_only; /* 1: no writable layer over the root (only /tmp, /run, /dev are writable) */
    uint64_t
        scratch_bytes; /* size limit of the writable layer in guest memory; 0: half the memory */
    lum_log_fn *log;   /* NULL: lines are dropped */
    void *log_ctx;
    const char *hostname; /* NULL: "lumina" */
    /*
     * The fence around the VM's process. NULL or "default": everything, or an error where the host
     * forbids a part. "seccomp": without namespaces, for hosts that forbid those. "off": only the
     * hypervisor's own isolation, with a warning.
     */
    const char *jail;
};

#define LUM_VM_OPTIONS_INIT                                                                        \
    {                                                                                              \
        (uint32_t)sizeof(struct lum_vm_options), 0, 0, NULL, NULL, NULL, NULL, 0, 0, NULL, NULL,   \
            NULL, NULL                                                                             \
    }

/*
 * Checks the options, starts the VM's process and opens everything the VM needs; no guest
 * instruction runs yet. Strings are copied. A struct_size smaller than this header's is accepted,
 * the rest taking defaults. Errors: LUM_EINVAL (an option; the text names it), LUM_ENOENT (kernel,
 * rootfs or backend), LUM_EACCES, LUM_EFORMAT (kernel or rootfs is not one), LUM_ENOTSUP (the
 * backend cannot run here), LUM_EOS, LUM_ENOMEM.
 */
LUM_API LUM_MUST_USE int lum_vm_create(const struct lum_vm_options *opts, lum_vm **ret_vm,
                                       struct lum_error *err);

/*
 * Boots the guest and returns when its agent is ready for commands.
 * Errors: LUM_ETIMEDOUT (the guest did not say ready in time; it is stopped), LUM_EBUSY (started
 * before), LUM_EGUEST (it crashed or powered off while booting; the text says what), LUM_EGONE,
 * LUM_EOS.
 */
LUM_API LUM_MUST_USE int lum_vm_start(lum_vm *vm, int32_t timeout_ms, struct lum_error *err);

/* Stops all vCPUs; returns when none runs. Errors: LUM_EBUSY (not running), LUM_ENOTSUP, LUM_EGONE.
 */
LUM_API LUM_MUST_USE int lum_vm_pause(lum_vm *vm, struct lum_error *err);

/* Lets the vCPUs run again. Errors: LUM_EBUSY (not paused), LUM_ENOTSUP, LUM_EGONE. */
LUM_API LUM_MUST_USE int lum_vm_resume(lum_vm *vm, struct lum_error *err);

/*
 * Ends the guest. With grace_ms > 0 the agent is asked first: it terminates what runs, syncs and
 * powers off; what has not ended by then (and anything with grace_ms 0) is killed. Harmless when
 * the VM has ended already. May be called from any thread at any moment; other calls on this VM
 * then return LUM_EGONE.
 */
LUM_API LUM_MUST_USE int lum_vm_stop(lum_vm *vm, int32_t grace_ms, struct lum_error *err);

/*
 * Waits until the VM has ended and says why in ret_reason (may be NULL; "powered off", "reset",
 * "stopped", "killed", "crashed: ..."). Errors: LUM_ETIMEDOUT.
 */
LUM_API LUM_MUST_USE int lum_vm_wait(lum_vm *vm, int32_t timeout_ms, char *ret_reason,
                                     size_t reason_size, struct lum_error *err);

/* Name of the backend in use, such as "kvm"; valid until lum_vm_free. */
LUM_API const char *lum_vm_backend(const lum_vm *vm);

/* Kills the guest if it still runs and releases everything; never waits for the teardown. NULL is
 * allowed. */
LUM_API void lum_vm_free(lum_vm *vm);

/* ---- commands ---- */

enum lum_exec_flag {
    LUM_EXEC_TTY =
        1 << 0, /* a pseudo terminal: stdin, stdout and stderr are one terminal, read as stdout */
    LUM_EXEC_STDIN = 1 << 1 /* stdin is written with lum_exec_write; without it stdin is empty */
};

struct lum_exec_options {
    uint32_t struct_size; /* set by LUM_EXEC_OPTIONS_INIT */
    uint32_t flags;       /* enum lum_exec_flag */
    const char *const
        *argv; /* NULL-terminated; argv[0] is looked up in PATH of env when it has no slash */
    const char *const *env; /* NULL-terminated "NAME=value"; NULL: PATH, HOME, USER (and TERM with a
                               terminal) only. Given: added to and overriding those */
    const char *cwd;        /* NULL: the user's home, or / */
    const char *user;       /* "name", "uid" or "uid:gid"; NULL: root */
    uint32_t rows, cols;    /* first size of the terminal; 0: 24 x 80 */
    int32_t timeout_ms; /* the command is killed (SIGKILL) this long after its start; 0 or negative:
                           never */
    uint32_t reserved;  /* 0 */
};

#define LUM_EXEC_OPTIONS_INIT                                                                      \
    {                                                                                              \
        (uint32_t)sizeof(struct lum_exec_options), 0, NULL, NULL, NULL, NULL, 0, 0, 0, 0           \
    }

/*
 * Starts a command in a started VM and returns when it runs. Any number at the same time (the guest
 * allows 256). Errors: LUM_EINVAL, LUM_ENOCMD (not found), LUM_ENOEXEC (cannot be executed),
 * LUM_ENOENT (no such working directory or user), LUM_EBUSY (VM not started or paused), LUM_EGUEST,
 * LUM_EGONE, LUM_EOS, LUM_ENOMEM.
 */
LUM_API LUM_MUST_USE int lum_vm_exec(lum_vm *vm, const struct lum_exec_options *opts,
                                     lum_exec **ret_exec, struct lum_error *err);

enum lum_stream_id { LUM_STDOUT = 1, LUM_STDERR = 2 };

/*
 * Writes to the command's stdin; blocks until everything is handed over. Errors: LUM_EBUSY (stdin
 * is closed or not asked for), LUM_EGONE (the command or the VM has ended, or it closed its stdin).
 */
LUM_API LUM_MUST_USE int lum_exec_write(lum_exec *exec, const void *data, size_t size,
                                        struct lum_error *err);

/* The command reads end of file once it has read what was written. A second call is harmless. */
LUM_API LUM_MUST_USE int lum_exec_close_stdin(lum_exec *exec, struct lum_error *err);

/*
 * Reads what the command wrote: blocks for at least one byte; *ret_size 0 means end of file. After
 * the command has ended its streams end too, even if a process it left behind still holds them
 * open. When the VM ends, its streams end;
 * lum_exec_wait tells why. Errors: LUM_ETIMEDOUT, LUM_EINVAL (stream), LUM_EOS.
 */
LUM_API LUM_MUST_USE int lum_exec_read(lum_exec *exec, int32_t stream, void *buf, size_t capacity,
                                       int32_t timeout_ms, size_t *ret_size, struct lum_error *err);

/* Tells the terminal its size. Errors: LUM_EBUSY (no terminal), LUM_EGONE. */
LUM_API LUM_MUST_USE int lum_exec_resize(lum_exec *exec, uint32_t rows, uint32_t cols,
                                         struct lum_error *err);

/* Sends a signal, by its Linux number, to the command's process group. Harmless after the end.
 * Errors: LUM_EINVAL, LUM_EGONE. */
LUM_API LUM_MUST_USE int lum_exec_signal(lum_exec *exec, int32_t signo, struct lum_error *err);

struct lum_exit_status {
    int32_t exit_code; /* 0 to 255, or 128 + signal */
    int32_t signal;    /* the Linux signal that ended it, or 0 */
    int32_t timed_out; /* 1: killed because of timeout_ms */
    int32_t
        out_of_memory; /* 1: killed, or its last process was, and the guest had no memory left */
};

/* Waits for the command's end; may be called again. Errors: LUM_ETIMEDOUT, LUM_EGONE (the VM ended
 * first; the text says why). */
LUM_API LUM_MUST_USE int lum_exec_wait(lum_exec *exec, int32_t timeout_ms,
                                       struct lum_exit_status *ret_status, struct lum_error *err);

/* Kills the command if it still runs and releases the object. NULL is allowed. */
LUM_API void lum_exec_free(lum_exec *exec);

/* ---- files ---- */

/*
 * Copies a host file or folder (whole, with modes, times and symbolic links as links) to a path of
 * the guest. When guest_path ends in '/' or is a folder there, the copy goes into it under its own
 * name. Missing parents are made. Errors: LUM_ENOENT, LUM_EACCES, LUM_EGUEST (the guest could not
 * write; the text says why), LUM_EGONE, LUM_EOS.
 */
LUM_API LUM_MUST_USE int lum_vm_put(lum_vm *vm, const char *host_path, const char *guest_path,
                                    struct lum_error *err);

/*
 * Copies a guest file or folder to a host path, by the same rule for a trailing '/'. Never follows
 * a link that came from the guest, never writes outside host_path, creates no devices, set-user-id
 * bits are dropped. Errors: LUM_ENOENT, LUM_EACCES, LUM_EGUEST (no such file there, or the guest
 * sent nonsense), LUM_EGONE, LUM_EOS.
 */
LUM_API LUM_MUST_USE int lum_vm_get(lum_vm *vm, const char *guest_path, const char *host_path,
                                    struct lum_error *err);

/*
 * Bytes that lum_vm_put and lum_vm_get have moved for this VM so far: what a progress line shows
 * while one of them runs. Any thread, at any moment before lum_vm_free.
 */
LUM_API uint64_t lum_vm_copied(const lum_vm *vm);

/* ---- byte streams to guest ports ---- */

/*
 * Connects to a vsock port on which a program in the guest listens.
 * Errors: LUM_ENOENT (nobody listens), LUM_ETIMEDOUT, LUM_EGONE, LUM_ENOTSUP.
 */
LUM_API LUM_MUST_USE int lum_vm_dial(lum_vm *vm, uint32_t port, int32_t timeout_ms,
                                     lum_stream **ret_stream, struct lum_error *err);

/* Blocks for at least one byte; *ret_size 0 means the peer closed. Errors: LUM_ETIMEDOUT,
 * LUM_EGONE. */
LUM_API LUM_MUST_USE int lum_stream_read(lum_stream *stream, void *buf, size_t capacity,
                                         int32_t timeout_ms, size_t *ret_size,
                                         struct lum_error *err);

/* Blocks until everything is handed over. Errors: LUM_EGONE. */
LUM_API LUM_MUST_USE int lum_stream_write(lum_stream *stream, const void *data, size_t size,
                                          struct lum_error *err);

/* The peer reads end of file; reading goes on. */
LUM_API LUM_MUST_USE int lum_stream_shutdown(lum_stream *stream, struct lum_error *err);

/* Closes and releases. NULL is allowed. */
LUM_API void lum_stream_free(lum_stream *stream);

/* ---- figures ---- */

struct lum_timing {
    char stage[32];
    uint64_t at_ns; /* since the entry of lum_vm_create */
};

/*
 * The stage ledger so far, in order of time: "create", "worker", "vm created", "kernel loaded",
 * "running", "agent ready", "exec sent", "exec started", "first output", "exit" ... Fills at most
 * capacity entries; *ret_count gets the number there are.
 */
LUM_API LUM_MUST_USE int lum_vm_timings(lum_vm *vm, struct lum_timing *list, size_t capacity,
                                        size_t *ret_count, struct lum_error *err);

struct lum_vm_stats {
    uint32_t struct_size; /* set by LUM_VM_STATS_INIT */
    uint32_t vcpus;
    uint64_t memory_bytes;        /* of the guest, as configured */
    uint64_t guest_touched_bytes; /* host memory behind the guest's memory now */
    uint64_t process_rss_bytes;   /* of the VM's processes, guest memory included */
    uint64_t exits; /* vCPU exits handled by the monitor since the start; 0 where the backend cannot
                       tell */
};

#define LUM_VM_STATS_INIT                                                                          \
    {                                                                                              \
        (uint32_t)sizeof(struct lum_vm_stats), 0, 0, 0, 0, 0                                       \
    }

/* Errors: LUM_EGONE, LUM_EINVAL. */
LUM_API LUM_MUST_USE int lum_vm_stats(lum_vm *vm, struct lum_vm_stats *ret_stats,
                                      struct lum_error *err);

#ifdef __cplusplus
}
#endif

#endif
