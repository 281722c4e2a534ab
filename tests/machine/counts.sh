#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Limits on what a spawn costs, all of them counts, which no load on the machine changes. Each may be set from outside.
set -u

# KiB, stripped
: "${MAX_PROGRAMS_KIB:=600}" "${MAX_AGENT_KIB:=64}" "${MAX_KERNEL_KIB:=16384}"
# T0 to first guest instruction, with a tiny guest: measured 46, 339, 69
: "${MAX_CALLER_SYSCALLS:=50}" "${MAX_WORKER_SYSCALLS:=360}" "${MAX_PAGE_FAULTS:=85}"
# The worker without its guest's memory, KiB; exits of a Linux guest until its agent is ready
: "${MAX_WORKER_RSS_KIB:=1024}" "${MAX_EXITS:=150}"

source=$LUMINA_TEST_SOURCE build=$LUMINA_TEST_BUILD
count=0 failures=0

check() { # NAME VALUE LIMIT
    count=$((count + 1))
    if [ "$2" -le "$3" ]; then
        echo "ok $count - $1: $2, at most $3"
    else
        failures=$((failures + 1))
        echo "not ok $count - $1: $2, at most $3"
    fi
}

skip() {
    count=$((count + 1))
    echo "ok $count - $1 # SKIP $2"
}

fail() {
    count=$((count + 1)) failures=$((failures + 1))
    echo "not ok $count - $1"
}

# gate NAME KEY LIMIT: a line of bench/counts, skipped where that could not count it.
gate() {
    value=$(echo "$counts" | awk -v key="$2" '$1 == key { print $2 }')
    if [ -n "$value" ]; then check "$1" "$value" "$3"; else skip "$1" "${why:-not counted}"; fi
}

if ! counts=$("$source/bench/counts" "$build" 2>&1); then
    echo "$counts" | sed 's/^/# /'
    echo "not ok 1 - counts of a spawn"
    echo "1..1"
    exit 1
fi
why=$(echo "$counts" | sed -n 's/^counts: //p' | head -n 1)
echo "$counts" | sed 's/^/# /'

bytes() { echo "$counts" | awk -v key="$1" '$1 == key { print $2 }'; }
check "lumina and lumina-vmm, stripped, KiB" $((($(bytes lumina_bytes) + $(bytes lumina_vmm_bytes) + 1023) / 1024)) \
    "$MAX_PROGRAMS_KIB"
check "agent, KiB" $((($(bytes agent_bytes) + 1023) / 1024)) "$MAX_AGENT_KIB"
check "vmlinux, KiB" $((($(bytes vmlinux_bytes) + 1023) / 1024)) "$MAX_KERNEL_KIB"
gate "system calls of the caller to the first guest instruction" caller_syscalls "$MAX_CALLER_SYSCALLS"
gate "system calls of the worker to the first guest instruction" worker_syscalls "$MAX_WORKER_SYSCALLS"
gate "page faults of the worker, tiny guest" page_faults "$MAX_PAGE_FAULTS"
gate "resident memory of a worker before its guest runs, KiB" worker_rss_kib "$MAX_WORKER_RSS_KIB"

if out=$("$source/bench/nested.sh" "$build" 2>&1); then
    facts=$(echo "$out" | sed -n 's/^facts //p')
    echo "# $facts"
    check "exits to agent ready" "$(echo "$facts" | sed 's/.*"exits": \([0-9]*\).*/\1/')" "$MAX_EXITS"
    check "resident memory of a worker whose guest is ready, KiB" \
        "$(echo "$facts" | sed 's/.*"own": {"rss_kib": \([0-9]*\).*/\1/')" "$MAX_WORKER_RSS_KIB"
else
    echo "$out" | sed 's/^/# /'
    fail "the nested bench"
fi
echo "1..$count"
[ $failures -eq 0 ]
