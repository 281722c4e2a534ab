/* SPDX-License-Identifier: Apache-2.0 */
/* See spread.h. Whoever comes second, creator or thread, lifts the restriction again. */
#include "plat/posix/spread.h"

#include <sched.h>
#include <string.h>

_Static_assert(sizeof(cpu_set_t) == sizeof(((struct spread *)0)->allowed),
               "a set of CPUs has its place");

static void run_on(pthread_t thread, const struct spread *s)
{
    cpu_set_t allowed;

    memcpy(&allowed, s->allowed, sizeof(allowed));
    pthread_setaffinity_np(thread, sizeof(allowed), &allowed);
}

void spread_send(struct spread *s, pthread_t thread)
{
    cpu_set_t others;
    int here = sched_getcpu();

    if (here < 0 || sched_getaffinity(0, sizeof(others), &others) < 0)
        return;
    memcpy(s->allowed, &others, sizeof(others));
    CPU_CLR((size_t)here, &others);
    if (CPU_COUNT(&others) == 0 || pthread_setaffinity_np(thread, sizeof(others), &others) != 0)
        return;
    if (atomic_exchange(&s->step, SPREAD_SENT) == SPREAD_RUNS)
        run_on(thread, s);
}

void spread_arrived(struct spread *s)
{
    if (atomic_exchange(&s->step, SPREAD_RUNS) == SPREAD_SENT)
        run_on(pthread_self(), s);
}
