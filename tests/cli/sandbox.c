/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A sandbox around a command, as containers have one: calls that are refused, made into a filter.
 *
 *     sandbox CALL=ERRNO... -- COMMAND [ARG...]
 *
 * "clone:new" is a clone that asks for any namespace; ERRNO is EPERM or ENOSYS.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ARRAY_LEN(a)   (sizeof(a) / sizeof((a)[0]))
#define NEW_NAMESPACES 0x7e020000u /* the clone flags of all kinds */
#define MAX_RULES      16

static const struct {
    const char *name;
    long number;
    uint32_t mask; /* of the first argument; 0: whatever it is */
} calls[] = {
    {"clone3", SYS_clone3, 0},     {"clone:new", SYS_clone, NEW_NAMESPACES},
    {"unshare", SYS_unshare, 0},   {"seccomp", SYS_seccomp, 0},
    {"mount", SYS_mount, 0},       {"pivot_root", SYS_pivot_root, 0},
    {"setns", SYS_setns, 0},       {"close_range", 436, 0},
    {"execveat", SYS_execveat, 0}, {"landlock", 444, 0},
    {"mount_setattr", 442, 0},     {"pidfd_send_signal", SYS_pidfd_send_signal, 0},
    {"capset", SYS_capset, 0},     {"memfd_create", SYS_memfd_create, 0},
};

static struct sock_filter program[1 + MAX_RULES * 5 + 1];
static unsigned short length;

static void put(struct sock_filter instruction)
{
    program[length++] = instruction;
}

static int add_rule(const char *text)
{
    const char *equals = strchr(text, '=');
    size_t n = equals ? (size_t)(equals - text) : 0;
    unsigned answer;

    if (!equals || (strcmp(equals + 1, "EPERM") != 0 && strcmp(equals + 1, "ENOSYS") != 0))
        return -1;
    answer = strcmp(equals + 1, "EPERM") == 0 ? EPERM : ENOSYS;
    for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
        if (strlen(calls[i].name) != n || strncmp(calls[i].name, text, n) != 0)
            continue;
        put((struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                         offsetof(struct seccomp_data, nr)));
        put((struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)calls[i].number, 0,
                                         calls[i].mask ? 3 : 1));
        if (calls[i].mask) {
            put((struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                             offsetof(struct seccomp_data, args)));
            put((struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, calls[i].mask, 0, 1));
        }
        put((struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | answer));
        return 0;
    }
    return -1;
}

int main(int argc, char **argv)
{
    int i = 1;

    for (; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (i > MAX_RULES || add_rule(argv[i]) < 0) {
            fprintf(stderr, "sandbox: %s: not CALL=EPERM or CALL=ENOSYS\n", argv[i]);
            return 2;
        }
    }
    if (i + 1 >= argc) {
        fputs("usage: sandbox CALL=ERRNO... -- COMMAND [ARG...]\n", stderr);
        return 2;
    }
    put((struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    struct sock_fprog prog = {.len = length, .filter = program};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) < 0) {
        perror("sandbox");
        return 2;
    }
    execvp(argv[i + 1], argv + i + 1);
    perror(argv[i + 1]);
    return 127;
}
