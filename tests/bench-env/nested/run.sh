#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# run.sh --prep DIR --payload DIR [--timeout S] [--memory MIB] [--smp N]: run tests on nested KVM.
#
# Boots the outer machine that prep.sh fetched under QEMU's software CPU, with the payload folder at
# /t (and the contents of its folder sysroot, if there is one, at /), and runs `sh ./run` there. Its
# output appears as it is written. The exit status is that of the payload's run; 99 with a message
# when the machine died or hung.
#
# q35 is used because the microvm machine with ACPI hangs in timer calibration now and then, and
# without the kernel's no_timer_check a loaded host costs 20 s.

set -euo pipefail
export LC_ALL=C

# A start takes 4 to 10 s on a busy machine; one that has not come up by then never will.
READY_TIMEOUT_S=60
here=$(cd "$(dirname "$0")" && pwd)

say() { echo "run.sh: $*" >&2; }
die() { say "$*"; exit 99; }

usage() {
    die "usage: run.sh --prep DIR --payload DIR [--timeout S] [--memory MIB] [--smp N]"
}

prep='' payload='' timeout_s=300 memory_mib=1024 cpus=1
while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || usage
    case $1 in
    --prep) prep=$2 ;;
    --payload) payload=$2 ;;
    --timeout) timeout_s=$2 ;;
    --memory) memory_mib=$2 ;;
    --smp) cpus=$2 ;;
    *) usage ;;
    esac
    shift 2
done
if [ -z "$prep" ] || [ -z "$payload" ]; then usage; fi
for number in "$timeout_s" "$memory_mib" "$cpus"; do
    case $number in
    '' | *[!0-9]* | 0*) die "'$number' is not a positive number" ;;
    esac
done
for file in vmlinux busybox modules qemu l1.env; do
    [ -e "$prep/$file" ] || die "$prep/$file: missing: run prep.sh --arch x86_64 --out $prep"
done
[ -f "$payload/run" ] || die "$payload/run: missing: it is what the machine runs"

work=$(mktemp -d)
qemu_pid=''

stop_qemu() {
    [ -n "$qemu_pid" ] || return 0
    kill -KILL "$qemu_pid" 2>/dev/null || true
    wait "$qemu_pid" 2>/dev/null || true
    qemu_pid=''
}

# shellcheck disable=SC2317  # called by the trap
cleanup() {
    stop_qemu
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# One archive, owned by root whoever runs this. The kernel brings /dev/console itself.
make_initramfs() {
    local root=$work/root
    mkdir -p "$root"/{bin,dev,etc,lib/modules,proc,root,run,sys,tmp,usr,var}
    cp "$here/init" "$root/init"
    cp -L "$prep/busybox" "$root/bin/busybox"
    cp -L "$prep"/modules/*.ko "$root/lib/modules/"
    cp -L "$prep/l1.env" "$root/etc/l1.env"
    ln -s /tmp "$root/var/tmp"
    ln -s /run "$root/var/run"
    printf '%s\n' root:x:0:0:root:/root:/bin/sh nobody:x:65534:65534:nobody:/:/bin/sh \
        >"$root/etc/passwd"
    printf '%s\n' root:x:0: nogroup:x:65534: >"$root/etc/group"
    echo '127.0.0.1 localhost' >"$root/etc/hosts"
    cp -a "$payload" "$root/t"
    if [ -d "$root/t/sysroot" ]; then
        cp -a "$root/t/sysroot/." "$root/"
        rm -rf "$root/t/sysroot"
    fi
    (cd "$root" && find . | "$prep_abs/busybox" cpio -o -H newc -R 0:0 2>/dev/null) \
        >"$work/initramfs" || die "initramfs: cannot be written to $work"
    rm -rf "$root"

    # While it is unpacked, the archive and its contents are both in memory, and a root file system
    # gets half of the memory.
    local size_mib=$(($(stat -c %s "$work/initramfs") / 1048576 + 1))
    [ $((size_mib * 5 / 2 + 128)) -le "$memory_mib" ] ||
        die "payload of $size_mib MiB: too large for --memory $memory_mib:" \
            "use --memory $((size_mib * 5 / 2 + 129))"
}

# Starts QEMU with the console on our stdout and the reports on descriptor 3, which ends when QEMU
# does. Killed with us, however we end.
start_qemu() {
    rm -f "$work/reports"
    mkfifo "$work/reports"
    exec 4<>"$work/reports"
    setpriv --pdeathsig KILL "$prep/qemu" \
        -accel tcg -M q35 -cpu EPYC,svm=on -m "$memory_mib" -smp "$cpus" \
        -nodefaults -no-user-config -no-reboot -display none \
        -serial stdio -chardev file,id=reports,path="$work/reports" -serial chardev:reports \
        -kernel "$prep/vmlinux" -initrd "$work/initramfs" \
        -append "console=ttyS0 reboot=t loglevel=3 panic=-1 mitigations=off no_timer_check" \
        </dev/null 2>"$work/qemu.err" 4>"$work/reports" &
    qemu_pid=$!
    exec 3<"$work/reports" 4>&-
}

# Reads the next report into word and value, until second $1 of this script. 0, or 1 when QEMU
# ended, or 2 when the time is over.
next_report() {
    local left=$(($1 - SECONDS)) rc=0
    [ $left -gt 0 ] || return 2
    IFS=$' \r' read -r -t $left -u 3 word value || rc=$?
    [ $rc -eq 0 ] && return 0
    [ $rc -gt 128 ] && return 2
    return 1
}

# What QEMU said, without its lines about CPU features it cannot emulate.
qemu_reason() {
    grep -v "TCG doesn't support" "$work/qemu.err" | tail -n 1
}

# Says why the outer machine gave no $1; $2 is next_report's verdict.
explain() {
    local reason
    if [ "$2" -eq 2 ]; then
        say "L1 hung: no $1 within $((SECONDS - started)) s"
        return
    fi
    reason=$(qemu_reason) || true
    say "L1 died: no $1 after $((SECONDS - started)) s${reason:+: $reason}"
}

# Boots until the machine is ready. Only a machine that never got there is tried twice.
boot() {
    local attempt rc
    for attempt in 1 2; do
        started=$SECONDS
        limit=$((started + timeout_s))
        start_qemu
        rc=0
        next_report $((timeout_s < READY_TIMEOUT_S ? limit : started + READY_TIMEOUT_S)) || rc=$?
        [ $rc -ne 0 ] || [ "$word" != ready ] || return 0
        explain "sign of life" $rc
        stop_qemu
        [ "$attempt" -eq 2 ] || say "trying once more"
    done
    exit 99
}

prep_abs=$(cd "$prep" && pwd)
word='' value='' started=0 limit=0
make_initramfs
boot
rc=0
next_report $limit || rc=$?
if [ $rc -ne 0 ] || [ "$word" != status ]; then
    explain "end of the payload" $rc
    exit 99
fi
exit "$value"
