#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The manual pages: well-formed, and every example in them does what it says. The pages are in the
# folder MAN (that of the tool), and so is the library.
. "$(dirname "$0")/lib.sh"
MAN=${MAN:-$(dirname "$LUMINA")}
LIB=${LIB:-$(dirname "$LUMINA")}
INCLUDE=${INCLUDE:-$(cd "$OLDPWD" && cd "$(dirname "$0")/../../include" && pwd)}
CC=${CC:-cc}
for page in "$MAN/lumina.1" "$MAN/lumina.3"; do
    if [ ! -f "$page" ]; then
        echo "1..0 # SKIP $page has not been built"
        exit 77
    fi
    if command -v mandoc >/dev/null; then
        # Whether the other page is installed is not the page's fault.
        is "$(basename "$page"): lint" \
            "$(mandoc -T lint "$page" | grep -v 'referenced manual not found')" ""
    else
        skip "$(basename "$page"): lint" "no mandoc here"
    fi
done
needs_vm

# examples: "STATUS [terminal]<tab>COMMAND" for each example of lumina.1.
examples() {
    awk '/^\.\\" example / { split($3, s, "="); how = s[2] " " $4; getline; getline; print how "\t" $0 }' \
        "$MAN/lumina.1" | sed 's/\\-/-/g; s/\\e/\\/g'
}

mkdir bin
ln -s "$LUMINA" bin/lumina
PATH=$SCRATCH/bin:$PATH
export PATH
# What the examples speak of.
echo 'uname -s >/root/out' >job.sh

examples >list
check "there are examples" [ "$(wc -l <list)" -gt 5 ]
tab=$(printf '\t')
while IFS=$tab read -r how command; do
    status=${how%% *}
    case $how in
    *terminal*)
        if ! command -v script >/dev/null; then
            skip "$command" "no script(1) here"
            continue
        fi
        # Ends the shell by typing, as a person would.
        echo exit | timeout -s KILL "$LIMIT" script -qec "$command" /dev/null >stdout.txt 2>&1
        ;;
    *) timeout -s KILL "$LIMIT" sh -c "$command" </dev/null >stdout.txt 2>stderr.txt ;;
    esac
    is "$command" "$?" "$status"
done <list
is "the result that was taken out" "$(cat out 2>&1)" "Linux"

awk '/^\.\\" example-program/ { getline; on = 1; next } /^\.Ed/ { on = 0 } on' "$MAN/lumina.3" |
    sed 's/\\-/-/g; s/\\e/\\/g' >hello.c
check "lumina.3: the program compiles" "$CC" -std=c11 -Wall -Wextra -Werror -I "$INCLUDE" hello.c \
    -o hello -L "$LIB" -llumina "-Wl,-rpath,$LIB"
out=$(timeout -s KILL "$LIMIT" ./hello </dev/null)
is "lumina.3: the program runs" "$?:$(echo "$out" | head -n 1)" "0:HELLO FROM THE HOST"
end
