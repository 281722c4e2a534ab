/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A thread that is started to work beside its creator should be on another CPU at once. Schedulers
 * that keep a new thread where it was born (Linux on hosts that pack their virtual CPUs) let it
 * wait until the creator sleeps, which makes two short works one long one. So the creator sends it
 * away, and it may run anywhere as soon as it runs.
 */
#ifndef LUM_PLAT_SPREAD_H
#define LUM_PLAT_SPREAD_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

enum spread_step { SPREAD_BORN, SPREAD_SENT, SPREAD_RUNS };

struct spread {
    uint64_t allowed[16]; /* the creator's CPUs, as the system notes them */
    _Atomic(enum spread_step) step;
};

/* By the creator, right after the thread was made. */
void spread_send(struct spread *s, pthread_t thread);
/* By the thread, first of all. */
void spread_arrived(struct spread *s);

#endif
