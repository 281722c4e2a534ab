/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A reader of passwd and group of our own: the C library's allocates and asks a name service. The
 * files are the guest's: every field is optional, lines beyond the buffer are not looked at.
 */
#include "user.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "text.h"

struct lines {
    int fd;
    size_t start, end;
    char buf[4096];
};

static bool lines_open(struct lines *lines, const char *path)
{
    lines->start = lines->end = 0;
    /* O_NONBLOCK: a fifo in its place must not stop the agent. */
    lines->fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    return lines->fd >= 0;
}

/* The next line, terminated in place; NULL at the end. */
static char *lines_next(struct lines *lines)
{
    bool skip = false; /* in the rest of a line that was too long */

    for (;;) {
        char *line = lines->buf + lines->start;
        char *newline = memchr(line, '\n', lines->end - lines->start);

        if (newline) {
            *newline = '\0';
            lines->start = (size_t)(newline - lines->buf) + 1;
            if (!skip)
                return line;
            skip = false;
            continue;
        }
        if (lines->start > 0) {
            memmove(lines->buf, line, lines->end - lines->start);
            lines->end -= lines->start;
            lines->start = 0;
        }
        if (lines->end == sizeof(lines->buf) - 1) {
            skip = true;
            lines->end = 0;
        }
        ssize_t n = read(lines->fd, lines->buf + lines->end, sizeof(lines->buf) - 1 - lines->end);
        if (n > 0) {
            lines->end += (size_t)n;
            continue;
        }
        if (lines->end == 0 || skip)
            return NULL;
        lines->buf[lines->end] = '\0'; /* a last line without newline */
        lines->start = lines->end = 0;
        return lines->buf;
    }
}

/* Cuts the line at its next ':' and gives what was before it; "" when there is nothing more. */
static char *field(char **line)
{
    char *start = *line;
    char *colon = strchr(start, ':');

    if (colon)
        *colon = '\0';
    *line = colon ? colon + 1 : start + strlen(start);
    return start;
}

/* A decimal number up to the character `end`; 2^32 - 1 means "no user" to the kernel. */
static bool number(const char *text, char end, uint32_t *ret_value, const char **ret_rest)
{
    const char *rest;

    if (!text_read_number(text, ret_value, &rest) || *rest != end)
        return false;
    if (ret_rest)
        *ret_rest = rest;
    return true;
}

static void copy_text(char *place, size_t size, const char *text)
{
    size_t len = strnlen(text, size - 1);

    memcpy(place, text, len);
    place[len] = '\0';
}

/* Looks for the name or, when it is NULL, for user->uid. */
static bool find_passwd(const char *name, struct user *user)
{
    struct lines lines;
    bool found = false;
    char *line;

    if (!lines_open(&lines, "/etc/passwd"))
        return false;
    while (!found && (line = lines_next(&lines)) != NULL) {
        uint32_t uid;
        uint32_t gid;
        const char *entry = field(&line);

        (void)field(&line); /* password */
        if (!number(field(&line), '\0', &uid, NULL) || !number(field(&line), '\0', &gid, NULL))
            continue;
        if (name ? strcmp(entry, name) != 0 : uid != user->uid)
            continue;
        user->uid = uid;
        user->gid = gid;
        copy_text(user->name, sizeof(user->name), entry);
        (void)field(&line); /* comment */
        const char *home = field(&line);
        copy_text(user->home, sizeof(user->home), *home ? home : "/");
        found = true;
    }
    close(lines.fd);
    return found;
}

static bool is_member(char *members, const char *name)
{
    size_t len = strlen(name);

    for (char *p = members; *p;) {
        size_t n = strcspn(p, ",");
        if (n == len && memcmp(p, name, n) == 0)
            return true;
        p += n + (p[n] == ',');
    }
    return false;
}

static void find_groups(struct user *user)
{
    struct lines lines;
    char *line;

    if (!lines_open(&lines, "/etc/group"))
        return;
    while (user->group_count < USER_MAX_GROUPS && (line = lines_next(&lines)) != NULL) {
        uint32_t gid;

        (void)field(&line); /* name */
        (void)field(&line); /* password */
        if (number(field(&line), '\0', &gid, NULL) && is_member(line, user->name))
            user->groups[user->group_count++] = gid;
    }
    close(lines.fd);
}

int user_find(const char *spec, struct user *ret_user)
{
    struct user *user = ret_user;
    const char *rest = NULL;
    uint32_t uid = 0;
    uint32_t gid = 0;

    user->gid = 0;
    user->group_count = 0;
    if (*spec && (*spec < '0' || *spec > '9')) {
        if (!find_passwd(spec, user))
            return -ENOENT;
        find_groups(user);
        return 0;
    }

    bool explicit_gid = *spec && strchr(spec, ':') != NULL;
    if (*spec && !number(spec, explicit_gid ? ':' : '\0', &uid, &rest))
        return -EINVAL;
    if (explicit_gid && !number(rest + 1, '\0', &gid, NULL))
        return -EINVAL;

    user->uid = uid;
    bool known = find_passwd(NULL, user);
    if (!known) {
        copy_text(user->name, sizeof(user->name), uid == 0 ? "root" : spec);
        user->name[strcspn(user->name, ":")] = '\0';
        copy_text(user->home, sizeof(user->home), "/");
    }
    if (explicit_gid)
        user->gid = gid;
    else if (known)
        find_groups(user);
    return 0;
}
