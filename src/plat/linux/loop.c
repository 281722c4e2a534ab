/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The event loop over epoll, with timerfd timers and an eventfd for posted calls. A watch freed
 * during a batch of events is kept until the batch ends, because the kernel may have reported it
 * already.
 */
#include "plat/plat.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/alloc.h"

struct plat_watch {
    struct plat_loop *loop;
    plat_fd fd;
    int mask;
    bool registered, dead;
    void (*fn)(void *ctx, int events);
    void *ctx;
    struct plat_watch *next_dead;
};

struct plat_timer {
    struct plat_watch *watch;
    plat_fd fd;
    void (*fn)(void *ctx);
    void *ctx;
};

struct post {
    void (*fn)(void *ctx);
    void *ctx;
    struct post *next;
};

struct plat_loop {
    plat_fd epoll, wake;
    struct plat_watch *wake_watch;
    struct plat_mutex *lock;      /* owns the devices; taken before post_lock */
    struct plat_mutex *post_lock; /* the list below */
    struct post *posts, **posts_end;
    struct plat_watch *dead;
    bool running;
    _Atomic bool quit;
};

/* seccomp io: epoll_wait?, epoll_pwait, epoll_ctl, timerfd_create, timerfd_settime, eventfd2 */

static uint32_t epoll_mask(int mask)
{
    return ((mask & PLAT_READ) ? EPOLLIN : 0u) | ((mask & PLAT_WRITE) ? EPOLLOUT : 0u);
}

int plat_watch_create(struct plat_loop *loop, plat_fd fd, int mask,
                      void (*fn)(void *ctx, int events), void *ctx, struct plat_watch **ret_watch,
                      struct lum_error *err)
{
    struct plat_watch *w = lum_calloc(1, sizeof(*w));

    if (!w)
        return lum_fail(err, LUM_ENOMEM, "watch a descriptor: out of memory");
    *w = (struct plat_watch){
        .loop = loop, .fd = fd, .mask = mask, .registered = true, .fn = fn, .ctx = ctx};
    struct epoll_event ev = {.events = epoll_mask(mask), .data.ptr = w};
    if (epoll_ctl(loop->epoll, EPOLL_CTL_ADD, fd, &ev) < 0) {
        int e = errno;
        free(w);
        return lum_fail_errno(err, e, "watch descriptor %d", fd);
    }
    *ret_watch = w;
    return 0;
}

void plat_watch_set(struct plat_watch *w, int mask)
{
    struct epoll_event ev = {.events = epoll_mask(mask), .data.ptr = w};

    if (w->mask == mask && w->registered)
        return;
    if (!w->registered && mask == 0) {
        w->mask = 0;
        return;
    }
    w->mask = mask;
    /* Cannot fail for lack of memory when it modifies, and re-adding fits where it fitted before.
     */
    if (epoll_ctl(w->loop->epoll, w->registered ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, w->fd, &ev) == 0)
        w->registered = true;
}

void plat_watch_free(struct plat_watch *w)
{
    if (!w)
        return;
    if (w->registered)
        epoll_ctl(w->loop->epoll, EPOLL_CTL_DEL, w->fd, NULL);
    if (!w->loop->running) {
        free(w);
        return;
    }
    w->dead = true;
    w->next_dead = w->loop->dead;
    w->loop->dead = w;
}

static void run_posts(void *ctx, int events)
{
    struct plat_loop *loop = ctx;

    (void)events;
    plat_event_clear(loop->wake);
    plat_mutex_lock(loop->post_lock);
    struct post *list = loop->posts;
    loop->posts = NULL;
    loop->posts_end = &loop->posts;
    plat_mutex_unlock(loop->post_lock);

    while (list) {
        struct post *p = list;
        list = p->next;
        p->fn(p->ctx);
        free(p);
    }
}

int plat_loop_post(struct plat_loop *loop, void (*fn)(void *ctx), void *ctx, struct lum_error *err)
{
    struct post *p = lum_calloc(1, sizeof(*p));

    if (!p)
        return lum_fail(err, LUM_ENOMEM, "post to the loop: out of memory");
    p->fn = fn;
    p->ctx = ctx;
    plat_mutex_lock(loop->post_lock);
    *loop->posts_end = p;
    loop->posts_end = &p->next;
    plat_mutex_unlock(loop->post_lock);
    plat_event_signal(loop->wake);
    return 0;
}

static void bury_dead(struct plat_loop *loop)
{
    while (loop->dead) {
        struct plat_watch *w = loop->dead;
        loop->dead = w->next_dead;
        free(w);
    }
}

int plat_loop_create(struct plat_loop **ret_loop, struct lum_error *err)
{
    struct plat_loop *loop = lum_calloc(1, sizeof(*loop));
    int rc;

    if (!loop)
        return lum_fail(err, LUM_ENOMEM, "event loop: out of memory");
    loop->wake = PLAT_FD_NONE;
    loop->posts_end = &loop->posts;
    loop->lock = plat_mutex_create();
    loop->post_lock = plat_mutex_create();
    loop->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (!loop->lock || !loop->post_lock)
        rc = lum_fail(err, LUM_ENOMEM, "event loop: out of memory");
    else if (loop->epoll < 0)
        rc = lum_fail_errno(err, errno, "epoll_create1");
    else
        rc = plat_event_create(&loop->wake, err);
    if (rc == 0)
        rc =
            plat_watch_create(loop, loop->wake, PLAT_READ, run_posts, loop, &loop->wake_watch, err);
    if (rc < 0) {
        plat_loop_free(loop);
        return rc;
    }
    *ret_loop = loop;
    return 0;
}

void plat_loop_free(struct plat_loop *loop)
{
    if (!loop)
        return;
    while (loop->posts) {
        struct post *p = loop->posts;
        loop->posts = p->next;
        free(p);
    }
    plat_watch_free(loop->wake_watch);
    bury_dead(loop);
    plat_close(&loop->wake);
    plat_close(&loop->epoll);
    plat_mutex_free(loop->lock);
    plat_mutex_free(loop->post_lock);
    free(loop);
}

void plat_loop_lock(struct plat_loop *loop)
{
    plat_mutex_lock(loop->lock);
}

void plat_loop_unlock(struct plat_loop *loop)
{
    plat_mutex_unlock(loop->lock);
}

void plat_loop_quit(struct plat_loop *loop)
{
    atomic_store(&loop->quit, true);
    plat_event_signal(loop->wake);
}

static void dispatch(struct plat_watch *w, uint32_t got)
{
    int events = ((got & EPOLLIN) ? PLAT_READ : 0) | ((got & EPOLLOUT) ? PLAT_WRITE : 0) |
                 ((got & (EPOLLHUP | EPOLLERR)) ? PLAT_HANGUP : 0);

    if (w->dead)
        return;
    /* A hang-up is level-triggered and cannot be masked: report it once to a watch that waits for
     * nothing. */
    if ((events & PLAT_HANGUP) && w->mask == 0) {
        epoll_ctl(w->loop->epoll, EPOLL_CTL_DEL, w->fd, NULL);
        w->registered = false;
    }
    /* The mask may have changed earlier in this batch. */
    events &= w->mask | PLAT_HANGUP;
    if (events)
        w->fn(w->ctx, events);
}

void plat_loop_run(struct plat_loop *loop)
{
    struct epoll_event ev[32];

    plat_mutex_lock(loop->lock);
    loop->running = true;
    plat_mutex_unlock(loop->lock);
    while (!atomic_load(&loop->quit)) {
        int n = epoll_wait(loop->epoll, ev, ARRAY_LEN(ev), -1);

        /* Whoever freed a watch since the wait began, on whatever thread: it is still on the dead
         * list. */
        plat_mutex_lock(loop->lock);
        for (int i = 0; i < n; i++)
            dispatch(ev[i].data.ptr, ev[i].events);
        bury_dead(loop);
        plat_mutex_unlock(loop->lock);
    }
    plat_mutex_lock(loop->lock);
    loop->running = false;
    atomic_store(&loop->quit, false);
    plat_mutex_unlock(loop->lock);
}

/* ---- timers ---- */

static void timer_fired(void *ctx, int events)
{
    struct plat_timer *t = ctx;
    uint64_t count;

    (void)events;
    if (plat_read(t->fd, &count, sizeof(count)) == sizeof(count))
        t->fn(t->ctx);
}

int plat_timer_create(struct plat_loop *loop, void (*fn)(void *ctx), void *ctx,
                      struct plat_timer **ret_timer, struct lum_error *err)
{
    struct plat_timer *t = lum_calloc(1, sizeof(*t));

    if (!t)
        return lum_fail(err, LUM_ENOMEM, "timer: out of memory");
    t->fn = fn;
    t->ctx = ctx;
    t->fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    int rc = t->fd < 0 ? lum_fail_errno(err, errno, "timerfd_create")
                       : plat_watch_create(loop, t->fd, PLAT_READ, timer_fired, t, &t->watch, err);
    if (rc < 0) {
        plat_timer_free(t);
        return rc;
    }
    *ret_timer = t;
    return 0;
}

void plat_timer_set(struct plat_timer *timer, uint64_t after_ns)
{
    struct itimerspec when = {.it_value = {.tv_sec = (time_t)(after_ns / 1000000000u),
                                           .tv_nsec = (long)(after_ns % 1000000000u)}};

    timerfd_settime(timer->fd, 0, &when, NULL);
}

void plat_timer_free(struct plat_timer *timer)
{
    if (!timer)
        return;
    plat_watch_free(timer->watch);
    plat_close(&timer->fd);
    free(timer);
}

/* ---- events ---- */

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
    ssize_t n;

    do {
        n = write(fd, &one, sizeof(one));
    } while (n < 0 && errno == EINTR); /* EAGAIN: the counter is full, so it is signalled */
}

void plat_event_clear(plat_fd fd)
{
    uint64_t count;

    (void)plat_read(fd, &count, sizeof(count));
}
