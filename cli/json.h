/* SPDX-License-Identifier: Apache-2.0 */
/* JSON to stdout. The caller writes the brackets and commas; these write the values. */
#ifndef LUMINA_CLI_JSON_H
#define LUMINA_CLI_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* A string with its quotes. Bytes that are not UTF-8 become U+FFFD, one each. */
void json_string(FILE *out, const char *text, size_t size);
void json_text(FILE *out, const char *text);
void json_bool(FILE *out, bool value);

#endif
