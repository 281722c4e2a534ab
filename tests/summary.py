#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""summary.py BUILD...: counts the single checks in Meson's test logs, prints why each skipped one was
skipped, and a closing line. A test program that failed without a failed check counts as one."""
import json
import os
import re
import sys

passed = failed = skipped = 0
reasons = {}

for build in sys.argv[1:]:
    with open(os.path.join(build, "meson-logs", "testlog.json"), encoding="utf-8") as log:
        tests = [json.loads(line) for line in log]
    for test in tests:
        name = test["name"].split(" / ")[-1]
        own_failed = own_count = 0
        for line in (test.get("stdout") or "").splitlines():
            line = line.strip()
            plan = re.match(r"1\.\.0\s*#\s*SKIP\s*(.*)", line, re.I)
            check = re.match(r"(not )?ok\b[^#]*(?:#\s*(SKIP)\S*\s*(.*))?", line, re.I)
            if plan:
                skipped += 1
                own_count += 1
                reasons.setdefault(plan.group(1), []).append(name)
            elif check and check.group(2):
                skipped += 1
                own_count += 1
                reasons.setdefault(check.group(3), []).append(name)
            elif check:
                own_count += 1
                if check.group(1):
                    own_failed += 1
                    print(f"failed: {name}: {line}")
                else:
                    passed += 1
        bad = test["result"] not in ("OK", "SKIP", "EXPECTEDFAIL")
        if bad and own_failed == 0:
            own_failed = 1
            print(f"failed: {name}: {test['result']}")
        failed += own_failed
        if own_count == 0 and not bad:
            passed += 1

for reason, names in sorted(reasons.items()):
    print(f"skipped: {len(names)} in {', '.join(sorted(set(names)))}: {reason}")
print(f"{passed} passed, {failed} failed, {skipped} skipped")
sys.exit(failed != 0)
