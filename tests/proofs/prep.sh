#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# prep.sh: prints the path of a cbmc to use, fetching it if need be; fails with the reason on
# standard error.
#
# cbmc 6 on PATH is taken as it is. Else it comes from Debian's trixie suite on the system's own
# mirror, with the C library that it wants, into a cache (${XDG_CACHE_HOME:-~/.cache}/lumina/proofs)
# and runs there with its own loader. Nothing is installed; the system's apt configuration is only
# read, and what is fetched is verified with Debian's archive keys.

set -euo pipefail
export LC_ALL=C

SUITE=trixie
PACKAGES="cbmc minisat libc6 libgcc-s1 libstdc++6"
KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

die() { echo "prep.sh: $*" >&2; exit 1; }

works() {
    local version
    version=$("$1" --version 2>/dev/null) && [ "${version%%.*}" -ge 6 ] 2>/dev/null
}

if installed=$(command -v cbmc) && works "$installed"; then
    echo "$installed"
    exit 0
fi

[ "$(uname -m)" = x86_64 ] || die "no cbmc 6 on PATH, and this machine is $(uname -m)"
for tool in apt-get dpkg flock gcc; do
    command -v $tool >/dev/null || die "no cbmc 6 on PATH, and no $tool to fetch one with"
done
[ -f $KEYRING ] || die "$KEYRING: not found: apt-get install debian-archive-keyring"

cache=${XDG_CACHE_HOME:-${HOME:?}/.cache}/lumina/proofs
mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9

# What an earlier run made is good for a week without asking the mirror.
if [ -n "$(find "$cache/current" -mmin -10080 2>/dev/null)" ]; then
    made=$cache/$(cat "$cache/current")/cbmc
    if works "$made"; then
        echo "$made"
        exit 0
    fi
fi

rm -rf "$cache"/work.*
work=$(mktemp -d "$cache/work.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# A private apt state: the hooks of the system's configuration are for the system's state, its proxy
# settings and the like stay in force.
private_apt() {
    local tool=$1
    shift
    "$tool" -c "$work/apt.conf" "$@" 2>>"$work/log"
}

reason() { sed -n 's/^E: //p' "$work/log" | head -n 1 | grep . || echo "apt gave no reason"; }

# The mirror is the one that has the system's own suite. Its -updates first: only Debian itself has
# both, other repositories may also name their suite after the release.
mirror_of_system() {
    local codename
    # shellcheck source=/dev/null
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-unknown}")
    # shellcheck disable=SC2016  # the $() are apt's placeholders
    apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
        awk -v suite="$codename" '
            $1 == suite "-updates" && $2 == "main" { best = $3 }
            $1 == suite && $2 == "main" && !any { any = $3 }
            END { print best ? best : any }'
}

fetch() {
    local mirror versions folder deb
    mirror=$(mirror_of_system)
    [ -n "$mirror" ] || { echo "E: no Debian mirror in the apt sources" >"$work/log"; return 1; }
    mkdir -p "$work/lists/partial" "$work/archives/partial" "$work/debs" "$work/made"
    : >"$work/status"
    cat >"$work/apt.conf" <<CONF
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear Acquire::IndexTargets::deb::DEP-11;
#clear Acquire::IndexTargets::deb::Contents-deb;
Dir::State "$work";
Dir::State::lists "$work/lists";
Dir::State::status "$work/status";
Dir::Cache "$work";
Dir::Cache::archives "$work/archives";
Dir::Etc::sourcelist "$work/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
APT::Sandbox::User "$(id -un)";
Acquire::Languages "none";
CONF
    echo "deb [signed-by=$KEYRING] $mirror $SUITE main" >"$work/sources.list"
    echo "prep.sh: fetching cbmc" >&2
    private_apt apt-get -qq --error-on=any update >>"$work/log" || return 1
    # shellcheck disable=SC2086  # a list of words
    versions=$(private_apt apt-cache show --no-all-versions $PACKAGES |
        grep -E '^(Package|Version|SHA256):') || return 1
    folder=$(echo "$versions" | awk '/^Version/ { print $2; exit }')
    folder=${folder//:/_}-$(echo "$versions" | sha256sum | cut -c 1-12)
    if works "$cache/$folder/cbmc"; then
        publish "$folder"
        return
    fi
    # shellcheck disable=SC2086
    (cd "$work/debs" && private_apt apt-get -qq download $PACKAGES >>"$work/log") || return 1
    for deb in "$work"/debs/*.deb; do
        dpkg -x "$deb" "$work/root" >>"$work/log" 2>&1 || return 1
    done
    mkdir "$work/made/lib"
    cp -P "$work/root/usr/bin/cbmc" "$work/made/cbmc.bin" || return 1
    find "$work/root" -path "*/lib/x86_64-linux-gnu/*.so*" ! -path '*/x86_64-linux-gnu/*/*' \
        -exec cp -P {} "$work/made/lib/" \;
    find "$work/root/usr/lib" -maxdepth 1 -name '*.so*' -exec cp -P {} "$work/made/lib/" \;
    # The system's own gcc, which cbmc runs to preprocess, must not see these libraries: so no
    # LD_LIBRARY_PATH.
    cat >"$work/made/cbmc" <<'RUN'
#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
exec "$here/lib/ld-linux-x86-64.so.2" --library-path "$here/lib" "$here/cbmc.bin" "$@"
RUN
    chmod +x "$work/made/cbmc"
    if ! works "$work/made/cbmc"; then
        echo "E: cbmc does not start: $("$work/made/cbmc" --version 2>&1 | tail -n 1)" >>"$work/log"
        return 1
    fi
    rm -rf "${cache:?}/$folder"
    mv "$work/made" "$cache/$folder"
    publish "$folder"
}

publish() {
    echo "$1" >"$work/current"
    mv "$work/current" "$cache/current"
}

: >"$work/log"
if ! fetch; then
    made=$cache/$(cat "$cache/current" 2>/dev/null || echo none)/cbmc
    works "$made" || die "no cbmc 6 on PATH, and $SUITE's cannot be had: $(reason)"
fi
echo "$cache/$(cat "$cache/current")/cbmc"
