/* SPDX-License-Identifier: Apache-2.0 */
/* Loading kernels with their boot data, and the messages that carry a VM's options. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "boot/boot.h"
#include "play.h"
#include "torture.h"
#include "worker/ctl.h"

#define MEM_SIZE (64 * MIB)

static plat_fd elf, bzimage, initrd;

/* ---- kernels ---- */

static const char *kernels_setup(void)
{
    static uint8_t file[16384];
    struct lum_error err;
    size_t size = play_elf(file);

    torture_must(plat_memfile("elf", file, size, &elf, &err) == 0, "kernel file");
    size = play_bzimage(file);
    torture_must(plat_memfile("bzimage", file, size, &bzimage, &err) == 0 &&
                     plat_memfile("initrd", file, 5000, &initrd, &err) == 0,
                 "kernel files");
    return NULL;
}

static int load(plat_fd kernel, const struct gmem *mem, struct lum_error *err)
{
    struct boot_result result = {0};
    const struct boot_config config = {.kernel_name = "k",
                                       .kernel = kernel,
                                       .initrd = {initrd, initrd},
                                       .cmdline = "quiet",
                                       .vcpus = 4,
                                       .mem = mem};
    int rc = boot_check_kernel(kernel, "k", err);

    if (rc == 0)
        rc = boot_load(&config, &result, err);
    torture_must(rc < 0 || gmem_span(mem, gpa(result.regs.rip), 1), "entry point");
    return rc;
}

static int kernels_play(struct lum_error *err)
{
    void *host;
    int rc = plat_ram_alloc(MEM_SIZE, &host, err);

    if (rc < 0)
        return rc;
    const struct gmem mem = {
        .range = {{0, MEM_SIZE, host}}, .n_ranges = 1, .host = host, .size = MEM_SIZE};
    rc = load(elf, &mem, err);
    if (rc == 0)
        rc = load(bzimage, &mem, err);
    plat_ram_free(host, MEM_SIZE);
    return rc;
}

const struct scenario scenario_kernels = {
    .name = "kernels", .setup = kernels_setup, .play = kernels_play};

/* ---- messages ---- */

static int put_spec(struct wbuf *out, struct lum_error *err)
{
    AUTO(vm_spec_done) struct vm_spec spec;

    vm_spec_init(&spec);
    spec.vcpus = 2;
    spec.memory_bytes = 64 * MIB;
    spec.cmdline_extra = lum_strdup("quiet");
    spec.hostname = lum_strdup("host");
    spec.kernel_name = lum_strdup("kernel");
    if (spec.cmdline_extra && spec.hostname && spec.kernel_name)
        ctl_put_spec(out, &spec);
    else
        out->failed = true;
    return out->failed ? lum_fail(err, LUM_ENOMEM, "spec: out of memory") : 0;
}

static int spec_play(struct lum_error *err)
{
    AUTO(wbuf_done) struct wbuf out = {0}, answer = {0};
    AUTO(vm_spec_done) struct vm_spec spec;
    struct lum_error told = {0}, heard = {0};
    struct frame f;
    size_t at = 0;

    vm_spec_init(&spec);
    int rc = put_spec(&out, err);
    if (rc < 0)
        return rc;
    struct rbuf in = rbuf_of(out.data, out.size);
    rc = ctl_get_spec(&in, &spec, err);
    if (rc < 0)
        return rc;
    torture_must(spec.vcpus == 2 && strcmp(spec.hostname, "host") == 0, "spec as sent");
    AUTO(auto_free) char *line = NULL;
    rc = machine_cmdline(&spec, "", "vsock", &line, err);
    if (rc < 0)
        return rc;
    lum_fail(&told, LUM_EACCES, "open /dev/kvm: Permission denied");
    ctl_put_error(&answer, &told);
    if (answer.failed)
        return lum_fail(err, LUM_ENOMEM, "answer: out of memory");
    torture_must(frame_next(&answer, &at, &f) == 1, "a whole frame");
    rc = ctl_get_error(&f, &heard);
    if (rc != LUM_EACCES) {
        *err = heard;
        return rc;
    }
    return 0;
}

const struct scenario scenario_spec = {.name = "spec", .play = spec_play};
