#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Builds lumina-init, static, and agent.cpio, the initramfs that holds it, into a folder.
#
#     guest/agent/build.sh OUT
#
# CC is the compiler, musl-gcc unless set; STRIP goes with it.
set -eu

[ $# -eq 1 ] || { echo "usage: build.sh OUT" >&2; exit 2; }
mkdir -p "$1"
out=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
tree=$here/../../src/plat/posix

"${CC:-musl-gcc}" -std=c11 -D_GNU_SOURCE -Os -static -Wall -Wextra \
    -ffunction-sections -fdata-sections -fno-asynchronous-unwind-tables -fno-strict-aliasing \
    -fstack-protector-strong -Wl,--gc-sections -Wl,--build-id=none -Wl,-z,noexecstack -Wl,-z,noseparate-code \
    -I "$here" -I "$tree" -o "$out/lumina-init" \
    "$here/init.c" "$here/boot.c" "$here/link.c" "$here/machine.c" "$here/console.c" \
    "$here/serve.c" "$here/wire.c" "$here/stream.c" "$here/drain.c" "$here/op.c" \
    "$here/exec.c" "$here/spawn.c" "$here/session.c" "$here/user.c" "$here/files.c" \
    "$here/dial.c" "$here/vsock.c" "$here/text.c" "$tree/tree.c" "$tree/untree.c"
"${STRIP:-strip}" --strip-all "$out/lumina-init"

sh "$here/pack.sh" "$out/lumina-init" "$out/agent.cpio"
