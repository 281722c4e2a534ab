/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tool needs of its operating system besides the C library and threads: descriptors 0 to
 * 2, the terminal, signals, a clock. One os_<system>.c implements it.
 */
#ifndef LUMINA_CLI_OS_H
#define LUMINA_CLI_OS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Numbers of Linux, which are what guests and exit statuses use. */
enum os_signal {
    OS_SIGHUP = 1,
    OS_SIGINT = 2,
    OS_SIGQUIT = 3,
    OS_SIGKILL = 9,
    OS_SIGPIPE = 13,
    OS_SIGTERM = 15,
    OS_SIGWINCH = 28
};

/*
 * Opens those of the descriptors 0 to 2 that are closed, so that nothing else gets their numbers:
 * stdin reads end of file, writing to the others fails. Before anything else is opened.
 */
void os_fill_standard(void);

/* Milliseconds of a clock that only goes forward. */
int64_t os_now_ms(void);

/*
 * From now on SIGPIPE is ignored, and SIGINT, SIGTERM, SIGHUP, SIGQUIT and SIGWINCH are queued for
 * os_signal_wait() instead of acting. Those ignored before (nohup, a shell's background) stay so.
 * Returns 0 or an errno.
 */
int os_signals_open(void);

/* The next signal, or 0 when the time has passed; a negative timeout waits for ever. One thread. */
int os_signal_wait(int timeout_ms);

/* Makes os_signal_wait() return 0 soon. Any thread. */
void os_signal_wake(void);

/*
 * Blocks. *ret_size 0: end of file. Returns 0 or an errno. A terminal is read while we are its
 * foreground job; in the background this waits instead of stopping the process, as the command may
 * not want the input at all.
 */
int os_read(int fd, void *buf, size_t capacity, size_t *ret_size);

/* Writes all. Returns 0 or an errno; EPIPE when nobody reads any more. */
int os_write(int fd, const void *data, size_t size);

bool os_is_terminal(int fd);

/* Size of the terminal on a descriptor; false when it has none. */
bool os_terminal_size(int fd, uint32_t *ret_rows, uint32_t *ret_cols);

/*
 * Raw mode of the terminal on stdin. While it is on, anything that ends or stops the process, short
 * of SIGKILL and SIGSTOP, first puts the terminal back; after SIGCONT it is raw again and a
 * SIGWINCH is queued. Returns 0 or an errno.
 */
int os_raw_enter(void);
void os_raw_leave(void); /* harmless when it is off; any thread */
bool os_raw_active(void);

/* NULL or why a host path cannot be read. */
const char *os_unreadable(const char *path);

bool os_is_folder(const char *path);

/* Ends the process at once, without destructors: for a thread that may not wait for others. */
void os_exit_now(int status) __attribute__((noreturn));

#endif
