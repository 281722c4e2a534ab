#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# smoke.sh PREP: checks the nested bench itself, in TAP: the payload in smoke/ passes, and every way
# in which a payload can end reaches the caller, with nothing left behind.

set -euo pipefail
export LC_ALL=C

if [ $# -ne 1 ]; then
    echo "usage: smoke.sh PREP (a folder made by prep.sh)" >&2
    exit 2
fi
prep=$1
if ! command -v pgrep >/dev/null; then
    echo "smoke.sh: pgrep: not found: apt-get install procps" >&2
    exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

count=0
failed=0

# ok NAME COMMAND...
ok() {
    local name=$1
    shift
    count=$((count + 1))
    if "$@"; then
        echo "ok $count - $name"
    else
        echo "not ok $count - $name"
        sed 's/^/# /' "$work/out"
        failed=$((failed + 1))
    fi
}

# Runs the shell text $1 in the outer machine; further arguments go to run.sh. Leaves its status in
# rc and its output in $work/out.
run_text() {
    mkdir -p "$work/text"
    printf '%s\n' "$1" >"$work/text/run"
    shift
    run_payload "$work/text" "$@"
}

run_payload() {
    local payload=$1
    shift
    mkdir -p "$work/tmp"
    rc=0
    TMPDIR=$work/tmp "$here/run.sh" --prep "$prep" --payload "$payload" "$@" >"$work/out" 2>&1 ||
        rc=$?
}

says() { grep -q -- "$1" "$work/out"; }
nothing_left() { [ -z "$(ls -A "$work/tmp")" ] && ! pgrep -f "$work/tmp" >/dev/null; }

mkdir "$work/smoke"
gcc -std=c11 -D_GNU_SOURCE -O2 -Wall -Wextra -o "$work/kvm_smoke" "$here/smoke/kvm_smoke.c"
"$here/pack.sh" --out "$work/smoke" "$here/smoke/run" "$work/kvm_smoke"
run_payload "$work/smoke"
sed 's/^/# /' "$work/out"
ok "the smoke payload passes, shared libraries and all" test $rc -eq 0
ok "a guest ran" says "^ok .*a guest runs"

run_text 'seq 1 20000; exit 41'
ok "the payload's status is handed on" test $rc -eq 41
ok "no output is lost" test "$(grep -c '^[0-9]*$' "$work/out")" -eq 20000

# shellcheck disable=SC2016  # expanded inside
run_text 'pivot=/tmp/p; mkdir $pivot; unshare -m sh -c "mount -t tmpfs t $pivot; mkdir $pivot/old
    pivot_root $pivot $pivot/old"'
ok "the root can be left by pivot_root" test $rc -eq 0

run_text 'echo before; echo c >/proc/sysrq-trigger'
ok "a machine that dies is 99" test $rc -eq 99
ok "its death is named" says "L1 died"

run_text 'echo before; sleep 1000' --timeout 20
ok "a machine that hangs is 99" test $rc -eq 99
ok "the hang is named" says "L1 hung"
ok "output before it is there" says before
ok "nothing is left behind" nothing_left

run_text 'true' --memory 24
ok "too little memory is refused by name" says "use --memory"

mkdir "$work/broken"
cp -RP "$prep/." "$work/broken"
rm "$work/broken/vmlinux"
echo "no kernel" >"$work/broken/vmlinux"
sound=$prep
prep=$work/broken
run_text 'true'
prep=$sound
ok "a machine that cannot start is 99" test $rc -eq 99
ok "after a second try" says "trying once more"

printf 'echo begun; sleep 1000\n' >"$work/text/run"
TMPDIR=$work/tmp "$here/run.sh" --prep "$prep" --payload "$work/text" >"$work/out" 2>&1 &
runner=$!
for _ in $(seq 300); do
    ! says begun || break
    sleep 0.1
done
kill -TERM $runner
rc=0
wait $runner || rc=$?
ok "an interrupted run ends at once" test $rc -eq 143
ok "and leaves nothing behind" nothing_left

echo "1..$count"
[ $failed -eq 0 ]
