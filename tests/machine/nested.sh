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
# Ways to boot that the suite does not take: name, what must be printed, options.
boots() {
    name=$1 want=$2; shift 2
    if timeout 200 ./lumina run --boot-timeout 180 "$@" >out 2>&1 && grep -q "$want" out; then
        echo "ok 0 - $name"
    else
        echo "not ok 0 - $name"; sed 's/^/# /' out
    fi
}
boots "64-bit entry of an ELF file without the PVH note" '^2 6.12' --kernel vmlinux64 --cpus 2 -- sh -c 'echo $(nproc) $(uname -r)'
boots "bzImage" '^2 6.12' --kernel bzImage --cpus 2 -- sh -c 'echo $(nproc) $(uname -r)'
boots "early messages on the serial port" 'guest: .*kvm-clock: Using' -v \
    --kernel-args '8250.nr_uarts=1 earlyprintk=ttyS0 loglevel=7' -- true
boots "16 vCPUs" '^16$' --cpus 16 -- nproc
sh ./cgroup.sh ./lumina
# Here KVM is whole, there is no QEMU, and root may have cgroups.
echo '+memory +pids +cpu' >/sys/fs/cgroup/cgroup.subtree_control
timeout 200 ./lumina doctor >doctor 2>&1
doctor_rc=$?
says() {
    if [ "$doctor_rc" = 0 ] && grep -q "$2" doctor; then echo "ok 0 - doctor: $1"; else echo "not ok 0 - doctor: $1"; fi
}
says "KVM is whole" '^good  kvm  *whole: '
says "runs on it at hardware speed" '^good  runs on kvm at hardware speed'
says "namespaces work" '^good  user namespaces '
says "cgroups with limits" '^good  cgroups '
says "QEMU is not there and not needed" '^note  qemu '
sed 's/^/# /' doctor
./lumina run --timing -- uname -a
RUN
cp "$build/bzImage" "$work/"
LC_ALL=C sed 's/Xen\x00/Not\x00/g' "$build/vmlinux" >"$work/vmlinux64"
cp "$1" "$work/conformance"
LD_LIBRARY_PATH=$build "$bench/pack.sh" --out "$work/payload" "$build/lumina" "$build/lumina-vmm" "$build/lumina-qemu" \
    "$build/vmlinux" "$build/agent.cpio" "$build/root.erofs" "$work/bzImage" "$work/vmlinux64" "$work/conformance" "$2" "$3" \
    "$LUMINA_TEST_BUSYBOX" "$source/tests/machine/cgroup.sh" "$work/run"
# The library looks for its helpers beside itself.
cp "$build/liblumina.so.0" "$work/payload/sysroot/lib/"
mkdir -p "$work/payload/sysroot/lib"
for f in lumina-vmm lumina-qemu vmlinux agent.cpio root.erofs; do
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
