/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libFuzzer target: any bytes as a kernel file. What the early check takes must load or be refused
 * with an error; what it refuses must not load.
 */
#include <stdlib.h>

#include "boot/boot.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MEM_SIZE (64 * MIB)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct boot_result result = {0};
    struct lum_error err;
    plat_fd fd;
    void *host;

    if (plat_memfile("fuzz", data, size, &fd, &err) < 0 ||
        plat_ram_alloc(MEM_SIZE, &host, &err) < 0)
        abort();
    struct gmem mem = {
        .range = {{0, MEM_SIZE, host}}, .n_ranges = 1, .host = host, .size = MEM_SIZE};
    struct boot_config config = {.kernel_name = "k",
                                 .kernel = fd,
                                 .initrd = {fd, PLAT_FD_NONE},
                                 .cmdline = "quiet",
                                 .vcpus = 1 + (uint32_t)(size % ARCH_MAX_VCPUS),
                                 .mem = &mem};

    int checked = boot_check_kernel(fd, "fuzz", &err);
    int loaded = boot_load(&config, &result, &err);
    if (checked < 0 && loaded == 0)
        abort();
    if (loaded == 0 && !gmem_span(&mem, gpa(result.regs.rip), 1))
        abort();
    plat_ram_free(host, MEM_SIZE);
    plat_close(&fd);
    return 0;
}
