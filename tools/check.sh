#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# check.sh BUILD: every test; the last line is `N passed, N failed, N skipped`, counted over single checks.
set -eu
build=$1
rc=0

meson test -C "$build" --no-rebuild --print-errorlogs || rc=1

# The same sources under the sanitizers: unit tests and payload guests.
[ -f "$build-asan/build.ninja" ] ||
    meson setup "$build-asan" -Db_sanitize=address,undefined -Db_lundef=false -Dguest=false
ninja -C "$build-asan"
meson test -C "$build-asan" --no-rebuild --print-errorlogs || rc=1

python3 tests/summary.py "$build" "$build-asan" || rc=1
exit $rc
