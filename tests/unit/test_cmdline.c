/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel command line: what is on it for each kind of spec, and what is refused. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "boot/boot.h"
#include "machine/machine.h"
#include "tap.h"

static char *line;
static struct lum_error error;

static int make(const struct vm_spec *spec, const char *transport, const char *port)
{
    free(line);
    line = NULL;
    error.text[0] = '\0';
    return machine_cmdline(spec, transport, port, &line, &error);
}

/* Is it one whole argument of the line? */
static bool has(const char *arg)
{
    size_t n = strlen(arg);

    for (const char *p = line; p && (p = strstr(p, arg)); p++)
        if ((p == line || p[-1] == ' ') && (p[n] == ' ' || p[n] == '\0'))
            return true;
    return false;
}

static void refused(struct vm_spec spec, const char *hostname, const char *extra, const char *text)
{
    char host[128], args[64];

    snprintf(host, sizeof(host), "%s", hostname);
    snprintf(args, sizeof(args), "%s", extra);
    spec.hostname = host;
    spec.cmdline_extra = args;
    ok(make(&spec, "", "vsock") == LUM_EINVAL && strstr(error.text, text) && !line, "refused: %s",
       error.text);
}

int main(void)
{
    char hostname[] = "box-1", extra[] = "foo=bar lumina.hostname=other", none[] = "";
    struct vm_spec spec = {.hostname = hostname,
                           .cmdline_extra = none,
                           .root_kind = MACHINE_ROOT_EROFS,
                           .scratch_bytes = 12345678901};

    ok(make(&spec, "console=hvc0 virtio_mmio.device=4K@0xd0000000:5", "vsock") == 0, "%s",
       error.text);
    tap_note("%s", line ? line : "");
    ok(has("quiet") && has("loglevel=1") && has("noreplace-smp") && has("panic=-1") && has("reboot=t") &&
           has("no_timer_check") && has("tsc=reliable") && has("rdinit=/lumina-init"),
       "base arguments");
    ok(has("console=hvc0") && has("virtio_mmio.device=4K@0xd0000000:5"), "the backend's arguments");
    ok(has("lumina.agent=vsock") && has("lumina.root=erofs") && has("lumina.hostname=box-1") &&
           has("lumina.scratch=12345678901") && !has("lumina.ro=1"),
       "the agent's arguments");
    ok(line && line[strlen(line) - 1] != ' ' && !strstr(line, "  "), "single spaces");

    spec.read_only = true;
    spec.root_kind = MACHINE_ROOT_EXT4;
    spec.cmdline_extra = extra;
    ok(make(&spec, "", "lumina.agent") == 0, "read-only ext4 %s", error.text);
    ok(has("lumina.ro=1") && has("lumina.root=ext4") && has("lumina.agent=lumina.agent") &&
           !strstr(line, "lumina.scratch"),
       "read-only: no scratch");
    ok(line && strlen(line) > strlen(extra) &&
           strcmp(line + strlen(line) - strlen(extra), extra) == 0,
       "the caller's arguments come last");
    ok(line && !strstr(line, "  "), "single spaces without backend arguments");

    spec.root_kind = MACHINE_ROOT_INITRD;
    spec.cmdline_extra = NULL;
    spec.read_only = false;
    spec.scratch_bytes = 0;
    ok(make(&spec, "", "vsock") == 0 && has("lumina.root=initrd") &&
           !strstr(line, "lumina.scratch"),
       "initrd root, no limit");

    refused(spec, "", "", "hostname: 0 bytes");
    refused(spec, "a b", "", "hostname \"a b\"");
    refused(spec, "a\nb", "", "hostname");
    refused(spec, "a\"", "", "hostname");
    refused(spec, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "",
            "hostname: 65 bytes");
    refused(spec, "a", "x\ny", "kernel_args: control character 0x0a at byte 1");
    refused(spec, "a", "x\x7f", "kernel_args: control character 0x7f at byte 1");

    /* The longest line that fits has one byte less than the limit, for its NUL. */
    ok(make(&spec, "", "vsock") == 0, "plain");
    size_t room = BOOT_CMDLINE_MAX - 1 - strlen(line) - 1;
    char filler[BOOT_CMDLINE_MAX] = {0};
    memset(filler, 'x', room);
    spec.cmdline_extra = filler;
    ok(make(&spec, "", "vsock") == 0 && strlen(line) == BOOT_CMDLINE_MAX - 1, "the longest line");
    filler[room] = 'x';
    ok(make(&spec, "", "vsock") == LUM_EINVAL &&
           strstr(error.text, "kernel_args: the command line would have 2048 bytes, at most 2047"),
       "one more: %s", error.text);

    spec.cmdline_extra = NULL;
    lum_alloc_fail_at = 0;
    int rc = make(&spec, "", "vsock");
    lum_alloc_fail_at = -1;
    ok(rc == LUM_ENOMEM, "out of memory: %s", error.text);
    free(line);
    return tap_done();
}
