#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# run.sh SOURCE OUT [SECONDS]: builds every fuzz target with clang's libFuzzer, ASan and UBSan, runs each for some seconds (5) from its
# corpus in tests/fuzz/corpus/<target>, and prints TAP. A finding is left in OUT.
set -u
source=$1 out=$2 seconds=${3:-5}
n=0 failed=0

command -v clang >/dev/null || { echo "1..0 # SKIP clang is not installed (apt-get install clang libclang-rt-14-dev)"; exit 0; }
mkdir -p "$out"
cd "$source" || exit 1

base="src/base/*.c src/plat/posix/fd.c src/plat/posix/file.c src/plat/posix/file_io.c src/plat/posix/thread.c src/plat/linux/mem.c"
dev="src/dev/*.c src/hv/*.c src/arch/x86_64/*.c tests/unit/fake_driver.c tests/fuzz/step_loop.c"
sources() {
    case $1 in
    boot) echo "$base src/boot/*.c src/plat/linux/loop.c" ;;
    vq|mmio|vsock) echo "$base $dev" ;;
    worker) echo "$base src/worker/agent.c src/worker/ops.c src/worker/ctl.c src/machine/spec.c tests/fuzz/step_loop.c" ;;
    tree) echo "src/plat/posix/tree.c src/plat/posix/untree.c" ;;
    agent) echo "$(ls guest/agent/*.c | grep -Ev "/(init|boot|machine|spawn|session|vsock)\.c$") -Wl,--wrap=waitpid,--wrap=kill" ;;
    esac
}

for file in tests/fuzz/fuzz_*.c; do
    name=$(basename "$file" .c); name=${name#fuzz_}
    n=$((n + 1))
    mkdir -p "$out/corpus-$name"
    seed=tests/fuzz/corpus/$name
    # shellcheck disable=SC2046,SC2086
    if ! clang -std=c11 -D_GNU_SOURCE -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined \
            -Iinclude -Isrc -Isrc/arch/x86_64 -Iguest/agent -Isrc/plat/posix -Itests -Itests/unit -Itests/fuzz \
            "$file" $(sources "$name") -lpthread -o "$out/fuzz_$name" >"$out/$name.log" 2>&1; then
        echo "not ok $n - $name: does not build"; sed 's/^/# /' "$out/$name.log" | tail -20; failed=1
    elif "$out/fuzz_$name" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -artifact_prefix="$out/$name-" \
            "$out/corpus-$name" $([ -d "$seed" ] && echo "$seed") >"$out/$name.log" 2>&1; then
        echo "ok $n - $name: $(grep -o 'Done [0-9]* runs' "$out/$name.log" | tail -1)"
    else
        echo "not ok $n - $name"; tail -30 "$out/$name.log" | sed 's/^/# /'; failed=1
    fi
done
echo "1..$n"
exit $failed
