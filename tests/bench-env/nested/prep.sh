#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# prep.sh --arch x86_64 --out DIR: fetch what the nested bench boots.
#
# The nested bench runs our monitor on upstream KVM inside a machine that QEMU emulates in software
# (AMD SVM included), so that guests with a real Linux kernel can be tested on hosts without
# hardware virtualization. This script makes, from Debian packages only:
#
#   DIR/vmlinux    Debian's 6.12 cloud kernel as uncompressed ELF (PVH entry): unpacking it here
#                  saves a second of emulated decompression at every start
#   DIR/modules/   KVM, uncompressed
#   DIR/busybox    the user space of the outer machine
#   DIR/qemu       starts the QEMU to use, with its own libraries and firmware
#   DIR/l1.env     variables that tests inside see
#
# DIR holds links into a cache (${XDG_CACHE_HOME:-~/.cache}/lumina/nested), where each package is
# unpacked once per version. Nothing is installed and the system's apt configuration is only read:
# a private apt state inside the cache adds the backports suite on the system's own mirror.

set -euo pipefail
export LC_ALL=C

SUITE=bookworm
KERNEL_META=linux-image-6.12-cloud-amd64
MODULES="irqbypass kvm kvm-amd"
# Part of every cache folder's name: raise it when the contents made here change.
RECIPE=1

say() { echo "prep.sh: $*" >&2; }
die() { say "$*"; exit 1; }

usage() { die "usage: prep.sh --arch x86_64 --out DIR"; }

arch='' out=''
while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || usage
    case $1 in
    --arch) arch=$2 ;;
    --out) out=$2 ;;
    *) usage ;;
    esac
    shift 2
done
if [ -z "$arch" ] || [ -z "$out" ]; then usage; fi
[ "$arch" = x86_64 ] || die "--arch $arch: only x86_64 is known"
[ "$(uname -m)" = x86_64 ] || die "this machine is $(uname -m): prepare the bench on x86_64"

for tool in apt-get dpkg flock; do
    command -v $tool >/dev/null || die "$tool: not found: this script needs a Debian system"
done
command -v zstd >/dev/null || die "zstd: not found: apt-get install zstd"
# shellcheck source=/dev/null
codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-unknown}")
[ "$codename" = $SUITE ] ||
    die "this system is '$codename': the packages are taken from Debian 12 ($SUITE), run it there"

cache=${XDG_CACHE_HOME:-${HOME:?}/.cache}/lumina/nested
mkdir -p "$cache"
exec 9>"$cache/lock"
flock -n 9 || { say "waiting for another prep.sh"; flock 9; }

# An earlier run that was killed may have left its folder.
rm -rf "$cache"/work.*
work=$(mktemp -d "$cache/work.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

apt_dir=$cache/apt
apt_log=$work/apt.log

# Runs an apt tool on the private state; $1 is the tool.
private_apt() {
    local tool=$1
    shift
    "$tool" -c "$apt_dir/apt.conf" "$@" 2>>"$apt_log"
}

apt_reason() {
    sed -n 's/^E: //p' "$apt_log" | head -n 1 | grep . || echo "apt gave no reason"
}

# Prints the URI that the system uses for suite $1, component main.
mirror_of() {
    # shellcheck disable=SC2016  # the $() are apt's placeholders
    apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
        awk -v suite="$1" '$1 == suite && $2 == "main" { print $3; exit }'
}

write_sources() {
    local key='[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]' suite
    for suite in "$@"; do
        case $suite in
        *-security) echo "deb $key $security $suite main" ;;
        *) echo "deb $key $mirror $suite main" ;;
        esac
    done >"$apt_dir/sources.list"
}

# Brings the private package lists up to date, with the backports suite if the mirror has it.
update_lists() {
    local mirror security
    # -updates first: only Debian itself has both, other repositories may also name their suite
    # after the release.
    mirror=$(mirror_of $SUITE-updates)
    [ -n "$mirror" ] || mirror=$(mirror_of $SUITE)
    [ -n "$mirror" ] || die "apt sources: no $SUITE main: add Debian 12 to /etc/apt/sources.list.d"
    security=$(mirror_of $SUITE-security)
    [ -n "$security" ] ||
        die "apt sources: no $SUITE-security main: add it, the kernel comes from there"

    mkdir -p "$apt_dir/lists/partial" "$apt_dir/archives/partial"
    # The hooks of the system's configuration are for the system's state; the proxy settings and
    # the like stay in force.
    cat >"$apt_dir/apt.conf" <<CONF
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear Acquire::IndexTargets::deb::DEP-11;
#clear Acquire::IndexTargets::deb::Contents-deb;
Dir::State "$apt_dir";
Dir::State::lists "$apt_dir/lists";
Dir::State::status "/var/lib/dpkg/status";
Dir::Cache "$apt_dir";
Dir::Cache::archives "$apt_dir/archives";
Dir::Cache::pkgcache "pkgcache.bin";
Dir::Cache::srcpkgcache "";
Dir::Etc::sourcelist "$apt_dir/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
APT::Sandbox::User "$(id -un)";
APT::Get::List-Cleanup "true";
Acquire::Languages "none";
CONF
    say "updating the private package lists"
    write_sources $SUITE $SUITE-security $SUITE-backports
    : >"$apt_log"
    if ! private_apt apt-get -qq --error-on=any update >>"$apt_log"; then
        say "$SUITE-backports cannot be had: $(apt_reason)"
        write_sources $SUITE $SUITE-security
        : >"$apt_log"
        private_apt apt-get -qq --error-on=any update >>"$apt_log" ||
            { say "package lists: $(apt_reason)"; return 1; }
    fi
}

# Downloads packages ("name=version" or "name") into $work/debs/ and unpacks them to $work/root/.
fetch() {
    mkdir -p "$work/debs" "$work/root"
    : >"$apt_log"
    (cd "$work/debs" && private_apt apt-get -qq download "$@" >>"$apt_log") ||
        { say "download of $*: $(apt_reason)"; return 1; }
    local deb
    for deb in "$work"/debs/*.deb; do
        dpkg -x "$deb" "$work/root" || { say "unpack ${deb##*/}: failed"; return 1; }
    done
    rm -rf "$work/debs"
}

# Moves the finished folder $work/made to its place in the cache.
publish() {
    rm -rf "$work/root" "${cache:?}/$1"
    mv "$work/made" "$cache/$1"
}

candidate() {
    private_apt apt-cache policy "$1" | awk '$1 == "Candidate:" && $2 != "(none)" { print $2 }'
}

# A folder name without the ':' of package epochs, which would split library paths.
folder() {
    echo "$1-${2//:/_}-r$RECIPE"
}

make_busybox() {
    local version
    version=$(candidate busybox-static)
    [ -n "$version" ] || { say "busybox-static: not in the package lists"; return 1; }
    busybox=$(folder busybox "$version")
    [ ! -d "$cache/$busybox" ] || return 0
    say "fetching busybox-static $version"
    fetch "busybox-static=$version" || return 1
    mkdir "$work/made"
    cp "$work"/root/bin/busybox "$work/made/busybox" 2>/dev/null ||
        cp "$work"/root/usr/bin/busybox "$work/made/busybox" || return 1
    publish "$busybox"
}

u32_at() {
    od -An -tu4 -j "$2" -N 4 "$1" | tr -d ' '
}

# Unpacks the ELF kernel from the bzImage $1 to $2. The offsets are those of the x86 boot protocol:
# setup_sects, payload_offset and payload_length; the payload's last four bytes are its unpacked
# size and no part of the compressed stream.
unpack_kernel() {
    local image=$1 sectors offset length
    sectors=$(od -An -tu1 -j $((0x1f1)) -N 1 "$image" | tr -d ' ')
    [ "$sectors" -gt 0 ] || sectors=4
    offset=$(((sectors + 1) * 512 + $(u32_at "$image" $((0x248)))))
    length=$(($(u32_at "$image" $((0x24c))) - 4))
    # head ends the pipe early, so only the decompressor's verdict counts
    (set +o pipefail; tail -c +$((offset + 1)) "$image" | head -c "$length" | zstd -qdc >"$2") ||
        { say "${image##*/}: the kernel in it is not compressed with zstd"; return 1; }
    [ "$(head -c 4 "$2")" = $'\177ELF' ] || { say "${image##*/}: no ELF kernel in it"; return 1; }
}

make_kernel() {
    local package version module file
    package=$(private_apt apt-cache depends $KERNEL_META |
        awk '$1 == "Depends:" { print $2; exit }')
    [ -n "$package" ] || { say "$KERNEL_META: not in the package lists"; return 1; }
    version=$(candidate "$package")
    kernel=$(folder kernel "$version")
    [ ! -d "$cache/$kernel" ] || return 0
    say "fetching $package $version"
    fetch "$package=$version" || return 1
    mkdir -p "$work/made/modules"
    unpack_kernel "$(echo "$work"/root/boot/vmlinuz-*)" "$work/made/vmlinux" || return 1
    for module in $MODULES; do
        file=$(find "$work/root" -name "$module.ko" -o -name "$module.ko.xz")
        case $file in
        *.xz) "$cache/$busybox/busybox" xzcat "$file" >"$work/made/modules/$module.ko" ;;
        *.ko) cp "$file" "$work/made/modules/$module.ko" ;;
        *) false ;;
        esac || { say "$package: no module $module in it"; return 1; }
    done
    publish "$kernel"
}

# The libraries that QEMU $1 needs and this system lacks, as name=version. QEMU's own other packages
# (loadable modules for desktops) are left out, and with them most of what they would pull in.
qemu_libraries() {
    local depends
    depends=$(private_apt apt-cache show "qemu-system-x86=$1" | sed -n 's/^Depends: //p' |
        tr ',' '\n' | grep -v -e 'qemu-system-' -e seabios -e ipxe | paste -s -d ',')
    private_apt apt-get -s --no-install-recommends -t $SUITE-backports satisfy "$depends" |
        awk '$1 == "Inst" && $2 ~ /^lib/ {
                 version = $3 ~ /^\(/ ? $3 : $4
                 sub(/^\(/, "", version)
                 print $2 "=" version
             }'
}

# QEMU 10 from backports: 7.2 does not intercept XSETBV of a nested guest, so that FPU state tests
# would lie. $1 is the wanted version.
make_qemu_backport() {
    local version=$1 libraries
    qemu=$(folder qemu "$version")
    [ ! -x "$cache/$qemu/qemu" ] || ! "$cache/$qemu/qemu" --version >/dev/null 2>&1 || return 0
    : >"$apt_log"
    libraries=$(qemu_libraries "$version") ||
        { say "libraries of QEMU $version: $(apt_reason)"; return 1; }
    say "fetching QEMU $version and $(echo "$libraries" | wc -w) libraries"
    # shellcheck disable=SC2086  # a list of words
    fetch -t $SUITE-backports "qemu-system-x86=$version" "qemu-system-data=$version" seabios \
        $libraries || return 1
    mkdir -p "$work/made/lib" "$work/made/share"
    if ! mv "$work/root/usr/bin/qemu-system-x86_64" "$work/made/" ||
        ! mv "$work/root/usr/share/qemu" "$work/root/usr/share/seabios" "$work/made/share/" ||
        ! find "$work/root" -path '*/lib/x86_64-linux-gnu/*.so*' \
            ! -path '*/x86_64-linux-gnu/*/*' -exec cp -P {} "$work/made/lib/" \;; then
        say "qemu-system-x86 $version: not packed as expected"
        return 1
    fi
    cat >"$work/made/qemu" <<'RUN'
#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
LD_LIBRARY_PATH=$here/lib exec "$here/qemu-system-x86_64" -L "$here/share/qemu" \
    -L "$here/share/seabios" "$@"
RUN
    chmod +x "$work/made/qemu"
    echo 'LUMINA_NESTED_XSAVE=1' >"$work/made/l1.env"
    if ! "$work/made/qemu" --version >/dev/null 2>"$work/why"; then
        say "QEMU $version does not start here: $(tail -n 1 "$work/why")"
        rm -rf "$work/made" "$work/root"
        return 1
    fi
    publish "$qemu"
}

make_qemu_installed() {
    local version
    command -v qemu-system-x86_64 >/dev/null || {
        say "and no QEMU is installed: apt-get install --no-install-recommends qemu-system-x86"
        return 1
    }
    version=$(qemu-system-x86_64 --version | sed -n '1s/.*version \([0-9.]*\).*/\1/p')
    qemu=$(folder qemu-installed "$version")
    mkdir -p "$work/made"
    printf '#!/bin/sh\nexec qemu-system-x86_64 "$@"\n' >"$work/made/qemu"
    chmod +x "$work/made/qemu"
    if [ "${version%%.*}" -ge 10 ]; then
        echo 'LUMINA_NESTED_XSAVE=1' >"$work/made/l1.env"
    else
        say "falling back to the installed QEMU $version: it loses XSAVE state of nested guests," \
            "tests of it skip (LUMINA_NESTED_XSAVE=0)"
        echo 'LUMINA_NESTED_XSAVE=0' >"$work/made/l1.env"
    fi
    publish "$qemu"
}

make_qemu() {
    local version
    version=$(private_apt apt-cache madison qemu-system-x86 |
        awk -F'|' -v suite="$SUITE-backports/" \
            'index($3, suite) { gsub(/ /, "", $2); print $2; exit }')
    if [ -n "$version" ]; then
        make_qemu_backport "$version" && return 0
    else
        say "qemu-system-x86 is not in $SUITE-backports"
    fi
    make_qemu_installed
}

# The folders that the last run decided on, good for a day without asking the mirror.
current=$cache/$arch-r$RECIPE.current

read_current() {
    [ -f "$current" ] || return 1
    read -r busybox kernel qemu <"$current" || return 1
    [ -d "$cache/$busybox" ] && [ -d "$cache/$kernel" ] &&
        "$cache/$qemu/qemu" --version >/dev/null 2>&1
}

busybox='' kernel='' qemu=''
if ! { [ -n "$(find "$current" -mmin -1440 2>/dev/null)" ] && read_current; }; then
    if update_lists && make_busybox && make_kernel && make_qemu; then
        echo "$busybox $kernel $qemu" >"$work/current"
        mv "$work/current" "$current"
    elif read_current; then
        say "using what an earlier run fetched"
    else
        die "nothing to boot: see the lines above"
    fi
fi

mkdir -p "$out"
ln -sfn "$cache/$busybox/busybox" "$out/busybox"
ln -sfn "$cache/$kernel/vmlinux" "$out/vmlinux"
ln -sfn "$cache/$kernel/modules" "$out/modules"
ln -sfn "$cache/$qemu/qemu" "$out/qemu"
ln -sfn "$cache/$qemu/l1.env" "$out/l1.env"
echo "nested bench in $out: $kernel, $qemu, $busybox"
