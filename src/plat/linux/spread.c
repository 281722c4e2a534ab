/* SPDX-License-Identifier: Apache-2.0 */
/* See spread.h. Whoever comes second, creator or thread, lifts the restriction again. */
#include "plat/posix/spread.h"

void spread_send(struct spread *s, pthread_t thread)
{
    cpu_set_t others;
    int here = sched_getcpu();

    if (here < 0 || sched_getaffinity(0, sizeof(s->allowed), &s->allowed) < 0)
        return;
    others = s->allowed;
    CPU_CLR((size_t)here, &others);
    if (CPU_COUNT(&others) == 0 || pthread_setaffinity_np(thread, sizeof(others), &others) != 0)
        return;
    if (atomic_exchange(&s->step, SPREAD_SENT) == SPREAD_RUNS)
        pthread_setaffinity_np(thread, sizeof(s->allowed), &s->allowed);
}

void spread_arrived(struct spread *s)
{
    if (atomic_exchange(&s->step, SPREAD_RUNS) == SPREAD_SENT)
        pthread_setaffinity_np(pthread_self(), sizeof(s->allowed), &s->allowed);
}
