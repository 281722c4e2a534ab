/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel has no call that signals a session, so its processes are found in /proc. A process
 * that forks while the list is read may leave a child unseen: the list is read until it shows
 * nothing new to kill. A killed process forks no more, so that this ends.
 */
#include "session.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "text.h"

#define MAX_PASSES 8

/* A number of /proc: digits and nothing else, in the range of a pid. */
static pid_t parse_pid(const char *text)
{
    uint32_t v;
    const char *rest;

    if (!text_read_number(text, &v, &rest) || (*rest != '\0' && *rest != ' ') || v >= INT_MAX)
        return 0;
    return (pid_t)v;
}

/*
 * /proc/PID/stat: "pid (name) state parent group session ..."; the name may hold anything, also
 * blanks and parentheses, so that the last one counts.
 */
static bool lives_in_session(const char *pid, pid_t session)
{
    char path[64];
    char text[512];

    (void)text_join(path, sizeof(path), "/proc/", pid, "/stat", NULL);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (n <= 0)
        return false;
    text[n] = '\0';

    const char *at = strrchr(text, ')');
    if (!at || at[1] != ' ' || at[2] == 'Z' || at[2] == 'X')
        return false;
    at += 2;
    for (unsigned i = 0; i < 3 && at; i++) { /* state, parent, group */
        at = strchr(at, ' ');
        at = at ? at + 1 : NULL;
    }
    return at && parse_pid(at) == session;
}

static bool kill_pass(pid_t leader)
{
    DIR *dir = opendir("/proc");
    const struct dirent *entry;
    bool any = false;

    if (!dir)
        return false;
    while ((entry = readdir(dir)) != NULL) {
        pid_t pid = parse_pid(entry->d_name);

        if (pid > 1 && lives_in_session(entry->d_name, leader))
            any |= kill(pid, SIGKILL) == 0;
    }
    closedir(dir);
    return any;
}

void session_kill(pid_t leader)
{
    if (leader <= 1)
        return;
    (void)kill(-leader, SIGKILL);
    for (unsigned i = 0; i < MAX_PASSES && kill_pass(leader); i++)
        continue;
}
