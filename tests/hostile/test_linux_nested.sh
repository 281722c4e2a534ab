#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# test_linux_nested.sh PROGRAM...: the hostile guests on our monitor, over upstream KVM inside QEMU's software CPU.
# All programs in one outer boot; prints one TAP stream.
set -euo pipefail

source=$LUMINA_TEST_SOURCE build=$LUMINA_TEST_BUILD
bench=$source/tests/bench-env/nested
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if ! "$bench/prep.sh" --arch x86_64 --out "$work/prep" >"$work/prep.log" 2>&1; then
    sed 's/^/# /' "$work/prep.log"
    echo "not ok 1 - the outer machine cannot be prepared"
    echo "1..1"
    exit 1
fi

{
    echo 'export LUMINA_TEST_TOOL=/t/test_linux_tool LUMINA_TEST_LIAR=/t/test_linux_liar.cpio'
    echo 'export LUMINA_TEST_ECHO=/t/vsock_echo LUMINA_TEST_KERNEL=/t/vmlinux LUMINA_TEST_BZIMAGE=/t/bzImage'
    echo 'export LUMINA_TEST_ROOT=/t/root.erofs LUMINA_TEST_BUSYBOX=/t/busybox'
    for program; do
        echo "timeout 1500 ./$(basename "$program") kvm"
    done
} >"$work/run"
LD_LIBRARY_PATH=$build "$bench/pack.sh" --out "$work/payload" "$build/lumina-vmm" "$build/vmlinux" "$build/bzImage" \
    "$build/agent.cpio" "$build/root.erofs" "$LUMINA_TEST_TOOL" "$LUMINA_TEST_LIAR" "$LUMINA_TEST_ECHO" \
    "$LUMINA_TEST_BUSYBOX" "$@" "$work/run"
# The library looks for its helpers beside itself.
cp "$build/liblumina.so.0" "$work/payload/sysroot/lib/"
for f in lumina-vmm vmlinux agent.cpio root.erofs; do
    ln -sf "/t/$f" "$work/payload/sysroot/lib/$f"
done

rc=0
"$bench/run.sh" --prep "$work/prep" --payload "$work/payload" --timeout 3000 --memory 2000 >"$work/out" 2>&1 || rc=$?
# TAP streams into one: numbers and plans are made anew.
awk -v programs=$# '
    /^(not )?ok /{ n++; sub(/ok [0-9]+/, "ok " n); print; next }
    /^1\.\.[0-9]+/{ plans++; next }
    { print "# " $0 }
    END { if (plans != programs) { n++; print "not ok " n " - all programs came to their end" }
          print "1.." n; exit 0 }' "$work/out"
[ "$rc" != 99 ]
