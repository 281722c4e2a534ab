#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# lumina run with what cannot work: each is told in one line on stderr, with status 125, in time,
# and leaves no process.
# shellcheck disable=SC2016 # dollars are for the guest
. "$(dirname "$0")/lib.sh"
LIMIT=$((60 * SLOW))
needs_vm

# bad NAME PART ARG...: the line has PART in it.
bad() {
    bad_name=$1
    bad_part=$2
    shift 2
    start bad "$@"
    before=$(tree "$pid")
    finish
    err=$(cat bad.err)
    is "$bad_name: status" "$rc:$out" "125:"
    is "$bad_name: one line" "$(grep -cE '^lumina( run)?: ' bad.err) of $(wc -l <bad.err | tr -d ' ')" "1 of 1"
    has "$bad_name: names it" "$err" "$bad_part"
    # shellcheck disable=SC2086
    gone $before || fail "$bad_name: no process is left"
}

bad "no kernel" "/nosuch/vmlinux" run -q --kernel /nosuch/vmlinux true
echo "not a kernel, for all its bytes" >text
bad "a kernel that is not one" "text" run -q --kernel text true
: >empty
bad "an empty kernel" "empty" run -q --kernel empty true
bad "a folder as kernel" "." run -q --kernel . true
head -c 100 /bin/sh >truncated
bad "a truncated ELF file" "truncated" run -q --kernel truncated true
bad "an ELF file of another kind" "/bin/sh" run -q --kernel /bin/sh true

bad "no root" "/nosuch/root" run -q --rootfs /nosuch/root true
bad "a root that is not one" "text" run -q --rootfs text true
mkdir -p unreadable
: >secret
chmod 000 unreadable secret
if [ "$(id -u)" -ne 0 ]; then
    bad "an unreadable root" "unreadable" run -q --rootfs unreadable true
    bad "an unreadable kernel" "lumina run: --kernel secret: Permission denied" run -q --kernel secret true
elif setpriv --reuid 65534 --regid 65534 --clear-groups test -x "$LUMINA"; then
    chmod 755 "$SCRATCH"
    out=$(setpriv --reuid 65534 --regid 65534 --clear-groups \
        timeout -s KILL "$LIMIT" "$LUMINA" run -q --rootfs unreadable true 2>bad.err)
    is "an unreadable root: status" "$?:$out" "125:"
    is "an unreadable root: one line" "$(wc -l <bad.err | tr -d ' ')" 1
    has "an unreadable root: names it" "$(cat bad.err)" "unreadable"
    out=$(setpriv --reuid 65534 --regid 65534 --clear-groups \
        timeout -s KILL "$LIMIT" "$LUMINA" run -q --kernel secret true 2>bad.err)
    is "an unreadable kernel" "$?:$out:$(cat bad.err)" "125::lumina run: --kernel secret: Permission denied"
else
    skip "an unreadable root" "only root can reach the tool"
fi
chmod 700 unreadable

# A device that is there and not for this user.
if [ "$(id -u)" -eq 0 ] && [ -c /dev/kvm ] &&
    ! setpriv --reuid 65534 --regid 65534 --clear-groups test -r /dev/kvm &&
    setpriv --reuid 65534 --regid 65534 --clear-groups test -x "$LUMINA"; then
    out=$(setpriv --reuid 65534 --regid 65534 --clear-groups \
        timeout -s KILL "$LIMIT" "$LUMINA" run -q --backend kvm true 2>bad.err)
    is "/dev/kvm without permission: status" "$?:$out" "125:"
    is "/dev/kvm without permission: one line" "$(wc -l <bad.err | tr -d ' ')" 1
    has "/dev/kvm without permission: names the remedy" "$(cat bad.err)" "group kvm"
else
    skip "/dev/kvm without permission" "needs root and a /dev/kvm that is not for everybody"
fi

# Options: by the names that they have here, not in the library.
bad "a million CPUs" "lumina: --cpus: 1000000 is not in 1 to 32" run -q --cpus 1000000 true
bad "memory of 1 MiB" "lumina: --memory: " run -q --memory 1M true
bad "memory of 1 PiB" "lumina: --memory: " run -q --memory 1024T true
bad "memory that is not in whole MiB" "lumina: --memory: " run -q --memory 100001K true
bad "a layer of less than 1 MiB" "lumina: --scratch: " run -q --scratch 1K true
bad "a backend that does not exist" "lumina: --backend nosuch: no such backend; see \`lumina backends\`" \
    run -q --backend nosuch true
bad "a host name that is not one" "lumina: --hostname " run -q --hostname 'no such/name' true
bad "a kernel argument with a newline" "lumina: --kernel-args: " run -q --kernel-args 'a
b' true
bad "too many kernel arguments" "lumina: --kernel-args: longer than 1024 bytes" \
    run -q --kernel-args "$(printf '%02000d' 0)" true
"$LUMINA" backends | awk 'NR > 1 && $2 == "no" { print $1 }' >unusable
while read -r backend; do
    bad "backend $backend, which cannot run here" "lumina: --backend $backend: " \
        run -q --backend "$backend" true
done <unusable
env PATH=/nonexistent "$LUMINA" run -q --backend qemu true >bad.out 2>bad.err
is "a backend whose program is missing: the remedy" "$?:$(cat bad.out bad.err)" \
    "125:lumina: --backend qemu: qemu-system-x86_64 is not on PATH; remedy: apt-get install qemu-system-x86"
bad "more memory than the host has" "(a smaller --memory may fit)" run -q --backend qemu --memory 1024G true

bad "no time to boot" "(--boot-timeout gives it more time, -v shows its console)" \
    run -q --boot-timeout 0.01 true
bad "a guest that is never ready" "(--boot-timeout gives it more time, -v shows its console)" \
    run -q --boot-timeout 4 --kernel-args 'rdinit=/nosuch panic=0' true
bad "a guest that panics while booting" "(-v shows its console)" run -q --kernel-args 'rdinit=/nosuch' true

# Files.
bad "a guest path to put that is not absolute" "--put text:rel: the path in the guest must begin with /" \
    run -q --put text:rel true
bad "a guest path to get that is not absolute" "--get rel:x: the path in the guest must begin with /" \
    run -q --get rel:x true
bad "no file to get" "/nosuch: No such file or directory (in the guest)" run -q --get /nosuch:x true
bad "no place to put" "put /proc/x: write: No such file or directory (in the guest)" \
    run -q --put text:/proc/x true
bad "no place to get to" "write /proc/x: " run -q --get /etc/passwd:/proc/x true
bad "a folder that the guest has not" "/nosuch: No such file or directory (in the guest)" run -q -w /nosuch true
bad "a user that the guest has not" "user nosuch: not in /etc/passwd (in the guest)" run -q -u nosuch true
bad "a user that is none" "user 1:x: neither a name nor a number (in the guest)" run -q -u 1:x true

# A disk of one megabyte, in a mount namespace of its own.
[ "$(id -u)" -eq 0 ] && apart="unshare -m" || apart="unshare -Urm"
mkdir -p full
# shellcheck disable=SC2016,SC2086
if $apart mount -t tmpfs -o size=1M none full 2>/dev/null; then
    timeout -s KILL "$LIMIT" $apart sh -c 'mount -t tmpfs -o size=1M none full
        "$0" run -q --get /big:full/big -- dd if=/dev/zero of=/big bs=1M count=2 2>bad.err >/dev/null
        echo "$?:$(ls full)" >bad.out
        "$0" run -q --get /dir:full/dir -- sh -c "mkdir /dir; echo a >/dir/small; dd if=/dev/zero of=/dir/x bs=1M count=2" \
            2>bad2.err >/dev/null
        echo "$?:$(ls full/dir)" >bad2.out' "$LUMINA" </dev/null
    is "a full disk under --get: status, and no part of a file" "$(cat bad.out)" "125:"
    is "a full disk under --get: told in one line" "$(grep lumina bad.err)" \
        "lumina: get /big: write full/big: No space left on device"
    has "a full disk under --get of a folder: names the file" "$(cat bad2.err)" \
        "lumina: get /dir: write full/dir/x: No space left on device"
    is "a full disk under --get of a folder: no part of a file" "$(sed 's/small//' bad2.out)" "125:"
else
    skip "a full disk under --get" "no file system can be mounted here"
fi

# What ends a command from outside is told where its status alone would not tell.
lum run --memory 64M -- sh -c 'tail /dev/zero; exit 137' </dev/null
is "a guest without memory: status" "$rc" 137
is "a guest without memory: the remedy" "$(grep -c 'ran out of memory (--memory gives it more)' stderr.txt)" 1
lum run --json --memory 64M -- tail /dev/zero </dev/null
has "a guest without memory: JSON" "$out" '"out_of_memory": true'
lum run --json --memory 64M -- sh -c 'kill -KILL $$' </dev/null
has "a command that is killed otherwise: JSON" "$rc:$out" '"out_of_memory": false'
lum run --timeout 0.5 -- sleep 100 </dev/null
is "a command without time: the option is named" "$rc:$(grep -c 'killed after 500 ms, as --timeout said' stderr.txt)" 124:1

# killed NAME PATTERN PART: one of the VM's processes is killed while a command runs.
killed() {
    start killed run -q -- sh -c 'echo ready; exec sleep 1000'
    ready
    before=$(tree "$pid")
    victim=
    for process in $before; do
        grep -q -a -e "$2" "/proc/$process/cmdline" && victim=$process
    done
    if [ -z "$victim" ]; then
        kill "$pid"
        finish
        skip "$1" "this backend has none"
        return
    fi
    kill -KILL "$victim"
    finish
    is "$1: status" "$rc" 125
    is "$1: one line" "$(grep -c '^lumina: ' killed.err) of $(wc -l <killed.err | tr -d ' ')" "1 of 1"
    has "$1: says so" "$(cat killed.err)" "$3"
    # shellcheck disable=SC2086
    check "$1: no process is left" gone $before
}
killed "the VM's process is killed" 'lumina-\(vmm\|qemu\)' "the VM's process was killed (by the user, or for lack of memory)"
killed "its QEMU is killed" 'qemu-system' "QEMU was killed by signal 9"

bad "a guest that is powered off" "the VM has ended: powered off" run -q -- sh -c 'poweroff -f; sleep 1000'
bad "a guest that is reset" "the VM has ended: reset" run -q -- sh -c 'reboot -f; sleep 1000'
bad "a guest whose init is killed" "" \
    run -q -- sh -c '[ -w /proc/sysrq-trigger ] && echo c >/proc/sysrq-trigger; reboot -f; sleep 1000'

# An orderly end of the guest terminates the command first.
lum run -q -- sh -c 'kill -USR2 1; exec sleep 1000' </dev/null
is "a guest whose init is asked to power off" "$rc" 143

# Memory is paid for when it is touched, so a large guest is no trouble.
lum run -q --memory 2G --cpus 4 -- echo large </dev/null
is "a large guest" "$out:$rc" "large:0"
end
