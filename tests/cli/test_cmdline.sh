#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The command line itself: errors, help, completions, JSON. Starts no VM.
. "$(dirname "$0")/lib.sh"

# wrong NAME MESSAGE ARG...: one line on stderr, nothing on stdout, 125.
wrong() {
    wrong_name=$1
    wrong_text=$2
    shift 2
    lum "$@" </dev/null
    is "$wrong_name: message" "$err" "$wrong_text"
    is "$wrong_name: status and silence" "$rc:$out" "125:"
}

wrong "no command" "lumina: no command (try lumina --help)"
wrong "unknown command" "lumina: unknown command frobnicate (see lumina --help)" frobnicate
wrong "mistyped command" "lumina: unknown command bakcends (did you mean backends?)" bakcends
wrong "unknown option" "lumina run: unknown option --frobnicate (see lumina run --help)" \
    run --frobnicate true
wrong "mistyped option" "lumina run: unknown option --memroy (did you mean --memory?)" \
    run --memroy 1G true
wrong "unknown letter" "lumina run: unknown option -Z (see lumina run --help)" run -qZ true
wrong "missing value" "lumina run: --memory: missing SIZE (such as --memory 512M)" run --memory
wrong "missing value of a letter" "lumina run: -u: missing USER (such as -u 1000:1000)" run -qu
wrong "value of a flag" "lumina run: --tty: takes no value" run --tty=yes true
wrong "empty value" "lumina run: --kernel : must not be empty (such as vmlinux)" run --kernel= true
wrong "time" "lumina run: --timeout soon: not a time (such as 2.5)" run --timeout soon true
wrong "no time" "lumina run: --timeout 0: not a time (such as 2.5)" run --timeout 0 true
wrong "time without digits" "lumina run: --timeout 1.: not a time (such as 2.5)" \
    run --timeout 1. true
wrong "endless time" "lumina run: --timeout 99999999999: not a time (such as 2.5)" \
    run --timeout 99999999999 true
wrong "size" "lumina run: --memory 12Q: not a size (such as 512M)" run --memory 12Q true
wrong "negative size" "lumina run: --memory -1: not a size (such as 512M)" run --memory -1 true
wrong "overflowing size" "lumina run: --memory 99999999999999999999: not a size (such as 512M)" \
    run --memory 99999999999999999999 true
wrong "size that overflows with its unit" \
    "lumina run: --memory 18446744073709551615T: not a size (such as 512M)" \
    run --memory 18446744073709551615T true
wrong "count" "lumina run: --cpus 0: must be 1 or more (such as 2)" run --cpus 0 true
wrong "variable" "lumina run: --env =x: not a variable (such as HOME=/root)" run --env =x true
wrong "pair" "lumina run: --put x: not two paths with a colon between (such as job.sh:/root/)" \
    run --put x true
wrong "half a pair" \
    "lumina run: --get /x:: not two paths with a colon between (such as /root/out:out)" \
    run --get /x: true
wrong "file to put is missing" "lumina run: --put nosuch: No such file or directory" \
    run --put nosuch:/x true
wrong "terminal without one" "lumina run: --tty: standard input is not a terminal" run -t true
wrong "word too many" "lumina version: unexpected argument x (usage: lumina version [--json])" \
    version x
wrong "option of another command" "lumina backends: unknown option --tty (see lumina backends --help)" \
    backends --tty
wrong "no shell" "lumina completion: missing shell (such as lumina completion bash)" completion
wrong "unknown shell" "lumina completion: unknown shell ksh (one of bash, zsh, fish)" completion ksh
wrong "help about nothing" "lumina: unknown command nosuch (see lumina --help)" help nosuch

lum --help
is "help: status and stderr" "$rc:$err" "0:"
for command in run backends doctor version help completion; do
    has "help names $command" "$out" "
  $command "
    lum help "$command"
    cp stdout.txt help.txt
    is "help $command: status and stderr" "$rc:$err" "0:"
    has "help $command: examples first" "$(sed '/^Options:/,$d' help.txt)" "Examples:
  lumina"
    is "help $command: fits 80 columns" "$(awk 'length > 80' help.txt)" ""
    lum "$command" --help
    is "$command --help is the same" "$out" "$(cat help.txt)"
    lum --help
done

lum version
is "version" "$rc:$(echo "$out" | grep -cE '^lumina [0-9]+\.[0-9]+\.[0-9]+$')" "0:1"
version=$out
lum --version
is "--version is the same" "$out" "$version"
lum version --json
is "version as JSON" "$(echo "$out" | sed 's/.*"version": "\([^"]*\)".*/lumina \1/')" "$version"

"$LUMINA" help run >/dev/full 2>stderr.txt
is "full disk" "$?:$(cat stderr.txt)" "125:lumina: write to stdout: No space left on device"

for shell in bash zsh fish; do
    lum completion "$shell"
    cp stdout.txt "completion.$shell"
    if command -v "$shell" >/dev/null; then
        check "$shell takes its completions" "$shell" -n "completion.$shell"
    else
        skip "$shell takes its completions" "no $shell here"
    fi
    missing=
    for option in $("$LUMINA" run --help | sed -n 's/^  .*--\([a-z-]*\).*/\1/p' | sort -u); do
        case $shell in
        fish) grep -q -e "-l $option" "completion.$shell" || missing="$missing $option" ;;
        *) grep -q -e "--$option" "completion.$shell" || missing="$missing $option" ;;
        esac
    done
    is "$shell knows every option of run" "$missing" ""
done

# complete WORD...: what bash offers for the last word.
complete_bash() {
    # shellcheck disable=SC2016
    PATH=$(dirname "$LUMINA"):$PATH bash -c '
        . ./completion.bash
        COMP_WORDS=("$@")
        COMP_CWORD=$(($# - 1))
        _lumina
        echo "${COMPREPLY[*]}"' complete "$@"
}
if command -v bash >/dev/null; then
    is "bash: commands" "$(complete_bash lumina ba)" "backends"
    is "bash: options" "$(complete_bash lumina run --boot)" "--boot-timeout"
    is "bash: shells" "$(complete_bash lumina completion f)" "fish"
    is "bash: commands after help" "$(complete_bash lumina help v)" "version"
    : >"a kernel"
    is "bash: files" "$(complete_bash lumina run --kernel a)" "a kernel"
    is "bash: nothing for a number" "$(complete_bash lumina run --cpus '')" ""
else
    skip "bash offers words" "no bash here"
fi

lum backends
is "backends: status" "$rc" 0
has "backends: header" "$out" "NAME         USABLE  AUTO  FEATURES"
names=$(sed -n '2,$s/ .*//p' stdout.txt)
lum backends --json
is "backends: the same names as JSON" \
    "$(sed -n 's/^[[ ]*{"name": "\([^"]*\)".*/\1/p' stdout.txt)" "$names"
if command -v python3 >/dev/null; then
    check "backends: JSON is valid" python3 -m json.tool stdout.txt json.txt
else
    skip "backends: JSON is valid" "no python3 here"
fi
end
