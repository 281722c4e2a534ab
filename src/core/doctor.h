/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What lum_doctor is made of, besides findings.h. doctor.c puts it together and starts a VM;
 * doctor_own.c looks at what is LuminaGuard's own; the host's part is one set of files for
 * each operating system. Private to src/core.
 */
#ifndef LUM_CORE_DOCTOR_H
#define LUM_CORE_DOCTOR_H

#include "core/findings.h"

/* What lum_backends said; count 0: it failed. */
struct backend_list {
    struct lum_backend list[16];
    size_t count;
};

/* NULL: there is none of that name. */
const struct lum_backend *backend_named(const struct backend_list *backends, const char *name);
bool backend_is_fast(const struct lum_backend *backend); /* usable, at hardware speed; NULL: no */
bool backend_any_usable(const struct backend_list *backends);

/* The host's own part. */
void doctor_host(const struct backend_list *backends, struct findings *out);

enum doctor_file {
    DOCTOR_FILE_PROGRAM,
    DOCTOR_FILE_KERNEL,
    DOCTOR_FILE_INITRD,
    DOCTOR_FILE_ROOT,
};

/* Found, whole as far as its head says, its size and digest. remedy: what to do when it is not. */
void doctor_check_file(struct findings *out, const char *name, const char *path,
                       enum doctor_file kind, const char *remedy);

/* QEMU's path and version; path_list is what PATH holds, or NULL. */
void doctor_check_qemu(struct findings *out, const struct backend_list *backends,
                       const char *path_list);

#endif
