/* SPDX-License-Identifier: Apache-2.0 */
/* The fence of a machine that a test runs in its own process: none. */
#ifndef LUM_TEST_NO_FENCE_H
#define LUM_TEST_NO_FENCE_H

#include "machine/machine.h"

static inline int no_fence(void *ctx, struct lum_error *err)
{
    (void)ctx;
    (void)err;
    return 0;
}

static inline int no_fence_start(void *ctx, const struct plat_start *start,
                                 struct plat_process **ret_process, struct lum_error *err)
{
    (void)ctx;
    return plat_process_start(start, ret_process, err);
}

#define NO_FENCE .closed = no_fence, .vcpu_sealed = no_fence, .start_program = no_fence_start

#endif
