#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Boots a guest kernel under QEMU's software CPU and prints how many instructions it takes from its
# entry point to the first instruction of init. The count hardly differs between runs or machines,
# so a limit on it (--max) holds where no time measurement would.
#
# The machine is the plainest that starts this kernel: no ACPI, no disk, no console. About 6 million
# of the instructions counted here measure how fast the TSC and the local APIC's timer run. A guest
# of a hypervisor does not execute them: it is told.
#
# With --ready FACTS (the program bench/facts of a build) it is LuminaGuard's own qemu backend that
# boots, with its devices and the default root, and the count goes on until the agent is ready.
set -eu

usage="usage: icount.sh --kernel VMLINUX --initrd CPIO [--memory MIB] [--cpus N] [--max N] [--ready FACTS]"

fail()
{
    printf 'icount: %s\n' "$*" >&2
    exit 1
}

kernel=
initrd=
memory=128
cpus=1
max=
ready=
while [ $# -gt 0 ]; do
    case $1 in
    --kernel | --initrd | --memory | --cpus | --max | --ready)
        [ $# -ge 2 ] || fail "$1: value missing; $usage"
        case $1 in
        --kernel) kernel=$2 ;;
        --initrd) initrd=$2 ;;
        --memory) memory=$2 ;;
        --cpus) cpus=$2 ;;
        --max) max=$2 ;;
        --ready) ready=$2 ;;
        esac
        shift 2
        ;;
    --help)
        printf '%s\n' "$usage"
        exit 0
        ;;
    *) fail "$1: unknown option; $usage" ;;
    esac
done
if [ -z "$kernel" ] || [ -z "$initrd" ]; then
    fail "$usage"
fi
for file in "$kernel" "$initrd"; do
    [ -r "$file" ] || fail "$file: not readable"
done
for number in "$memory" "$cpus" ${max:+"$max"}; do
    case $number in '' | 0* | *[!0-9]*) fail "$number: not a positive number" ;; esac
done
for tool in gcc readelf qemu-system-x86_64; do
    command -v "$tool" >/dev/null ||
        fail "$tool: missing; apt-get install gcc binutils qemu-system-x86"
done

here=$(dirname "$(readlink -f "$0")")
work=$(mktemp -d "${TMPDIR:-/tmp}/lumina-icount.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# The entry point is in the ELF note "Xen", type 18 (XEN_ELFNOTE_PHYS32_ENTRY), low byte first.
entry=$(readelf -nW "$kernel" 2>/dev/null | awk '
    /Xen/ && /0x00000012/ {
        sub(/.*description data: */, "")
        printf "0x%s%s%s%s", $4, $3, $2, $1
    }')
[ -n "$entry" ] || fail "$kernel: not an ELF file with a PVH entry point"

# Where the loadable segments lie in physical memory, as START-END.
image=$(readelf -lW "$kernel" | awk '$1 == "LOAD" { print $4, $6 }' | {
    start=
    end=0
    while read -r at size; do
        at=$((at)) size=$((size))
        [ -n "$start" ] && [ "$start" -le "$at" ] || start=$at
        [ "$end" -ge $((at + size)) ] || end=$((at + size))
    done
    printf '%#x-%#x' "$start" "$end"
})

gcc -std=c11 -D_GNU_SOURCE -Wall -Wextra -O2 -fPIC -shared -fvisibility=hidden \
    -o "$work/icount.so" "$here/icount.c"

# Lays a QEMU that counts in the way of the real one, starts a VM and looks at the counters when its
# agent has said that it is ready; the guest is idle then.
count_to_ready()
{
    real=$(command -v qemu-system-x86_64)
    mkdir "$work/bin" "$work/share"
    # The backend wants to see the firmware where it is installed with QEMU.
    ln -s "$(dirname "$real")/../share/qemu" "$work/share/qemu"
    cat >"$work/bin/qemu-system-x86_64" <<WRAP
#!/bin/bash
args=()
for arg; do args+=("\${arg/thread=multi/thread=single}"); done
exec $real "\${args[@]}" -icount shift=6 \\
    -plugin "$work/icount.so,entry=$entry,image=$image,live=$work/result"
WRAP
    chmod +x "$work/bin/qemu-system-x86_64"
    mkfifo "$work/hold"
    PATH=$work/bin:$PATH "$ready" --backend qemu --jail off --kernel "$kernel" --memory "$memory" --wait \
        <"$work/hold" >"$work/facts" 2>"$work/log" &
    facts_pid=$!
    exec 3>"$work/hold"
    while [ ! -s "$work/facts" ]; do
        kill -0 "$facts_pid" 2>/dev/null || fail "no VM: $(tail -n 1 "$work/log")"
        sleep 0.2
    done
    # shellcheck disable=SC2046  # six numbers
    set -- $(od -An -v -tu8 -w48 -N 48 "$work/result")
    exec 3>&-
    wait "$facts_pid" || fail "$(tail -n 1 "$work/log")"
    [ "$6" -gt 0 ] || [ "$5" -gt 0 ] || fail "init was not reached"
    printf 'kernel entry to init: %s instructions; to agent ready: %s\n' \
        $(($5 - $3 - ($6 - $4))) $(($1 - $3 - ($2 - $4)))
}

if [ -n "$ready" ]; then
    count_to_ready
    exit 0
fi

# -icount ties the guest's clock to its instruction count, so that waiting for a timer costs the
# same number of instructions on a slow machine and on a fast one. -erms keeps the kernel from
# copying by `rep movsb` alone, which would be one instruction per byte here.
append="quiet loglevel=0 panic=-1 reboot=t no_timer_check tsc=reliable random.trust_cpu=on"
append="$append noreplace-smp swiotlb=noforce rdinit=/lumina-init"
status=0
timeout 300 qemu-system-x86_64 \
    -M microvm,acpi=off,x-option-roms=off,isa-serial=off,rtc=on,pit=on,pic=on \
    -accel tcg,thread=single -icount shift=6,sleep=off -cpu EPYC,-erms -smp "$cpus" \
    -m "$memory" -nodefaults -no-user-config -no-reboot -display none \
    -kernel "$kernel" -initrd "$initrd" \
    -append "$append" \
    -plugin "$work/icount.so,entry=$entry,image=$image,out=$work/result" \
    >"$work/log" 2>&1 || status=$?
if ! read -r insns iterations 2>/dev/null <"$work/result"; then
    why=$(grep -v warning: "$work/log" | tail -n 1)
    fail "init was not reached, QEMU ended with $status${why:+: $why}"
fi

printf 'kernel entry to init: %s instructions (%s with rep iterations)\n' "$insns" "$iterations"
[ -z "$max" ] || [ "$insns" -le "$max" ] || fail "more than the $max instructions allowed"
