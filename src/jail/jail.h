/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Staged self-isolation of the worker process. The stages come in this order and no guest
 * instruction runs before JAIL_SEALED. Each gives up what is no longer needed; none can be taken
 * back.
 */
#ifndef LUM_JAIL_H
#define LUM_JAIL_H

#include "base/err.h"

enum jail_stage {
    JAIL_EARLY,          /* first thing in main: before any input is read */
    JAIL_RESOURCES_OPEN, /* every file, device and descriptor the VM needs is open */
    JAIL_SEALED,         /* threads exist, nothing new will be opened */
};

int jail_enter(enum jail_stage stage, struct lum_error *err);

#endif
