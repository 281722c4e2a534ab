/* SPDX-License-Identifier: Apache-2.0 */
/* Filling struct lum_error: fixed size, truncating, one line. */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* A text that comes from a path or a guest may hold control bytes; an error stays one line. */
static void make_one_line(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            *text = '?';
}

static void vfill(struct lum_error *err, int code, int domain, int64_t os_code, const char *fmt,
                  va_list ap) LUM_PRINTF(5, 0);

static void vfill(struct lum_error *err, int code, int domain, int64_t os_code, const char *fmt,
                  va_list ap)
{
    err->code = code;
    err->domain = domain;
    err->os_code = os_code;
    if (vsnprintf(err->text, sizeof(err->text), fmt, ap) < 0)
        err->text[0] = '\0';
    make_one_line(err->text);
}

int lum_fail(struct lum_error *err, int code, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vfill(err, code, LUM_DOMAIN_NONE, 0, fmt, ap);
    va_end(ap);
    return code;
}

int lum_fail_errno(struct lum_error *err, int os_errno, const char *fmt, ...)
{
    int code = LUM_EOS;
    va_list ap;

    if (os_errno == EACCES || os_errno == EPERM)
        code = LUM_EACCES;
    else if (os_errno == ENOENT || os_errno == ENOTDIR)
        code = LUM_ENOENT;
    else if (os_errno == ENOMEM)
        code = LUM_ENOMEM;

    va_start(ap, fmt);
    vfill(err, code, LUM_DOMAIN_ERRNO, os_errno, fmt, ap);
    va_end(ap);

    size_t len = strlen(err->text);
    snprintf(err->text + len, sizeof(err->text) - len, ": %s%s", strerror(os_errno),
             os_errno == EMFILE ? "; remedy: a higher limit of open files (ulimit -n)" : "");
    return code;
}

int lum_context(struct lum_error *err, const char *fmt, ...)
{
    char inner[sizeof(err->text)];
    va_list ap;

    memcpy(inner, err->text, sizeof(inner));
    va_start(ap, fmt);
    if (vsnprintf(err->text, sizeof(err->text), fmt, ap) < 0)
        err->text[0] = '\0';
    va_end(ap);
    make_one_line(err->text);

    size_t len = strlen(err->text);
    snprintf(err->text + len, sizeof(err->text) - len, ": %s", inner);
    return err->code;
}
