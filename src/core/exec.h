/* SPDX-License-Identifier: Apache-2.0 */
/* One operation in the guest, seen from the caller: a command or a file transfer. Private to
 * src/core. */
#ifndef LUM_CORE_EXEC_H
#define LUM_CORE_EXEC_H

#include "core/vm.h"

struct lum_exec {
    struct lum_vm *vm;
    struct channel channel;
    plat_fd stream[3];
    bool tty;
    bool over; /* the end below is known */
    struct lum_exit_status status;
    struct lum_error end_error; /* code 0: status counts */
};

void auto_exec(lum_exec **exec); /* for AUTO */

/* Creates the object, a socket pair for each stream in the mask, and starts the operation. */
int exec_start(lum_vm *vm, uint16_t type, const struct wbuf *body, int32_t timeout_ms,
               unsigned mask, lum_exec **ret_exec, struct lum_error *err);

/* Writes everything; LUM_EGONE with the text `gone` when nobody reads any more. */
int fd_write_all(plat_fd fd, const void *data, size_t size, const char *gone,
                 struct lum_error *err);
/* Reads at least a byte, *ret_size 0 at end of file; LUM_ETIMEDOUT. Delivers log lines meanwhile.
 */
int fd_read_some(lum_vm *vm, plat_fd fd, void *buf, size_t capacity, int32_t timeout_ms,
                 size_t *ret_size, struct lum_error *err);

#endif
