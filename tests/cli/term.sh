# SPDX-License-Identifier: Apache-2.0
# A real terminal for tests, kept by tmux. To be sourced after lib.sh.
# shellcheck shell=sh disable=SC2034,SC2119,SC2120

if ! command -v tmux >/dev/null; then
    echo "1..0 # SKIP no tmux here"
    exit 77
fi
LIMIT=$((60 * SLOW))
server=0

# tm ARG...: tmux with a server of our own.
tm() {
    LC_ALL=C.UTF-8 tmux -u -S "$SCRATCH/tmux.$server" -f /dev/null "$@"
}
at_end='tm kill-server 2>/dev/null'

# terminal COLUMNS ROWS COMMAND: a new one in which the command runs.
terminal() {
    tm kill-server 2>/dev/null
    server=$((server + 1)) # the old one may still be at its end
    tm new-session -d -x "$1" -y "$2" -s t "$3" || exit 1
}

# screen [OPTION]: what stands on it. Without a terminal the test is over.
screen() {
    tm capture-pane "$@" -p -t t 2>/dev/null || {
        echo "Bail out! the terminal has gone" >&2
        kill -TERM $$
    }
}

# shows TEXT: whether a line of the screen is or becomes TEXT (a basic regular expression).
shows() {
    shows_end=$(($(date +%s) + LIMIT))
    until screen | grep -q -x -e "$1 *"; do
        if [ "$(date +%s)" -gt "$shows_end" ]; then
            screen | sed '/^$/d; s/^/# screen: /'
            return 1
        fi
        sleep 0.1
    done
}

# keys KEY...: pressed one after the other.
keys() {
    tm send-keys -t t "$@"
}

# type_line TEXT: text and Enter.
type_line() {
    tm send-keys -t t -l "$1"
    keys Enter
}

# modes NAME: the outer terminal's modes into a file of that name.
modes() {
    type_line "stty -g >$1; echo saved-\$((1 + 1))-$1"
    shows "saved-2-$1"
    check "$1: the outer shell answers" [ -s "$1" ]
}
