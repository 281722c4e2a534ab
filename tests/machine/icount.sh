#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The way of the guest kernel to init, in instructions: at most 40 million with 128 MiB. Counted, so load does not matter.
set -u
out=$("$LUMINA_TEST_SOURCE/tests/bench-env/icount/icount.sh" --kernel "$LUMINA_TEST_KERNEL" --initrd "$LUMINA_TEST_AGENT" \
    --memory 128 --max 40000000 2>&1)
rc=$?
echo "$out" | sed 's/^/# /'
if [ $rc = 0 ]; then echo "ok 1 - $(echo "$out" | tail -1)"; else echo "not ok 1 - kernel entry to init"; fi
echo "1..1"
exit $rc
