/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every proof stands on: names for CBMC's primitives, and the world outside the code under
 * proof. Each function here does whatever its contract (plat.h, hv.h, err.h, alloc.h) allows: it
 * checks what it is given, and what it returns is any value that the contract names.
 */
#ifndef PROOFS_ENV_H
#define PROOFS_ENV_H

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "hv/hv.h"
#include "mem/gmem.h"
#include "plat/plat.h"

/* No body: any value. */
bool nondet_bool(void);
uint8_t nondet_u8(void);
uint16_t nondet_u16(void);
uint32_t nondet_u32(void);
uint64_t nondet_u64(void);
int nondet_int(void);
ssize_t nondet_ssize(void);

#define ASSUME(condition) __CPROVER_assume(condition)
/*
 * A witness must be reachable: a proof whose assumptions contradict each other would prove
 * anything. run.sh looks for them in a run of their own.
 */
#ifdef WITNESSES
#define CHECK(condition)   ((void)(condition))
#define WITNESS(condition) __CPROVER_assert(!(condition), "witness: " #condition)
#else
#define CHECK(condition)   __CPROVER_assert(condition, #condition)
#define WITNESS(condition) ((void)0)
#endif

#define READABLE(p, size) __CPROVER_r_ok(p, size)
#define WRITABLE(p, size) __CPROVER_w_ok(p, size)
/* Into its object, which starts at an address of any alignment that matters. */
#define OFFSET_OF(p)      __CPROVER_POINTER_OFFSET(p)
#define SAME_OBJECT(p, q) __CPROVER_same_object(p, q)
#define IMPLIES(a, b)     (!(a) || (b))

/* ---- errors and the heap ---- */

int lum_fail(struct lum_error *err, int code, const char *fmt, ...)
{
    CHECK(code < 0 && fmt != NULL);
    err->code = code;
    return code;
}

int lum_context(struct lum_error *err, const char *fmt, ...)
{
    CHECK(fmt != NULL);
    return err->code;
}

void *lum_calloc(size_t n, size_t size)
{
    return nondet_bool() ? NULL : calloc(n, size);
}

void *lum_realloc(void *p, size_t size)
{
    return nondet_bool() ? NULL : realloc(p, size);
}

/* ---- platform ---- */

void plat_close(plat_fd *fd)
{
    *fd = PLAT_FD_NONE;
}

int plat_set_nonblock(plat_fd fd, struct lum_error *err)
{
    return nondet_bool() ? 0 : lum_fail(err, LUM_EOS, "fcntl");
}

int plat_socketpair(plat_fd ret_pair[2], struct lum_error *err)
{
    if (nondet_bool())
        return lum_fail(err, LUM_EOS, "socketpair");
    ret_pair[0] = 10;
    ret_pair[1] = 11;
    return 0;
}

void plat_shutdown_write(plat_fd fd)
{
    CHECK(fd != PLAT_FD_NONE);
}

void plat_shutdown_read(plat_fd fd)
{
    CHECK(fd != PLAT_FD_NONE);
}

/* How often a stream may still move less than asked but something: loops that go on until all is
 * moved end by that, not by a number of steps. */
static int short_moves_left = 2;

static ssize_t any_move(size_t size)
{
    ssize_t n = nondet_ssize();

    ASSUME(n >= -4095 && n <= (ssize_t)size);
    if (n > 0 && n < (ssize_t)size) {
        ASSUME(short_moves_left > 0);
        short_moves_left--;
    }
    return n;
}

/* Bytes that a read leaves are any: buffers are made with arbitrary content and never compared. */
ssize_t plat_read(plat_fd fd, void *buf, size_t size)
{
    CHECK(fd != PLAT_FD_NONE && WRITABLE(buf, size));
    return any_move(size);
}

ssize_t plat_write(plat_fd fd, const void *buf, size_t size)
{
    CHECK(fd != PLAT_FD_NONE && READABLE(buf, size));
    return any_move(size);
}

uint64_t plat_now_ns(void)
{
    uint64_t now = nondet_u64();

    ASSUME(now < (uint64_t)1 << 63);
    return now;
}

void plat_event_signal(plat_fd fd)
{
}

void plat_event_clear(plat_fd fd)
{
}

struct plat_watch {
    int mask;
};

int plat_watch_create(struct plat_loop *loop, plat_fd fd, int mask,
                      void (*fn)(void *ctx, int events), void *ctx, struct plat_watch **ret_watch,
                      struct lum_error *err)
{
    struct plat_watch *watch = lum_calloc(1, sizeof(*watch));

    if (!watch)
        return lum_fail(err, LUM_ENOMEM, "watch");
    *ret_watch = watch;
    return 0;
}

void plat_watch_set(struct plat_watch *watch, int mask)
{
    watch->mask = mask;
}

void plat_watch_free(struct plat_watch *watch)
{
    free(watch);
}

void plat_timer_set(struct plat_timer *timer, uint64_t after_ns)
{
}

/* ---- hypervisor ---- */

void hv_irq_pulse(struct hv_vm *vm, uint32_t line)
{
    CHECK(line < ARCH_IOAPIC_PINS);
}

int hv_irq_route(struct hv_vm *vm, uint32_t line, bool enabled, uint64_t msi_addr,
                 uint32_t msi_data, struct lum_error *err)
{
    CHECK(line < ARCH_IOAPIC_PINS);
    return nondet_bool() ? 0 : lum_fail(err, LUM_EOS, "route");
}

#endif
