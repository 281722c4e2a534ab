/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SHA-256 (FIPS 180-4), for keys of caches. A cryptographic hash, because the trees and files that
 * are hashed come from strangers, who must not be able to make one stand for another; our own,
 * because a hundred lines weigh less than a crypto library in every program that links this one.
 */
#ifndef LUM_BASE_SHA256_H
#define LUM_BASE_SHA256_H

#include "base/util.h"

#define SHA256_SIZE 32u

struct sha256 {
    uint32_t h[8];
    uint64_t total; /* bytes so far */
    uint8_t block[64];
};

void sha256_init(struct sha256 *s);
void sha256_add(struct sha256 *s, const void *data, size_t size);
void sha256_done(struct sha256 *s, uint8_t ret_digest[SHA256_SIZE]);

#endif
