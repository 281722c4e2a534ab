/* SPDX-License-Identifier: Apache-2.0 */
/* Folders for tests that write files: made in memory where the host has such a place. */
#ifndef LUM_TESTS_SCRATCH_H
#define LUM_TESTS_SCRATCH_H

#include <stddef.h>

/* A fresh folder; ends the program when there is none to be had. */
void scratch_make(char *ret_path, size_t size);
/* Removes name and everything below, whatever its modes are. */
void scratch_remove(int dir_fd, const char *name);

#endif
