/* SPDX-License-Identifier: Apache-2.0 */
/* Other processes as /proc shows them. */
#ifndef LUM_TESTS_PROCS_H
#define LUM_TESTS_PROCS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* /proc/PID/NAME as text, cut to fit; empty when it cannot be read. */
size_t proc_read(pid_t pid, const char *name, char *buf, size_t capacity);
bool proc_link(pid_t pid, const char *name, char *buf, size_t capacity);

/* A line "NAME:<blanks>VALUE" of /proc/PID/status or the like: the value; false: no such line. */
bool proc_field(const char *text, const char *name, char *ret_value, size_t capacity);

/* Living or zombie; unordered. The count, which may be more than fit. */
size_t proc_children(pid_t pid, pid_t *list, size_t capacity);
/* The child that is a VM's worker, and no control group's keeper; 0: none. */
pid_t proc_worker(pid_t pid);
/* Numbers in a folder of /proc/PID: "fd", "task". */
size_t proc_numbers(pid_t pid, const char *folder, int *list, size_t capacity);

#endif
