/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scenarios that are repeated with one failure after the other, until none is left that could
 * happen. torture.c checks after each that it ended well or with an error that says something, and
 * that nothing of it stayed.
 */
#ifndef LUM_TESTS_TORTURE_H
#define LUM_TESTS_TORTURE_H

#include "base/err.h"
#include "inject.h"

struct scenario {
    const char *name;
    /* NULL, or why it cannot be played here. Called once, before anything else. */
    const char *(*setup)(void);
    /* Once from beginning to end: 0, or an error of the product. */
    int (*play)(struct lum_error *err);
    /* What it plays does not take EINTR or short counts as an event of their own (false: it has to
     * end well with them). */
    bool may_fail_interrupted;
};

extern const struct scenario scenario_devices, scenario_kernels, scenario_spec, scenario_agent_host,
    scenario_tree, scenario_image, scenario_native, scenario_kvm, scenario_library, scenario_worker,
    scenario_agent_guest;

/* A folder of this program's run, removed at its end. */
const char *torture_folder(void);

/* The fault of a scenario's own stage, which is never an outcome: ends the program. */
void torture_must(bool good, const char *what);

#endif
