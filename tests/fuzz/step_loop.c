/* SPDX-License-Identifier: Apache-2.0 */
/* See step_loop.h. Watches are a list, gone through with poll(). */
#include "step_loop.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct plat_watch {
    struct plat_loop *loop;
    struct plat_watch *next;
    plat_fd fd;
    int mask;
    bool dead, hangup_told;
    void (*fn)(void *ctx, int events);
    void *ctx;
};

struct plat_timer {
    struct plat_loop *loop;
    struct plat_timer *next;
    uint64_t after_ns;
    bool due;
    void (*fn)(void *ctx);
    void *ctx;
};

struct plat_loop {
    struct plat_watch *watches;
    struct plat_timer *timers;
};

/* Memory: what the tool itself needs is not part of what is fuzzed. */
static void *must_alloc(size_t size)
{
    void *p = calloc(1, size);

    if (!p)
        abort();
    return p;
}

static void sweep(struct plat_loop *loop)
{
    for (struct plat_watch **p = &loop->watches; *p;) {
        struct plat_watch *w = *p;

        if (w->dead) {
            *p = w->next;
            free(w);
        } else {
            p = &w->next;
        }
    }
}

int plat_loop_create(struct plat_loop **ret_loop, struct lum_error *err)
{
    (void)err;
    *ret_loop = must_alloc(sizeof(struct plat_loop));
    return 0;
}

void plat_loop_free(struct plat_loop *loop)
{
    if (!loop)
        return;
    sweep(loop);
    free(loop);
}

static void step(struct plat_watch *w)
{
    struct pollfd p = {.fd = w->fd,
                       .events = (short)(((w->mask & PLAT_READ) ? POLLIN : 0) |
                                         ((w->mask & PLAT_WRITE) ? POLLOUT : 0))};

    if (w->dead || poll(&p, 1, 0) <= 0)
        return;
    int events = ((p.revents & POLLIN) ? PLAT_READ : 0) | ((p.revents & POLLOUT) ? PLAT_WRITE : 0);
    if (p.revents & (POLLHUP | POLLERR)) {
        if (w->mask != 0 || !w->hangup_told)
            events |= PLAT_HANGUP;
        w->hangup_told = true;
    }
    if (events)
        w->fn(w->ctx, events);
}

void step_loop_run(struct plat_loop *loop)
{
    for (struct plat_watch *w = loop->watches; w; w = w->next)
        step(w);
    sweep(loop);
}

void plat_loop_run(struct plat_loop *loop)
{
    step_loop_run(loop);
}

void plat_loop_quit(struct plat_loop *loop)
{
    (void)loop;
}

void plat_loop_lock(struct plat_loop *loop)
{
    (void)loop;
}

void plat_loop_unlock(struct plat_loop *loop)
{
    (void)loop;
}

int plat_watch_create(struct plat_loop *loop, plat_fd fd, int mask,
                      void (*fn)(void *ctx, int events), void *ctx, struct plat_watch **ret_watch,
                      struct lum_error *err)
{
    struct plat_watch *w = must_alloc(sizeof(*w));

    (void)err;
    *w = (struct plat_watch){
        .loop = loop, .next = loop->watches, .fd = fd, .mask = mask, .fn = fn, .ctx = ctx};
    loop->watches = w;
    *ret_watch = w;
    return 0;
}

void plat_watch_set(struct plat_watch *watch, int mask)
{
    watch->mask = mask;
}

void plat_watch_free(struct plat_watch *watch)
{
    if (watch)
        watch->dead = true;
}

int plat_timer_create(struct plat_loop *loop, void (*fn)(void *ctx), void *ctx,
                      struct plat_timer **ret_timer, struct lum_error *err)
{
    struct plat_timer *t = must_alloc(sizeof(*t));

    (void)err;
    *t = (struct plat_timer){.loop = loop, .next = loop->timers, .fn = fn, .ctx = ctx};
    loop->timers = t;
    *ret_timer = t;
    return 0;
}

void plat_timer_set(struct plat_timer *timer, uint64_t after_ns)
{
    timer->after_ns = after_ns;
    timer->due = timer->due && after_ns != 0;
}

void plat_timer_free(struct plat_timer *timer)
{
    if (!timer)
        return;
    struct plat_timer **p = &timer->loop->timers;
    while (*p != timer)
        p = &(*p)->next;
    *p = timer->next;
    free(timer);
}

static struct plat_timer *find_due(const struct plat_loop *loop)
{
    struct plat_timer *t = loop->timers;

    while (t && !t->due)
        t = t->next;
    return t;
}

/* Each that is set now, once: a callback may free timers, make new ones or set its own again. */
void step_loop_timers(struct plat_loop *loop)
{
    struct plat_timer *t;

    for (t = loop->timers; t; t = t->next)
        t->due = t->after_ns != 0;
    while ((t = find_due(loop)) != NULL) {
        t->due = false;
        t->after_ns = 0;
        t->fn(t->ctx);
    }
}

int plat_event_create(plat_fd *ret_fd, struct lum_error *err)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    if (fd < 0)
        return lum_fail_errno(err, errno, "eventfd");
    *ret_fd = fd;
    return 0;
}

void plat_event_signal(plat_fd fd)
{
    uint64_t one = 1;

    (void)plat_write(fd, &one, sizeof(one));
}

void plat_event_clear(plat_fd fd)
{
    uint64_t count;

    (void)plat_read(fd, &count, sizeof(count));
}
