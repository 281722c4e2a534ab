/* SPDX-License-Identifier: Apache-2.0 */
/* What only PID 1 of a machine of its own may do. Tests of serve.c link others in their place. */
#ifndef AGENT_MACHINE_H
#define AGENT_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Sets the wall clock and feeds the kernel's random number generator. */
void machine_welcome(uint64_t wall_ns, const uint8_t *entropy, size_t size);

/* Whether the kernel has killed a process for want of memory since this was asked last. */
bool machine_out_of_memory(void);

/* A signal for every process but our own. */
void machine_kill_all(int signo);

/*
 * The end of the machine: kills what runs, saves what is cached, closes the connection (-1: none)
 * and resets the machine, which ends it: there is no firmware to switch it off.
 */
_Noreturn void machine_end(int fd);

#endif
