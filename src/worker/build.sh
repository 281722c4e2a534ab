#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Builds lumina-vmm static with musl: a program that maps no library starts in a tenth of a millisecond, is
# resident with little more than its own code, and has nothing in it but what it needs.
#
#     src/worker/build.sh OUT INCLUDES SOURCE...      (INCLUDES: folders separated by colons)
#
# CC is the compiler, musl-gcc unless set; STRIP goes with it. Symbols are left in OUT.debug.
set -eu

[ $# -ge 3 ] || { echo "usage: build.sh OUT INCLUDES SOURCE..." >&2; exit 2; }
out=$1
flags=$(echo ":$2" | sed 's/:/ -I/g')
shift 2
# The kernel's headers come after the C library's own.
multiarch=$(gcc -print-multiarch)
cc=${CC:-musl-gcc}
# Position independent and static: with the start file for that, which the wrapper does not know.
lib=$(dirname "$($cc -static -x c /dev/null -### 2>&1 | grep -o '[^ "]*/crti\.o' | head -1)")
# shellcheck disable=SC2086
"$cc" -std=c11 -D_GNU_SOURCE -DLUMINA_LIBEXEC_DIR='""' -O2 -g -flto=auto -fPIE -static -nostartfiles \
    -Wall -Wextra -fno-strict-aliasing -fstack-protector-strong -fstack-clash-protection -fcf-protection \
    -ftrivial-auto-var-init=zero -ffunction-sections -fdata-sections \
    -Wl,--gc-sections -Wl,-z,relro,-z,now -Wl,-z,noexecstack -Wl,--build-id=none \
    -Wl,-pie,--no-dynamic-linker,-z,text "$lib/rcrt1.o" "$lib/crti.o" \
    $flags -idirafter /usr/include -idirafter "/usr/include/$multiarch" -o "$out" "$@" "$lib/crtn.o"
objcopy --only-keep-debug "$out" "$out.debug"
"${STRIP:-strip}" --strip-all "$out"
