#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# lumina run with more than anybody asked for: a command that writes a gigabyte, readers that are
# slow, late or gone, input without end. All as with a local command, and in bounded memory.
# shellcheck disable=SC2016 # dollars are for the guest
. "$(dirname "$0")/lib.sh"
needs_vm
LIMIT=$((400 * SLOW))

# Bounds of resident memory in KiB. The guest's own memory may be the VM process's.
TOOL_MAX=16384
VM_MAX=32768
lum run --json -- true </dev/null
case $out in *'"backend": "qemu"'*) ;; *) VM_MAX=$((VM_MAX + 262144)) ;; esac

# peaks PID NAME: until the tool ends, what its and its VM's process have had in memory at most, in
# NAME.tool and NAME.vm.
peaks() {
    : >"$2.tool"
    : >"$2.vm"
    while ! gone_now "$1"; do
        sed -n 's/^VmHWM:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$1/status" >>"$2.tool"
        for vm in $(pgrep -P "$1" lumina-); do
            sed -n 's/^VmHWM:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$vm/status" >>"$2.vm"
        done
        sleep 0.1
    done 2>/dev/null
}

# bounded NAME FILE: the two peaks are.
bounded() {
    tool_peak=$(sort -n "$2.tool" | tail -n 1)
    vm_peak=$(sort -n "$2.vm" | tail -n 1)
    note "$1: lumina ${tool_peak:-?} KiB, worker ${vm_peak:-?} KiB at most"
    check "$1: the tool's memory is bounded" [ "${tool_peak:-$((TOOL_MAX + 1))}" -le "$TOOL_MAX" ]
    check "$1: the memory of the VM's process is bounded" [ "${vm_peak:-$((VM_MAX + 1))}" -le "$VM_MAX" ]
}

# flood NAME ARG...: like start of lib.sh, with the peaks noted.
flood() {
    flood_name=$1
    start "$@"
    before=$(tree "$pid")
    peaks "$pid" "$flood_name" &
    peaks_pid=$!
}

# over NAME: after finish.
over() {
    wait "$peaks_pid"
    bounded "$1" "$flood_name"
    # shellcheck disable=SC2086
    check "$1: no process is left" gone $before
}

# ---- a gigabyte ----

flood gigabyte run -q -- sh -c 'dd if=/dev/zero bs=64k count=16384 2>/dev/null; exit 7'
size=$(timeout -s KILL "$LIMIT" wc -c <&3)
finish
is "a gigabyte: all of it and the status" "$size:$rc:$(cat gigabyte.err)" "1073741824:7:"
over "a gigabyte"

flood both run -q -- sh -c 'head -c 65536000 /dev/zero &
    head -c 65536000 /dev/zero >&2; wait; exit 3'
size=$(timeout -s KILL "$LIMIT" wc -c <&3)
finish
is "both streams at once: all of it and the status" "$size:$(wc -c <both.err):$rc" "65536000:65536000:3"
over "both streams at once"

# ---- a reader that takes its time ----

flood slow run -q -- sh -c 'i=0; while [ $i -lt 64 ]; do
    head -c 1048576 /dev/zero; i=$((i + 1)); echo $i >&2; done'
timeout -s KILL "$LIMIT" head -c 1 <&3 >first
sleep 3
written=$(tail -n 1 slow.err)
check "nobody reads: the command waits (it has written ${written:-0} of 64 MiB)" [ "${written:-0}" -lt 8 ]
rest=$(timeout -s KILL "$LIMIT" wc -c <&3)
finish
is "a reader that comes back: all of it and the status" "$(($(wc -c <first) + rest)):$rc" "67108864:0"
over "a slow reader"

# ---- a reader that goes ----

# goes NAME COMMAND READER: through a pipe whose reader leaves; a local command would die of SIGPIPE.
goes() {
    {
        timeout -s KILL "$LIMIT" "$LUMINA" run -q -- sh -c "$2" </dev/null 2>stderr.txt
        echo $? >status
    } | sh -c "$3" >stdout.txt
    is "$1" "$(cat status):$(cat stderr.txt):$(head -c 10 stdout.txt)" "141::$4"
}
goes "a reader that takes one line" 'exec yes' 'head -n 1' y
goes "a reader that takes nothing" 'exec yes' 'exec <&-; sleep 1' ''
goes "a command that does not mind SIGPIPE" 'trap "" PIPE; while :; do echo x; done 2>/dev/null' 'head -n 1' x
{
    timeout -s KILL "$LIMIT" "$LUMINA" run -q -- sh -c 'exec yes >&2' </dev/null 2>&1 >/dev/null
    echo $? >status
} | head -n 1 >stdout.txt
is "a reader of stderr that takes one line" "$(cat status):$(cat stdout.txt)" "141:y"
{
    timeout -s KILL "$LIMIT" "$LUMINA" run -q -- sh -c 'echo out; exit 5' </dev/null
    echo $? >status
} | { sleep 3; cat >stdout.txt; }
is "a reader that is late for a little" "$(cat status):$(cat stdout.txt)" "5:out"

# ---- input ----

yes 2>/dev/null | timeout -s KILL "$LIMIT" "$LUMINA" run -q -- sh -c 'exit 6' >stdout.txt 2>&1
is "endless input that nobody reads" "$?:$(cat stdout.txt)" "6:"
yes 2>/dev/null | timeout -s KILL "$LIMIT" "$LUMINA" run -q -- head -n 2 >stdout.txt 2>&1
is "endless input of which a little is read" "$?:$(cat stdout.txt)" "0:y
y"
mkfifo endless
yes >endless 2>/dev/null &
yes_pid=$!
STDIN=endless flood input run -q -- sleep 3
finish
kill "$yes_pid" 2>/dev/null
is "endless input while the command sleeps" "$rc" 0
over "endless input"

# ---- the console ----

flood console run -q -- sh -c 'yes "a line of some length for the console" >/dev/console & sleep 3; kill $!; echo alive'
finish
is "a flood on the console" "$out:$rc:$(cat console.err)" "alive:0:"
over "a flood on the console"
end
