#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# lumina run with a terminal: a real one, kept by tmux.
# shellcheck disable=SC2016 # dollars are for the shells in the terminal
. "$(dirname "$0")/lib.sh"
. "$TESTS/term.sh"
needs_vm
terminal 80 24 "PS1='outer> ' exec sh"

modes before
type_line "TERM=vt100 '$LUMINA' run -q -t -e PS1='inner> ' -- sh"
check "a shell in the guest" shows 'inner>'
type_line 'echo "size $(stty size)"'
check "the size of the terminal" shows "size 24 80"
type_line 'echo "kind $TERM"; test -t 0 && test -t 1 && test -t 2 && echo all-$((1 + 1))'
check "TERM goes along" shows "kind vt100"
check "three streams are the terminal" shows "all-2"
tm resize-window -t t -x 100 -y 30
type_line 'sleep 0.2; echo "now $(stty size)"'
check "a change of its size" shows "now 30 100"
type_line 'echo begun-$((1 + 1)); sleep 1000'
shows "begun-2"
keys C-c
type_line 'echo "status $?"'
check "Ctrl-C is the guest's" shows "status 130"
type_line "stty -echo; echo unseen-\$((1 + 1)); read line; echo \"got \$line\"; stty echo"
shows "unseen-2"
type_line 'un seen'
check "the guest's terminal modes work" shows "got un seen"
keys C-d
check "Ctrl-D ends the shell" shows "outer>"
modes after_exit
check "the terminal is as before" cmp before after_exit

type_line "clear; '$LUMINA' run -q -t -- sh -c 'echo run-\$((1 + 1)); exec sleep 1000'"
check "a command to be killed" shows "run-2"
pid=$(pgrep -f -n -x "$LUMINA run -q -t -- sh -c .*")
kill -TERM "$pid"
check "SIGTERM ends it" shows ".*outer>"
modes after_term
check "the terminal is as before, after SIGTERM" cmp before after_term

type_line "clear; '$LUMINA' run -q -t -- sh -c 'echo run-\$((2 + 1)); exec sleep 1000'"
check "a command whose tool crashes" shows "run-3"
pid=$(pgrep -f -n -x "$LUMINA run -q -t -- sh -c .*")
kill -SEGV "$pid"
check "SIGSEGV ends it" shows ".*outer>"
modes after_crash
check "the terminal is as before, after a crash" cmp before after_crash

type_line "clear; '$LUMINA' run -q -t -- sh -c 'echo run-\$((3 + 1)); reboot -f; sleep 1000'"
check "a guest that goes away: the tool says so" shows "lumina: .*"
shows "outer>"
modes after_reboot
check "the terminal is as before, after the guest went away" cmp before after_reboot

type_line "clear; '$LUMINA' run -q -e PS1='bare> '"
check "no command on a terminal: a shell with one" shows "bare>"
type_line "tty; exit 7"
check "its terminal" shows "/dev/pts/0"
# What is typed before the tool has ended is still the command's, and lost.
shows "outer>"
type_line 'echo "status $?"'
check "its status" shows "status 7"

type_line "clear; '$LUMINA' run -q -- sh -c 'read line; echo \"read \$line\"'"
type_line "a line"
check "a terminal without --tty is read by lines" shows "read a line"
# Until it has gone it reads what is typed.
shows "outer>"

# The terminal signals the whole foreground group: the VM's process must not take it for its own.
type_line "clear; '$LUMINA' run -q -- sh -c 'trap \"echo caught; exit 6\" INT; echo run-\$((4 + 1))
while :; do sleep 0.1; done'"
check "a command without a terminal" shows "run-5"
keys C-c
check "Ctrl-C is the command's" shows ".*caught"
shows "outer>"
type_line 'echo "status $?"'
check "its status then" shows "status 6"

type_line "clear; '$LUMINA' run --boot-timeout 5 --kernel-args 'rdinit=/nosuch panic=0' true; echo status \$?"
check "the progress line" shows "booting with [a-z]*\\.\\.\\. [2-9] s"
check "the end of it" shows "status 125"
is "the progress line is erased" "$(tm capture-pane -p -t t | grep -c 'booting with')" 0
end
