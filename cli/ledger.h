/* SPDX-License-Identifier: Apache-2.0 */
/* The table of --timing. */
#ifndef LUMINA_CLI_LEDGER_H
#define LUMINA_CLI_LEDGER_H

#include "lumina.h"

/* On stderr: stages in order of time, the longest step marked, a total, and what it took to run. */
void ledger_show(const struct lum_timing *stages, size_t count, const struct lum_vm_stats *stats);

#endif
