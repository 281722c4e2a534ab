#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# cgroup.sh LUMINA: control groups of VMs, for a host where this user may make them: run in the outer machine of the
# nested bench. Prints TAP lines without numbers, for its caller to count.
lumina=$1
groups=/sys/fs/cgroup

ok() {
    if [ "$2" = 0 ]; then echo "ok 0 - cgroup: $1"; else echo "not ok 0 - cgroup: $1"; fi
}

# All groups of VMs are gone within two seconds: they are removed off the caller's path.
gone() {
    n=0
    while ls -d $groups/lumina-* >/dev/null 2>&1; do
        n=$((n + 1))
        [ $n -lt 20 ] || return 1
        sleep 0.1
    done
}

running() {
    n=0
    until grep -q hello out 2>/dev/null; do
        n=$((n + 1))
        [ $n -lt 600 ] || return 1
        sleep 0.1
    done
}

if ! mount -t cgroup2 none $groups 2>/dev/null && ! [ -f $groups/cgroup.controllers ]; then
    echo "ok 0 - cgroup: control groups # SKIP there is no cgroup v2 here"
    exit 0
fi
switch_on() {
    echo "+memory +pids +cpu" >$groups/cgroup.subtree_control
} 2>/dev/null
switch_on
ok "the controllers can be switched on" $?

rm -f out
$lumina run --boot-timeout 180 -- sh -c 'echo hello; sleep 1000' >out 2>err &
pid=$!
running
ok "a VM runs" $?
group=$(ls -d $groups/lumina-*)
ok "it has one group: $group" "$([ "$(echo "$group" | wc -w)" = 1 ]; echo $?)"
ok "its memory is limited to the guest's and 64 MiB" "$([ "$(cat "$group/memory.max")" = $((320 * 1048576)) ]; echo $?)"
ok "its processes are limited" "$([ "$(cat "$group/pids.max")" = 17 ]; echo $?)"
ok "its CPU time is limited" "$([ "$(cat "$group/cpu.max")" = "200000 100000" ]; echo $?)"
ok "the VM's process is in it, alone" "$([ "$(wc -l <"$group/cgroup.procs")" = 1 ]; echo $?)"
echo "# $(cat "$group/memory.current") bytes in the group, at most $(cat "$group/memory.peak" 2>/dev/null)"
kill -9 $pid
wait $pid 2>/dev/null
gone
ok "nothing is left when lumina is killed" $?

rm -f out
$lumina run --boot-timeout 180 -- sh -c 'echo hello; cat /dev/zero | head -c 100000000 >/tmp/x; sleep 1000' >out 2>err &
pid=$!
running
group=$(ls -d $groups/lumina-*)
echo $((8 * 1048576)) >"$group/memory.max"
wait $pid
ok "out of memory: exit code 125" "$([ $? = 125 ]; echo $?)"
grep -q 'killed by the kernel: it needed more memory' err
ok "and it says so: $(cat err)" $?
gone
ok "nothing is left then" $?

$lumina run -q --boot-timeout 180 -- true
gone
ok "nor after an orderly end" $?
