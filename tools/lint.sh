#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# lint.sh BUILD [JOBS]: what can be said about the sources without running them, as TAP: for each C file of src, cli, guest and
# bench clang-tidy and gcc (all warnings as errors, and its analyzer), then cppcheck, banned calls, shell and Python scripts. Each
# tool first shows on a bad example that it finds something.
set -u
[ $# -ge 1 ] || { echo "usage: lint.sh BUILD [JOBS]" >&2; exit 2; }
build=$(cd "$1" && pwd) || exit 2
jobs=${2:-2}
cd "$(dirname "$0")/.." || exit 2
root=$PWD
out=$(mktemp -d) || exit 2
trap 'rm -rf "$out"' EXIT
export build root out
n=0 failed=0

# result NAME STATUS LOG
result() {
    n=$((n + 1))
    if [ "$2" -eq 0 ]; then
        echo "ok $n - $1"
    else
        echo "not ok $n - $1"
        failed=1
        sed "s|$root/||g; s/^/# /" "$3" | head -100
    fi
}

# check NAME COMMAND...
check() {
    local name=$1
    shift
    "$@" >"$out/log" 2>&1
    result "$name" $? "$out/log"
}

# finds NAME TOOL COMMAND...: the bad example fails, and not for want of something else: the output says TOOL's word for it.
finds() {
    local name=$1 word=$2
    shift 2
    if ! "$@" >"$out/log" 2>&1 && grep -q -e "$word" "$out/log"; then
        result "$name" 0
    else
        result "$name" 1 "$out/log"
    fi
}

# have TOOL...: or says so
have() {
    local tool
    for tool; do
        command -v "$tool" >/dev/null && continue
        n=$((n + 1))
        echo "ok $n - $tool # SKIP not installed (tools/deps.sh check)"
        return 1
    done
}

# ---- C, file by file ----

# Warnings depend on how far the optimizer looks: the build's own level. The analyzer follows the source best without any of it.
# No class of its warnings is left out.
gcc_warnings() {
    (cd "$build" && gcc -Werror -o /dev/null "@$1")
}
gcc_analyzer() {
    (cd "$build" && gcc -Werror -Wno-null-dereference -o /dev/null "@$1" -U_FORTIFY_SOURCE -O0 -fanalyzer)
}

# one_file PATH: leaves a log of each tool, empty when there is nothing to say.
one_file() {
    local base=$out/${1//\//-}

    if command -v clang-tidy >/dev/null; then
        clang-tidy -p "$out" --quiet "$root/$1" >"$base.tidy" 2>"$base.count" || cat "$base.count" >>"$base.tidy"
    fi
    { gcc_warnings "$base.args" && gcc_analyzer "$base.args"; } >"$base.gcc" 2>&1 || echo "gcc failed" >>"$base.gcc"
}
export -f one_file gcc_warnings gcc_analyzer

python3 tools/lint_db.py "$build" "$out" || exit 2
xargs -P "$jobs" -I '{}' bash -c 'one_file "$1"' one_file '{}' <"$out/sources"

cat >"$out/bad.c" <<'END'
#include <stdlib.h>
int leak(int n, int m);
int leak(int n, int m)
{
    char *p = malloc(1);
    if (n && p)
        return 1;
    free(p);
    return n == m ? 2 : 2;
}
END
cat >"$out/vla.c" <<'END'
int vla(unsigned n);
int vla(unsigned n)
{
    char a[n + 1];
    a[n] = (char)n;
    return a[n];
}
END

while read -r file; do
    base=$out/${file//\//-}
    [ ! -s "$base.gcc" ]
    result "gcc $file" $? "$base.gcc"
done <"$out/sources"
for name in bad vla; do
    sed "s|[^ ]*\$|$out/$name.c|" "$out/src-base-buf.c.args" >"$out/$name.args"
done
finds "gcc finds a leak" analyzer-malloc-leak gcc_analyzer "$out/bad.args"
finds "gcc finds a variable length array" Werror=vla gcc_warnings "$out/vla.args"

if have clang-tidy; then
    while read -r file; do
        base=$out/${file//\//-}
        [ ! -s "$base.tidy" ]
        result "clang-tidy $file" $? "$base.tidy"
    done <"$out/sources"
    finds "clang-tidy finds a leak" clang-analyzer-unix.Malloc \
        clang-tidy --quiet --config-file="$root/.clang-tidy" "$out/bad.c" -- -std=c11
    finds "clang-tidy finds equal branches" bugprone-branch-clone \
        clang-tidy --quiet --config-file="$root/.clang-tidy" "$out/bad.c" -- -std=c11
fi

# ---- all at once ----

# --library=posix would add wrong ones: descriptors handed over are leaks to it.
# Left out: NULL as the last of variable arguments, which is a pointer in every C library that we build with.
cppcheck_all() {
    cppcheck -j "$jobs" --suppress=varFuncNullUB --quiet --error-exitcode=1 --enable=warning,portability,performance --std=c11 --language=c \
        --platform=unix64 -D_GNU_SOURCE -DLUMINA_LIBEXEC_DIR='""' -Iinclude -Isrc -Isrc/arch/x86_64 -Isrc/plat/posix \
        -Iguest/agent -Icli "$@"
}
if have cppcheck; then
    check "cppcheck" cppcheck_all src cli guest bench include
    finds "cppcheck finds a leak" memleak cppcheck_all "$out/bad.c"
fi

check "banned calls" python3 tools/banned.py
check "banned calls: each is found" python3 tools/banned.py --self-test

# ---- scripts ----

scripts() {
    find .ci bench cli guest src tests tools -type f | LC_ALL=C sort | while read -r file; do
        case $file in
        *.sh) echo "$file" ;;
        *) head -n 1 "$file" | LC_ALL=C grep -aqE '^#!.*[ /](ba)?sh$' && echo "$file" ;;
        esac
    done
}
python_scripts() {
    find bench tests tools -type f ! -path '*/__pycache__/*' | LC_ALL=C sort | while read -r file; do
        case $file in
        *.py) echo "$file" ;;
        *) head -n 1 "$file" | LC_ALL=C grep -aqE '^#!.*python3$' && echo "$file" ;;
        esac
    done
}
if have shellcheck; then
    mapfile -t list < <(scripts)
    check "shellcheck, ${#list[@]} scripts" shellcheck -x -P SCRIPTDIR -S warning "${list[@]}"
    # shellcheck disable=SC2016
    printf '#!/bin/sh\nrm -r $1/*\n' >"$out/bad.sh"
    finds "shellcheck finds an open word" SC2086 shellcheck "$out/bad.sh"
fi
mapfile -t list < <(python_scripts)
export PYTHONPYCACHEPREFIX=$out/pyc
check "python3, ${#list[@]} scripts" python3 -m py_compile "${list[@]}"
echo 'if x' >"$out/bad.py"
finds "python3 finds an unfinished line" SyntaxError python3 -m py_compile "$out/bad.py"

echo "1..$n"
exit $failed
