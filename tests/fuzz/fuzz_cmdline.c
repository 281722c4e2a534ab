/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any host name and any arguments of the caller on the kernel command line: it is refused, or it
 * says what was asked and the host name has not become an argument of its own. Input: switches,
 * size of the layer, host name, NUL, arguments.
 */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "boot/boot.h"
#include "machine/machine.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool good)
{
    if (!good)
        abort();
}

static char *text(const uint8_t *data, size_t size)
{
    char *s = calloc(1, size + 1);

    must(s != NULL);
    memcpy(s, data, strnlen((const char *)data, size));
    return s;
}

static unsigned count(const char *s, size_t size, char c)
{
    unsigned n = 0;

    for (size_t i = 0; i < size; i++)
        n += s[i] == c;
    return n;
}

static void check(const struct vm_spec *spec, const char *line, const char *transport)
{
    const char *extra = spec->cmdline_extra;
    size_t size = strlen(line), own = size - strlen(extra);
    AUTO(auto_free) char *plain = NULL;
    struct vm_spec other = *spec;
    struct lum_error err;

    must(size < BOOT_CMDLINE_MAX && strcmp(line + own, extra) == 0);
    for (size_t i = 0; i < size; i++)
        must((unsigned char)line[i] >= 0x20 && line[i] != 0x7f);
    /* The same with a harmless name has as many arguments. */
    other.hostname = (char *)(uintptr_t) "h";
    must(machine_cmdline(&other, transport, "vsock", &plain, &err) == 0);
    must(count(line, own, ' ') == count(plain, strlen(plain) - strlen(extra), ' '));
    must((strstr(line, " lumina.ro=1") != NULL) >= spec->read_only);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const transports[] = {"", "console=hvc0 virtio_mmio.device=4K@0x1:5"};
    struct vm_spec spec;
    struct lum_error err;
    AUTO(auto_free) char *line = NULL;

    if (size < 10)
        return 0;
    vm_spec_init(&spec);
    spec.read_only = data[0] & 1;
    spec.root_kind = (enum machine_root)(data[0] >> 1 & 3) % 3;
    spec.scratch_bytes = data[0] & 8 ? le64_load(data + 1) : 0;
    const char *transport = transports[data[0] >> 4 & 1];
    spec.hostname = text(data + 9, size - 9);
    size_t at = 9 + strlen(spec.hostname) + 1;
    spec.cmdline_extra = at < size ? text(data + at, size - at) : text(data, 0);
    int checked = vm_spec_check_texts(spec.hostname, spec.cmdline_extra, &err);
    int rc = machine_cmdline(&spec, transport, "vsock", &line, &err);
    must(checked == 0 || rc < 0);
    if (rc == 0)
        check(&spec, line, transport);
    else
        must(!line && err.text[0] != '\0');
    vm_spec_done(&spec);
    return 0;
}
