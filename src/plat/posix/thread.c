/* SPDX-License-Identifier: Apache-2.0 */
/* Threads and locks over pthreads, clocks, random bytes. */
#include "plat/plat.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/alloc.h"
#include "plat/posix/spread.h"

struct plat_thread {
    pthread_t id;
    struct spread spread;
    char name[16];
    void (*fn)(void *ctx);
    void *ctx;
};

static void *thread_main(void *arg)
{
    struct plat_thread *t = arg;

    spread_arrived(&t->spread);
    pthread_setname_np(pthread_self(), t->name);
    t->fn(t->ctx);
    return NULL;
}

int plat_thread_start(struct plat_thread **ret_thread, const char *name, void (*fn)(void *ctx),
                      void *ctx, struct lum_error *err)
{
    struct plat_thread *t = lum_calloc(1, sizeof(*t));

    if (!t)
        return lum_fail(err, LUM_ENOMEM, "thread %s: out of memory", name);
    snprintf(t->name, sizeof(t->name), "%s", name);
    t->fn = fn;
    t->ctx = ctx;
    int rc = pthread_create(&t->id, NULL, thread_main, t);
    if (rc != 0) {
        free(t);
        return lum_fail_errno(err, rc, "start thread %s%s", name,
                              rc == EAGAIN ? " (remedy: a higher limit of processes, ulimit -u)"
                                           : "");
    }
    spread_send(&t->spread, t->id);
    *ret_thread = t;
    return 0;
}

void plat_thread_join(struct plat_thread *thread)
{
    if (!thread)
        return;
    pthread_join(thread->id, NULL);
    free(thread);
}

/* A thread's end: the C library blocks signals and gives the stack of a joined one back.
 * Interrupted waits with a deadline are restarted by the kernel. */
/* seccomp io vcpu: futex, rt_sigprocmask, exit, munmap, madvise */
/* seccomp io: restart_syscall */

struct plat_mutex {
    pthread_mutex_t m;
};

struct plat_mutex *plat_mutex_create(void)
{
    struct plat_mutex *mutex = lum_calloc(1, sizeof(*mutex));

    if (mutex)
        pthread_mutex_init(&mutex->m, NULL);
    return mutex;
}

void plat_mutex_free(struct plat_mutex *mutex)
{
    if (mutex)
        pthread_mutex_destroy(&mutex->m);
    free(mutex);
}

void plat_mutex_lock(struct plat_mutex *mutex)
{
    pthread_mutex_lock(&mutex->m);
}

void plat_mutex_unlock(struct plat_mutex *mutex)
{
    pthread_mutex_unlock(&mutex->m);
}

struct plat_cond {
    pthread_cond_t c;
};

struct plat_cond *plat_cond_create(void)
{
    struct plat_cond *cond = lum_calloc(1, sizeof(*cond));

    if (cond)
        pthread_cond_init(&cond->c, NULL);
    return cond;
}

void plat_cond_free(struct plat_cond *cond)
{
    if (cond)
        pthread_cond_destroy(&cond->c);
    free(cond);
}

void plat_cond_wait(struct plat_cond *cond, struct plat_mutex *mutex)
{
    pthread_cond_wait(&cond->c, &mutex->m);
}

void plat_cond_broadcast(struct plat_cond *cond)
{
    pthread_cond_broadcast(&cond->c);
}

static uint64_t clock_ns(clockid_t id)
{
    struct timespec t;

    /* Where the vDSO cannot read the clock itself. */
    /* seccomp io vcpu: clock_gettime */
    clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t plat_now_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

uint64_t plat_realtime_ns(void)
{
    return clock_ns(CLOCK_REALTIME);
}

int plat_random(void *buf, size_t size, struct lum_error *err)
{
    size_t done = 0;

    while (done < size) {
        /* seccomp io: getrandom */
        ssize_t n = getrandom((char *)buf + done, size - done, 0);
        if (n < 0 && errno != EINTR)
            return lum_fail_errno(err, errno, "getrandom");
        if (n > 0)
            done += (size_t)n;
    }
    return 0;
}
