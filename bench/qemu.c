/* SPDX-License-Identifier: Apache-2.0 */
/*
 * QEMU's microvm machine with the flags that start it fastest: same kernel, same initramfs, same
 * size. Init is the command itself, so QEMU's guest has less to do than ours: no agent, no request.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kinds.h"

#define MACHINE                                                                                    \
    ("microvm,acpi=off,pcie=off,usb=off,rtc=on,pit=off,pic=off,isa-serial=off,x-option-roms=off,"  \
     "auto-kernel-cmdline=off")
#define CMDLINE                                                                                    \
    ("console=hvc0 quiet loglevel=0 panic=-1 reboot=t tsc=reliable no_timer_check "                \
     "random.trust_cpu=on virtio_mmio.device=512@0xfeb00000:5 rdinit=/bin/busybox -- echo hello")

static int start(const char *const *argv, int out, pid_t *ret_pid)
{
    posix_spawn_file_actions_t actions;

    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, out, 1);
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
    int rc =
        posix_spawnp(ret_pid, argv[0], &actions, NULL, (char *const *)(uintptr_t)argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    return rc;
}

int spawn_qemu(const struct spawn_config *config, struct sample *sample, char why[WHY_SIZE])
{
    char memory[24];
    const char *const argv[] = {config->qemu,
                                "-M",
                                MACHINE,
                                "-accel",
                                "kvm",
                                "-cpu",
                                "host",
                                "-m",
                                memory,
                                "-nodefaults",
                                "-no-user-config",
                                "-no-reboot",
                                "-display",
                                "none",
                                "-global",
                                "virtio-mmio.force-legacy=false",
                                "-chardev",
                                "stdio,id=c,signal=off",
                                "-device",
                                "virtio-serial-device,bus=virtio-mmio-bus.0",
                                "-device",
                                "virtconsole,chardev=c",
                                "-kernel",
                                config->kernel,
                                "-initrd",
                                config->initrd,
                                "-append",
                                CMDLINE,
                                NULL};
    int pipe_fds[2], status;
    char byte = 0;
    pid_t pid;

    snprintf(memory, sizeof(memory), "%u", config->memory_mib);
    if (pipe2(pipe_fds, O_CLOEXEC) < 0) {
        snprintf(why, WHY_SIZE, "pipe: %s", strerror(errno));
        return -1;
    }
    uint64_t t0 = bench_now_ns();
    int rc = start(argv, pipe_fds[1], &pid);
    close(pipe_fds[1]);
    if (rc != 0) {
        close(pipe_fds[0]);
        snprintf(why, WHY_SIZE, "%s: %s", config->qemu, strerror(rc));
        return -1;
    }
    ssize_t n = read(pipe_fds[0], &byte, 1);
    uint64_t t1 = bench_now_ns();
    close(pipe_fds[0]);
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    if (n != 1 || byte != 'h') {
        snprintf(why, WHY_SIZE, "%s: the guest did not write what was asked for", config->qemu);
        return -1;
    }
    sample_mark(sample, "first byte", t1 - t0);
    return 0;
}
