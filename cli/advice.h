/* SPDX-License-Identifier: Apache-2.0 */
/* Errors of the library in the words of the command line. */
#ifndef LUMINA_CLI_ADVICE_H
#define LUMINA_CLI_ADVICE_H

#include "session.h"

enum advice_stage { ADVICE_CREATE, ADVICE_BOOT, ADVICE_RUN };

/*
 * The error's text with the option's name where the library names its own, and with the remedy
 * where one is known.
 */
void advice(char *text, size_t size, const struct lum_error *err, const struct run_plan *plan,
            enum advice_stage stage);

#endif
