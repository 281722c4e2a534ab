#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# lumina run with a terminal: job control on both sides, what passes through it, full-screen
# programs, and the terminal afterwards. What test_terminal.sh has is not repeated.
# shellcheck disable=SC2016 # dollars are for the shells in the terminal
. "$(dirname "$0")/lib.sh"
. "$TESTS/term.sh"
needs_vm
terminal 80 24 "PS1='outer> ' exec sh"

# tool: the process that was started last in the terminal with "run -q" in its arguments.
tool() {
    pgrep -f -n "^$LUMINA run -q"
}

# colours TEXT: whether TEXT (a fixed string with escape sequences) is on the screen as it is kept.
colours() {
    colours_end=$(($(date +%s) + LIMIT))
    until screen -e | grep -q -F -e "$1"; do
        if [ "$(date +%s)" -gt "$colours_end" ]; then
            screen -e | sed '/^$/d' | cat -v | sed 's/^/# screen: /'
            return 1
        fi
        sleep 0.1
    done
}

modes before
type_line "clear; '$LUMINA' run -q -t -e PS1='inner> ' -- sh"
check "a shell in the guest" shows 'inner>'

# ---- job control in the guest ----

type_line 'stty size'
check "size before" shows "24 80"
tm resize-window -t t -x 120 -y 40
type_line 'until [ "$(stty size)" = "40 120" ]; do sleep 0.1; done; echo "now $(stty size)"'
check "size after" shows "now 40 120"
type_line 'sh -c "trap \"stty size; exit\" WINCH; echo waits-\$((1 + 1)); while :; do sleep 0.1; done"'
shows "waits-2"
tm resize-window -t t -x 81 -y 25
check "the guest's foreground command gets the signal of a change" shows "25 81"
tm resize-window -t t -x 80 -y 24
type_line 'clear'

type_line 'sleep 1000'
sleep 0.5
keys C-z
check "Ctrl-Z stops the guest's command" shows '.*Stopped.*sleep 1000'
type_line 'jobs; echo "alive $((1 + 1))"'
check "the guest's shell goes on" shows "alive 2"
type_line 'clear; fg'
check "fg continues it" shows "sleep 1000"
keys C-c
type_line 'echo "status $?"'
check "Ctrl-C ends it" shows "status 130"
type_line 'clear; yes'
shows 'y'
keys C-c
type_line 's=$?; clear; echo "status $s"'
check "Ctrl-C ends a flood of output" shows "status 130"
type_line 'clear; sleep 0.2 & wait; echo "waited $((1 + 1))"'
check "a job in the background of the guest" shows "waited 2"
check "lumina is not stopped by any of it" [ "$(ps -o state= -p "$(tool)" | tr -d ' ')" != T ]

# ---- what passes through ----

type_line 'clear; printf "\033[38;5;196mindexed\033[0m \033[48;2;10;20;30mdirect\033[0m\n"'
check "a colour of 256" colours "$(printf '\033[38;5;196mindexed')"
check "a colour of 16 million" colours "$(printf '\033[48;2;10;20;30mdirect')"
type_line 'clear; printf "\303\251t\303\251 \346\274\242\345\255\227 e\314\201 \360\237\246\212 end\n"'
check "UTF-8 out: two bytes, wide, combining, four bytes" shows "$(printf \
    '\303\251t\303\251 \346\274\242\345\255\227 e\314\201 \360\237\246\212 end')"
type_line 'clear; stty raw -echo; echo reads-$((1 + 1)); dd bs=1 count=22 of=/tmp/keys 2>/dev/null; stty sane'
shows "reads-2"
# Two bytes, wide, with a combining accent, four bytes, Up; Ctrl-C, -Z, -\\, -D, XON, XOFF, NUL.
keys -H c3 a9 e6 bc a2 65 cc 81 f0 9f a6 8a 1b 5b 41 03 1a 1c 04 11 13 00
shows '.*inner>'
type_line 'od -An -v -tx1 /tmp/keys'
check "keys in, byte by byte" shows " c3 a9 e6 bc a2 65 cc 81 f0 9f a6 8a 1b 5b 41 03"
check "control characters in" shows " 1a 1c 04 11 13 00"
type_line 'clear; stty -opost; head -c 100000 /dev/zero | tr "\0" x | cksum; stty opost; echo'
type_line 'head -c 200000 /dev/zero | tr "\0" "\303" | tr -d "\303"; echo "much $((1 + 1))"'
check "the terminal still works" shows "much 2"

# ---- full-screen programs ----

type_line 'clear; vi /tmp/text'
check "vi: takes the screen" shows '~'
check "vi: to its last line" shows '.*/tmp/text.*'
keys i
type_line "$(printf 'h\303\251llo')"
tm send-keys -t t -l "second line"
keys Escape
sleep 0.5
keys :wq Enter
type_line 'clear; echo "text: $(od -An -tx1 /tmp/text | tr -d "\n")"'
check "vi: what was typed is in the file" shows \
    "text:  68 c3 a9 6c 6c 6f 0a 73 65 63 6f 6e 64 20 6c 69 6e 65 0a"
type_line 'clear; seq 500 | less'
check "less: a screenful" shows "2[23]"
keys G
check "less: the end" shows "500"
keys g
check "less: the beginning" shows "1"
keys q
type_line 'clear; echo "after $((1 + 1))"'
check "less: back at the shell" shows "after 2"

# ---- lumina as a job ----

kill -TSTP "$(tool)"
check "SIGTSTP stops lumina" shows '.*outer>'
modes stopped
check "the terminal is as before while it is stopped" cmp before stopped
type_line 'clear; fg'
check "fg continues it" shows ".*lumina.*"
type_line ''
check "the guest's shell is there" shows 'inner>'
type_line 'exit 3'
shows "outer>"
type_line 'echo "status $?"'
check "its status" shows "status 3"
modes after_stop
check "the terminal is as before, after the stop" cmp before after_stop

type_line "clear; '$LUMINA' run -q -- sh -c 'echo begun-\$((1 + 1)); sleep 2; echo end-\$((1 + 1))'"
check "a command without a terminal of its own" shows "begun-2"
keys C-z
check "Ctrl-Z stops lumina" shows ".*Stopped.*"
type_line 'clear; bg'
check "bg continues it, and input that it does not want stops nothing" shows ".*end-2"
type_line ''
check "it is done" shows ".*Done.*"

type_line "clear; '$LUMINA' run -q -- sh -c 'read line; echo \"read \$line\"' & sleep 1"
type_line "echo mine-\$((1 + 1))"
check "in the background it leaves the terminal's input alone" shows ".*mine-2"
type_line "fg"
type_line "for it"
check "in the foreground it reads" shows "read for it"
shows "outer>"

# ---- the terminal afterwards ----

type_line "clear; '$LUMINA' run -q -t -- sh -c 'echo run-\$((1 + 1)); exec sleep 1000'"
check "a VM to be killed" shows "run-2"
kill -KILL "$(pgrep -P "$(tool)" lumina-)"
check "it is told" shows "lumina: .*killed.*"
shows "outer>"
modes after_kill
check "the terminal is as before, after the VM's process was killed" cmp before after_kill

type_line "clear; '$LUMINA' run -q -t -- sh -c 'vi /tmp/x'"
check "a full-screen program" shows '~'
kill -TERM "$(tool)"
check "SIGTERM ends it" shows ".*outer>"
modes after_term
check "the terminal is as before, after SIGTERM" cmp before after_term
end
