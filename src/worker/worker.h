/* SPDX-License-Identifier: Apache-2.0 */
/* The roles of the lumina-vmm program. Each owns its process and returns its exit code. */
#ifndef LUM_WORKER_H
#define LUM_WORKER_H

/* "worker": one VM, control socket on CTL_FD. jail: a name of enum jail_mode */
int worker_main(const char *jail);
int probe_main(void); /* "probe": tells every backend on CTL_FD and ends */

#endif
