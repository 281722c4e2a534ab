# SPDX-License-Identifier: Apache-2.0
# Common part of the tests of the command line tool: TAP, deadlines, processes. To be sourced.
#
# LUMINA  the tool under test (./build/lumina)
# SLOW    factor for all deadlines (1), for emulated or busy machines
# shellcheck shell=sh disable=SC2034

LUMINA=${LUMINA:-./build/lumina}
SLOW=${SLOW:-1}
LIMIT=$((180 * SLOW))
count=0
failures=0

case $LUMINA in
/*) ;;
*) LUMINA=$PWD/$LUMINA ;;
esac
if [ ! -x "$LUMINA" ]; then
    echo "1..0 # SKIP $LUMINA has not been built"
    exit 77
fi

# A folder of the test's own; nothing of it stays. Its name does not look like one of the tool's.
TESTS=$(cd "$(dirname "$0")" && pwd)
SCRATCH=$(mktemp -d "${TMPDIR:-/tmp}/clitest.XXXXXX") || exit 1
at_end=:
trap 'eval "$at_end"; rm -rf "$SCRATCH"' EXIT
trap 'exit 1' HUP INT TERM
cd "$SCRATCH" || exit 1

# ---- TAP ----

pass() {
    count=$((count + 1))
    echo "ok $count - $1"
}

fail() {
    count=$((count + 1))
    failures=$((failures + 1))
    echo "not ok $count - $1"
}

skip() {
    count=$((count + 1))
    echo "ok $count - $1 # SKIP $2"
}

note() {
    echo "# $*"
}

# check NAME COMMAND...: passes when the command does.
check() {
    check_name=$1
    shift
    if "$@"; then
        pass "$check_name"
    else
        fail "$check_name"
        note "failed: $*"
    fi
}

# is NAME GOT WANTED
is() {
    if [ "$2" = "$3" ]; then
        pass "$1"
    else
        fail "$1"
        printf 'got:    %s\nwanted: %s\n' "$2" "$3" | sed 's/^/# /'
    fi
}

# has NAME TEXT PART
has() {
    case $2 in
    *"$3"*) pass "$1" ;;
    *)
        fail "$1"
        printf 'got:     %s\nwithout: %s\n' "$2" "$3" | sed 's/^/# /'
        ;;
    esac
}

end() {
    echo "1..$count"
    [ "$failures" -eq 0 ]
    exit
}

# ---- running the tool ----

# lum ARG...: sets out, err and rc; stdin is the caller's. One that hangs ends with 137.
lum() {
    timeout -s KILL "$LIMIT" "$LUMINA" "$@" >stdout.txt 2>stderr.txt
    rc=$?
    out=$(cat stdout.txt)
    err=$(cat stderr.txt)
}

# needs_vm: ends the test as skipped where no backend is usable.
needs_vm() {
    lum backends
    if [ "$rc" -ne 0 ]; then
        echo "Bail out! lumina backends: $rc: $err"
        exit 1
    fi
    if ! echo "$out" | awk 'NR > 1 && $2 == "yes" { found = 1 } END { exit !found }'; then
        echo "1..0 # SKIP no backend can run a VM here"
        exit 77
    fi
}

# start NAME ARG...: the tool in the background with standard signals, stdin from /dev/null unless
# STDIN is set, stdout to a fifo of which descriptor 3 reads, stderr to NAME.err. Sets pid.
start() {
    start_name=$1
    shift
    rm -f "$start_name.fifo"
    mkfifo "$start_name.fifo"
    # The shell ignores SIGINT and SIGQUIT for background jobs, and ignored they would stay.
    env --default-signal=INT,QUIT "$LUMINA" "$@" <"${STDIN:-/dev/null}" >"$start_name.fifo" \
        2>"$start_name.err" &
    pid=$!
    at_end="kill -KILL $pid 2>/dev/null"
    exec 3<"$start_name.fifo"
}

# finish: waits for the tool and sets rc and out (what descriptor 3 still held). One that hangs ends
# with 137.
finish() {
    if ! out=$(timeout -s KILL "$LIMIT" cat <&3); then
        kill -KILL "$pid"
    fi
    exec 3<&-
    wait "$pid"
    rc=$?
    at_end=:
}

# ready: reads the line "ready" that the command in the guest writes.
ready() {
    line=
    read -r line <&3
    [ "$line" = ready ]
}

# ---- processes ----

# tree PID: the process and all that come from it.
tree() {
    grep -s '^PPid:' /proc/[0-9]*/status | awk -F '[/:\t ]+' -v root="$1" '
        { parent[$3] = $NF }
        END {
            for (p in parent)
                for (q = p; q in parent; q = parent[q])
                    if (q == root) {
                        print p
                        break
                    }
        }'
}

# gone_now PID: whether it has ended. A zombie has.
gone_now() {
    ! grep -qs '^State:[[:space:]]*[^ZX]' "/proc/$1/status"
}

# gone PID...: whether all have ended within ten seconds.
gone() {
    gone_end=$(($(date +%s) + 10 * SLOW))
    for gone_pid; do
        until gone_now "$gone_pid"; do
            if [ "$(date +%s)" -gt "$gone_end" ]; then
                note "still there: $gone_pid $(tr '\0' ' ' <"/proc/$gone_pid/cmdline")"
                return 1
            fi
            sleep 0.05
        done
    done
}
