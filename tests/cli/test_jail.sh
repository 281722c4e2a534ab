#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# lumina where the host forbids something: each time it either runs, or says in one line what is wrong and what
# helps and exits with 125; and nothing stays behind, no process, no mount, no file.
#
# LUMINA_TEST_SANDBOX  the program of sandbox.c
# LUMINA_TEST_KERNEL   the guest kernel of the build
# shellcheck disable=SC2046,SC2086
. "$(dirname "$0")/lib.sh"
needs_vm

SANDBOX=$LUMINA_TEST_SANDBOX
BUILD=$(dirname "$LUMINA")
marker=jailtest-$$
mkdir home tmp cache root root/bin
chmod 755 . root root/bin
chmod 777 home tmp cache
cp /bin/busybox root/bin/sh
export HOME="$SCRATCH/home" TMPDIR="$SCRATCH/tmp"
unset XDG_CACHE_HOME

# A plain user with a number of its own, so that its count of processes is of this test alone.
plain=
other_mounts="unshare -Urm"
if [ "$(id -u)" -eq 0 ]; then
    plain="setpriv --reuid 61234 --regid 61234 --clear-groups"
    other_mounts="unshare -m"
    if ! $plain test -x "$LUMINA" || ! $plain test -r "$LUMINA_TEST_KERNEL"; then
        note "a plain user cannot reach $BUILD"
        plain=none
    fi
fi
usable=$(echo "$out" | awk 'NR > 1 && $2 == "yes" { print $1 }')

# ---- one attempt ----

processes() {
    grep -sla -e "$marker" -e "$BUILD/lumina-vmm" -e "$BUILD/lumina-qemu" /proc/[0-9]*/cmdline
}

none_left() {
    left_end=$(($(date +%s) + 10 * SLOW))
    while processes >left.txt; do
        if [ "$(date +%s)" -gt "$left_end" ]; then
            note "left behind: $(cat left.txt)"
            return 1
        fi
        sleep 0.05
    done
}

files() {
    find "$SCRATCH" /dev/shm -name "$marker*" -o -type f -path "$SCRATCH/*" ! -name '*.txt' 2>/dev/null | sort
}

# One line of ours on stderr that matches, beside warnings.
one_line() {
    [ "$(grep -cv '^lumina: warning: ' stderr.txt)" -eq 1 ] &&
        grep -v '^lumina: warning: ' stderr.txt | grep -Eq "^lumina: .*($1)"
}

ran() {
    [ "$rc" -eq 0 ] && [ "$out" = hi ] && ! grep -qv '^lumina: warning: ' stderr.txt
}

# try NAME EXPECTED COMMAND...: EXPECTED is "runs", a pattern for the refusal's line, or "runs|PATTERN".
try() {
    try_name=$1
    try_expected=$2
    shift 2
    mounts_before=$(cat /proc/self/mountinfo)
    files_before=$(files)
    timeout -s KILL "$LIMIT" "$@" >stdout.txt 2>stderr.txt </dev/null
    rc=$?
    out=$(cat stdout.txt)
    good=false
    case $try_expected in
    runs | runs\|*)
        ran && good=true
        ;;
    esac
    case $try_expected in
    runs) ;;
    *)
        [ "$rc" -eq 125 ] && [ -z "$out" ] && one_line "${try_expected#runs|}" && good=true
        ;;
    esac
    none_left || good=false
    if [ "$mounts_before" != "$(cat /proc/self/mountinfo)" ] || [ "$files_before" != "$(files)" ]; then
        note "mounts or files are not as before"
        good=false
    fi
    if $good; then
        pass "$try_name"
    else
        fail "$try_name"
        note "wanted: $try_expected; got $rc: $out"
        sed 's/^/# /' stderr.txt
    fi
}

# The shell words of a run that prints "hi"; $backend and $jail are its options.
run() {
    echo "$LUMINA run --backend $backend --jail ${jail:-default} --memory 128M --hostname $marker $* -- echo hi"
}

# in_mounts NAME EXPECTED SCRIPT: the run after a script, where mounts are nobody else's.
in_mounts() {
    try "$1" "$2" $other_mounts sh -c "$3 || exit 99; export LD_LIBRARY_PATH=$BUILD; exec $(run)"
}

can_unshare() {
    $1 unshare $2 true 2>/dev/null
}

# ---- users ----

users() {
    [ "$plain" = none ] || try "$backend: a plain user" runs $plain $(run)
    [ "$(id -u)" -ne 0 ] || try "$backend: root" runs $(run)
    jail=off
    try "$backend: jail off" runs $(run)
    has "$backend: jail off is warned of" "$(cat stderr.txt)" "lumina: warning: jail off: "
    jail=
    if [ "$plain" != none ] && can_unshare "$plain" -Ur; then
        try "$backend: root of a user namespace" runs $plain unshare -Ur $(run)
        off="echo 0 >/proc/sys/user/max_user_namespaces && exec"
        try "$backend: user namespaces off" 'sudo sysctl user.max_user_namespaces=.*"seccomp"' \
            $plain unshare -Ur sh -c "$off $(run)"
        jail=seccomp
        try "$backend: user namespaces off, jail seccomp" runs $plain unshare -Ur sh -c "$off $(run)"
        jail=
    else
        skip "$backend: user namespaces" "none can be made here"
    fi
    if [ "$(id -u)" -eq 0 ]; then
        cp "$LUMINA_TEST_KERNEL" own.txt
        chmod 600 own.txt
        try "$backend: root with a kernel that only root may read" runs $(run --kernel "$SCRATCH/own.txt")
        rm own.txt
    fi
}

# ---- sandboxes that refuse calls ----

sandboxed() {
    sandbox_name=$1
    sandbox_expected=$2
    shift 2
    [ "$plain" = none ] || try "$backend: $sandbox_name, a plain user" "$sandbox_expected" $plain $SANDBOX "$@" -- $(run)
    [ "$(id -u)" -ne 0 ] || [ "$sandbox_expected" = runs ] ||
        try "$backend: $sandbox_name, root" "$sandbox_expected" $SANDBOX "$@" -- $(run)
}

sandboxes() {
    sandboxed "seccomp refused" 'forbids it.*remedy: .*"off"' seccomp=EPERM
    sandboxed "seccomp hidden" 'no seccomp call|Function not implemented.*remedy: .*"off"' seccomp=ENOSYS
    sandboxed "clone3 hidden" runs clone3=ENOSYS
    sandboxed "clone3 refused" 'remedy: .*clone3' clone3=EPERM
    sandboxed "close_range hidden" runs close_range=ENOSYS
    sandboxed "Landlock hidden" runs landlock=ENOSYS
    sandboxed "unshare refused" 'remedy: .*"seccomp"' unshare=EPERM
    sandboxed "mounts refused" 'remedy: .*"seccomp"' mount=EPERM
    sandboxed "pivot_root refused" 'remedy: .*"seccomp"' pivot_root=EPERM
    sandboxed "setns refused" 'remedy: .*"seccomp"' setns=EPERM
    [ "$backend" != qemu ] || sandboxed "mount_setattr hidden" 'remedy: .*"seccomp"' mount_setattr=ENOSYS
    # As the usual container engines have it.
    sandboxed "namespaces refused" 'forbids namespaces.*remedy: .*"seccomp"' clone3=ENOSYS clone:new=EPERM \
        unshare=EPERM mount=EPERM setns=EPERM pivot_root=EPERM
    jail=seccomp
    [ "$plain" = none ] || try "$backend: namespaces refused, jail seccomp" runs $plain $SANDBOX clone3=ENOSYS \
        clone:new=EPERM unshare=EPERM mount=EPERM setns=EPERM pivot_root=EPERM -- $(run)
    jail=
}

# ---- /proc and containers ----

proc() {
    if ! can_unshare "" "${other_mounts#unshare }"; then
        skip "$backend: other mounts" "no mount namespace can be made here"
        return
    fi
    in_mounts "$backend: no /proc" '/proc is missing; remedy: mount it' "mount -t tmpfs none /proc"
    read_only="mount --rbind /proc /proc && mount -o remount,bind,ro /proc"
    in_mounts "$backend: a read-only /proc" '/proc is read-only; remedy: mount it' "$read_only"
    masked="mount -t tmpfs none /proc/fs && mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys"
    # QEMU needs a /proc of its own, which the kernel does not give to those whose own is masked.
    in_mounts "$backend: a masked /proc" 'runs|remedy: .*"seccomp"' "$masked"
    jail=seccomp
    in_mounts "$backend: a read-only /proc, jail seccomp" runs "$read_only"
    in_mounts "$backend: a masked /proc, jail seccomp" runs "$masked"
    jail=
}

# A container's tree in $SCRATCH/tree: system folders, the build, a few devices, /proc, no more.
cat >tree.txt <<'EOF'
set -e
tree=$1/tree build=$2
mkdir -p "$tree"
mount -t tmpfs none "$tree"
cd "$tree"
mkdir -p usr etc dev proc tmp ".$build" ".$1"
mount --rbind /usr usr
mount --bind "$build" ".$build"
for name in bin sbin lib lib32 lib64; do
    if [ -L /$name ]; then
        ln -s "$(readlink /$name)" $name
    elif [ -d /$name ]; then
        mkdir $name
        mount --rbind /$name $name
    fi
done
for name in etc/ld.so.cache dev/null dev/zero dev/urandom dev/random dev/kvm; do
    if [ -e /$name ]; then
        touch $name
        mount --bind /$name $name
    fi
done
mount -t proc proc proc
EOF

container() {
    if [ "$(id -u)" -ne 0 ]; then
        skip "$backend: a container" "only root can make one here"
        return
    fi
    # What the usual engines leave to a container's root.
    caps="--bounding-set -all,+chown,+dac_override,+fowner,+fsetid,+kill,+setgid,+setuid,+setpcap,+sys_chroot"
    enter="setpriv --inh-caps -all $caps env LD_LIBRARY_PATH=$BUILD"
    for jail in default seccomp; do
        case $jail in
        default) changed='remedy: .*"seccomp"' pivoted='runs|remedy: .*"seccomp"' ;;
        *) changed=runs pivoted=runs ;;
        esac
        try "$backend: in a chroot without CAP_SYS_ADMIN, jail $jail" "$changed" unshare -mpiuf sh -c \
            "sh tree.txt $SCRATCH $BUILD && exec chroot tree $enter $(run)"
        try "$backend: in a container without CAP_SYS_ADMIN, jail $jail" "$pivoted" unshare -mpiuf sh -c \
            "sh tree.txt $SCRATCH $BUILD && cd tree && pivot_root . . && umount -l . && cd / && exec $enter $(run)"
    done
    jail=
    rmdir tree
}

# ---- limits ----

# Linux gives no user namespace to what runs in a chroot; root has a way around it.
chroots() {
    if [ "$(id -u)" -ne 0 ] || ! can_unshare "" "${other_mounts#unshare }"; then
        skip "$backend: in a chroot" "only root can change its root"
        return
    fi
    mkdir whole
    within="mount --rbind / whole && exec chroot whole env LD_LIBRARY_PATH=$BUILD"
    try "$backend: root in a chroot" runs $other_mounts sh -c "$within $(run)"
    [ "$plain" = none ] ||
        try "$backend: a plain user in a chroot" 'chroot or sandbox around us forbids namespaces.*; remedy: ' \
            $other_mounts sh -c "$within $plain $(run)"
    rmdir whole
}

limits() {
    try "$backend: 64 descriptors" runs prlimit --nofile=64 $(run)
    for n in 16 12 9 7 5; do
        try "$backend: $n descriptors" 'runs|Too many open files.*ulimit -n' prlimit --nofile=$n $(run)
    done
    if [ "$plain" != none ]; then
        # Threads count as well; which of them does not come to life any more depends on the backend.
        for n in 1 2 3 4 6; do
            try "$backend: $n processes" 'runs|ulimit -u|Resource temporarily unavailable' $plain prlimit --nproc=$n $(run)
        done
    fi
    for n in 100 300; do
        try "$backend: $n MB of address space" 'runs|[Mm]emory|allocate' prlimit --as=${n}000000 $(run)
    done
}

# ---- the cache ----

cache() {
    if ! command -v mkfs.erofs >/dev/null || ! can_unshare "" "${other_mounts#unshare }"; then
        skip "$backend: a full cache" "mkfs.erofs or a mount namespace is missing"
        return
    fi
    packed="export XDG_CACHE_HOME=$SCRATCH/cache LD_LIBRARY_PATH=$BUILD"
    try "$backend: no space for a packed root" "rootfs $SCRATCH/root: .*No space left" $other_mounts sh -c \
        "mount -t tmpfs -o size=64k none cache && $packed && { $(run --rootfs "$SCRATCH/root"); rc=\$?; }
        find cache -type f; exit \$rc"
    try "$backend: a read-only cache" "rootfs $SCRATCH/root: .*Read-only file system" $other_mounts sh -c \
        "mount -t tmpfs -o ro none cache && $packed && exec $(run --rootfs "$SCRATCH/root")"
}

# ---- /dev/kvm ----

device() {
    if ! can_unshare "" "${other_mounts#unshare }" || [ ! -e /dev/kvm ]; then
        skip "/dev/kvm missing or forbidden" "no mount namespace can be made here, or there is no device"
        return
    fi
    hidden="mkdir -p dev && mount -t tmpfs none dev && for f in null zero urandom random; do
        touch dev/\$f && mount --bind /dev/\$f dev/\$f || exit 99; done && mount --rbind dev /dev"
    backend=kvm
    in_mounts "no /dev/kvm" '/dev/kvm: there is none' "$hidden"
    in_mounts "/dev/kvm is something else" '/dev/kvm|kvm: ' "mount --bind /dev/null /dev/kvm"
    case $usable in
    *qemu*)
        backend=auto
        in_mounts "no /dev/kvm, but QEMU" runs "$hidden"
        ;;
    esac
    rmdir dev
    if [ "$(id -u)" -ne 0 ] || [ "$plain" = none ]; then
        skip "/dev/kvm forbidden" "only root can make it so"
        return
    fi
    forbidden="mknod -m 600 kvm.txt c 10 232 && mount --bind kvm.txt /dev/kvm && exec $plain"
    backend=kvm
    try "/dev/kvm forbidden" 'permission denied: .*usermod -aG kvm' $other_mounts sh -c "$forbidden $(run)"
    rm -f kvm.txt
    case $usable in
    *qemu*)
        backend=auto
        try "/dev/kvm forbidden, but QEMU" runs $other_mounts sh -c "$forbidden $(run)"
        rm -f kvm.txt
        ;;
    esac
}

jail=
for backend in $usable; do
    users
    sandboxes
    proc
    container
    chroots
    limits
    cache
done
device
end
