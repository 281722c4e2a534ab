/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of the conformance suite. */
#ifndef LUM_TESTS_CONFORMANCE_H
#define LUM_TESTS_CONFORMANCE_H

#include "lumina.h"
#include "tap.h"

/* One finished command. Zeroed, so that the texts end with NUL. */
struct run {
    char out[16384], err_out[4096];
    size_t out_size, err_size;
    int32_t code, signal, timed_out;
    struct lum_error err;
};

extern const char *backend_name;
extern const int32_t boot_ms, run_ms;

lum_vm *
vm_up(const struct lum_vm_options *base); /* created and started, or NULL with the reason printed */
int run_opts(lum_vm *vm, const struct lum_exec_options *opts, const char *input, struct run *r);
int sh(lum_vm *vm, const char *script, struct run *r);

void test_files(lum_vm *vm); /* put and get */
void test_ends(lum_vm *vm);  /* ends this VM politely, then others in every other way */
void test_shapes(void);      /* vCPUs, memory, root file systems */

#endif
