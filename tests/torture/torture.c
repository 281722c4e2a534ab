/* SPDX-License-Identifier: Apache-2.0 */
/*
 * torture SCENARIO: plays it with the first, the second, ... chance of a failure taken, for each
 * kind of failure, until it is played to its end without one. See torture.h and inject.h.
 */
#include "torture.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "scratch.h"
#include "tap.h"

#define PLAY_SECONDS 60    /* then it hangs */
#define SETTLE_MS    20000 /* for processes and threads that end by themselves */
#define LEAK_EVERY   16u

static const struct scenario *const scenarios[] = {
    &scenario_devices, &scenario_kernels, &scenario_spec,       &scenario_agent_host,
    &scenario_tree,    &scenario_image,   &scenario_native,     &scenario_kvm,
    &scenario_library, &scenario_worker,  &scenario_agent_guest};

static const char *const mode_names[INJECT_MODES] = {
    [INJECT_NO_MEMORY] = "no memory",
    [INJECT_ERROR] = "host call fails",
    [INJECT_INTERRUPT] = "host call is interrupted",
    [INJECT_SHORT] = "host call moves a part",
};

/* Of the sanitizer, where there is one. */
int __lsan_do_recoverable_leak_check(void) __attribute__((weak));

static char folder[64];
static unsigned own_threads;
static char doing[160]; /* for whoever dies of it */

const char *torture_folder(void)
{
    return folder;
}

void torture_must(bool good, const char *what)
{
    if (good)
        return;
    printf("Bail out! %s: %s\n", doing, what);
    exit(1);
}

static void on_alarm(int signo)
{
    static const char text[] = "Bail out! hangs: ";

    (void)signo;
    if (write(1, text, sizeof(text) - 1) < 0 || write(1, doing, strlen(doing)) < 0 ||
        write(1, "\n", 1) < 0)
        abort();
    abort();
}

static unsigned count_entries(const char *path)
{
    DIR *dir = opendir(path);
    unsigned n = 0;

    torture_must(dir != NULL, path);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static bool has_children(void)
{
    siginfo_t info = {0};

    return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

static void *nothing(void *arg)
{
    return arg;
}

/* A sanitizer may start one of its own with the first. */
static unsigned count_own_threads(void)
{
    pthread_t id;

    torture_must(pthread_create(&id, NULL, nothing, NULL) == 0, "thread");
    pthread_join(id, NULL);
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    return count_entries("/proc/self/task");
}

/* Threads and children that take leave get a moment. */
static bool settled(void)
{
    for (int i = 0; i < SETTLE_MS; i++) {
        if (count_entries("/proc/self/task") <= own_threads && !has_children())
            return true;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    return false;
}

/* What is wrong after one play, or NULL. */
static const char *verdict(const struct scenario *s, enum inject_mode mode, int rc,
                           const struct lum_error *err, const struct injected *injected,
                           unsigned descriptors)
{
    bool must_succeed = !injected->done || ((mode == INJECT_INTERRUPT || mode == INJECT_SHORT) &&
                                            !s->may_fail_interrupted);

    if (rc > 0 || (rc < 0 && (err->code != rc || err->text[0] == '\0')))
        return "an error without a text";
    if (rc < 0 && must_succeed)
        return "it had to succeed";
    if (!settled())
        return "a process or a thread stayed";
    if (count_entries("/proc/self/fd") != descriptors)
        return "a descriptor stayed open";
    return NULL;
}

static bool leaks(unsigned plays)
{
    return __lsan_do_recoverable_leak_check && plays % LEAK_EVERY == 0 &&
           __lsan_do_recoverable_leak_check() != 0;
}

/* One kind of failure, from the first chance to the last. */
static bool play_mode(const struct scenario *s, enum inject_mode mode)
{
    torture_must(settled(), "processes or threads stay");
    const unsigned descriptors = count_entries("/proc/self/fd");
    unsigned plays = 0, errors = 0, survived = 0, variant = 0;

    for (unsigned at = 1;;) {
        struct lum_error err = {0};

        snprintf(doing, sizeof(doing), "%s: %s: number %u, variant %u", s->name, mode_names[mode],
                 at, variant);
        alarm(PLAY_SECONDS);
        inject_arm(mode, at, variant);
        int rc = s->play(&err);
        struct injected injected = inject_disarm();
        alarm(0);
        plays++;
        const char *wrong = verdict(s, mode, rc, &err, &injected, descriptors);
        if (!wrong && leaks(injected.done ? plays : 0))
            wrong = "memory stayed (by now)";
        if (wrong) {
            tap_note("%s: %s, %s %s: %s: %s", doing, wrong,
                     injected.done ? injected.call : "nothing", strerror(injected.error),
                     rc < 0 ? "error" : "success", err.text);
            return false;
        }
        if (!injected.done)
            break;
        errors += rc < 0;
        survived += rc == 0;
        if (++variant >= injected.variants) {
            variant = 0;
            at++;
        }
    }
    tap_note("%s: %s: %u failures: %u errors, %u survived", s->name, mode_names[mode], plays - 1,
             errors, survived);
    return true;
}

static void play_all(const struct scenario *s)
{
    struct lum_error err = {0};

    snprintf(doing, sizeof(doing), "%s: first time", s->name);
    /* Once beforehand: what libraries set up for good is not of the failures. */
    alarm(PLAY_SECONDS);
    int rc = s->play(&err);
    alarm(0);
    if (!ok(rc == 0, "%s: without a failure: %s", s->name, rc < 0 ? err.text : "well"))
        return;
    for (enum inject_mode mode = INJECT_NO_MEMORY; mode < INJECT_MODES; mode++)
        ok(play_mode(s, mode), "%s: %s", s->name, mode_names[mode]);
}

int main(int argc, char **argv)
{
    const struct scenario *s = NULL;

    for (size_t i = 0; argc == 2 && i < ARRAY_LEN(scenarios); i++)
        if (strcmp(argv[1], scenarios[i]->name) == 0)
            s = scenarios[i];
    if (!s) {
        fprintf(stderr, "usage: torture SCENARIO\n");
        return 2;
    }
    own_threads = count_own_threads();
    scratch_make(folder, sizeof(folder));
    signal(SIGALRM, on_alarm);
    signal(SIGPIPE, SIG_IGN);
    const char *cannot = s->setup ? s->setup() : NULL;
    if (cannot)
        tap_skip(s->name, cannot);
    else
        play_all(s);
    scratch_remove(AT_FDCWD, folder);
    return tap_done();
}
