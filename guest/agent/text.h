/* SPDX-License-Identifier: Apache-2.0 */
/* Texts and numbers without the printf and scanf families, which would be a fourth of the agent. */
#ifndef AGENT_TEXT_H
#define AGENT_TEXT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Digits of an unsigned 32-bit number and its end. */
#define TEXT_NUMBER 11u

/*
 * Puts strings together up to a NULL. What does not fit is cut off; the result is terminated, and
 * its length is returned.
 */
size_t text_join(char *place, size_t size, const char *first, ...) __attribute__((sentinel));
size_t text_join_list(char *place, size_t size, const char *first, va_list rest);

/* Writes v in decimal and returns place. */
const char *text_number(char place[static TEXT_NUMBER], uint32_t v);

/* Reads digits, at least one; false when there are none or the value is above UINT32_MAX - 1. */
bool text_read_number(const char *text, uint32_t *ret_value, const char **ret_rest);

#endif
