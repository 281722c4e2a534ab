#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The progress line: what it says when something is made to take its time, that it goes, and that it
# stays away where nobody looks. And the table of --timing.
# shellcheck disable=SC2016 # dollars are for other shells
. "$(dirname "$0")/lib.sh"
if ! command -v script >/dev/null; then
    echo "1..0 # SKIP no script(1) here"
    exit 77
fi
needs_vm
LIMIT=$((60 * SLOW))

# on_terminal COMMAND: runs it on a terminal of 60 columns; what it wrote is in typescript, and what
# came behind each erasure of a line in drawn, with a bar in front.
on_terminal() {
    timeout -s KILL "$LIMIT" script -qec "stty cols 60 rows 20; $1" /dev/null </dev/null >typescript 2>&1
    drawn=$(tr '\r' '\n' <typescript | sed -n 's/^\x1b\[K/|/p')
}

# told NAME TEXT: the line was there (an extended regular expression), never too wide, and erased.
told() {
    check "$1: is told" grep -q -E -x -e "[|]$2" <<END
$drawn
END
    is "$1: fits the terminal" "$(echo "$drawn" | awk '/[.][.][.] .* s$/ && length > 60')" ""
    is "$1: is erased in the end" "$(echo "$drawn" | tail -n 1 | grep -c -e '\.\.\. ')" 0
}

# silent NAME: no line was there.
silent() {
    is "$1" "$(grep -c -e '\.\.\. ' typescript)" 0
}

# delay WHEN: the VM's processes stand still for two seconds as soon as WHEN, a command, succeeds
# for the process of the tool, in $1.
delay() {
    (
        while ! tool=$(pgrep -f -n "^$LUMINA run" ) || ! "$1" "$tool"; do
            sleep 0.01
        done
        vm=$(tree "$tool" | grep -v -x "$tool")
        # shellcheck disable=SC2086
        kill -STOP $vm 2>/dev/null # one that has ended meanwhile does not matter
        sleep 2.5
        # shellcheck disable=SC2086
        kill -CONT $vm 2>/dev/null
    ) &
    delay_pid=$!
}

never="--boot-timeout 3.5 --kernel-args 'rdinit=/nosuch panic=0'"
on_terminal "'$LUMINA' run $never true"
told "booting" 'booting with [a-z]+\.\.\. [1-3] s'
has "booting: the error is whole" "$(tail -n 1 typescript)" "lumina: the guest was not ready"
on_terminal "'$LUMINA' run -q $never true"
silent "not with --quiet"
on_terminal "'$LUMINA' run $never true 2>errors"
silent "not when stderr is no terminal"
is "nor into the file that it is" "$(grep -c -v '^lumina: ' errors)" 0

# A mkfs.erofs that takes its time.
mkdir -p slow "root folder$(printf '\001')with a rather long name/bin" cache
real=$(PATH=$PATH:/usr/sbin:/sbin command -v mkfs.erofs)
printf '#!/bin/sh\nsleep 2.5\nexec %s "$@"\n' "$real" >slow/mkfs.erofs
chmod 755 slow/mkfs.erofs
on_terminal "PATH=$SCRATCH/slow:\$PATH XDG_CACHE_HOME=$SCRATCH/cache '$LUMINA' run --rootfs root* nosuch"
told "packing" 'packing root folder.with a rather long name\.\.\. [1-9] s'
long=root$(printf '%0100d' 0)
mkdir "$long"
on_terminal "PATH=$SCRATCH/slow:\$PATH XDG_CACHE_HOME=$SCRATCH/cache '$LUMINA' run --rootfs $long nosuch"
told "packing a long name" 'packing root0*\.\.\. [1-9] s'

head -c 100000000 /dev/zero >large
reads_large() {
    for fd in "/proc/$1/fd"/*; do
        [ "$(readlink "$fd")" != "$SCRATCH/large" ] || return 0
    done 2>/dev/null
    return 1
}
delay reads_large
on_terminal "'$LUMINA' run --put large:/tmp/large wc -c /tmp/large --memory 512M"
wait "$delay_pid"
told "copying in" 'copying in large\.\.\. [0-9]+ MiB, [1-9][0-9]* s'

has_copy() {
    [ -e copy ]
}
delay has_copy
on_terminal "'$LUMINA' run --memory 512M --get /tmp/large:copy -- dd if=/dev/zero of=/tmp/large bs=1M count=100"
wait "$delay_pid"
told "copying out" 'copying out /tmp/large\.\.\. [0-9]+ MiB, [1-9][0-9]* s'
is "copying out: it is whole" "$(wc -c <copy)" 104857600

on_terminal "'$LUMINA' run -- sh -c 'exec >&- 2>&-; sleep 2.5'"
told "a command that has closed its output" 'waiting for sh to end\.\.\. [1-9] s'
on_terminal "'$LUMINA' run --json -- sh -c 'echo out; sleep 2.5' >result"
told "a command whose output is kept" 'running sh\.\.\. [1-9] s'
has "its result" "$(cat result)" '"stdout": "out\n"'
on_terminal "'$LUMINA' run -- sh -c 'sleep 2.5; echo out'"
is "none while the command has the terminal" "$(grep -c -e 'sh\.\.\. ' typescript)" 0

# ---- --timing ----

lum run -q --timing -- echo out </dev/null
is "timing: the header comes first" "$(sed -n 1p stderr.txt | tr -s ' ')" "STAGE AT (ms) TOOK (ms)"
number='[0-9]+\.[0-9]{3}'
rows=$(sed -n '2,/^T0/p' stderr.txt | sed '$d')
check "timing: there are stages" [ "$(echo "$rows" | wc -l)" -gt 6 ]
is "timing: each has its time and its step" \
    "$(echo "$rows" | grep -v -E -e "^[a-z ]+ +$number +$number(  <- longest)?\$")" ""
is "timing: columns are aligned" "$(echo "$rows" | awk '{ sub(/  <- .*/, ""); print length }' | sort -u | wc -l)" 1
is "timing: steps add up" "$(echo "$rows" | sed 's/  <-.*//' | awk '
    { sum += $NF; d = sum - $(NF - 1); if (d > 0.02 || d < -0.02) print }')" ""
is "timing: one step is the longest" "$(echo "$rows" | grep -c -e '<- longest')" 1
is "timing: it is the longest" "$(echo "$rows" | sed 's/  <-.*//' | awk '$NF > max { max = $NF; name = $1 }
    END { print name }')" "$(echo "$rows" | awk '/<- longest/ { print $1 }')"
total=$(sed -n '/^T0/p' stderr.txt)
is "timing: the total" "$(echo "$total" | tr -s ' ' | sed -E "s/$number/N/")" \
    "T0 to T1 N T0: VM asked for; T1: first output"
is "timing: which is when the first output came" "$(echo "$total" | awk '{ print $4 }')" \
    "$(echo "$rows" | awk '/^first output/ { print $3 }')"
is "timing: fits 80 columns but for the last line" "$(sed '$d' stderr.txt | awk 'length > 80')" ""
lum run -q --timing -- true </dev/null
has "timing: without output" "$(grep '^T0' stderr.txt | tr -s ' ')" "T0 to exit"
end
