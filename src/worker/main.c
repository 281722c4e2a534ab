/* SPDX-License-Identifier: Apache-2.0 */
/* lumina-vmm: the program that the library starts for each VM. Not for people to run. */
#include <stdio.h>
#include <string.h>

#include "worker/worker.h"

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "worker") == 0)
        return worker_main();
    if (argc == 2 && strcmp(argv[1], "probe") == 0)
        return probe_main();
    fputs("lumina-vmm is started by liblumina for each micro-VM; the command is `lumina`\n",
          stderr);
    return 125;
}
