#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The way of the guest kernel to init, and of the guest until its agent is ready, in instructions with 128 MiB. Counted,
# so load does not matter to the first and hardly to the second.
set -u
: "${MAX_INIT:=30000000}" "${MAX_READY:=32000000}"

run() {
    "$LUMINA_TEST_SOURCE/tests/bench-env/icount/icount.sh" --kernel "$LUMINA_TEST_KERNEL" \
        --initrd "$LUMINA_TEST_AGENT" --memory 128 "$@" 2>&1
}

failed=0
if out=$(run --max "$MAX_INIT"); then
    echo "ok 1 - $(echo "$out" | tail -1)"
else
    failed=1
    echo "not ok 1 - kernel entry to init: $(echo "$out" | tail -1)"
fi
out=$(run --ready "$LUMINA_TEST_BUILD/bench/facts")
ready=$(echo "$out" | sed -n 's/.*to agent ready: //p')
if [ -n "$ready" ] && [ "$ready" -le "$MAX_READY" ]; then
    echo "ok 2 - kernel entry to agent ready: $ready instructions"
else
    failed=1
    echo "not ok 2 - kernel entry to agent ready, at most $MAX_READY: $(echo "$out" | tail -1)"
fi
echo "1..2"
exit $failed
