#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# nested.sh [--rounds N] BUILD: what only a real Linux guest on a whole KVM can show: exits to agent ready, memory of
# worker and VM, and (with --rounds) spawn to first byte of output against QEMU's microvm machine, in turns, and the
# exits of Debian's kernel until its init gives up for want of modules. All in one boot of the nested bench. Prints lines "NAME JSON".
set -euo pipefail

rounds=0
if [ "${1:-}" = --rounds ]; then
    rounds=$2
    shift 2
fi
[ $# = 1 ] || { echo "usage: nested.sh [--rounds N] BUILD" >&2; exit 125; }
build=$(cd "$1" && pwd)
source=$(cd "$(dirname "$0")/.." && pwd)
env=$source/tests/bench-env/nested
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$env/prep.sh" --arch x86_64 --out "$work/prep" >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }

cat >"$work/run" <<RUN
say() { echo "\$1 \$(tr '\\n' ' ' <json)"; }
./facts --backend kvm --memory 256 >json && say facts || exit 1
./facts --backend kvm --memory 128 -n 4 >json && say facts4 || exit 1
[ $rounds = 0 ] && exit 0
./facts --backend kvm --memory 512 --kernel debian --until-end >json && say debian || exit 1
./spawn --json -n $rounds --warmup 1 --backend kvm --kernel vmlinux --rootfs root.cpio --initrd both.cpio output qemu >json &&
    say spawn
RUN

# A small root for both, as cpio: a shell's tools, and the names that are run.
mkdir -p "$work/root/bin" "$work/root/dev" "$work/root/proc" "$work/root/sys" "$work/root/tmp" "$work/root/run"
cp -L "$work/prep/busybox" "$work/root/bin/busybox"
ln -s busybox "$work/root/bin/echo"
ln -s busybox "$work/root/bin/sh"
(cd "$work/root" && find . | "$work/prep/busybox" cpio -o -H newc -R 0:0 2>/dev/null) >"$work/root.cpio"
cp "$build/agent.cpio" "$work/both.cpio"
truncate -s %4096 "$work/both.cpio"
cat "$work/root.cpio" >>"$work/both.cpio"

# What lumina and lumina-vmm need lies beside the library, QEMU where a system has it.
programs=("$build/bench/facts" "$work/run")
if [ "$rounds" != 0 ]; then
    qemu=$(dirname "$(readlink -f "$work/prep/qemu")")
    [ -x "$qemu/qemu-system-x86_64" ] || { qemu=/usr/bin; }
    # Debian's own kernel, the one that the outer machine runs.
    cp -L "$work/prep/vmlinux" "$work/debian"
    programs+=("$work/debian" "$build/bench/spawn" "$work/root.cpio" "$work/both.cpio" "$qemu/qemu-system-x86_64")
fi
LD_LIBRARY_PATH=$build:${qemu:-}/lib "$env/pack.sh" --out "$work/payload" "$build/lumina-vmm" "$build/vmlinux" \
    "$build/agent.cpio" "$build/root.erofs" "${programs[@]}"
mkdir -p "$work/payload/sysroot/lib"
cp "$build/liblumina.so.0" "$work/payload/sysroot/lib/"
for f in lumina-vmm vmlinux agent.cpio root.erofs; do
    ln -sf "/t/$f" "$work/payload/sysroot/lib/$f"
done
if [ "$rounds" != 0 ]; then
    mkdir -p "$work/payload/sysroot/usr/bin" "$work/payload/sysroot/usr/share"
    mv "$work/payload/qemu-system-x86_64" "$work/payload/sysroot/usr/bin/"
    mkdir "$work/payload/sysroot/usr/share/qemu"
    for dir in "$qemu/share/qemu" /usr/share/qemu; do
        [ -e "$dir/qboot.rom" ] && cp -L "$dir/qboot.rom" "$work/payload/sysroot/usr/share/qemu/" && break
    done
fi

rc=0
"$env/run.sh" --prep "$work/prep" --payload "$work/payload" --timeout 1200 --memory 1500 >"$work/out" 2>&1 || rc=$?
grep -E '^[a-z0-9]+ \{' "$work/out" | tr -d '\r' | sed 's/[^}]*$//' || true
[ $rc = 0 ] || { grep -vE '^[a-z0-9]+ \{' "$work/out" >&2; exit $rc; }
