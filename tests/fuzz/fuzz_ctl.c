/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as control messages between library and worker: a spec, an error, a row of frames. What
 * is taken must come out of an encoding unchanged, and frames must not depend on how the stream was
 * cut. The first byte says where it is cut.
 */
#include <stdlib.h>
#include <string.h>

#include "worker/ctl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool good)
{
    if (!good)
        abort();
}

static void check_spec(const uint8_t *data, size_t size)
{
    AUTO(vm_spec_done) struct vm_spec spec, again;
    AUTO(wbuf_done) struct wbuf out = {0}, out_again = {0};
    struct rbuf in = rbuf_of(data, size);
    struct lum_error err;

    vm_spec_init(&spec);
    vm_spec_init(&again);
    if (ctl_get_spec(&in, &spec, &err) < 0) {
        must(err.text[0] != '\0');
        return;
    }
    must(spec.vcpus >= 1 && spec.memory_bytes >= LUM_MEMORY_MIN &&
         spec.memory_bytes <= LUM_MEMORY_MAX && spec.root_kind <= MACHINE_ROOT_EXT4);
    must(spec.cmdline_extra && spec.hostname && spec.kernel_name &&
         strlen(spec.backend) < sizeof(spec.backend));
    ctl_put_spec(&out, &spec);
    struct rbuf back = rbuf_of(out.data, out.size);
    must(ctl_get_spec(&back, &again, &err) == 0 && rbuf_done(&back));
    ctl_put_spec(&out_again, &again);
    must(out.size == out_again.size && memcmp(out.data, out_again.data, out.size) == 0);
}

static void check_error(const struct frame *f)
{
    AUTO(wbuf_done) struct wbuf out = {0};
    struct lum_error err, back;
    struct frame again;
    size_t at = 0;

    must(ctl_get_error(f, &err) < 0 && err.code >= LUM_EINTERNAL);
    ctl_put_error(&out, &err);
    must(frame_next(&out, &at, &again) == 1 && at == out.size);
    must(ctl_get_error(&again, &back) == err.code && back.domain == err.domain &&
         back.os_code == err.os_code && strcmp(back.text, err.text) == 0);
}

/* The frames of the whole; *ret_rc is what follows the last one. */
static unsigned count_frames(const uint8_t *data, size_t size, int *ret_rc)
{
    struct wbuf in = {.data = (uint8_t *)(uintptr_t)data, .size = size};
    struct frame f;
    size_t at = 0;
    unsigned n = 0;

    while ((*ret_rc = frame_next(&in, &at, &f)) == 1) {
        must(f.data + f.size == data + at && f.size <= FRAME_MAX_PAYLOAD);
        check_error(&f);
        check_spec(f.data, f.size);
        n++;
    }
    return n;
}

static void check_frames(const uint8_t *data, size_t size, size_t piece)
{
    AUTO(wbuf_done) struct wbuf in = {0};
    struct frame f;
    unsigned n = 0;
    int whole_rc, rc = 0;
    unsigned whole = count_frames(data, size, &whole_rc);

    for (size_t at = 0; at < size && rc >= 0; at += piece) {
        size_t taken = 0;

        wbuf_put(&in, data + at, size - at < piece ? size - at : piece);
        while ((rc = frame_next(&in, &taken, &f)) == 1)
            n++;
        wbuf_drop(&in, taken);
    }
    must(n == whole && rc == whole_rc);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    struct frame f = {.type = CTL_ERROR, .data = data + 1, .size = size - 1};

    check_spec(data + 1, size - 1);
    check_error(&f);
    check_frames(data + 1, size - 1, 1 + (size_t)data[0]);
    return 0;
}
