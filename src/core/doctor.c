/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lum_doctor: asks the backends, the host and the files, and then does what every user will do
 * next: starts a VM. So its last word is an observation and no deduction from the others.
 */
#include "core/doctor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "core/vm.h"

#define START_HARDWARE_MS 30000
#define START_SOFTWARE_MS 120000

static const struct {
    const char *name, *file, *remedy;
    enum doctor_file kind;
} own_files[] = {
    {"lumina-vmm", "lumina-vmm", "build and install LuminaGuard whole: make, make install",
     DOCTOR_FILE_PROGRAM},
    {"lumina-qemu", "lumina-qemu", "build and install LuminaGuard whole: make, make install",
     DOCTOR_FILE_PROGRAM},
    {"guest kernel", "vmlinux", "build it with make, or name one with --kernel",
     DOCTOR_FILE_KERNEL},
    {"agent", "agent.cpio", "build it with make", DOCTOR_FILE_INITRD},
    {"root image", "root.erofs", "build it with make, or name one with --rootfs", DOCTOR_FILE_ROOT},
};

static void check_own_files(struct findings *out)
{
    for (size_t i = 0; i < ARRAY_LEN(own_files); i++) {
        AUTO(auto_free) char *path = NULL;
        struct lum_error err;

        if (vmm_file(own_files[i].file, &path, &err) < 0)
            finding_from_text(out, own_files[i].name, LUM_FINDING_BAD, err.text,
                              own_files[i].remedy);
        else
            doctor_check_file(out, own_files[i].name, path, own_files[i].kind, own_files[i].remedy);
    }
}

static void check_backends(struct backend_list *ret_backends, struct findings *out)
{
    const struct lum_backend *chosen = NULL;
    struct lum_error err;
    size_t count = 0;

    if (lum_backends(ret_backends->list, ARRAY_LEN(ret_backends->list), &count, &err) < 0) {
        ret_backends->count = 0;
        finding_from_text(out, "backend", LUM_FINDING_BAD, err.text, own_files[0].remedy);
        return;
    }
    ret_backends->count =
        count < ARRAY_LEN(ret_backends->list) ? count : ARRAY_LEN(ret_backends->list);
    for (size_t i = 0; i < ret_backends->count; i++)
        if (ret_backends->list[i].automatic)
            chosen = &ret_backends->list[i];
    if (chosen)
        finding_add(out, "backend", backend_is_fast(chosen) ? LUM_FINDING_GOOD : LUM_FINDING_NOTE,
                    "auto chooses %s: %s", chosen->name, chosen->detail);
    else
        finding_remedy(finding_add(out, "backend", LUM_FINDING_BAD, "none can run a VM here"),
                       "what kvm or qemu need, see there");
}

/* Boots a guest and throws it away. The agent's word is what counts: it runs in user space. */
static int start_one(char backend[24], uint64_t *ret_ns, struct lum_error *err)
{
    const struct lum_vm_options options = LUM_VM_OPTIONS_INIT;
    uint64_t start = plat_now_ns();
    lum_vm *vm;
    int rc = lum_vm_create(&options, &vm, err);

    if (rc < 0)
        return rc;
    snprintf(backend, sizeof(((struct lum_backend *)0)->name), "%s", lum_vm_backend(vm));
    rc =
        lum_vm_start(vm, strcmp(backend, "qemu") == 0 ? START_SOFTWARE_MS : START_HARDWARE_MS, err);
    *ret_ns = plat_now_ns() - start;
    lum_vm_free(vm);
    return rc;
}

static void check_start(const struct backend_list *backends, const struct findings *others,
                        struct findings *out)
{
    const struct lum_finding *kvm = finding_find(others, "kvm");
    char backend[24], time[32];
    struct lum_error err;
    uint64_t ns;

    if (start_one(backend, &ns, &err) < 0) {
        char text[sizeof(err.text) + 16];

        snprintf(text, sizeof(text), "cannot run: %s", err.text);
        finding_from_text(out, "run", LUM_FINDING_BAD, text,
                          "the remedies of what is bad; lumina run -v -- true shows more");
        return;
    }
    if (ns < 100 * 1000000)
        snprintf(time, sizeof(time), "%u ms", (unsigned)(ns / 1000000));
    else
        snprintf(time, sizeof(time), "%u.%02u s", (unsigned)(ns / 1000000000),
                 (unsigned)(ns / 10000000 % 100));
    if (backend_is_fast(backend_named(backends, backend)))
        finding_add(out, "run", LUM_FINDING_GOOD,
                    "runs on %s at hardware speed: a VM was ready after %s", backend, time);
    else
        finding_remedy(
            finding_add(out, "run", LUM_FINDING_SLOW,
                        "runs on %s with a software CPU: a VM was ready after %s", backend, time),
            "%s", kvm && kvm->remedy[0] != '\0' ? kvm->remedy : "hardware virtualization");
}

static void collect(struct findings *out)
{
    struct backend_list backends = {.count = 0};
    struct findings sum = {.count = 0};

    check_backends(&backends, out);
    doctor_host(&backends, out);
    doctor_check_qemu(out, &backends, getenv("PATH"));
    check_own_files(out);
    check_start(&backends, out, &sum);
    findings_sort(out);
    memmove(out->list + 1, out->list, out->count * sizeof(out->list[0]));
    out->list[0] = sum.list[0];
    out->count++;
}

int lum_doctor(struct lum_finding *list, size_t capacity, size_t *ret_count, struct lum_error *err)
{
    API_ERROR(err);

    if (!ret_count || (!list && capacity > 0))
        return lum_fail(e, LUM_EINVAL, "list or ret_count: NULL");
    AUTO(auto_free) struct findings *found = lum_calloc(1, sizeof(*found));
    if (!found)
        return lum_fail(e, LUM_ENOMEM, "doctor: out of memory");
    collect(found);
    for (size_t i = 0; i < found->count && i < capacity; i++)
        list[i] = found->list[i];
    *ret_count = found->count;
    return 0;
}
