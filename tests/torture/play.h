/* SPDX-License-Identifier: Apache-2.0 */
/* What several scenarios need. */
#ifndef LUM_TESTS_PLAY_H
#define LUM_TESTS_PLAY_H

#include "machine/machine.h"

/* Small kernels, into 16 KiB; the size of the file. The ELF one halts at once after a reset. */
size_t play_elf(uint8_t *file);
size_t play_bzimage(uint8_t *file);

/* Runs what is ready in the loop, on this thread, and returns. */
void play_loop(struct plat_loop *loop);

#endif
