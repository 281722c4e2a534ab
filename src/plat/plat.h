/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The platform layer's contract: descriptors, files, memory, threads, the event loop, processes,
 * clocks. Everything above it is free of operating-system calls, except the hypervisor drivers.
 *
 * plat_fd is whatever the OS polls and passes between processes. All descriptors made
 * here are close-on-exec.
 */
#ifndef LUM_PLAT_H
#define LUM_PLAT_H

#include <sys/types.h>

#include "base/err.h"

typedef int plat_fd;
#define PLAT_FD_NONE (-1)

/* ---- descriptors ---- */

void plat_close(plat_fd *fd); /* closes and sets PLAT_FD_NONE; none is allowed */
bool plat_is_open(plat_fd fd);
int plat_pipe(plat_fd ret_pipe[2], struct lum_error *err);       /* [0] reads */
int plat_socketpair(plat_fd ret_pair[2], struct lum_error *err); /* byte stream, both ways */
int plat_set_nonblock(plat_fd fd, struct lum_error *err);
int plat_dup(plat_fd fd, plat_fd *ret_fd, struct lum_error *err);

/* Ends one direction of a stream for both ends; what is on its way still arrives. */
void plat_shutdown_write(plat_fd fd);
void plat_shutdown_read(plat_fd fd);

/*
 * One attempt; never raises SIGPIPE, retries EINTR. Bytes moved, 0 at end of file (read), -EAGAIN,
 * or another negative errno.
 */
ssize_t plat_read(plat_fd fd, void *buf, size_t size);
ssize_t plat_write(plat_fd fd, const void *buf, size_t size);
/* The same for what is no socket; a process that uses it ignores SIGPIPE. */
ssize_t plat_write_pipe(plat_fd fd, const void *buf, size_t size);

/* Waits for POLLIN (or POLLOUT when for_write) on fd, and watches aux (may be none) for POLLIN: 1
 * fd, 2 only aux, 0 timeout, else -errno. */
int plat_wait_fd(plat_fd fd, bool for_write, plat_fd aux, int timeout_ms);

#define PLAT_MAX_FDS 12
/* A message with descriptors over a socketpair: blocks; the descriptors stay the caller's. */
int plat_send_fds(plat_fd sock, const void *data, size_t size, const plat_fd *fds, size_t n_fds,
                  struct lum_error *err);
/*
 * One attempt to receive: bytes, 0 at end of file, or negative errno. Received descriptors become
 * the caller's; *n_fds holds the capacity on entry and the count after.
 */
ssize_t plat_recv_fds(plat_fd sock, void *buf, size_t size, plat_fd *fds, size_t *n_fds);

/* ---- files ---- */

int plat_file_open(const char *path, plat_fd *ret_fd, uint64_t *ret_size,
                   struct lum_error *err); /* a regular file */
plat_fd plat_device_open(const char *path); /* for reading and writing; PLAT_FD_NONE: cannot be */
/* Positional, whole or an error; reading past the end is LUM_EFORMAT "truncated". name is for the
 * message. */
int plat_file_pread(plat_fd fd, void *buf, size_t size, uint64_t offset, const char *name,
                    struct lum_error *err);
/* One attempt each, retrying EINTR: bytes moved (short at the end of the file) or negative errno.
 */
ssize_t plat_pread(plat_fd fd, void *buf, size_t size, uint64_t offset);
ssize_t plat_pwrite(plat_fd fd, const void *buf, size_t size, uint64_t offset);
int plat_fdatasync(plat_fd fd); /* 0 or negative errno */
int plat_file_size(plat_fd fd, uint64_t *ret_size, struct lum_error *err);
int plat_memfile(const char *name, const void *data, size_t size, plat_fd *ret_fd,
                 struct lum_error *err); /* anonymous file with this content */
/* $XDG_CACHE_HOME/lumina/<sub> or ~/.cache/lumina/<sub>, made if missing. Heap string. */
int plat_cache_dir(const char *sub, char **ret_path, struct lum_error *err);
/* Folder that holds the running library or program (by this function's own address). Heap string.
 */
int plat_self_dir(char **ret_path, struct lum_error *err);

/* ---- memory ---- */

/* Zeroed, private, page aligned, not reserved; released with plat_ram_free. */
int plat_ram_alloc(uint64_t size, void **ret_mem, struct lum_error *err);
void plat_ram_free(void *mem, uint64_t size);
uint64_t plat_ram_resident(const void *mem, uint64_t size); /* bytes in core now */
/* Maps the file copy-on-write over a page-aligned part of such memory; file offset page aligned. */
int plat_ram_map_file(void *at, uint64_t size, plat_fd fd, uint64_t offset, struct lum_error *err);
/* Resident memory of a process in bytes, 0 when unknown: opened once while there is a /proc (by
 * the process's pidfd; PLAT_FD_NONE: this process), read as often as wanted. */
plat_fd plat_rss_open(plat_fd pidfd);
uint64_t plat_rss_read(plat_fd rss);

/* ---- clocks, random bytes ---- */

uint64_t plat_now_ns(void);      /* monotonic; the same clock in every process of this host */
uint64_t plat_realtime_ns(void); /* since 1970 */
int plat_random(void *buf, size_t size, struct lum_error *err);

/* ---- threads ---- */

/* Threads work beside their creator: each begins on another CPU where there is one. */
struct plat_thread;
int plat_thread_start(struct plat_thread **ret_thread, const char *name, void (*fn)(void *ctx),
                      void *ctx, struct lum_error *err);
void plat_thread_join(struct plat_thread *thread); /* and frees; NULL is allowed */

struct plat_mutex;
struct plat_mutex *plat_mutex_create(void); /* recursive-free; NULL: no memory */
void plat_mutex_free(struct plat_mutex *mutex);
void plat_mutex_lock(struct plat_mutex *mutex);
void plat_mutex_unlock(struct plat_mutex *mutex);

struct plat_cond; /* always used with one mutex */
struct plat_cond *plat_cond_create(void);
void plat_cond_free(struct plat_cond *cond);
void plat_cond_wait(struct plat_cond *cond, struct plat_mutex *mutex);
void plat_cond_broadcast(struct plat_cond *cond);

/* ---- events that a hypervisor can signal and be signalled with (eventfd) ---- */

int plat_event_create(plat_fd *ret_fd, struct lum_error *err); /* non-blocking */
void plat_event_signal(plat_fd fd);
void plat_event_clear(plat_fd fd);

/* ---- the event loop ----
 *
 * One loop per worker, run by the I/O thread. Every callback runs with the loop's lock held, so
 * whoever holds the lock owns every device: the I/O thread in a callback, or a vCPU thread that
 * took plat_loop_lock for a register access. The lock is never held while the loop waits. Callbacks
 * never block.
 */
struct plat_loop;
struct plat_watch;
struct plat_timer;

enum { PLAT_READ = 1, PLAT_WRITE = 2, PLAT_HANGUP = 4 };

int plat_loop_create(struct plat_loop **ret_loop, struct lum_error *err);
void plat_loop_free(struct plat_loop *loop);
void plat_loop_run(struct plat_loop *loop);  /* until plat_loop_quit */
void plat_loop_quit(struct plat_loop *loop); /* any thread */
void plat_loop_lock(struct plat_loop *loop);
void plat_loop_unlock(struct plat_loop *loop);
/* Runs fn(ctx) in the loop soon. Any thread. Fails only for lack of memory. */
int plat_loop_post(struct plat_loop *loop, void (*fn)(void *ctx), void *ctx, struct lum_error *err);

/*
 * Watches fd (which stays the caller's) for a mask of PLAT_READ | PLAT_WRITE; PLAT_HANGUP is always
 * reported (peer closed both ways, or an error). A mask of 0 keeps the watch but reports hang-ups
 * only once. Loop lock held. The callback may free its own watch or any other.
 */
int plat_watch_create(struct plat_loop *loop, plat_fd fd, int mask,
                      void (*fn)(void *ctx, int events), void *ctx, struct plat_watch **ret_watch,
                      struct lum_error *err);
void plat_watch_set(struct plat_watch *watch, int mask);
void plat_watch_free(struct plat_watch *watch); /* before its fd is closed; NULL is allowed */

/* One-shot timer; set again with plat_timer_set (0: off). Loop lock held. */
int plat_timer_create(struct plat_loop *loop, void (*fn)(void *ctx), void *ctx,
                      struct plat_timer **ret_timer, struct lum_error *err);
void plat_timer_set(struct plat_timer *timer, uint64_t after_ns);
void plat_timer_free(struct plat_timer *timer);

/* ---- processes ---- */

struct plat_process;
/*
 * What is started and what it gets: fds[i] becomes 3 + i; 0 and 1 are the null device, 2 is err_fd
 * or the null device. In its own process group, no signals blocked or ignored.
 */
struct plat_start {
    const char *const *argv; /* argv[0] is a path */
    plat_fd program;         /* what to execute instead of argv[0]; PLAT_FD_NONE: argv[0] */
    const char *const *env;  /* NULL: the caller's */
    const plat_fd *fds;
    size_t n_fds;
    plat_fd err_fd;
    bool die_with_thread; /* killed when the thread that started it ends */
    /* For the jail (src/jail), which knows what they mean on this system. */
    uint64_t clone_flags;
    plat_fd cgroup; /* folder of the control group to start in; PLAT_FD_NONE: the caller's */
    /* Last thing before the program: 0 or -errno with *ret_step. In the caller's memory while the
     * caller's thread waits: plain system calls only. */
    int (*enter)(void *ctx, const char **ret_step);
    void *enter_ctx;
};
#define PLAT_START_INIT                                                                            \
    {                                                                                              \
        .program = PLAT_FD_NONE, .err_fd = PLAT_FD_NONE, .cgroup = PLAT_FD_NONE                    \
    }
/* Never fork without exec. Errors carry the errno. */
int plat_process_start(const struct plat_start *start, struct plat_process **ret_process,
                       struct lum_error *err);
int64_t plat_process_pid(const struct plat_process *process);
plat_fd plat_process_fd(const struct plat_process *process); /* readable when it has ended */
void plat_process_kill(struct plat_process *process);
/* Waits: 1 ended, 0 timeout. *ret_status is the exit code or 128 + signal; -1 when unknown. */
int plat_process_wait(struct plat_process *process, int timeout_ms, int *ret_status);
void plat_process_free(struct plat_process *process); /* kills, reaps off the caller's path */
void plat_process_release(struct plat_process *process); /* the same without the kill */
/* Kills and forgets: what is left of it goes with this process. */
void plat_process_leave(struct plat_process *process);

#endif
