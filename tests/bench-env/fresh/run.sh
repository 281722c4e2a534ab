#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# run.sh [--with DIR]... COMMAND...: run a command on a fresh Debian 12, as a newcomer would.
#
# Makes (once, then cached) a minimal Debian with debootstrap, gives a copy of it a clone of this
# repository's HEAD, and runs COMMAND in the clone as root. apt inside works exactly as outside: its
# sources, configuration and keys are copied. /sys and /dev (with /dev/kvm) are the host's.
# --with puts a copy of a folder beside the clone, under its own name. The exit status is that of
# COMMAND; 125 when it could not be run. Mounts and processes live in namespaces of their own and
# the copy of the system is removed at the end, so that nothing stays behind.

set -euo pipefail
export LC_ALL=C

SUITE=bookworm

say() { echo "fresh: $*" >&2; }
die() { say "$*"; exit 125; }

beside=()
while [ "${1:-}" = --with ]; do
    [ -d "${2:-}" ] || die "--with '${2:-}': no such folder"
    beside+=("$2")
    shift 2
done
[ $# -gt 0 ] || die "usage: run.sh [--with DIR]... COMMAND..."
[ "$(id -u)" -eq 0 ] || die "must be run as root: it makes a system of its own and mounts into it"
for tool in debootstrap git unshare setpriv; do
    command -v $tool >/dev/null ||
        die "$tool: not found: apt-get install debootstrap git util-linux"
done
repository=$(git -C "$(dirname "$0")" rev-parse --show-toplevel) || die "not in a git clone"
git -C "$repository" rev-parse --quiet --verify HEAD >/dev/null ||
    die "$repository: no commit yet: only what is committed is tried"

cache=${XDG_CACHE_HOME:-${HOME:?}/.cache}/lumina/fresh
base=$cache/$SUITE
mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9

work='' child=''
# shellcheck disable=SC2317  # called by the trap
cleanup() {
    if [ -n "$child" ]; then
        kill -KILL "$child" 2>/dev/null || true
        wait "$child" 2>/dev/null || true
    fi
    [ -z "$work" ] || rm -rf --one-file-system "$work"
}
trap cleanup EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
work=$(mktemp -d "$cache/work.XXXXXX")

if [ ! -d "$base" ]; then
    # shellcheck disable=SC2016  # the $() are apt's placeholders
    mirror=$(apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' \
        'Created-By: Packages' | awk -v suite=$SUITE '
            $1 == suite "-updates" && $2 == "main" { best = $3 }
            $1 == suite && $2 == "main" && !any { any = $3 }
            END { print best ? best : any }')
    [ -n "$mirror" ] || die "apt sources: no $SUITE main: add Debian 12 to /etc/apt/sources.list.d"
    say "making the base system, once"
    debootstrap --variant=minbase "$SUITE" "$work/base" "$mirror" >"$work/log" 2>&1 ||
        die "debootstrap: $(tail -n 1 "$work/log")"
    rm -rf "$work"/base/var/cache/apt/archives/*.deb
    mv "$work/base" "$base"
fi

root=$work/root
cp -a --reflink=auto "$base" "$root"
flock -u 9

# What makes apt and name resolution work outside; keys that sources name may be anywhere.
rm -rf "$root/etc/apt"
cp -a /etc/apt "$root/etc/apt"
for path in /usr/share/keyrings /etc/resolv.conf /etc/hosts /usr/local/share/ca-certificates \
    /etc/ssl/certs; do
    [ -e "$path" ] || continue
    mkdir -p "$root${path%/*}"
    cp -aL --remove-destination "$path" "$root${path%/*}/"
done
mkdir -p "$root/src"
git clone --quiet --no-hardlinks "$repository" "$root/src/lumina" || die "git clone: failed"
for dir in ${beside[@]+"${beside[@]}"}; do
    cp -a "$dir" "$root/src/"
done

# When this script is killed, so is unshare, by setpriv, and with it all in its process namespace.
# It runs in the background only because bash handles no signal while it waits in the foreground.
# shellcheck disable=SC2016  # expanded by the inner shell
inside='
set -e
root=$1
shift
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
cd "$root"
exec chroot "$root" /bin/sh -c "cd /src/lumina && exec \"\$@\"" sh "$@"
'
rc=0
setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child --propagation private \
    env -i TERM="${TERM:-dumb}" HOME=/root LANG=C.UTF-8 ${CI:+CI="$CI"} \
    DEBIAN_FRONTEND=noninteractive \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    sh -c "$inside" sh "$root" "$@" <&0 &
child=$!
wait "$child" || rc=$?
child=''
say "exit status $rc: $*"
exit "$rc"
