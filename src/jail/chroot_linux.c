/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linux gives no user namespace to a process in a chroot. Root can enter its own mount namespace
 * anew, whose root is then this process's root, while the current folder stays the chroot's; and
 * in the mounts of the new namespaces that folder can be made a root in its own right.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "jail/jail_linux.h"

#define DETACH 2 /* MNT_DETACH, from a header that cannot be had beside linux/mount.h */

int jail_leave_chroot(void)
{
    int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    int mounts = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
    bool good = root >= 0 && mounts >= 0 && setns(mounts, CLONE_NEWNS) == 0 && fchdir(root) == 0;
    int rc = good ? 0 : -errno;

    close(root);
    close(mounts);
    return rc;
}

int jail_restore_chroot(void)
{
    const unsigned whole = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE | AT_EMPTY_PATH;
    int tree = (int)syscall(SYS_open_tree, AT_FDCWD, "", whole);
    bool good = tree >= 0 &&
                syscall(SYS_move_mount, tree, "", AT_FDCWD, "",
                        MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) == 0 &&
                fchdir(tree) == 0 && syscall(SYS_pivot_root, ".", ".") == 0 &&
                syscall(SYS_umount2, ".", DETACH) == 0;
    int rc = good ? 0 : -errno;

    close(tree);
    return rc;
}
