/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signals arrive through a pipe that the handlers write to: one thread can then wait for them and
 * for a deadline with poll(), on every POSIX system, and no call of the library is interrupted for
 * long (SA_RESTART). Handlers call async-signal-safe functions only; tcsetattr() is one.
 */
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define FOREGROUND_LOOK_MS 250

static int signal_pipe[2] = {-1, -1};
static struct termios cooked, raw;
static atomic_bool raw_on;

void os_fill_standard(void)
{
    for (int fd = 0; fd <= 2; fd++) {
        /* The lowest free number is this one. Read-only, so that writes fail. */
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDONLY) != fd)
            _exit(125);
    }
}

int64_t os_now_ms(void)
{
    struct timespec now = {0, 0};

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- signals ---- */

static void queue(unsigned char number)
{
    int saved = errno;

    /* A full pipe holds more signals than anybody will act on. */
    if (write(signal_pipe[1], &number, 1) < 0)
        errno = saved;
    errno = saved;
}

static void on_signal(int signo)
{
    switch (signo) {
    case SIGHUP: queue(OS_SIGHUP); break;
    case SIGINT: queue(OS_SIGINT); break;
    case SIGQUIT: queue(OS_SIGQUIT); break;
    case SIGTERM: queue(OS_SIGTERM); break;
    case SIGWINCH: queue(OS_SIGWINCH); break;
    default: break;
    }
}

static void install(int signo, void (*handler)(int), int flags)
{
    struct sigaction action;

    memset(&action, 0, sizeof(action));
    action.sa_handler = handler;
    action.sa_flags = flags;
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(signo, &action, NULL);
}

static int set_pipe_flags(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
        fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return errno;
    return 0;
}

int os_signals_open(void)
{
    static const int queued[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGWINCH};
    int rc;

    if (pipe(signal_pipe) < 0)
        return errno;
    for (int i = 0; i < 2; i++) {
        rc = set_pipe_flags(signal_pipe[i]);
        if (rc != 0)
            return rc;
    }
    install(SIGPIPE, SIG_IGN, 0);
    for (size_t i = 0; i < sizeof(queued) / sizeof(queued[0]); i++) {
        struct sigaction before;

        if (sigaction(queued[i], NULL, &before) == 0 && before.sa_handler == SIG_IGN)
            continue;
        install(queued[i], on_signal, SA_RESTART);
    }
    return 0;
}

int os_signal_wait(int timeout_ms)
{
    int64_t end = os_now_ms() + timeout_ms;

    for (;;) {
        struct pollfd in = {.fd = signal_pipe[0], .events = POLLIN};
        unsigned char number;
        int64_t left = timeout_ms < 0 ? -1 : end - os_now_ms();

        if (read(signal_pipe[0], &number, 1) == 1)
            return number;
        if (timeout_ms >= 0 && left <= 0)
            return 0;
        (void)poll(&in, 1, (int)left);
    }
}

void os_signal_wake(void)
{
    queue(0);
}

/* ---- descriptors ---- */

static bool in_background(int fd)
{
    pid_t foreground = tcgetpgrp(fd);

    return foreground > 0 && foreground != getpgrp();
}

int os_read(int fd, void *buf, size_t capacity, size_t *ret_size)
{
    sigset_t stop;

    /* Then a read in the background fails with EIO and nobody is stopped. */
    (void)sigemptyset(&stop);
    (void)sigaddset(&stop, SIGTTIN);
    (void)pthread_sigmask(SIG_BLOCK, &stop, NULL);
    for (;;) {
        ssize_t n = read(fd, buf, capacity);

        if (n >= 0) {
            *ret_size = (size_t)n;
            return 0;
        }
        if (errno == EIO && in_background(fd)) {
            /* No signal tells a running job that it has come to the foreground. */
            (void)poll(NULL, 0, FOREGROUND_LOOK_MS);
        } else if (errno == EAGAIN) {
            /* Somebody who shares the descriptor made it non-blocking. */
            struct pollfd in = {.fd = fd, .events = POLLIN};

            (void)poll(&in, 1, -1);
        } else if (errno != EINTR) {
            return errno;
        }
    }
}

int os_write(int fd, const void *data, size_t size)
{
    const char *p = data;

    while (size > 0) {
        ssize_t n = write(fd, p, size);

        if (n >= 0) {
            p += n;
            size -= (size_t)n;
        } else if (errno == EAGAIN) {
            struct pollfd out = {.fd = fd, .events = POLLOUT};

            (void)poll(&out, 1, -1);
        } else if (errno != EINTR) {
            return errno;
        }
    }
    return 0;
}

/* ---- the terminal ---- */

bool os_is_terminal(int fd)
{
    return isatty(fd) == 1;
}

bool os_terminal_size(int fd, uint32_t *ret_rows, uint32_t *ret_cols)
{
    struct winsize size;

    if (ioctl(fd, TIOCGWINSZ, &size) < 0 || size.ws_row == 0 || size.ws_col == 0)
        return false;
    *ret_rows = size.ws_row;
    *ret_cols = size.ws_col;
    return true;
}

static void on_stop(int signo)
{
    int saved = errno;

    (void)signo;
    if (atomic_load(&raw_on))
        (void)tcsetattr(0, TCSADRAIN, &cooked);
    (void)raise(SIGSTOP);
    errno = saved;
}

static void on_continue(int signo)
{
    int saved = errno;

    (void)signo;
    if (atomic_load(&raw_on)) {
        (void)tcsetattr(0, TCSADRAIN, &raw);
        queue(OS_SIGWINCH);
    }
    errno = saved;
}

static void on_crash(int signo)
{
    if (atomic_load(&raw_on))
        (void)tcsetattr(0, TCSADRAIN, &cooked);
    /* The handler is gone by now (SA_RESETHAND), so this one acts. */
    (void)raise(signo);
}

int os_raw_enter(void)
{
    static const int crashes[] = {SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV};

    if (tcgetattr(0, &cooked) < 0)
        return errno;
    raw = cooked;
    raw.c_iflag &= ~(tcflag_t)(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
    raw.c_oflag &= ~(tcflag_t)OPOST;
    raw.c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ICANON | ISIG | IEXTEN);
    raw.c_cflag = (raw.c_cflag & ~(tcflag_t)(CSIZE | PARENB)) | CS8;
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    for (size_t i = 0; i < sizeof(crashes) / sizeof(crashes[0]); i++)
        install(crashes[i], on_crash, (int)(SA_RESETHAND | SA_NODEFER));
    install(SIGTSTP, on_stop, SA_RESTART);
    install(SIGCONT, on_continue, SA_RESTART);
    (void)atexit(os_raw_leave);
    atomic_store(&raw_on, true);
    /* TCSADRAIN keeps what was typed ahead. */
    if (tcsetattr(0, TCSADRAIN, &raw) < 0) {
        atomic_store(&raw_on, false);
        return errno;
    }
    return 0;
}

void os_raw_leave(void)
{
    if (atomic_exchange(&raw_on, false))
        (void)tcsetattr(0, TCSADRAIN, &cooked);
}

bool os_raw_active(void)
{
    return atomic_load(&raw_on);
}

/* ---- the rest ---- */

const char *os_unreadable(const char *path)
{
    return access(path, R_OK) == 0 ? NULL : strerror(errno);
}

bool os_is_folder(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

void os_exit_now(int status)
{
    os_raw_leave();
    _exit(status);
}
