/* SPDX-License-Identifier: Apache-2.0 */
/* What test_hostile.c needs of its host: the files it gives to guests, and what it has open. */
#ifndef LUM_TESTS_HOSTILE_HOST_H
#define LUM_TESTS_HOSTILE_HOST_H

#include "base/util.h"

/* Every attack calls it first: after so many seconds the program ends, naming the attack. */
void deadline(const char *attack, unsigned seconds);

/*
 * A build without the guest's side has no agent archive beside the library. Then library and worker
 * are copied to a folder of their own with an empty one, and the program starts again from there.
 */
void stage_library(char **argv);

struct file {
    char path[128];
    uint8_t *content;
    size_t size;
};

struct files {
    char folder[64];
    struct file kernel, root; /* copies of our own, which guests may try to change */
};

void files_make(struct files *files, const char *kernel);
bool files_unchanged(const struct files *files);
void files_remove(struct files *files);

unsigned count_fds(void);
uint64_t children_peak(void); /* the most that a child has ever had in memory, in bytes */
/* No child, and so many descriptors as there were; waits for those that are on their way out. */
bool nothing_left(unsigned fds);

#endif
