#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# check.sh BUILD: every test; the last line is `N passed, N failed, N skipped`, counted over single checks.
set -eu
build=$1
rc=0

meson test -C "$build" --no-rebuild --print-errorlogs || rc=1

# The same sources under the sanitizers: sanitized NAME SANITIZERS TEST-OPTION...
sanitized() {
    folder=$build-$1 sanitizers=$2
    shift 2
    [ -f "$folder/build.ninja" ] || meson setup "$folder" -Db_sanitize="$sanitizers" -Db_lundef=false -Dguest=false
    ninja -C "$folder"
    meson test -C "$folder" --no-rebuild --print-errorlogs "$@" || rc=1
}
sanitized asan address,undefined # unit tests and payload guests
sanitized tsan thread --suite threads # those of them with threads; gcc's, since clang 14's cannot share memory with a child

python3 tests/summary.py "$build" "$build-asan" "$build-tsan" || rc=1
exit $rc
