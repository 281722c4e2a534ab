#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# pack.sh --out PAYLOAD FILE...: put programs and data into a payload folder of the nested bench.
#
# Each FILE (or folder) is copied to PAYLOAD under its own name. The shared libraries that programs
# among them need, and the loader, go to PAYLOAD/sysroot, which the outer machine lays over its /:
# libraries flat into /lib, where the loader looks without a cache, so the programs run unchanged.
# Libraries that a program opens by name at run time are not seen: give such programs statically
# linked.

set -euo pipefail
export LC_ALL=C

die() { echo "pack.sh: $*" >&2; exit 1; }

if [ $# -lt 3 ] || [ "$1" != --out ]; then
    die "usage: pack.sh --out PAYLOAD FILE..."
fi
out=$2
shift 2

is_elf() {
    [ "$(head -c 4 "$1" | tr -d '\0')" = $'\177ELF' ]
}

# Copies $1 to $2, unless a different file of that name is there.
place() {
    if [ -e "$2" ]; then
        cmp -s "$1" "$2" || die "${2##*/}: two different files want this name, one is $1"
        return
    fi
    mkdir -p "${2%/*}"
    cp -L "$1" "$2"
}

pack_libraries() {
    local program=$1 name arrow path rest list
    # ldd fails for static programs and for kernels, which need nothing
    list=$(ldd "$program" 2>/dev/null) || return 0
    while read -r name arrow path rest; do
        if [ "$arrow" = '=>' ]; then
            [ "$path" != not ] || die "$program: shared library $name was not found"
            place "$path" "$out/sysroot/lib/$name"
        elif [ "${name#/}" != "$name" ]; then
            place "$name" "$out/sysroot$name"
        fi
    done <<<"$list"
}

mkdir -p "$out"
for item in "$@"; do
    [ -e "$item" ] || die "$item: no such file"
    name=$(basename "$item")
    [ "$name" != sysroot ] || die "$item: the name sysroot is taken"
    if [ -d "$item" ]; then
        cp -RL "$item" "$out/"
    else
        place "$item" "$out/$name"
    fi
    while IFS= read -r -d '' file; do
        ! is_elf "$file" || pack_libraries "$file"
    done < <(find -L "$item" -type f -print0)
done
