/* SPDX-License-Identifier: Apache-2.0 */
/* The checked options that travel from the library to the worker. */
#include <string.h>

#include "base/alloc.h"
#include "machine/machine.h"

void vm_spec_init(struct vm_spec *spec)
{
    *spec = (struct vm_spec){.kernel = PLAT_FD_NONE, .agent = PLAT_FD_NONE, .root = PLAT_FD_NONE};
}

void vm_spec_done(struct vm_spec *spec)
{
    free(spec->cmdline_extra);
    free(spec->hostname);
    free(spec->kernel_name);
    plat_close(&spec->kernel);
    plat_close(&spec->agent);
    plat_close(&spec->root);
    vm_spec_init(spec);
}

#define HOSTNAME_MAX 63u /* a label of DNS; Linux would take one more */

static int check_hostname(const char *name, struct lum_error *err)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.";
    size_t len = strlen(name);

    if (len < 1 || len > HOSTNAME_MAX)
        return lum_fail(err, LUM_EINVAL, "hostname: %zu bytes, must be 1 to %u", len, HOSTNAME_MAX);
    /* A space would end the argument and begin another one. */
    if (strspn(name, allowed) != len)
        return lum_fail(err, LUM_EINVAL, "hostname \"%s\": only letters, digits, '-' and '.'",
                        name);
    return 0;
}

int vm_spec_check_texts(const char *hostname, const char *cmdline_extra, struct lum_error *err)
{
    for (const char *p = cmdline_extra; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            return lum_fail(err, LUM_EINVAL, "kernel_args: control character 0x%02x at byte %zu",
                            (unsigned char)*p, (size_t)(p - cmdline_extra));
    return check_hostname(hostname, err);
}
