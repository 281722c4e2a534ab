/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The probe role: asks every backend what it can do here. In a process of its own, because a probe
 * runs a small guest and because only this program may need the host's entitlement for virtual
 * machines.
 */
#include "jail/jail.h"
#include "worker/ctl.h"
#include "worker/worker.h"

static void put_backend(struct wbuf *out, const char *name, const struct machine_probe *probe)
{
    AUTO(wbuf_done) struct wbuf body = {0};

    wbuf_str(&body, name);
    wbuf_u8(&body, probe->usable);
    wbuf_u32(&body, probe->features);
    wbuf_u32(&body, probe->max_vcpus);
    wbuf_str(&body, probe->detail);
    frame_put(out, CTL_BACKEND, 0, 0, body.data, body.size);
}

int probe_main(void)
{
    AUTO(wbuf_done) struct wbuf out = {0};
    struct lum_error err;

    if (jail_begin(JAIL_OFF, false, &err) < 0)
        return 1;
    for (const struct machine_backend *b = machine_backends; b->name; b++) {
        struct machine_probe probe = {0};

        b->ops->probe(b->driver, &probe);
        put_backend(&out, b->name, &probe);
    }
    if (out.failed || plat_send_fds(CTL_FD, out.data, out.size, NULL, 0, &err) < 0)
        return 1;
    return 0;
}
