#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# run.sh SOURCE OUT [SECONDS]: builds every fuzz target with clang's libFuzzer, ASan and UBSan, runs each for some seconds (2), two at
# a time, and prints TAP: executions, edges covered of those there are, and findings. It starts from the seeds that seeds.py makes, the inputs in
# tests/fuzz/corpus/<target> (each once was a finding) and what earlier runs left in OUT; findings and logs stay in OUT.
# With COVERAGE=1 in the environment a report of the lines that were reached follows (needs llvm-14).
# shellcheck disable=SC2046,SC2086,SC2089,SC2090,SC2183  # the flags are a list of words, and quotes in them the compiler's
set -u
source=$1 seconds=${3:-2}
mkdir -p "$2/obj" && out=$(cd "$2" && pwd) || exit 1
cd "$source" || exit 1

command -v clang >/dev/null || { echo "1..0 # SKIP clang is not installed (apt-get install clang libclang-rt-14-dev)"; exit 0; }
flags="-std=c11 -D_GNU_SOURCE -DLUMINA_LIBEXEC_DIR=\"/nonexistent\" -g -O1 -fno-sanitize-recover=undefined
    -Iinclude -Isrc -Isrc/arch/x86_64 -Iguest/agent -Isrc/plat/posix -Icli -Itests -Itests/unit -Itests/fuzz"

if [ "${COVERAGE:-}" ]; then
    flags="$flags -fprofile-instr-generate -fcoverage-mapping"
    export LLVM_PROFILE_FILE="$out/%p.profraw"
    rm -f "$out"/*.profraw
fi

# Everything is compiled once; archives give each target what it refers to and does not play itself. step_loop.c comes before the product's own loop.
compile() {
    clang $flags -fsanitize=fuzzer-no-link,address,undefined -c "$1" -o "$out/obj/$(echo "${1%.*}" | tr / _).o"
}
export -f compile
export flags out
rm -f "$out"/obj/* "$out"/*.a "$out"/build.log
archive() {
    local name=$1
    shift
    printf '%s\n' "$@" | xargs -P2 -I{} bash -c 'compile {}' >>"$out/build.log" 2>&1 &&
        (cd "$out/obj" && ar rcs "../$name.a" $(printf '%s\n' "$@" | sed 's/\.[cS]$/.o/' | tr / _))
}
# shellcheck disable=SC2046
archive help tests/unit/fake_driver.c tests/fuzz/step_loop.c tests/fuzz/scratch.c &&
    archive product $(find src cli -name '*.[cS]' | sort) &&
    archive agent $(find guest/agent -name '*.c' ! -name init.c | sort) ||
    { echo "not ok 1 - the sources do not build"; sed 's/^/# /' "$out/build.log" | tail -20; echo 1..1; exit 1; }

libraries() {
    case $1 in
    agent) echo "$out/agent.a $out/product.a -Wl,--wrap=waitpid,--wrap=kill" ;;
    core) echo "$out/help.a $out/product.a -Wl,--wrap=plat_send_fds,--wrap=plat_self_dir" ;;
    *) echo "$out/help.a $out/product.a" ;;
    esac
}

# One line of TAP without its number, and exit 1 after a finding.
run() {
    local name=$1 seed=tests/fuzz/corpus/$1 dict=tests/fuzz/$1.dict log=$out/$1.log
    mkdir -p "$out/corpus-$name" "$out/seeds-$name"
    # shellcheck disable=SC2046,SC2086
    if ! clang $flags -fsanitize=fuzzer,address,undefined "tests/fuzz/fuzz_$name.c" $(libraries "$name") -lpthread -ljansson \
            -o "$out/fuzz_$name" >"$log" 2>&1; then
        echo "not ok - $name: does not build"
        tail -20 "$log" | sed 's/^/# /'
        return 1
    fi
    # shellcheck disable=SC2046
    "$out/fuzz_$name" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -max_len=32768 -artifact_prefix="$out/$name-" \
        -print_final_stats=1 $([ -f "$dict" ] && echo "-dict=$dict") \
        "$out/corpus-$name" "$out/seeds-$name" $([ -d "$seed" ] && echo "$seed") >"$log" 2>&1
    local rc=$?
    local runs edges found
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log" | tail -1)
    edges=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -1)
    found=$(find "$out" -maxdepth 1 -name "$name-*" -newer "$out/fuzz_$name" | wc -l)
    if [ $rc != 0 ]; then
        echo "not ok - $name: ${runs:-?} executions, ${edges:-?} edges, $found findings"
        { grep -m1 'ERROR:\|runtime error:' "$log"; grep -m12 '^ *#[0-9]' "$log"; tail -8 "$log"; } | sed 's/^/# /'
        return 1
    fi
    echo "ok - $name: $runs executions, $edges edges, 0 findings"
}
# The next line of the report, as soon as there is one.
report() {
    local line n
    line=$(run "$1")
    exec 9>>"$out/count"
    flock 9
    echo >&9
    n=$(wc -l <"$out/count")
    echo "$line" | sed "s/^\(not \)\?ok /&$n /"
    case $line in not*) return 1 ;; esac
}
export -f run report libraries
export seconds

python3 tests/fuzz/seeds.py "$out" || exit 1
names=$(for file in tests/fuzz/fuzz_*.c; do basename "$file" .c | sed 's/^fuzz_//'; done)
rm -f "$out/count"
echo "$names" | xargs -P2 -I{} bash -c 'report {}'
rc=$?
echo "1..$(echo "$names" | wc -l)"
if [ "${COVERAGE:-}" ]; then
    llvm-profdata-14 merge -o "$out/profile" "$out"/*.profraw
    # shellcheck disable=SC2046
    llvm-cov-14 report --instr-profile="$out/profile" $(printf -- '--object %s/fuzz_%s ' $(for name in $names; do echo "$out" "$name"; done)) |
        awk '/^(src|guest|cli|TOTAL)/ && $(NF - 5) > 0 { print "# " $1 ": " $(NF - 3) " of " $(NF - 5) " lines" }'
fi
exit $((rc != 0))
