/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One thread per vCPU: it makes its vCPU, waits for the goal RUN, runs, and frees it. Threads
 * follow one shared goal; a change is announced by the condition and a kick, which the driver never
 * loses. Once sealed a thread allocates nothing and has little more than KVM_RUN: what it has to
 * say it leaves under the lock, and signals the I/O thread.
 */
#include <stdio.h>
#include <string.h>

#include "machine/native/native.h"

/* The first vCPU that cannot go on ends the machine; the others stop at their next exit. */
static void end_machine(struct native *m, enum machine_end end, const char *text)
{
    plat_mutex_lock(m->lock);
    if (!m->ended) {
        m->ended = true;
        m->end = end;
        snprintf(m->end_text, sizeof(m->end_text), "%s", text);
        plat_event_signal(m->wake);
    }
    plat_mutex_unlock(m->lock);
}

/* For the ledger: the guest has executed its first instructions. */
static void note_first_exit(struct native *m)
{
    plat_loop_lock(m->loop);
    m->host.stage(m->host.ctx, "first exit");
    plat_loop_unlock(m->loop);
}

/* True while the vCPU may go on. */
static bool handle_exit(struct vcpu *v, struct hv_exit *exit)
{
    struct native *m = v->machine;

    switch (exit->reason) {
    case HV_EXIT_KICKED: return true;
    case HV_EXIT_MMIO: bus_mmio(m, exit); return true;
    case HV_EXIT_PIO:
        if (bus_pio(m, exit) == BUS_OK)
            return true;
        end_machine(m, MACHINE_RESET, "reset by the keyboard controller");
        return false;
    case HV_EXIT_SHUTDOWN: end_machine(m, MACHINE_RESET, "triple fault"); return false;
    case HV_EXIT_RESET: end_machine(m, MACHINE_RESET, "reset"); return false;
    case HV_EXIT_CRASH: end_machine(m, MACHINE_CRASHED, exit->text); return false;
    case HV_EXIT_EOI: return true; /* lines are edge-triggered: nothing to re-evaluate */
    case HV_EXIT_HALT:
        end_machine(m, MACHINE_CRASHED, "halted without an interrupt controller");
        return false;
    }
    end_machine(m, MACHINE_CRASHED, "unknown exit");
    return false;
}

/* Waits while the goal says so; false: quit. */
static bool wait_for_goal(struct vcpu *v)
{
    struct native *m = v->machine;

    plat_mutex_lock(m->lock);
    if (m->goal == VCPU_WAIT) {
        v->parked = true;
        if (++m->n_parked == m->n_vcpus)
            plat_event_signal(m->wake);
        plat_cond_broadcast(m->changed);
        while (m->goal == VCPU_WAIT)
            plat_cond_wait(m->changed, m->lock);
        v->parked = false;
        m->n_parked--;
    }
    bool go = m->goal == VCPU_RUN;
    plat_mutex_unlock(m->lock);
    return go;
}

static void run_vcpu(struct vcpu *v)
{
    struct hv_exit exit = {0};
    struct lum_error err;
    bool alive = true;

    if (!wait_for_goal(v))
        return;
    if (v->index == 0 && hv_vcpu_set_regs(v->hv, &v->machine->boot_regs, &err) < 0) {
        end_machine(v->machine, MACHINE_CRASHED, err.text);
        alive = false;
    }
    while (wait_for_goal(v)) {
        if (!alive) { /* the machine has ended: only waiting for the goal QUIT is left */
            plat_mutex_lock(v->machine->lock);
            while (v->machine->goal == VCPU_RUN)
                plat_cond_wait(v->machine->changed, v->machine->lock);
            plat_mutex_unlock(v->machine->lock);
            continue;
        }
        if (hv_vcpu_run(v->hv, &exit, &err) < 0) {
            end_machine(v->machine, MACHINE_CRASHED, err.text);
            alive = false;
            continue;
        }
        if (atomic_fetch_add_explicit(&v->exits, 1, memory_order_relaxed) == 0 && v->index == 0)
            note_first_exit(v->machine);
        alive = handle_exit(v, &exit);
    }
}

static int make_vcpu(struct vcpu *v, struct hv_vcpu **ret_hv)
{
    struct native *m = v->machine;
    int rc = hv_vcpu_create(m->hv, v->index, ret_hv, &v->error);

    if (rc == 0 && v->index == 0 && native_needs_hardware(m))
        rc = hv_vcpu_gauge(*ret_hv, m->mem.host, false, &m->gauge, &v->error);
    if (rc == 0)
        rc = m->host.vcpu_sealed(m->host.ctx, &v->error);
    return rc;
}

static void vcpu_main(void *ctx)
{
    struct vcpu *v = ctx;
    struct native *m = v->machine;
    struct hv_vcpu *hv = NULL;
    int rc = make_vcpu(v, &hv);

    plat_mutex_lock(m->lock);
    v->hv = hv;
    v->made = rc == 0;
    m->n_made++;
    plat_cond_broadcast(m->changed);
    plat_mutex_unlock(m->lock);
    if (rc == 0)
        run_vcpu(v);
    /* Nobody kicks a vCPU that is being freed: the pointer goes first, under the lock. */
    plat_mutex_lock(m->lock);
    v->hv = NULL;
    plat_mutex_unlock(m->lock);
    hv_vcpu_free(hv);
}

int vcpus_start(struct native *m, struct lum_error *err)
{
    int rc = 0;

    while (m->n_vcpus < m->spec->vcpus && rc == 0) {
        struct vcpu *v = &m->vcpu[m->n_vcpus];
        char name[16];

        v->machine = m;
        v->index = m->n_vcpus;
        snprintf(name, sizeof(name), "vcpu%u", v->index);
        rc = plat_thread_start(&v->thread, name, vcpu_main, v, err);
        plat_mutex_lock(m->lock); /* the first ones run already */
        m->n_vcpus += rc == 0;
        plat_mutex_unlock(m->lock);
    }
    return rc;
}

int vcpus_wait(struct native *m, struct lum_error *err)
{
    int rc = 0;

    plat_mutex_lock(m->lock);
    while (m->n_made < m->n_vcpus)
        plat_cond_wait(m->changed, m->lock);
    plat_mutex_unlock(m->lock);
    for (uint32_t i = 0; i < m->n_vcpus && rc == 0; i++) {
        if (!m->vcpu[i].made) {
            *err = m->vcpu[i].error;
            rc = lum_context(err, "vCPU %u", i);
        }
    }
    return rc;
}

void vcpus_news(void *ctx, int events)
{
    struct native *m = ctx;

    (void)events;
    plat_event_clear(m->wake);
    plat_mutex_lock(m->lock);
    bool paused = m->pause_done && m->goal == VCPU_WAIT && m->n_parked == m->n_vcpus;
    bool ended = m->ended && !m->end_told;
    m->end_told |= ended;
    plat_mutex_unlock(m->lock);
    if (paused) {
        void (*done)(void *ctx, int rc, const char *why) = STEAL(m->pause_done);
        done(m->pause_ctx, 0, "");
    }
    if (ended)
        m->host.ended(m->host.ctx, m->end, m->end_text);
}

void vcpus_set_goal(struct native *m, enum vcpu_goal goal)
{
    plat_mutex_lock(m->lock);
    m->goal = goal;
    plat_cond_broadcast(m->changed);
    if (goal != VCPU_RUN)
        for (uint32_t i = 0; i < m->n_vcpus; i++)
            if (m->vcpu[i].hv && !m->vcpu[i].parked)
                hv_vcpu_kick(m->vcpu[i].hv);
    /* A goal that came and went before any vCPU woke leaves none to say that all wait. */
    if (goal == VCPU_WAIT && m->n_parked == m->n_vcpus)
        plat_event_signal(m->wake);
    plat_mutex_unlock(m->lock);
}

void vcpus_join(struct native *m)
{
    for (uint32_t i = 0; i < ARCH_MAX_VCPUS; i++)
        plat_thread_join(STEAL(m->vcpu[i].thread));
}
