/* SPDX-License-Identifier: Apache-2.0 */
/* See procs.h. */
#include "procs.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

size_t proc_read(pid_t pid, const char *name, char *buf, size_t capacity)
{
    char path[128];
    size_t have = 0;
    ssize_t n = 1;

    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    while (fd >= 0 && n > 0 && have < capacity - 1) {
        n = read(fd, buf + have, capacity - 1 - have);
        have += n > 0 ? (size_t)n : 0;
    }
    if (fd >= 0)
        close(fd);
    buf[have] = '\0';
    return have;
}

bool proc_link(pid_t pid, const char *name, char *buf, size_t capacity)
{
    char path[128];

    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
    ssize_t n = readlink(path, buf, capacity - 1);
    buf[n > 0 ? n : 0] = '\0';
    return n > 0;
}

bool proc_field(const char *text, const char *name, char *ret_value, size_t capacity)
{
    size_t n = strlen(name);

    for (const char *at = text; at && *at; at = strchr(at, '\n'), at += at != NULL) {
        if (strncmp(at, name, n) != 0 || at[n] != ':')
            continue;
        at += n + 1;
        at += strspn(at, " \t");
        snprintf(ret_value, capacity, "%.*s", (int)strcspn(at, "\n"), at);
        return true;
    }
    return false;
}

size_t proc_numbers(pid_t pid, const char *folder, int *list, size_t capacity)
{
    char path[64];
    struct dirent *entry;
    size_t count = 0;

    snprintf(path, sizeof(path), pid ? "/proc/%d/%s" : "/proc", (int)pid, folder);
    DIR *dir = opendir(path);
    while (dir && (entry = readdir(dir))) {
        char *end;
        int number = (int)strtol(entry->d_name, &end, 10);
        if (*end != '\0' || (pid == getpid() && strcmp(folder, "fd") == 0 && number == dirfd(dir)))
            continue;
        if (count < capacity)
            list[count] = number;
        count++;
    }
    if (dir)
        closedir(dir);
    return count;
}

#define MAX_PIDS 32768

size_t proc_children(pid_t pid, pid_t *list, size_t capacity)
{
    static int pids[MAX_PIDS];
    size_t n = proc_numbers(0, "", pids, MAX_PIDS), count = 0;

    for (size_t i = 0; i < n && i < MAX_PIDS; i++) {
        char stat[512];
        proc_read(pids[i], "stat", stat, sizeof(stat));
        const char *end = strrchr(stat, ')'); /* then " S PPID" */
        if (!end || strlen(end) <= 4 || strtol(end + 4, NULL, 10) != pid)
            continue;
        if (count < capacity)
            list[count] = pids[i];
        count++;
    }
    return count;
}

pid_t proc_worker(pid_t pid)
{
    pid_t children[256];
    size_t n = proc_children(pid, children, 256);

    for (size_t i = 0; i < n && i < 256; i++) {
        char line[512];
        size_t size = proc_read(children[i], "cmdline", line, sizeof(line));
        const char *second = memchr(line, '\0', size);
        if (second && strcmp(second + 1, "worker") == 0)
            return children[i];
    }
    return 0;
}
