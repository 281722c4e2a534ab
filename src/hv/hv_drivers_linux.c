/* SPDX-License-Identifier: Apache-2.0 */
/* The hypervisor drivers of the programs of a Linux build, best first. */
#include "hv/hv_kvm.h"

const struct hv_ops *const hv_drivers[] = {&hv_kvm_ops, NULL};
