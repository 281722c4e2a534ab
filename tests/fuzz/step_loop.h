/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An event loop for fuzzing, linked in place of the real one: it runs only when told to, in the
 * caller's thread, so that a corpus entry does the same thing every time. Timers fire when told to.
 */
#ifndef LUM_TESTS_STEP_LOOP_H
#define LUM_TESTS_STEP_LOOP_H

#include "plat/plat.h"

void step_loop_run(struct plat_loop *loop);    /* one pass over what is ready now */
void step_loop_timers(struct plat_loop *loop); /* all timers that are set */

#endif
