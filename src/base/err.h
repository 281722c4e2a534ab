/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The failure path. Each helper fills the caller's error and returns its code, so that
 * `return lum_fail(err, ...)` is the whole of it. Inside the library err is never NULL.
 */
#ifndef LUM_BASE_ERR_H
#define LUM_BASE_ERR_H

#include "base/util.h"
#include "lumina.h"

int lum_fail(struct lum_error *err, int code, const char *fmt, ...) LUM_PRINTF(3, 4);

/* Text gets ": <strerror>"; the code is derived from the errno (EACCES/EPERM, ENOENT, ENOMEM, else
 * LUM_EOS). */
int lum_fail_errno(struct lum_error *err, int os_errno, const char *fmt, ...) LUM_PRINTF(3, 4);

/* Puts "text: " before what err already says and returns its code. */
int lum_context(struct lum_error *err, const char *fmt, ...) LUM_PRINTF(2, 3);

#endif
