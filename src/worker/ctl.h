/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Typed control messages between the caller's library and the worker process.
 *
 * The control socket (descriptor CTL_FD of the worker) carries requests, one frame each. With its
 * header travel descriptors; the first is always one end of a fresh socket pair, the request's own
 * channel: whoever asked waits on its own channel, so threads never meet. End of file on the
 * control socket ends the worker: that is how it follows its caller, also one that was killed.
 *
 * Answers on a channel: CTL_OK or CTL_ERROR, once. An operation's channel (CTL_OP) instead carries
 * STARTED or CTL_ERROR, then CTL_DONE or CTL_ERROR; the caller may send PROTO_SIGNAL, PROTO_RESIZE
 * and PROTO_CANCEL on it, and closing it cancels.
 */
#ifndef LUM_WORKER_CTL_H
#define LUM_WORKER_CTL_H

#include "base/frame.h"
#include "machine/machine.h"

#define CTL_FD    3
#define DEVICE_FD 4 /* the hypervisor's device, opened by the caller; or not open */

enum ctl_type {
    CTL_CREATE =
        100, /* u64 t0_ns, spec; fds: channel, kernel, agent, root (if any). OK: string backend */
    CTL_START = 101, /* OK when the agent is ready */
    CTL_PAUSE = 102,
    CTL_RESUME = 103,
    CTL_STOP = 104,    /* u32 grace_ms. OK when the guest runs no more */
    CTL_WAIT = 105,    /* OK when the VM has ended: string reason */
    CTL_STATS = 106,   /* OK: u64 touched, u64 rss, u64 exits */
    CTL_TIMINGS = 107, /* OK: u32 n, n x (string name, u64 ns on the monotonic clock) */
    CTL_DIAL = 108,    /* u32 port; fds: channel, stream. OK when it is connected */
    CTL_OP = 109,      /* u16 PROTO_EXEC, PUT or GET, i32 timeout_ms, u8 mask of streams, body; fds:
                          channel, one per stream in the mask */

    CTL_OK = 120,
    CTL_ERROR = 121, /* u32 -code, u32 domain, u64 os_code, string text */
    CTL_STARTED = 122,
    CTL_DONE = 123,    /* u32 exit code, u32 signal, u32 timed out, u32 out of memory */
    CTL_BACKEND = 124, /* of the probe role: string name, u8 usable, u32 features, u32 max vCPUs,
                          string detail */
};

/* An error as a frame is never larger; putting it into a fixed buffer of this takes no memory. */
#define CTL_ERROR_MAX (FRAME_HEADER + 20u + sizeof(((struct lum_error *)NULL)->text))
void ctl_put_error(struct wbuf *out, const struct lum_error *error);
/* Fills err from a CTL_ERROR frame and returns its code. */
int ctl_get_error(const struct frame *frame, struct lum_error *err);

/* The spec without its descriptors. */
void ctl_put_spec(struct wbuf *out, const struct vm_spec *spec);
/* Total: checks ranges and strings again. The descriptors are filled in by the caller. */
int ctl_get_spec(struct rbuf *in, struct vm_spec *spec, struct lum_error *err);

#endif
