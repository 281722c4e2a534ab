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
    is "$bad_name: one line" "$(grep -c '^lumina: ' bad.err) of $(wc -l <bad.err | tr -d ' ')" "1 of 1"
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
chmod 000 unreadable
if [ "$(id -u)" -ne 0 ]; then
    bad "an unreadable root" "unreadable" run -q --rootfs unreadable true
elif setpriv --reuid 65534 --regid 65534 --clear-groups test -x "$LUMINA"; then
    chmod 755 "$SCRATCH"
    out=$(setpriv --reuid 65534 --regid 65534 --clear-groups \
        timeout -s KILL "$LIMIT" "$LUMINA" run -q --rootfs unreadable true 2>bad.err)
    is "an unreadable root: status" "$?:$out" "125:"
    is "an unreadable root: one line" "$(wc -l <bad.err | tr -d ' ')" 1
    has "an unreadable root: names it" "$(cat bad.err)" "unreadable"
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

bad "a million CPUs" "vcpus" run -q --cpus 1000000 true
bad "memory of 1 MiB" "memory" run -q --memory 1M true
bad "memory of 1 PiB" "memory" run -q --memory 1024T true
bad "memory that is not in whole MiB" "memory" run -q --memory 100001K true
bad "a backend that does not exist" "nosuch" run -q --backend nosuch true
bad "a host name that is not one" "hostname" run -q --hostname 'no such/name' true
bad "a kernel argument with a newline" "kernel" run -q --kernel-args 'a
b' true

bad "no time to boot" "" run -q --boot-timeout 0.01 true
bad "a guest that is never ready" "" \
    run -q --boot-timeout 4 --kernel-args 'rdinit=/nosuch panic=0' true
bad "a guest that panics while booting" "" run -q --kernel-args 'rdinit=/nosuch' true

bad "a guest that is powered off" "" run -q -- sh -c 'poweroff -f; sleep 1000'
bad "a guest that is reset" "" run -q -- sh -c 'reboot -f; sleep 1000'
bad "a guest whose init is killed" "" \
    run -q -- sh -c '[ -w /proc/sysrq-trigger ] && echo c >/proc/sysrq-trigger; reboot -f; sleep 1000'

# An orderly end of the guest terminates the command first.
lum run -q -- sh -c 'kill -USR2 1; exec sleep 1000' </dev/null
is "a guest whose init is asked to power off" "$rc" 143

# Memory is paid for when it is touched, so a large guest is no trouble.
lum run -q --memory 2G --cpus 4 -- echo large </dev/null
is "a large guest" "$out:$rc" "large:0"
end
