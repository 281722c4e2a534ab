/* SPDX-License-Identifier: Apache-2.0 */
/* lumina-vmm with failures on purpose, and with one backend: the null driver, whose guest resets.
 */
#include <stdio.h>
#include <string.h>

#include "hv/hv_null.h"
#include "inject.h"
#include "machine/machine.h"
#include "worker/worker.h"

static struct machine_ops ops;

const struct machine_backend machine_backends[] = {
    {.name = "null", .ops = &ops, .driver = "null"},
    {.name = NULL},
};

static void probe(const char *driver, struct machine_probe *ret_probe)
{
    (void)driver;
    *ret_probe = (struct machine_probe){
        .usable = true, .features = LUM_FEATURE_HARDWARE, .max_vcpus = ARCH_MAX_VCPUS};
}

int main(int argc, char **argv)
{
    static const struct null_step steps[] = {
        {.op = NULL_PIO_WRITE, .addr = 0x3f8, .size = 1, .value = '\n'},
        {.op = NULL_PIO_WRITE, .addr = 0x64, .size = 1, .value = 0xfe},
    };
    static struct null_bench bench;
    char path[512];
    const char *slash = strrchr(argv[0], '/');

    if (argc != 3 || strcmp(argv[1], "worker") != 0 || !slash)
        return 125;
    snprintf(path, sizeof(path), "%.*s/inject", (int)(slash - argv[0]), argv[0]);
    ops = machine_native_ops;
    ops.probe = probe;
    bench.scripts[0] = (struct null_script){steps, ARRAY_LEN(steps)};
    hv_null_use(&bench);
    inject_share(path, false);
    return worker_main(argv[2]);
}
