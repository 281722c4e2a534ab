/* SPDX-License-Identifier: Apache-2.0 */
/* Options to a checked spec: every error names the option, every file is opened with the caller's
 * own rights. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "core/vm.h"
#include "image/image.h"

#define DEFAULT_MEMORY (256 * MIB)

static int check_numbers(const struct lum_vm_options *o, struct vm_spec *spec,
                         struct lum_error *err)
{
    spec->vcpus = o->vcpus ? o->vcpus : 1;
    if (spec->vcpus > LUM_VCPUS_MAX)
        return lum_fail(err, LUM_EINVAL, "vcpus: %u is not in 1 to %u", spec->vcpus, LUM_VCPUS_MAX);

    spec->memory_bytes = o->memory_bytes ? o->memory_bytes : DEFAULT_MEMORY;
    if (spec->memory_bytes < LUM_MEMORY_MIN || spec->memory_bytes > LUM_MEMORY_MAX)
        return lum_fail(err, LUM_EINVAL, "memory: %" PRIu64 " bytes is not in 32 MiB to 1 TiB",
                        spec->memory_bytes);
    if (spec->memory_bytes % MIB)
        return lum_fail(err, LUM_EINVAL, "memory: %" PRIu64 " bytes is not a whole number of MiB",
                        spec->memory_bytes);

    spec->scratch_bytes = o->scratch_bytes ? o->scratch_bytes : spec->memory_bytes / 2;
    if (o->scratch_bytes && o->scratch_bytes < MIB)
        return lum_fail(err, LUM_EINVAL, "scratch: %" PRIu64 " bytes is less than 1 MiB",
                        o->scratch_bytes);
    spec->read_only = o->read_only != 0;
    spec->own_kernel = o->kernel != NULL;
    return 0;
}

#define MAX_KERNEL_ARGS 1024u

static int copy_texts(const struct lum_vm_options *o, struct vm_spec *spec, struct lum_error *err)
{
    const char *backend = o->backend ? o->backend : "auto";
    const char *args = o->kernel_args ? o->kernel_args : "";
    const char *hostname = o->hostname ? o->hostname : "lumina";

    if (strlen(backend) >= sizeof(spec->backend) || backend[0] == '\0')
        return lum_fail(err, LUM_ENOENT, "backend %s: no such backend; see `lumina backends`",
                        backend);
    snprintf(spec->backend, sizeof(spec->backend), "%s", backend);
    if (strlen(args) > MAX_KERNEL_ARGS)
        return lum_fail(err, LUM_EINVAL, "kernel_args: longer than %u bytes", MAX_KERNEL_ARGS);
    int rc = vm_spec_check_texts(hostname, args, err);
    if (rc < 0)
        return rc;
    spec->cmdline_extra = lum_strdup(args);
    spec->hostname = lum_strdup(hostname);
    spec->kernel_name = lum_strdup(o->kernel ? o->kernel : "of LuminaGuard");
    if (!spec->cmdline_extra || !spec->hostname || !spec->kernel_name)
        return lum_fail(err, LUM_ENOMEM, "options: out of memory");
    return 0;
}

static int open_own(const char *name, plat_fd *ret_fd, struct lum_error *err)
{
    AUTO(auto_free) char *path = NULL;
    uint64_t size;
    int rc = vmm_file(name, &path, err);

    if (rc < 0)
        return rc;
    return plat_file_open(path, ret_fd, &size, err);
}

static void image_progress(void *ctx, const char *text)
{
    const struct lum_vm_options *o = ctx;

    if (o->log)
        o->log(o->log_ctx, LUM_LOG_INFO, text);
}

static int open_files(const struct lum_vm_options *o, struct vm_spec *spec, struct lum_error *err)
{
    struct lum_vm_options copy = *o; /* the callback's context is not const */
    uint64_t size;
    int rc;

    if (o->kernel)
        rc = plat_file_open(o->kernel, &spec->kernel, &size, err);
    else
        rc = open_own("vmlinux", &spec->kernel, err);
    if (rc < 0)
        return lum_context(err, "kernel");

    rc = open_own("agent.cpio", &spec->agent, err);
    if (rc < 0)
        return lum_context(err, "agent");

    if (o->rootfs)
        return image_open_root(o->rootfs, image_progress, &copy, &spec->root, &spec->root_kind,
                               err);
    spec->root_kind = MACHINE_ROOT_EROFS;
    rc = open_own("root.erofs", &spec->root, err);
    return rc < 0 ? lum_context(err, "rootfs") : 0;
}

int spec_from_options(const struct lum_vm_options *opts, struct vm_spec *spec,
                      enum jail_mode *ret_jail, struct lum_error *err)
{
    struct lum_vm_options o = LUM_VM_OPTIONS_INIT;

    if (!opts)
        return lum_fail(err, LUM_EINVAL, "options: NULL");
    if (opts->struct_size < sizeof(opts->struct_size) || opts->struct_size > sizeof(o))
        return lum_fail(err, LUM_EINVAL,
                        "options: struct_size %u is unknown; the caller was built for another "
                        "version of lumina.h",
                        opts->struct_size);
    memcpy(&o, opts, opts->struct_size);

    int rc = check_numbers(&o, spec, err);
    if (rc == 0 && o.jail)
        rc = jail_mode_find(o.jail, ret_jail, err);
    if (rc == 0)
        rc = copy_texts(&o, spec, err);
    if (rc == 0)
        rc = open_files(&o, spec, err);
    return rc;
}
