/* SPDX-License-Identifier: Apache-2.0 */
/* The escaper. Output of guests goes through it, so it is total: any bytes give valid JSON. */
#include "json.h"

#include <stdint.h>
#include <string.h>

/* Length of the UTF-8 sequence at p (Unicode 15, table 3-7), or 0 when it is not one. */
static size_t utf8_length(const unsigned char *p, size_t left)
{
    unsigned char low = 0x80, high = 0xbf;
    size_t length;

    if (p[0] < 0x80)
        return 1;
    if (p[0] >= 0xc2 && p[0] <= 0xdf)
        length = 2;
    else if (p[0] >= 0xe0 && p[0] <= 0xef)
        length = 3;
    else if (p[0] >= 0xf0 && p[0] <= 0xf4)
        length = 4;
    else
        return 0;
    /* No overlong forms, no surrogates, nothing above U+10FFFF. */
    if (p[0] == 0xe0)
        low = 0xa0;
    else if (p[0] == 0xed)
        high = 0x9f;
    else if (p[0] == 0xf0)
        low = 0x90;
    else if (p[0] == 0xf4)
        high = 0x8f;
    if (left < length || p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < length; i++) {
        if (p[i] < 0x80 || p[i] > 0xbf)
            return 0;
    }
    return length;
}

void json_string(FILE *out, const char *text, size_t size)
{
    const unsigned char *p = (const unsigned char *)text;

    (void)fputc('"', out);
    while (size > 0) {
        size_t length = utf8_length(p, size);

        if (length == 0) {
            (void)fputs("\\ufffd", out);
            length = 1;
        } else if (*p == '"' || *p == '\\') {
            (void)fprintf(out, "\\%c", *p);
        } else if (*p == '\n') {
            (void)fputs("\\n", out);
        } else if (*p == '\t') {
            (void)fputs("\\t", out);
        } else if (*p < 0x20 || *p == 0x7f) {
            (void)fprintf(out, "\\u%04x", (unsigned)*p);
        } else {
            (void)fwrite(p, 1, length, out);
        }
        p += length;
        size -= length;
    }
    (void)fputc('"', out);
}

void json_text(FILE *out, const char *text)
{
    json_string(out, text, strlen(text));
}

void json_bool(FILE *out, bool value)
{
    (void)fputs(value ? "true" : "false", out);
}
