#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Completions where people meet them: in bash, zsh and fish, each installed as the manual says and
# driven through a terminal. Starts no VM.
# shellcheck disable=SC2016,SC2059 # dollars are for the shells in the terminal
. "$(dirname "$0")/lib.sh"
. "$TESTS/term.sh"

mkdir -p bin home place/folder
ln -s "$LUMINA" bin/lumina
: >"place/a kernel"
: >place/folder/inner
export PATH=$SCRATCH/bin:$PATH HOME=$SCRATCH/home

# options_of COMMAND: "--name" of each.
options_of() {
    "$LUMINA" "$1" --help | sed -n 's/^  .*\(--[a-z-]*\).*/\1/p' | sort -u
}
commands=$("$LUMINA" --help | sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p')
check "there are options and commands to look for" [ "$(options_of run | wc -l)" -gt 15 ]
check "commands are found in the help" [ "$(echo "$commands" | wc -l)" -ge 5 ]
first=$("$LUMINA" backends | sed -n '2s/ .*//p')
last=$("$LUMINA" backends | sed -n '$s/ .*//p')

# shows TEXT: whether TEXT is or comes on the screen; what else is there is shown if not.
shows() {
    shows_end=$(($(date +%s) + 20 * SLOW))
    until screen | grep -q -F -e "$1"; do
        if [ "$(date +%s)" -gt "$shows_end" ]; then
            screen | sed '/^$/d; s/^/# screen: /'
            return 1
        fi
        sleep 0.05
    done
}

# begin TEXT: an empty line with TEXT on it.
begin() {
    tm send-keys -t t C-u
    tm send-keys -t t C-l
    begin_end=$(($(date +%s) + 20 * SLOW))
    until [ "$(screen | sed '/^$/d' | tr -d ' \n')" = ">" ] || [ "$(date +%s)" -gt "$begin_end" ]; do
        sleep 0.05
    done
    tm send-keys -t t -l "$1"
}

# completes NAME TYPED WANTED: TYPED and Tab become WANTED.
completes() {
    begin "$2"
    tm send-keys -t t Tab
    check "$shell: $1" shows "> $3"
}

# offers NAME TYPED WORD...: TYPED and two Tabs show all of the words.
offers() {
    offers_name=$1
    begin "$2"
    tm send-keys -t t Tab Tab
    shift 2
    missing=
    for word; do
        shows "$word" || missing="$missing $word"
    done
    is "$shell: $offers_name" "$missing" ""
    tm send-keys -t t C-c
}

# keeps NAME TYPED: nothing is offered, the line stays.
keeps() {
    begin "$2"
    tm send-keys -t t Tab
    tm send-keys -t t -l "@"
    check "$shell: $1" shows "> $2@"
}

# session COMMAND: a shell whose prompt is "> ".
session() {
    terminal 160 60 "cd '$SCRATCH/place' && exec $1"
    shows ">" || fail "$shell: no prompt"
}

# What all shells do alike.
common() {
    # shellcheck disable=SC2086
    offers "every command" "lumina " $commands
    for command in $commands; do
        # shellcheck disable=SC2046
        offers "every option of $command" "lumina $command --" $(options_of "$command")
    done
    completes "a command" "lumina backe" "lumina backends"
    completes "an option" "lumina run --boot" "lumina run --boot-timeout"
    completes "an option behind another and its value" "lumina run --cpus 2 -q --scr" \
        "lumina run --cpus 2 -q --scratch"
    completes "an option of another command" "lumina backends --j" "lumina backends --json"
    completes "a shell" "lumina completion fi" "lumina completion fish"
    completes "a command to be helped with" "lumina help vers" "lumina help version"
    offers "the backends of this host" "lumina run --backend " auto "$first" "$last"
    completes "a backend" "lumina run --backend ${last%?}" "lumina run --backend $last"
    completes "a backend after =" "lumina run --backend=${last%?}" "lumina run --backend=$last"
    completes "a file with a blank" "lumina run --kernel a" 'lumina run --kernel a\ kernel'
    completes "a file after =" "lumina run --kernel=a" 'lumina run --kernel=a\ kernel'
    completes "a file in a folder" "lumina run --rootfs folder/i" "lumina run --rootfs folder/inner"
    completes "what to put" "lumina run --put fol" "lumina run --put folder/"
    completes "where to get it" "lumina run --get /root/out:fol" "lumina run --get /root/out:folder/"
    completes "a variable" "lumina run -e COMPLETION_TE" "lumina run -e COMPLETION_TEST"
    keeps "nothing for a number" "lumina run --cpus "
    keeps "no option of ours for the guest's command" "lumina run uname --tim"
    keeps "nor behind --" "lumina run -- --tim"
}

export COMPLETION_TEST=1

shell=bash
data=$SCRATCH/home/data/bash-completion/completions
if ! command -v bash >/dev/null || [ ! -e /usr/share/bash-completion/bash_completion ]; then
    skip "bash" "no bash with bash-completion here"
else
    mkdir -p "$data"
    "$LUMINA" completion bash >"$data/lumina"
    printf '%s\n' 'PS1="> "' "XDG_DATA_HOME=$SCRATCH/home/data" \
        'bind "set bell-style none"; bind "set page-completions off"; bind "set completion-query-items 0"' \
        '. /usr/share/bash-completion/bash_completion' >home/bashrc
    session "bash --noprofile --rcfile $SCRATCH/home/bashrc -i"
    common
    # Without that package, from ~/.bashrc as the manual says.
    printf '%s\n' 'PS1="> "' 'bind "set bell-style none"' ". $data/lumina" >home/bashrc
    session "bash --noprofile --rcfile $SCRATCH/home/bashrc -i"
    completes "without bash-completion: an option" "lumina run --boot" "lumina run --boot-timeout"
    completes "without bash-completion: a file" "lumina run --kernel a" 'lumina run --kernel a\ kernel'
fi

shell=zsh
if ! command -v zsh >/dev/null; then
    skip "zsh" "no zsh here"
else
    mkdir -p home/zfunc
    "$LUMINA" completion zsh >home/zfunc/_lumina
    printf '%s\n' 'PS1="> "' 'unsetopt beep prompt_cr' 'LISTMAX=1000' "fpath+=($SCRATCH/home/zfunc)" \
        'autoload -U compinit && compinit -u -D' >home/.zshrc
    session "env ZDOTDIR=$SCRATCH/home zsh -d -i"
    common
fi

shell=fish
if ! command -v fish >/dev/null; then
    skip "fish" "no fish here"
else
    mkdir -p home/.config/fish/completions
    "$LUMINA" completion fish >home/.config/fish/completions/lumina.fish
    printf '%s\n' 'function fish_prompt; printf "> "; end' 'set -g fish_greeting' \
        'set -g fish_autosuggestion_enabled 0' >home/.config/fish/config.fish
    session "env XDG_CONFIG_HOME=$SCRATCH/home/.config fish -i"
    common
fi
end
