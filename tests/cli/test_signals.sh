#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# lumina run: signals, and that nothing is left when it ends, however it ends.
# shellcheck disable=SC2016 # dollars are for the guest
. "$(dirname "$0")/lib.sh"
needs_vm

# Everything the tool may write to on the host is in here or has a telling name.
TMPDIR=$SCRATCH/tmp
XDG_RUNTIME_DIR=$SCRATCH/run
export TMPDIR XDG_RUNTIME_DIR
mkdir "$TMPDIR" "$XDG_RUNTIME_DIR"
touch began

# left_nothing NAME: of the processes in $before, and of files.
left_nothing() {
    # shellcheck disable=SC2086
    check "$1: no process is left" gone $before
    is "$1: no file is left" "$(find "$TMPDIR" "$XDG_RUNTIME_DIR" -mindepth 1)$(
        find /tmp /var/tmp /dev/shm -maxdepth 1 -name "*lumina*" ! -name "lumina-kernel.*" \
            -newer began 2>/dev/null
    )" ""
}

for signal in INT TERM HUP QUIT; do
    start got run -q -- sh -c "trap 'echo got; exit 5' $signal; echo ready
        while :; do sleep 0.1; done"
    check "SIG$signal: the command runs" ready
    before=$(tree "$pid")
    check "SIG$signal: the VM has a process of its own" [ "$(echo "$before" | wc -l)" -gt 1 ]
    kill "-$signal" "$pid"
    finish
    is "SIG$signal is passed on" "$out:$rc" "got:5"
    is "SIG$signal: nothing to say about it" "$(grep lumina got.err)" ""
done
left_nothing "after the command ended"

start dies run -q -- sh -c 'echo ready; exec sleep 1000'
ready
kill -INT "$pid"
finish
is "a command that SIGINT ends" "$out:$rc:$(cat dies.err)" ":130:"

start stubborn run -q -- sh -c 'trap "" INT TERM; echo ready; while :; do sleep 1; done'
check "a stubborn command runs" ready
before=$(tree "$pid")
# Signals of one kind merge while they wait, so the second is sent until it has arrived.
until gone_now "$pid"; do
    kill -INT "$pid"
    sleep 0.05
done
finish
is "the second SIGINT ends the VM" "$rc:$(cat stubborn.err)" "130:"
left_nothing "after the second SIGINT"

start stubborn run -q -- sh -c 'trap "" INT TERM; echo ready; while :; do sleep 1; done'
ready
until gone_now "$pid"; do
    kill -TERM "$pid"
    sleep 0.05
done
finish
is "the second SIGTERM ends the VM" "$rc" "143"

# A shell's background job ignores SIGINT, and so does the tool then.
mkfifo ignored.fifo
"$LUMINA" run -q -- sh -c 'echo ready; read line; echo "$line"; exit 4' <ignored.fifo \
    >ignored.out 2>&1 &
pid=$!
exec 4>ignored.fifo
while ! grep -q ready ignored.out && ! gone_now "$pid"; do
    sleep 0.05
done
kill -INT "$pid"
echo more >&4
exec 4>&-
wait "$pid"
is "an ignored SIGINT stays ignored" "$?:$(cat ignored.out)" "4:ready
more"

# Before there is a command: this boot never ends, and has begun when the VM has its process.
start early run -q --kernel-args 'rdinit=/nosuch panic=0' -- true
until [ "$(tree "$pid" | wc -l)" -gt 1 ] || gone_now "$pid"; do
    sleep 0.05
done
before=$(tree "$pid")
kill -TERM "$pid"
finish
is "SIGTERM while booting" "$rc" 143
left_nothing "after SIGTERM while booting"

start killed run -q -- sh -c 'echo ready; exec sleep 1000'
ready
before=$(tree "$pid")
kill -KILL "$pid"
finish
is "SIGKILL" "$rc" 137
left_nothing "after SIGKILL"

lum run -q -- true </dev/null
touch began
lum run -q -- sh -c 'exit 3' </dev/null
is "and the next run works" "$rc" 3
end
