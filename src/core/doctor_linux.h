/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Linux host's part of the doctor. What can be read from files is read below a root folder, ""
 * for the host itself, so that tests show it hosts of their making; what must be tried or asked of
 * the kernel is in struct linux_facts.
 */
#ifndef LUM_CORE_DOCTOR_LINUX_H
#define LUM_CORE_DOCTOR_LINUX_H

#include "core/doctor.h"

/* /dev/kvm as this process meets it. */
struct kvm_node {
    int open_errno; /* 0: it opens for reading and writing */
    bool is_device;
    bool has_acl;
    uint32_t mode, gid;
    char owner[40], group[40]; /* names, or numbers where there are none */
    bool in_session;           /* this process has the group */
    bool in_database;          /* the user is a member of it, whatever this session has */
};

/* What the CPU itself says; the architecture's file fills it. */
struct cpu_facts {
    const char *flag;     /* of /proc/cpuinfo: "svm" or "vmx" */
    const char *module;   /* "kvm_amd" */
    const char *firmware; /* what the setup of the machine calls it */
    bool has;             /* virtualization extensions */
    bool in_vm;           /* a hypervisor runs this machine */
};

struct linux_facts {
    char release[64]; /* of the kernel, as uname -r */
    char user[40];
    uint32_t uid;
    struct kvm_node kvm;
    struct cpu_facts cpu;
    int jail_errno;       /* of the trial with namespaces; 0: all worked */
    char jail_step[64];   /* which step failed */
    int seccomp_errno;    /* 0: filters that kill the process */
    int landlock;         /* version of its ABI, or negative errno */
    uint64_t tick_ns;     /* of the kernel's timer; 0: could not be asked */
    unsigned cpus;        /* this process may run on */
    uint64_t files_max;   /* hard limit of descriptors; UINT64_MAX: none */
    uint64_t threads_max; /* soft limit of the user's threads; UINT64_MAX: none */
};

void linux_facts_get(struct linux_facts *ret_facts);
void linux_cpu_facts(struct cpu_facts *ret_cpu);

/* One host, one visit. */
struct linux_host {
    const char *root;
    const struct linux_facts *facts;
    const struct backend_list *backends;
    struct findings *out;
};

/* The topics; together they are the visit. */
void linux_check_kvm(const struct linux_host *h);
void linux_check_kernel(const struct linux_host *h);
void linux_check_jail(const struct linux_host *h);
void linux_check_cgroups(const struct linux_host *h);
void linux_check_speed(const struct linux_host *h);
void linux_check_limits(const struct linux_host *h);

/* From this kernel on, KVM's guard against huge pages is a thread of the VM's process; before, it
 * is one of the kernel's own, which KVM_CREATE_VM moves into the process's cgroups. */
#define GUARD_MAJOR 6u
#define GUARD_MINOR 12u

/* ---- reading (doctor_linux.c) ---- */

/* The file's text without the newline at its end, cut to fit; false: it cannot be read. */
bool host_read(const struct linux_host *h, const char *path, char *buf, size_t size);
/* All of it, up to 1 MiB. Heap string; NULL: it cannot be read. */
char *host_slurp(const struct linux_host *h, const char *path);
bool host_number(const struct linux_host *h, const char *path, long long *ret_value);
bool host_exists(const struct linux_host *h, const char *path);
/* Whether text holds the word, between blanks, commas or newlines. */
bool has_word(const char *text, const char *word);
/* The rest of the line that begins with key, without blanks before it; NULL: there is none. */
const char *line_value(const char *text, const char *key);
/* "docker", "podman", ... or NULL: not in a container as far as can be seen. */
const char *host_container(const struct linux_host *h, char *buf, size_t size);
/* Whether the kernel is at least this one. */
bool kernel_is(const struct linux_host *h, unsigned major, unsigned minor);

#endif
