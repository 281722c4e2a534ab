#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# deps.sh build|check|bench: installs the Debian packages that building (or testing, or measuring) needs and that are not there yet.
set -eu

build="gcc libc6-dev make meson ninja-build pkg-config libjansson-dev musl-tools busybox-static cpio erofs-utils \
qemu-system-x86 linux-source-6.12 xz-utils lz4 flex bison bc libelf-dev procps"
check="$build g++ clang clang-tidy cppcheck shellcheck libclang-rt-14-dev zstd e2fsprogs mandoc tmux git strace bash-completion zsh fish"
bench="$build zstd strace git python3"

case ${1:-} in
build) want=$build ;;
check) want=$check ;;
bench) want=$bench ;;
*) echo "usage: tools/deps.sh build|check|bench" >&2; exit 2 ;;
esac

missing=
for p in $want; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || missing="$missing $p"
done
[ -n "$missing" ] || exit 0

sudo=
if [ "$(id -u)" != 0 ]; then
    sudo=sudo
    command -v sudo >/dev/null || { echo "deps.sh: run as root, or install:$missing" >&2; exit 1; }
fi
echo "installing:$missing" >&2
# An index that is there may be enough; if not, it is old.
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086
$sudo apt-get install -y -q --no-install-recommends $missing >&2 || {
    $sudo apt-get update -q >&2
    $sudo apt-get install -y -q --no-install-recommends $missing >&2
}
