#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# nested.sh CONFORMANCE TEST_KVM VSOCK_ECHO: payload guests and the conformance suite on upstream KVM, inside QEMU's
# software CPU: all in one outer boot. Prints one TAP stream.
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

cat >"$work/run" <<'RUN'
echo "# outer machine: $(uname -r), $(nproc) CPU"
timeout 200 ./test_kvm
LUMINA_TEST_ECHO=/t/vsock_echo LUMINA_TEST_BUSYBOX=/t/busybox timeout 600 ./conformance kvm
./lumina run --timing -- uname -a
RUN
cp "$1" "$work/conformance"
LD_LIBRARY_PATH=$build "$bench/pack.sh" --out "$work/payload" "$build/lumina" "$build/lumina-vmm" \
    "$build/vmlinux" "$build/agent.cpio" "$build/root.erofs" "$work/conformance" "$2" "$3" \
    "$LUMINA_TEST_BUSYBOX" "$work/run"
# The library looks for its helpers beside itself.
cp "$build/liblumina.so.0" "$work/payload/sysroot/lib/"
mkdir -p "$work/payload/sysroot/lib"
for f in lumina-vmm vmlinux agent.cpio root.erofs; do
    ln -sf "/t/$f" "$work/payload/sysroot/lib/$f"
done

rc=0
"$bench/run.sh" --prep "$work/prep" --payload "$work/payload" --timeout 1200 --memory 1500 >"$work/out" 2>&1 || rc=$?
# Two TAP streams into one: numbers and plans are made anew.
awk '/^(not )?ok /{ n++; sub(/ok [0-9]+/, "ok " n); print; next }
     /^1\.\.[0-9]+/{ plans++; next }
     { print "# " $0 }
     END { if (plans < 2) { n++; print "not ok " n " - both programs came to their end" }
           print "1.." n; exit 0 }' "$work/out"
[ "$rc" != 99 ]
