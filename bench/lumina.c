/* SPDX-License-Identifier: Apache-2.0 */
/* Spawns through liblumina's public interface. */
#include <lumina.h>

#include <string.h>

#include "kinds.h"

#define FIRST_EXIT "first exit"
#define WAIT_MS    120000

static const char *const command[] = {"echo", "hello", NULL};

static int failed(char why[WHY_SIZE], const char *what, const struct lum_error *err)
{
    snprintf(why, WHY_SIZE, "%s: %s", what, err->text);
    return -1;
}

static int create(const struct spawn_config *config, const char *kernel, lum_vm **ret_vm,
                  char why[WHY_SIZE])
{
    struct lum_vm_options options = LUM_VM_OPTIONS_INIT;
    struct lum_error err;

    options.backend = config->backend;
    options.kernel = kernel;
    options.rootfs = config->rootfs;
    options.memory_bytes = (uint64_t)config->memory_mib << 20;
    options.jail = config->jail;
    return lum_vm_create(&options, ret_vm, &err) < 0 ? failed(why, "create", &err) : 0;
}

/* Copies the ledger up to and with the stage named last (NULL: all of it). */
static int take_ledger(lum_vm *vm, const char *last, struct sample *sample, char why[WHY_SIZE])
{
    struct lum_timing list[SAMPLE_MARKS];
    struct lum_error err;
    size_t count = 0;

    if (lum_vm_timings(vm, list, SAMPLE_MARKS, &count, &err) < 0)
        return failed(why, "timings", &err);
    for (size_t i = 0; i < count && i < SAMPLE_MARKS; i++) {
        sample_mark(sample, list[i].stage, list[i].at_ns);
        if (last && strcmp(list[i].stage, last) == 0)
            return 0;
    }
    if (!last)
        return 0;
    snprintf(why, WHY_SIZE, "the ledger has no stage \"%s\"", last);
    return -1;
}

int spawn_guest(const struct spawn_config *config, struct sample *sample, char why[WHY_SIZE])
{
    struct lum_error err;
    lum_vm *vm;

    if (create(config, config->payload, &vm, why) < 0)
        return -1;
    /* The guest resets itself after its first exit: a start that succeeds would be the wrong one.
     */
    int rc = lum_vm_start(vm, WAIT_MS, &err);
    if (rc != LUM_EGUEST) {
        snprintf(why, WHY_SIZE, "the payload did not end by itself: %s", rc ? err.text : "ready");
        lum_vm_free(vm);
        return -1;
    }
    rc = take_ledger(vm, FIRST_EXIT, sample, why);
    lum_vm_free(vm);
    return rc;
}

static int first_byte(lum_vm *vm, uint64_t t0, struct sample *sample, char why[WHY_SIZE])
{
    struct lum_exec_options options = LUM_EXEC_OPTIONS_INIT;
    struct lum_error err;
    lum_exec *exec;
    size_t size = 0;
    char byte = 0;

    if (lum_vm_start(vm, WAIT_MS, &err) < 0)
        return failed(why, "start", &err);
    options.argv = command;
    if (lum_vm_exec(vm, &options, &exec, &err) < 0)
        return failed(why, "exec", &err);
    int rc = lum_exec_read(exec, LUM_STDOUT, &byte, 1, WAIT_MS, &size, &err);
    uint64_t t1 = bench_now_ns();
    if (rc < 0) {
        failed(why, "read", &err);
    } else if (size != 1 || byte != command[1][0]) {
        snprintf(why, WHY_SIZE, "the command did not write what was asked for");
        rc = -1;
    } else {
        /* The ledger goes on until the command's end; T1 is on the caller's own clock. */
        rc = take_ledger(vm, "exec started", sample, why);
        sample_mark(sample, "first byte", t1 - t0);
    }
    lum_exec_free(exec);
    return rc;
}

int spawn_output(const struct spawn_config *config, struct sample *sample, char why[WHY_SIZE])
{
    uint64_t t0 = bench_now_ns();
    lum_vm *vm;

    if (create(config, config->kernel, &vm, why) < 0)
        return -1;
    int rc = first_byte(vm, t0, sample, why);
    lum_vm_free(vm);
    return rc;
}
