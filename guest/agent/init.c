/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lumina-init, PID 1 of the guest: makes the root, says hello to the host and then does what the
 * host asks (serve.c). It never outlives the connection: nobody would come back for it.
 *
 * The kernel does not kill PID 1 for want of memory, so there is no score to set, and commands
 * start with the default one.
 */
#include <errno.h>
#include <signal.h>
#include <sched.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "boot.h"
#include "console.h"
#include "link.h"
#include "machine.h"
#include "serve.h"

/*
 * However many processes want to run, requests of the host come first: without it a guest full of
 * runaway processes could not even be told to kill them. Commands do not inherit it.
 */
static void take_precedence(void)
{
    const struct sched_param param = {0};

    /* Raw, as musl knows better than to offer it. */
    if (syscall(SYS_sched_setscheduler, 0, SCHED_OTHER | SCHED_RESET_ON_FORK, &param) < 0 ||
        setpriority(PRIO_PROCESS, 0, -20) < 0)
        console_line("take precedence: ", strerror(errno), NULL);
}

int main(void)
{
    struct boot_options options;
    sigset_t all;
    sigset_t ours;

    if (getpid() != 1) {
        console_line("it is the first process of a virtual machine and does nothing elsewhere",
                     NULL);
        return 1;
    }
    sigfillset(&all);
    sigemptyset(&ours);
    sigaddset(&ours, SIGCHLD);
    sigaddset(&ours, SIGINT);  /* Ctrl-Alt-Del */
    sigaddset(&ours, SIGPWR);  /* power failure */
    sigaddset(&ours, SIGTERM); /* reboot, */
    sigaddset(&ours, SIGUSR1); /* halt and */
    sigaddset(&ours, SIGUSR2); /* poweroff of busybox */
    (void)sigprocmask(SIG_SETMASK, &all, NULL);

    boot_begin(&options);
    boot_root(&options);
    boot_finish(&options);
    take_precedence();

    int signals = signalfd(-1, &ours, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals < 0)
        boot_failed("open a signal descriptor", NULL);
    int fd = link_open(options.agent);
    if (fd < 0)
        boot_failed("connect to the host over", options.agent);
    serve(fd, signals);
    machine_end(fd);
}
