/* SPDX-License-Identifier: Apache-2.0 */
/* lumina-vmm and lumina-qemu: the programs that the library starts for each VM. Not for people to
 * run. */
#include <stdio.h>
#include <string.h>

#include "jail/jail.h"
#include "worker/ctl.h"
#include "worker/worker.h"

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "worker") == 0)
        return worker_main(argv[2]);
    if (argc == 3 && strcmp(argv[1], "keeper") == 0)
        return jail_keep(CTL_FD, CTL_FD + 1, argv[2]);
    if (argc == 2 && strcmp(argv[1], "probe") == 0)
        return probe_main();
    (void)fputs("started by liblumina for each micro-VM; the command is `lumina`\n", stderr);
    return 125;
}
