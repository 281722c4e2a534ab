/* SPDX-License-Identifier: Apache-2.0 */
/* See ctl.h. */
#include "worker/ctl.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

void ctl_put_error(struct wbuf *out, const struct lum_error *error)
{
    uint8_t raw[CTL_ERROR_MAX];
    struct wbuf body = wbuf_fixed(raw, sizeof(raw));

    wbuf_u32(&body, (uint32_t)-error->code);
    wbuf_u32(&body, (uint32_t)error->domain);
    wbuf_u64(&body, (uint64_t)error->os_code);
    wbuf_str(&body, error->text);
    if (body.failed)
        out->failed = true;
    else
        frame_put(out, CTL_ERROR, 0, 0, body.data, body.size);
}

int ctl_get_error(const struct frame *frame, struct lum_error *err)
{
    struct rbuf in = rbuf_of(frame->data, frame->size);
    uint32_t code = rbuf_u32(&in);
    uint32_t domain = rbuf_u32(&in);
    uint64_t os_code = rbuf_u64(&in);
    AUTO(auto_free) char *text = rbuf_str(&in, sizeof(err->text));

    if (frame->type != CTL_ERROR || !rbuf_done(&in) || code == 0 || code > (uint32_t)-LUM_EINTERNAL)
        return lum_fail(err, LUM_EINTERNAL, "the VM's process sent a malformed answer");
    lum_fail(err, -(int)code, "%s", text);
    err->domain = (int32_t)domain;
    err->os_code = (int64_t)os_code;
    return err->code;
}

void ctl_put_spec(struct wbuf *out, const struct vm_spec *spec)
{
    wbuf_str(out, spec->backend);
    wbuf_u8(out, spec->hardware_only);
    wbuf_u8(out, spec->own_kernel);
    wbuf_u32(out, spec->vcpus);
    wbuf_u64(out, spec->memory_bytes);
    wbuf_str(out, spec->cmdline_extra);
    wbuf_str(out, spec->hostname);
    wbuf_str(out, spec->kernel_name);
    wbuf_u32(out, (uint32_t)spec->root_kind);
    wbuf_u8(out, spec->read_only);
    wbuf_u64(out, spec->scratch_bytes);
}

int ctl_get_spec(struct rbuf *in, struct vm_spec *spec, struct lum_error *err)
{
    AUTO(auto_free) char *backend = rbuf_str(in, sizeof(spec->backend) - 1);

    spec->hardware_only = rbuf_u8(in) != 0;
    spec->own_kernel = rbuf_u8(in) != 0;
    spec->vcpus = rbuf_u32(in);
    spec->memory_bytes = rbuf_u64(in);
    spec->cmdline_extra = rbuf_str(in, 4096);
    spec->hostname = rbuf_str(in, 64);
    spec->kernel_name = rbuf_str(in, 4096);
    uint32_t kind = rbuf_u32(in);
    spec->read_only = rbuf_u8(in) != 0;
    spec->scratch_bytes = rbuf_u64(in);
    if (in->bad || kind > MACHINE_ROOT_EXT4 || spec->vcpus < 1 ||
        spec->memory_bytes < LUM_MEMORY_MIN || spec->memory_bytes > LUM_MEMORY_MAX ||
        spec->memory_bytes % MIB != 0)
        return lum_fail(err, LUM_EINTERNAL, "malformed create message");
    spec->root_kind = (enum machine_root)kind;
    snprintf(spec->backend, sizeof(spec->backend), "%s", backend);
    return 0;
}
