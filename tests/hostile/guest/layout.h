/* SPDX-License-Identifier: Apache-2.0 */
/* Where things are in the attack guest. Shared by the assembler: numbers only. */
#ifndef LUM_HOSTILE_LAYOUT_H
#define LUM_HOSTILE_LAYOUT_H

#define MAX_CPUS      4
#define STACK_SHIFT   14
#define STACK_SIZE    (1 << STACK_SHIFT)
#define SELECTOR_CODE 8
#define SELECTOR_DATA 16
#define AP_PAGE       0x8000 /* where the other vCPUs start: start-up vector 8 */

#endif
