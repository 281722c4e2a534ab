#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# lumina run: streams, exit statuses, environment, files, JSON.
# shellcheck disable=SC2016 # dollars are for the guest
. "$(dirname "$0")/lib.sh"
needs_vm

# ---- streams and exit status ----

lum run -q -- sh -c 'echo out; echo err >&2; exit 7' </dev/null
is "stdout, stderr and status are the command's" "$out/$err/$rc" "out/err/7"
echo hi >input
lum run -q -- tr a-z A-Z <input
is "stdin is the command's" "$out:$rc" "HI:0"
echo 'echo from stdin; exit 3' >input
lum run -q <input
is "without a command sh reads stdin" "$out:$rc" "from stdin:3"
head -c 3000000 /dev/urandom >big
lum run -q -- cat <big
check "three megabytes pass unchanged" cmp big stdout.txt
lum run -q -- head -c 5 <big
is "a command that reads little of its stdin" "$rc:$(head -c 5 big | cmp - stdout.txt)" "0:"
lum run -q -- sh -c 'exec <&-; echo closed' <big
is "a command that closes its stdin" "$out:$rc" "closed:0"
lum run -q -- cat <&-
is "no stdin at all" "$out:$rc" ":0"
lum run -q -- echo a -- --tty b </dev/null
is "options end at the command" "$out" "a -- --tty b"
lum run -q echo '' 'two words' "it's" </dev/null
is "arguments arrive as they are" "$out" " two words it's"

lum run -q -- sh -c 'kill -TERM $$' </dev/null
is "killed by a signal" "$rc:$err" "143:"
lum run -q -- nosuch </dev/null
is "a command that is not there" "$rc:$err" "127:lumina: nosuch: not found in the guest"
lum run -q -- /etc/passwd </dev/null
is "a file that is no command: status" "$rc" 126
has "a file that is no command: message" "$err" "lumina: /etc/passwd: cannot be executed in the guest"

lum run -q --timeout 0.5 -- sleep 100 </dev/null
is "a command that runs out of time" "$rc:$err" "124:"
lum run -q --timeout 100 -- sh -c 'exit 4' </dev/null
is "a command that has time" "$rc" 4

{
    timeout -s KILL "$LIMIT" "$LUMINA" run -q -- yes </dev/null 2>stderr.txt
    echo $? >status
} | head -n 1 >stdout.txt
is "a reader that goes away" "$(cat stdout.txt):$(cat status):$(cat stderr.txt)" "y:141:"
timeout -s KILL "$LIMIT" "$LUMINA" run -q -- yes </dev/null >/dev/full 2>stderr.txt
is "a full disk" "$?:$(cat stderr.txt)" "125:lumina: write to stdout: No space left on device"
lum run -q -- sh -c '(sleep 1000; echo late) & echo first' </dev/null
is "a process that is left behind does not delay the end" "$out:$rc" "first:0"

# ---- what the command finds ----

lum run -q -e A=1 -e 'B=two words' --env C= -- sh -c 'echo "$A/$B/${C-unset}"' </dev/null
is "variables" "$out" "1/two words/"
COPIED=yes lum run -q -e COPIED -e NOT_SET_HERE -- \
    sh -c 'echo "$COPIED/${NOT_SET_HERE-unset}"' </dev/null
is "variables of our own" "$out" "yes/unset"
HIDDEN=x lum run -q -- sh -c 'echo "${HIDDEN-unset}"' </dev/null
is "no variable goes along unasked" "$out" "unset"
lum run -q -w /tmp -- pwd </dev/null
is "working directory" "$out" "/tmp"
lum run -q -w /nosuch -- pwd </dev/null
is "working directory that is not there: status" "$rc" 125
has "working directory that is not there: message" "$err" "/nosuch"
lum run -q -u 1234:5678 -- sh -c 'id -u; id -g' </dev/null
is "user by number" "$out" "1234
5678"
lum run -q -u user -- sh -c 'id -un; echo $HOME' </dev/null
is "user by name" "$out" "user
$(echo "$out" | sed -n 2p | grep '^/.')"
lum run -q -u nosuchuser -- id </dev/null
is "user who is not there" "$rc" 125
has "user who is not there: message" "$err" "nosuchuser"
lum run -q --hostname box -- hostname </dev/null
is "host name" "$out" "box"
lum run -q --cpus 2 -- nproc </dev/null
is "two CPUs" "$out" "2"
lum run -q --memory 100 -- sh -c 'grep MemTotal /proc/meminfo' </dev/null
total=$(echo "$out" | awk '{ print $2 }')
check "a bare number is MiB of memory" [ "${total:-0}" -gt 60000 ]
check "and no more than that" [ "${total:-0}" -lt 102401 ]
lum run -q -- sh -c 'echo x >/root/new && cat /root/new' </dev/null
is "the root can be written" "$out:$rc" "x:0"
lum run -q --read-only -- sh -c 'echo x >/new || echo refused; echo y >/tmp/new && cat /tmp/new' \
    </dev/null
is "read-only but for /tmp" "$out" "refused
y"
lum run -q --scratch 4M -- sh -c 'dd if=/dev/zero of=/big bs=1M count=16 2>/dev/null || echo full' \
    </dev/null
is "the writable layer is limited" "$out" "full"
lum run -q --kernel-args 'marker.of=test' -- cat /proc/cmdline </dev/null
has "kernel arguments" "$out" "marker.of=test"

# ---- files ----

mkdir -p 'in:side/deep'
echo data >'in:side/deep/file'
ln -s file 'in:side/deep/link'
chmod 750 'in:side/deep'
chmod 604 'in:side/deep/file'
lum run -q --put in:side:/root/ --get /root/in:back -- \
    sh -c 'mv /root/in:side /root/in; echo more >>/root/in/deep/file' </dev/null
is "a folder in and out" "$rc:$err" "0:"
is "what came back" "$(cat back/deep/file 2>&1)" "data
more"
is "modes" "$(stat -c %a back/deep back/deep/file | tr '\n' ' ')" "750 604 "
is "links" "$(readlink back/deep/link)" "file"
lum run -q --put input:/a --put big:/b --get /a:a --get /b:b -- sh -c 'exit 9' </dev/null
is "several files, and --get when the command failed" "$rc" 9
check "the small one is the same" cmp input a
check "the large one is the same" cmp big b
lum run -q --get /nosuch:x -- true </dev/null
is "a file that is not there to get" "$rc:$(wc -l <stderr.txt | tr -d ' ')" "125:1"
has "a file that is not there to get: message" "$err" "/nosuch"
lum run -q --get /nosuch:x -- sh -c 'exit 5' </dev/null
is "the command's failure comes first" "$rc" 5
lum run -q --timeout 1 --get /partial:partial -- sh -c 'echo part >/partial; sleep 100' </dev/null
is "--get after time ran out" "$rc:$(cat partial)" "124:part"

# ---- told to programs ----

json() {
    python3 -c 'import json, sys
d = json.load(open("stdout.txt"))
print(eval(sys.argv[1]))' "$1"
}
if command -v python3 >/dev/null; then
    lum run --json -- sh -c 'printf "a\"b\\\\\n\tz\377\303\251"; echo e >&2; exit 6' </dev/null
    is "JSON: status" "$rc:$(json 'd["exit_code"], d["signal"], d["timed_out"]')" "6:(6, 0, False)"
    is "JSON: output of any bytes" "$(json 'ascii(d["stdout"]), d["stderr"]')" \
        "('\\'a\"b\\\\\\\\\\\\n\\\\tz\\\\ufffd\\\\xe9\\'', 'e\\n')"
    is "JSON: memory" "$(json 'd["memory_bytes"] == 268435456 and d["process_rss_bytes"] > 0')" "True"
    is "JSON: stages in order" "$(json 'len(d["timings"]) > 3 and \
        [t["at_ns"] for t in d["timings"]] == sorted(t["at_ns"] for t in d["timings"])')" "True"
    lum run --json -- sh -c 'kill -KILL $$' </dev/null
    is "JSON: signal" "$rc:$(json 'd["exit_code"], d["signal"]')" "137:(137, 9)"
    lum run --json -- sh -c 'head -c 17000000 /dev/zero | tr "\0" x; echo end >&2' </dev/null
    is "JSON: more than is kept" \
        "$(json 'len(d["stdout"]), d["stdout_truncated"], d["stderr"], d["stderr_truncated"]')" \
        "(16777216, True, 'end\\n', False)"
    lum run --json -- nosuch </dev/null
    is "JSON: error" "$rc:$(json 'd["exit_code"], d["error"]["text"]')" \
        "127:(127, 'nosuch: not found in the guest')"
else
    skip "JSON of a run" "no python3 here"
fi
lum run -q --timing -- true </dev/null
has "timing: header" "$err" "STAGE"
has "timing: a stage" "$err" "agent ready"
has "timing: memory" "$err" "256 MiB configured"
lum run -v -- sh -c 'echo spoken >/dev/console; sleep 1' </dev/null
has "verbose: console of the guest" "$err" "guest: spoken"
lum run -q -- true </dev/null
is "quiet" "$err" ""
end
