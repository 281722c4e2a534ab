/* SPDX-License-Identifier: Apache-2.0 */
/* The hypervisor drivers of a Linux build, best first. null is never chosen automatically: a test
 * names it. */
#include "hv/hv_kvm.h"
#include "hv/hv_null.h"

const struct hv_ops *const hv_drivers[] = {&hv_kvm_ops, &hv_null_ops, NULL};
