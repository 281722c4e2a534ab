/* SPDX-License-Identifier: Apache-2.0 */
/* The roles of the lumina-vmm program. Each owns its process and returns its exit code. */
#ifndef LUM_WORKER_H
#define LUM_WORKER_H

int worker_main(void); /* "worker": one VM, control socket on CTL_FD */
int probe_main(void);  /* "probe": tells every backend on CTL_FD and ends */

#endif
