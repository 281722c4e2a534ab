#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# lumina doctor on this host as it is, for a plain user, without /dev/kvm, and where no VM can run.
. "$(dirname "$0")/lib.sh"

# It reads the JSON here.
if ! command -v python3 >/dev/null; then
    echo "1..0 # SKIP no python3 here"
    exit 77
fi

# name<tab>state of each finding of the JSON in stdin, sorted.
json_states() {
    python3 -c '
import json, sys
for f in json.load(sys.stdin)["findings"][1:]:
    print(f["name"] + "\t" + f["state"])' | sort
}

# The same of the text: two columns, two blanks apart; the sum and the remedies are no rows.
text_states() {
    awk '/^$/ { exit } /^[a-z]/ { state = $1; sub(/^[a-z]+ +/, ""); sub(/  .*/, ""); print $0 "\t" state }' | sort
}

# valid FILE: what holds for every answer.
valid() {
    python3 - "$1" <<'PY'
import json, sys
d = json.load(open(sys.argv[1]))
order = ["bad", "slow", "note", "good"]
run, rest = d["findings"][0], d["findings"][1:]
names = [f["name"] for f in d["findings"]]
wrong = [f for f in d["findings"] if not f["found"] or f["state"] not in order
         or (f["state"] in ("bad", "slow") and not f["remedy"])]
assert not wrong, wrong
assert run["name"] == "run" and run["found"] == d["run"]
assert d["can_run"] == (run["state"] != "bad")
assert len(set(names)) == len(names), names
ranks = [order.index(f["state"]) for f in rest]
assert ranks == sorted(ranks), ranks
for name in ("kvm", "backend", "user namespaces", "seccomp", "landlock", "cgroups", "host kernel", "memory",
             "huge pages", "cpus", "descriptors", "processes", "qemu", "lumina-vmm", "guest kernel", "agent",
             "root image"):
    assert name in names, name
PY
}

# finding FILE NAME: "state: found; remedy" of one finding.
finding() {
    python3 -c '
import json, sys
for f in json.load(open(sys.argv[1]))["findings"]:
    if f["name"] == sys.argv[2]:
        print(f["state"] + ": " + f["found"] + "; " + f["remedy"])' "$1" "$2"
}

# ---- this host ----

before=$(find /sys/fs/cgroup -type d 2>/dev/null | sort; cat /proc/self/mountinfo)
lum doctor
text_rc=$rc
cp stdout.txt text.txt
is "text: nothing on stderr" "$err" ""
check "text: no colour where there is no terminal" sh -c "! grep -q '$(printf '\033')' text.txt"
lum doctor --json
cp stdout.txt doctor.json
is "text and JSON: the same exit status" "$rc" "$text_rc"
is "text and JSON: the same findings" "$(text_states <text.txt)" "$(json_states <doctor.json)"
check "every finding is whole" valid doctor.json
is "nothing on the host has changed" "$(find /sys/fs/cgroup -type d 2>/dev/null | sort; cat /proc/self/mountinfo)" \
    "$before"
note "$(tail -n 1 text.txt)"

lum backends --json
chosen=$(python3 -c 'import json
print("".join(b["name"] for b in json.load(open("stdout.txt")) if b["auto"]))')
if [ -n "$chosen" ]; then
    is "exit status where a VM can run" "$text_rc" 0
    has "the backend is that of auto" "$(finding doctor.json backend)" "auto chooses $chosen:"
    has "the sum names it" "$(finding doctor.json run)" ": runs on $chosen "
else
    is "exit status where no VM can run" "$text_rc" 1
    has "the sum says so" "$(finding doctor.json run)" "bad: cannot run: "
    skip "the backend is that of auto" "no backend can run a VM here"
fi
is "digest of the kernel" "$(finding doctor.json "guest kernel" | sed 's/.*sha256 \([0-9a-f]*\),.*/\1/')" \
    "$(sha256sum "$(dirname "$LUMINA")/vmlinux" | cut -c 1-16)"

# ---- a terminal ----

if command -v script >/dev/null; then
    timeout -s KILL "$LIMIT" script -qec "stty rows 24 cols 80; '$LUMINA' doctor" /dev/null </dev/null 2>&1 |
        tr -d '\r' >terminal.txt
    check "a terminal: colour" grep -q "$(printf '\033\\[3')" terminal.txt
    sed "s/$(printf '\033')\\[[0-9;]*m//g" terminal.txt >plain.txt
    # A word that is longer than a line, such as a path, is never cut.
    is "a terminal: lines of 80 columns" "$(awk 'length > 80 && NF > 1' plain.txt)" ""
    is "a terminal: the same names" "$(awk '/^$/ { exit } /^[a-z]/ { sub(/^[a-z]+ +/, ""); sub(/  .*/, ""); print }' \
        plain.txt | sort)" "$(cut -f 1 <<EOF_STATES
$(text_states <text.txt)
EOF_STATES
)"
else
    skip "a terminal" "no script(1) here"
fi

# ---- a plain user ----

as_nobody() {
    setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all --bounding-set=-all "$@"
}

if [ "$(id -u)" -eq 0 ] && as_nobody test -x "$LUMINA"; then
    chmod 755 "$SCRATCH"
    as_nobody env HOME=/nonexistent timeout -s KILL "$LIMIT" "$LUMINA" doctor --json >nobody.json 2>nobody.err
    rc=$?
    is "a plain user: nothing on stderr" "$(cat nobody.err)" ""
    check "a plain user: every finding is whole" valid nobody.json
    if [ "$rc" -eq 0 ]; then
        check "a plain user: a VM ran" grep -q '"can_run": true' nobody.json
    else
        is "a plain user: no VM ran" "$rc:$(grep -c '"can_run": false' nobody.json)" "1:1"
    fi
    if [ -c /dev/kvm ] && ! as_nobody test -r /dev/kvm; then
        has "a plain user: may not open /dev/kvm" "$(finding nobody.json kvm)" "user nobody may not open it"
        group=$(stat -c %G /dev/kvm)
        case $(stat -c %A:%G /dev/kvm) in
        crw-rw????:root) want="setfacl -m u:nobody:rw /dev/kvm" ;;
        crw-rw????:*) want="usermod -aG $group nobody" ;;
        *) want="setfacl -m u:nobody:rw /dev/kvm" ;;
        esac
        has "a plain user: the remedy names user and group" "$(finding nobody.json kvm)" "$want"
    else
        skip "a plain user: may not open /dev/kvm" "everybody may here, or there is none"
    fi
else
    skip "a plain user" "only root can become one, and it must reach the tool"
fi

# ---- without /dev/kvm ----

# no_kvm COMMAND...: in a mount namespace whose /dev has no kvm.
no_kvm() {
    # shellcheck disable=SC2016
    unshare -m --propagation private sh -c '
        mkdir dev && mount -t tmpfs tmpfs dev || exit 99
        for d in null zero full random urandom tty; do
            : >"dev/$d" && mount --bind "/dev/$d" "dev/$d" || exit 99
        done
        mount --rbind dev /dev || exit 99
        exec "$@"' sh "$@"
    no_kvm_rc=$?
    rm -rf dev
    return $no_kvm_rc
}

if [ "$(id -u)" -eq 0 ] && no_kvm test ! -e /dev/kvm; then
    no_kvm timeout -s KILL "$LIMIT" "$LUMINA" doctor --json >hidden.json 2>hidden.err
    rc=$?
    is "without /dev/kvm: nothing on stderr" "$(cat hidden.err)" ""
    check "without /dev/kvm: every finding is whole" valid hidden.json
    if [ -e /sys/class/misc/kvm ]; then
        has "without /dev/kvm: only this /dev lacks it" "$(finding hidden.json kvm)" "this /dev lacks it"
        has "without /dev/kvm: remedy" "$(finding hidden.json kvm)" "--device /dev/kvm"
    else
        check "without /dev/kvm: kvm is not good" sh -c '! grep -q "\"kvm\", \"state\": \"good\"" hidden.json'
    fi
    if [ "$rc" -eq 0 ]; then
        has "without /dev/kvm: runs on a software CPU" "$(finding hidden.json run)" "slow: runs on qemu with a software CPU"
    else
        has "without /dev/kvm: cannot run" "$rc: $(finding hidden.json run)" "1: bad: cannot run: "
    fi

    mkdir empty
    PATH_BEFORE=$PATH
    no_kvm env PATH="$SCRATCH/empty" "$(command -v timeout)" -s KILL "$LIMIT" "$LUMINA" doctor --json >none.json 2>none.err
    rc=$?
    PATH=$PATH_BEFORE
    is "neither KVM nor QEMU: exit status" "$rc:$(cat none.err)" "1:"
    check "neither KVM nor QEMU: every finding is whole" valid none.json
    has "neither KVM nor QEMU: the sum" "$(finding none.json run)" "bad: cannot run: "
    has "neither KVM nor QEMU: kvm is bad" "$(finding none.json kvm)" "bad: "
    has "neither KVM nor QEMU: how to get QEMU" "$(finding none.json qemu)" "apt-get install qemu-system-x86"

    # shellcheck disable=SC2016
    unshare -m --propagation private sh -c ': >file && mount --bind file /dev/kvm && exec "$@"' sh \
        timeout -s KILL "$LIMIT" "$LUMINA" doctor --json >file.json 2>file.err
    if [ -c /dev/kvm ]; then
        has "a file in the place of /dev/kvm" "$(finding file.json kvm)" "/dev/kvm is not a device"
    else
        skip "a file in the place of /dev/kvm" "there is none here"
    fi
else
    skip "without /dev/kvm" "only root can hide it"
fi

# ---- limits and refusals, each of them real ----

# A namespace's limits are its own: nobody else loses any.
refused() {
    # shellcheck disable=SC2016
    unshare -Ur sh -c 'echo 0 >"/proc/sys/user/max_$1_namespaces" && shift && exec "$@"' sh "$1" \
        timeout -s KILL "$LIMIT" "$LUMINA" doctor --json
}

if unshare -Ur sh -c 'echo 0 >/proc/sys/user/max_user_namespaces' 2>refused.err; then
    refused user >refused.json 2>refused.err
    has "no user namespaces: found" "$(finding refused.json "user namespaces")" \
        "bad: the jail of a VM cannot be made: clone with CLONE_NEWUSER: No space left on device"
    has "no user namespaces: remedy" "$(finding refused.json "user namespaces")" "sudo sysctl user.max_user_namespaces="
    check "no user namespaces: every finding is whole" valid refused.json
    refused net >refused.json 2>refused.err
    has "no net namespaces: found" "$(finding refused.json "user namespaces")" "clone with CLONE_NEWNET: No space"
    has "no net namespaces: remedy" "$(finding refused.json "user namespaces")" "sudo sysctl user.max_net_namespaces="
else
    skip "no user namespaces" "cannot be made here: $(cat refused.err)"
fi

taskset -c 0 prlimit --nofile=1000:1000 setpriv --no-new-privs timeout -s KILL "$LIMIT" "$LUMINA" doctor --json \
    >narrow.json 2>narrow.err
has "no_new_privs is seen" "$(finding narrow.json seccomp)" "note: filters are available; this process is confined already"
has "one CPU is seen" "$(finding narrow.json cpus)" "slow: 1 for this process"
has "a limit of descriptors is seen" "$(finding narrow.json descriptors)" "note: at most 1000 for a process"
check "narrow: every finding is whole" valid narrow.json

# ---- a library without its parts ----

mkdir parts
cp -L "$LUMINA" "$(dirname "$LUMINA")/liblumina.so.0" "$(dirname "$LUMINA")/lumina-vmm" parts
printf '\177ELF' >parts/vmlinux
LD_LIBRARY_PATH=$SCRATCH/parts timeout -s KILL "$LIMIT" parts/lumina doctor --json >parts.json 2>parts.err
is "parts are missing: exit status" "$?:$(cat parts.err)" "1:"
check "parts are missing: every finding is whole" valid parts.json
has "a kernel that is none" "$(finding parts.json "guest kernel")" "bad: $SCRATCH/parts/vmlinux: not a kernel"
has "the agent is missing" "$(finding parts.json agent)" "No such file or directory"
has "the sum names what fails" "$(finding parts.json run)" "bad: cannot run: "
rm parts/lumina-vmm
LD_LIBRARY_PATH=$SCRATCH/parts timeout -s KILL "$LIMIT" parts/lumina doctor --json >parts.json 2>parts.err
is "no lumina-vmm: exit status" "$?:$(cat parts.err)" "1:"
check "no lumina-vmm: every finding is whole" valid parts.json
has "no lumina-vmm: it is named" "$(finding parts.json lumina-vmm)" "bad: "
end
