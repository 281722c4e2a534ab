/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The probe role: asks every backend what it can do here. In a process of its own, because a probe
 * runs a small guest and because only this program may need the host's entitlement for virtual
 * machines.
 */
#include "jail/jail.h"
#include "worker/ctl.h"
#include "worker/worker.h"

#define MAX_BACKENDS 16u

static void put_backend(struct wbuf *out, const char *name, const struct machine_probe *probe,
                        bool automatic)
{
    AUTO(wbuf_done) struct wbuf body = {0};

    wbuf_str(&body, name);
    wbuf_u8(&body, probe->usable);
    wbuf_u8(&body, automatic);
    wbuf_u32(&body, probe->features);
    wbuf_u32(&body, probe->max_vcpus);
    wbuf_str(&body, probe->detail);
    frame_put(out, CTL_BACKEND, 0, 0, body.data, body.size);
}

int probe_main(void)
{
    AUTO(wbuf_done) struct wbuf out = {0};
    struct lum_error err;
    struct machine_probe probes[MAX_BACKENDS] = {0};
    const struct machine_probe *best = NULL;
    size_t n = 0;

    if (jail_enter(JAIL_EARLY, &err) < 0)
        return 1;
    for (; machine_backends[n].name && n < MAX_BACKENDS; n++) {
        const struct machine_backend *b = &machine_backends[n];

        b->ops->probe(b->driver, &probes[n]);
        if (machine_prefer(best, &probes[n]))
            best = &probes[n];
    }
    for (size_t i = 0; i < n; i++)
        put_backend(&out, machine_backends[i].name, &probes[i], best == &probes[i]);
    if (out.failed || plat_send_fds(CTL_FD, out.data, out.size, NULL, 0, &err) < 0)
        return 1;
    return 0;
}
