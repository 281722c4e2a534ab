/* SPDX-License-Identifier: Apache-2.0 */
/* The hypervisor drivers of the tests: with the scripted one, which no program carries. */
#include "hv/hv_kvm.h"
#include "hv/hv_null.h"

const struct hv_ops *const hv_drivers[] = {&hv_kvm_ops, &hv_null_ops, NULL};
