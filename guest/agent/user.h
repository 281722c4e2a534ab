/* SPDX-License-Identifier: Apache-2.0 */
/* Users of the guest, out of its /etc/passwd and /etc/group. */
#ifndef AGENT_USER_H
#define AGENT_USER_H

#include <stddef.h>
#include <sys/types.h>

#define USER_MAX_GROUPS 64
#define USER_MAX_NAME   256

struct user {
    uid_t uid;
    gid_t gid;
    size_t group_count; /* supplementary */
    gid_t groups[USER_MAX_GROUPS];
    char name[USER_MAX_NAME];
    char home[1024];
};

/*
 * spec: "" is root, "name", "uid" or "uid:gid". A number needs no entry in passwd: its group is 0
 * then and its home "/". With an explicit gid there are no supplementary groups. -ENOENT: no user
 * of that name; -EINVAL: not a spec.
 */
int user_find(const char *spec, struct user *ret_user);

#endif
