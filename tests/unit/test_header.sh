#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# test_header.sh SOURCE BUILD: lumina.h compiles as C99, C11 and C++, and the library exports what the header declares, no more.
set -u
source=$1 build=$2
n=0 failed=0

check() {
    name=$1; shift
    n=$((n + 1))
    if "$@" >/tmp/header.$$ 2>&1; then
        echo "ok $n - $name"
    else
        echo "not ok $n - $name"; failed=1
        sed 's/^/# /' /tmp/header.$$
    fi
    rm -f /tmp/header.$$
}

flags="-I$source/include -Wall -Wextra -Werror -pedantic -fsyntax-only"
# shellcheck disable=SC2086
{
    check "C99" cc -std=c99 $flags -x c "$source/include/lumina.h"
    check "C11" cc -std=c11 $flags -x c "$source/include/lumina.h"
    check "C++11" c++ -std=c++11 $flags -x c++ "$source/include/lumina.h"
}

same_symbols() {
    declared=$(sed -n 's/^LUM_API.*[ *]\(lum_[a-z_]*\)(.*/\1/p' "$source/include/lumina.h" | sort)
    exported=$(nm -D --defined-only "$build/liblumina.so" | sed -n 's/.* T \([a-z_]*\).*/\1/p' | sort)
    echo "declared: $declared"
    echo "exported: $exported"
    [ -n "$declared" ] && [ "$declared" = "$exported" ]
}
check "exported symbols are the declared ones" same_symbols
check "the version script gives them a node" sh -c "nm -D '$build/liblumina.so' | grep -q 'lum_vm_create@@LUMINA_0.1'"

echo "1..$n"
exit $failed
