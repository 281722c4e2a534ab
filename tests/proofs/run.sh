#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# run.sh [--mutants] SOURCE OUT [PROOF...]: proves the properties of tests/proofs/*.c with CBMC, two
# at a time, and prints TAP. Logs are left in OUT. README.md beside this says what is proven, and
# what the comment at the head of each proof tells this script.
#
# A check is one proof: cbmc finds no way to violate any of its properties, and finds one to reach
# each of its witnesses. Then come the mutants marked "always" in mutants.txt: the proof must refute
# the source with that change. --mutants: all mutants, and nothing else.

set -u
export LC_ALL=C

JOBS=2
SECONDS_EACH=540 # of processor time, for one run of cbmc
# The long ones first, so that both jobs end together.
FIRST="vsock_ring elf_parse mmio_write vq_pop vsock_credit agent_wire blk agent_cursor wbuf"

usage() { echo "usage: run.sh [--mutants] SOURCE OUT [PROOF...]" >&2; exit 2; }

# The values of directive $2 in proof $1, one a line.
directive() { sed -n "s/^ \* $2: //p" "$here/$1.c"; }

# The tree that proof $1 looks at, in folder $2: a copy of the source with the proof's scaled
# constants, and with pragmas around the functions that rely on unsigned wrap.
make_tree() {
    local proof=$1 tree=$2 file name value
    rm -rf "$tree"
    mkdir -p "$tree/guest"
    cp -r "$source/src" "$source/include" "$tree/" && cp -r "$source/guest/agent" "$tree/guest/"
    while read -r file name value; do
        sed -i "s/^#define $name .*/#define $name $value/" "$tree/$file"
        grep -q "^#define $name $value\$" "$tree/$file" || return 1
    done < <(directive "$proof" Scale)
    while read -r file value; do
        awk -v names="$value" -f "$here/wraps.awk" "$tree/$file" >"$tree/marked" || return 1
        mv "$tree/marked" "$tree/$file"
    done < <(directive "$proof" Wraps)
}

# Runs cbmc on proof $1 with tree $2 and more options; its output is the log $3.
run_cbmc() {
    local proof=$1 tree=$2 log=$3
    shift 3
    # shellcheck disable=SC2046  # a list of words
    (ulimit -t $SECONDS_EACH
     exec "$cbmc" -I"$tree/src" -I"$tree/include" -I"$tree/src/arch/x86_64" -I"$tree/guest/agent" \
         -I"$here" "$here/$proof.c" --drop-unused-functions --unwinding-assertions \
         $(directive "$proof" Flags) "$@") >"$log" 2>&1
}

comment() { sed 's/^/# /'; }

prove() {
    local proof=$1 log=$out/$1.log tree=$out/tree.$1 bounds n wanted reached
    bounds=$(directive "$proof" Bounds)
    if [ -z "$bounds" ] || [ -z "$(directive "$proof" Flags)" ]; then
        echo "not ok - $proof: no Bounds or Flags at its head"
        return
    fi
    if ! make_tree "$proof" "$tree"; then
        echo "not ok - $proof: its tree cannot be made: Scale or Wraps does not fit the source"
        return
    fi
    run_cbmc "$proof" "$tree" "$log"
    n=$(sed -n 's/^\*\* 0 of \([0-9]*\) failed.*/\1/p' "$log")
    if ! grep -q '^VERIFICATION SUCCESSFUL' "$log" || [ -z "$n" ]; then
        echo "not ok - $proof: $bounds"
        grep -E ': (FAILURE|ERROR)$|^VERIFICATION' "$log" | comment
        grep -q '^VERIFICATION' "$log" || tail -n 5 "$log" | comment
        return
    fi
    # Only these: cbmc would go on to prove the rest again.
    run_cbmc "$proof" "$tree" "$log.witness" -DWITNESSES --show-properties
    # shellcheck disable=SC2046  # a list of words
    run_cbmc "$proof" "$tree" "$log.witness" -DWITNESSES --no-standard-checks \
        --no-unwinding-assertions $(awk '/^Property / { sub(":$", "", $2); id = $2 }
                                         /^  witness: / { print "--property", id }' "$log.witness")
    wanted=$(grep -c '\] line .* witness: ' "$log.witness")
    reached=$(grep -c '\] line .* witness: .*: FAILURE$' "$log.witness")
    rm -rf "$tree"
    if [ "$wanted" -gt 0 ] && [ "$wanted" = "$reached" ]; then
        echo "ok - $proof: $bounds ($n properties, $wanted witnesses)"
    else
        echo "not ok - $proof: $reached of $wanted witnesses can be reached"
        grep 'witness: .*: SUCCESS$' "$log.witness" | comment
    fi
}

# $1: a line of mutants.txt.
refute() {
    local proof file change when log tree
    IFS='|' read -r when proof file change <<<"$1"
    log=$(mktemp "$out/mutant.$proof.XXXXXX")
    tree=$log.tree
    if ! make_tree "$proof" "$tree" || ! sed -i.before "$change" "$tree/$file" ||
        cmp -s "$tree/$file" "$tree/$file.before"; then
        echo "not ok - mutant of $proof: $file $change: does not change the source"
        rm -rf "$tree"
        return
    fi
    run_cbmc "$proof" "$tree" "$log" --stop-on-fail --verbosity 6
    if grep -q '^VERIFICATION FAILED' "$log"; then
        echo "ok - mutant of $proof refuted: $file $change"
        sed -n '/^Violated property:/,/^$/p' "$log" | sed -n 3p | comment
    else
        echo "not ok - mutant of $proof not refuted: $file $change"
        tail -n 2 "$log" | comment
    fi
    rm -rf "$tree"
}

if [ "${1:-}" = --job ]; then # one check, started below
    shift
    here=$1 source=$2 out=$3 cbmc=$4
    case $5 in
    prove) prove "$6" ;;
    refute) refute "$6" ;;
    esac >"$out/job.$$"
    cat "$out/job.$$" # in one piece
    rm "$out/job.$$"
    exit 0
fi

mutants=
if [ "${1:-}" = --mutants ]; then
    mutants=all
    shift
fi
[ $# -ge 2 ] || usage
mkdir -p "$2" || exit 2
source=$(realpath "$1") out=$(realpath "$2")
shift 2
here=$source/tests/proofs

proofs=$*
if [ -z "$proofs" ]; then
    proofs=$FIRST
    for file in "$here"/*.c; do
        name=$(basename "$file" .c)
        case " $FIRST " in *" $name "*) ;; *) proofs="$proofs $name" ;; esac
    done
fi

if ! cbmc=$("$here/prep.sh" 2>"$out/prep.log"); then
    echo "1..0 # SKIP $(tail -n 1 "$out/prep.log")"
    exit 0
fi

# What to do, one a line.
list() {
    local proof when rest
    [ -n "$mutants" ] || for proof in $proofs; do echo "prove	$proof"; done
    while IFS='|' read -r when proof rest; do
        case " $proofs " in *" $proof "*) ;; *) continue ;; esac
        if [ "$mutants" = all ] || [ "$when" = always ]; then
            echo "refute	$when|$proof|$rest"
        fi
    done < <(grep -v '^#' "$here/mutants.txt")
}

rm -f "$out"/mutant.*
n=0 failed=0
while IFS= read -r line; do
    case $line in
    'ok - '*) n=$((n + 1)); echo "ok $n - ${line#ok - }" ;;
    'not ok - '*) n=$((n + 1)); failed=1; echo "not ok $n - ${line#not ok - }" ;;
    *) echo "$line" ;;
    esac
done < <(list | tr '\t\n' '\0\0' |
    xargs -0 -n 2 -P $JOBS nice "$0" --job "$here" "$source" "$out" "$cbmc")
echo "1..$n"
exit $failed
