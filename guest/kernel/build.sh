#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Builds the guest kernel: Debian's packaged Linux source, `make tinyconfig`, and the fragment of
# the architecture that lies beside this script. The result is kept in a cache folder whose name is
# a digest of everything that decides it, so only the first run takes minutes. vmlinux and bzImage
# are copied from there to FOLDER.
#
#   ${XDG_CACHE_HOME:-~/.cache}/lumina/kernel/ARCH-DIGEST/{vmlinux,bzImage,System.map,config}
#
# The folder appears by one rename, complete or not at all.
set -eu

package=linux-source-6.12
tarball=/usr/src/$package.tar.xz
# Raise this when a change of this script changes the kernel it builds.
recipe=1
# Compiled files of this source with this fragment, counted once; only the progress line uses it.
about_files=1160

usage="usage: build.sh --arch x86_64 --out FOLDER [--jobs N]"

say()
{
    printf 'guest kernel: %s\n' "$*" >&2
}

fail()
{
    say "$@"
    exit 1
}

arch=
out=
jobs=$(nproc)
while [ $# -gt 0 ]; do
    case $1 in
    --arch | --out | --jobs)
        [ $# -ge 2 ] || fail "$1: value missing; $usage"
        case $1 in
        --arch) arch=$2 ;;
        --out) out=$2 ;;
        --jobs) jobs=$2 ;;
        esac
        shift 2
        ;;
    --help)
        printf '%s\n' "$usage"
        exit 0
        ;;
    *) fail "$1: unknown option; $usage" ;;
    esac
done
if [ -z "$arch" ] || [ -z "$out" ]; then
    fail "$usage"
fi
case $arch in *[!a-z0-9_]*) fail "$arch: not the name of an architecture" ;; esac
case $jobs in '' | 0* | *[!0-9]*) fail "--jobs $jobs: not a positive number" ;; esac

script=$(readlink -f "$0")
fragment=$(dirname "$script")/$arch.config
[ -r "$fragment" ] || fail "$arch: no kernel fragment at $fragment"
[ "$(uname -m)" = "$arch" ] || fail "$arch: a $(uname -m) machine does not build this kernel"

# Absolute, as the build changes folder; and refused now rather than after minutes of work.
[ -d "$out" ] && [ -w "$out" ] || fail "$out: not a folder that can be written to"
out=$(readlink -f "$out")

# What is missing, as Debian packages: the tools first, then the two headers and the source.
packages=
need()
{
    case " $packages " in *" $1 "*) ;; *) packages="$packages $1" ;; esac
}
for pair in gcc:gcc make:make flex:flex bison:bison bc:bc xz:xz-utils lz4:lz4 strip:binutils \
    perl:perl tar:tar flock:util-linux; do
    command -v "${pair%%:*}" >/dev/null || need "${pair#*:}"
done
if command -v gcc >/dev/null; then
    echo '#include <gelf.h>' | gcc -E -x c - >/dev/null 2>&1 || need libelf-dev
    echo '#include <errno.h>' | gcc -E -x c - >/dev/null 2>&1 || need libc6-dev
fi
[ -r "$tarball" ] || need "$package"
[ -z "$packages" ] || fail "not all build tools are here: apt-get install$packages"

# The lines of the fragment that say something to the configuration.
symbol_lines()
{
    grep -E '^CONFIG_[A-Z0-9_]+=|^# CONFIG_[A-Z0-9_]+ is not set$' "$fragment"
}

# The package version names the source; without dpkg's word for it, the archive's own digest does.
source_id=$(dpkg-query -W -f '${Version}' "$package" 2>/dev/null) ||
    source_id=$(sha256sum "$tarball" | cut -c1-64)
digest=$(
    {
        printf '%s\n' "$recipe $package $source_id" "$(gcc --version | head -n 1)" "$(ld -v)"
        symbol_lines
    } | sha256sum | cut -c1-16
)

store=${XDG_CACHE_HOME:-$HOME/.cache}/lumina/kernel
kept=$store/$arch-$digest
mkdir -p "$store"

tree=
aside=
make_pid=
on_exit()
{
    # make hands the signal on to its compilers; wait, or they would write into the folder again.
    if [ -n "$make_pid" ]; then
        kill "$make_pid" 2>/dev/null || :
        wait "$make_pid" 2>/dev/null || :
    fi
    rm -rf ${tree:+"$tree"} ${aside:+"$aside"}
}
trap on_exit EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# Names each line of the fragment that the finished configuration does not honour. An absent symbol
# is as good as one that "is not set".
check_config()
{
    bad=$(symbol_lines | while IFS= read -r line; do
        case $line in
        "# "*)
            symbol=${line#"# "}
            symbol=${symbol%" is not set"}
            grep -q "^$symbol=" .config || continue
            ;;
        *)
            symbol=${line%%=*}
            ! grep -qxF -e "$line" .config || continue
            ;;
        esac
        got=$(grep -e "^$symbol=" -e "^# $symbol is" .config) || got="nothing"
        printf "; wanted '%s', got '%s'" "$line" "$got"
    done)
    [ -z "$bad" ] || fail "$fragment: these lines did not take effect$bad"
}

# Runs make in the background and reports how far it is: one line per hundred files, or the same
# line over and over on a terminal.
run_make()
{
    began=$(date +%s)
    shown=0
    make -j"$jobs" "$@" >"$tree/log" 2>&1 9>&- &
    make_pid=$!
    while kill -0 "$make_pid" 2>/dev/null; do
        sleep 1
        files=$(grep -c -E '^  (CC|AS) ' "$tree/log") || :
        text="guest kernel: $files of about $about_files files, $(($(date +%s) - began)) s"
        if [ -t 2 ]; then
            printf '\r%s' "$text" >&2
        elif [ $((files / 100)) -gt "$shown" ]; then
            shown=$((files / 100))
            printf '%s\n' "$text" >&2
        fi
    done
    [ ! -t 2 ] || echo >&2
    status=0
    wait "$make_pid" || status=$?
    make_pid=
    if [ "$status" -ne 0 ]; then
        cp "$tree/log" "$kept.log"
        grep -E '[Ee]rror' "$tree/log" | head -n 5 >&2 || :
        fail "make failed with status $status; its output is in $kept.log"
    fi
}

build()
{
    tree=$(mktemp -d "${TMPDIR:-/tmp}/lumina-kernel.XXXXXX")
    say "unpacking $tarball"
    # Half of the archive is drivers and architectures that this kernel cannot have; their Kconfig
    # files and makefiles stay, as the configuration reads them.
    tar -xJf "$tarball" -C "$tree" --strip-components=1 \
        --exclude='*/Documentation/*.rst' --exclude='*/Documentation/*.yaml' \
        --exclude='*/drivers/gpu/*.[ch]' --exclude='*/drivers/media/*.[ch]' \
        --exclude='*/drivers/net/ethernet/*.[ch]' --exclude='*/drivers/net/wireless/*.[ch]' \
        --exclude='*/sound/*.[ch]' --exclude='*/tools/testing/*'
    cd "$tree"

    # The environment of the caller has no say in the build, and the same input gives the same
    # bytes: no build time, user or host in the banner.
    unset MAKEFLAGS MFLAGS MAKELEVEL CFLAGS LDFLAGS KBUILD_OUTPUT ARCH CROSS_COMPILE O
    export LC_ALL=C KBUILD_BUILD_USER=lumina KBUILD_BUILD_HOST=lumina KBUILD_BUILD_VERSION=1
    export KBUILD_BUILD_TIMESTAMP='Thu Jan 1 00:00:00 UTC 1970'

    make -s tinyconfig >"$tree/log" 2>&1 || fail "tinyconfig: $(tail -n 1 "$tree/log")"
    scripts/kconfig/merge_config.sh -m .config "$fragment" >"$tree/log" 2>&1 ||
        fail "merging $fragment: $(tail -n 1 "$tree/log")"
    make -s olddefconfig >"$tree/log" 2>&1 || fail "olddefconfig: $(tail -n 1 "$tree/log")"
    check_config
    run_make vmlinux bzImage

    # Symbols go; the notes stay, as they hold the PVH entry point.
    aside=$(mktemp -d "$store/aside.XXXXXX")
    strip -s -o "$aside/vmlinux" vmlinux
    readelf -nW "$aside/vmlinux" | grep -q Xen || fail "the stripped vmlinux lost its PVH note"
    cp arch/x86/boot/bzImage System.map "$aside"
    cp .config "$aside/config"
    chmod 755 "$aside"
    mv -T "$aside" "$kept"
    aside=
    rm -f "$kept.log"
    cd /
}

# One build at a time for each user; whoever waited finds the work done. What a killed build left
# aside goes here, where no other build can be at work on it.
exec 9>"$store/lock"
if ! flock -n 9; then
    say "waiting for another build"
    flock 9
fi
if [ ! -e "$kept/vmlinux" ]; then
    rm -rf "$store"/aside.*
    build
fi
for file in vmlinux bzImage; do
    cp "$kept/$file" "$out/$file.part"
    mv "$out/$file.part" "$out/$file"
done
say "$out/vmlinux ($(wc -c <"$out/vmlinux") bytes, from $kept)"
