#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Packs lumina-init into an initramfs (cpio, "newc", not compressed), byte for byte the same each time
# and without privileges: the archive is written here, with its device node.
#
#     guest/agent/pack.sh LUMINA-INIT AGENT.CPIO
set -eu

[ $# -eq 2 ] || { echo "usage: pack.sh LUMINA-INIT AGENT.CPIO" >&2; exit 2; }
init=$1
out=$2
number=0

zeros() {
    [ "$1" -eq 0 ] || head -c "$1" /dev/zero
}

# entry MODE NAME LINKS SIZE MAJOR MINOR: the header; each part is padded to four bytes.
entry() {
    number=$((number + 1))
    printf '070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\0' \
        "$number" "$1" 0 0 "$3" 0 "$4" 0 0 "$5" "$6" $((${#2} + 1)) 0 "$2"
    zeros $(((4 - (110 + ${#2} + 1) % 4) % 4))
}

size=$(wc -c <"$init")
{
    # The console node lets the kernel open the first three descriptors before init starts.
    for dir in dev proc lower newroot scratch; do
        entry $((0040755)) "$dir" 2 0 0 0
    done
    entry $((0020600)) dev/console 1 0 5 1
    entry $((0100755)) lumina-init 1 "$size" 0 0
    cat "$init"
    zeros $(((4 - size % 4) % 4))
    entry 0 'TRAILER!!!' 1 0 0 0
} >"$out.tmp"
mv "$out.tmp" "$out"
