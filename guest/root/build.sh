#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Builds the default root: busybox with a link for each of its applets and the few files that programs
# look for, as an EROFS image. Needs no privileges; the same busybox gives the same bytes.
#
#     guest/root/build.sh --out ROOT.EROFS
#
# BUSYBOX is the binary, /bin/busybox unless set; it has to be static and to run here, as it is asked
# for its applets.
set -eu

usage() {
    echo "usage: build.sh --out ROOT.EROFS" >&2
    exit 2
}

[ $# -eq 2 ] && [ "$1" = --out ] || usage
out=$2
busybox=${BUSYBOX:-/bin/busybox}
[ -x "$busybox" ] || { echo "build.sh: $busybox: no such program (package busybox-static)" >&2; exit 1; }
# Of a dynamic one, ldd lists libraries by their paths.
if ldd "$busybox" 2>/dev/null | grep -q /; then
    echo "build.sh: $busybox: is not static (package busybox-static)" >&2
    exit 1
fi

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
trap 'exit 1' HUP INT TERM
umask 022
chmod 755 "$root"
cd "$root"

mkdir bin sbin usr usr/bin usr/sbin usr/local usr/local/bin usr/local/sbin lib etc etc/profile.d \
    dev proc sys run tmp root home home/user mnt opt srv var var/log var/tmp var/lib var/cache
ln -s ../run var/run
chmod 1777 tmp var/tmp
chmod 700 root
# All files belong to root, as only root could make others; so this home is open to its user by mode.
chmod 1777 home/user

cp "$busybox" bin/busybox
chmod 755 bin/busybox
for applet in $("$busybox" --list); do
    case $applet in
    busybox) ;;
    # What belongs to a boot that does not happen here: lumina-init is the first process.
    init | linuxrc) ;;
    *) ln -s busybox "bin/$applet" ;;
    esac
done
# Scripts name them by these paths.
ln -s ../../bin/env usr/bin/env

cat >etc/passwd <<'END'
root:x:0:0:root:/root:/bin/sh
nobody:x:65534:65534:nobody:/:/bin/false
user:x:1000:1000:user:/home/user:/bin/sh
END
cat >etc/group <<'END'
root:x:0:
tty:x:5:
users:x:100:user
user:x:1000:
nogroup:x:65534:
END
cat >etc/hosts <<'END'
127.0.0.1 localhost
::1 localhost
END
cat >etc/nsswitch.conf <<'END'
passwd: files
group: files
hosts: files dns
END
cat >etc/profile <<'END'
export PATH="${PATH:-/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin}"
PS1='\u@\h:\w\$ '
for script in /etc/profile.d/*.sh; do
    [ -r "$script" ] && . "$script"
done
unset script
END
cat >etc/os-release <<'END'
ID=lumina
NAME="LuminaGuard default root"
PRETTY_NAME="LuminaGuard default root (busybox)"
END
echo /bin/sh >etc/shells
echo lumina >etc/hostname
ln -s ../proc/self/mounts etc/mtab

cd - >/dev/null
mkfs.erofs --quiet --all-root -T0 -U 6c756d69-6e61-4000-8000-726f6f740001 "$out.tmp" "$root"
mv "$out.tmp" "$out"
