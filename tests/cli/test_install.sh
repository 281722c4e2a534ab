#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What `make install` puts where, and that a program can be built from it with pkg-config alone.
. "$(dirname "$0")/lib.sh"

meson install -C "$LUMINA_TEST_BUILD" --no-rebuild --destdir "$SCRATCH/dest" >install.log 2>&1
check "installs" [ $? = 0 ]
root=$SCRATCH/dest/usr/local
for file in bin/lumina include/lumina.h libexec/lumina/lumina-vmm libexec/lumina/lumina-qemu libexec/lumina/vmlinux \
    libexec/lumina/agent.cpio libexec/lumina/root.erofs share/man/man1/lumina.1 share/man/man3/lumina.3 \
    share/bash-completion/completions/lumina share/zsh/site-functions/_lumina \
    share/fish/vendor_completions.d/lumina.fish; do
    check "there is $file" [ -s "$root/$file" ]
done
check "no test and no build tool is installed" [ -z "$(find "$root" -name 'test_*' -o -name gen_man -o -name bzImage)" ]
pc=$(dirname "$(find "$root" -name lumina.pc)")
flags=$(PKG_CONFIG_PATH=$pc PKG_CONFIG_SYSROOT_DIR=$SCRATCH/dest pkg-config --cflags --libs lumina)
check "pkg-config knows it: $flags" [ -n "$flags" ]
# shellcheck disable=SC2086
check "the example builds with it" cc -std=c99 -o hello "$LUMINA_TEST_SOURCE/examples/hello.c" $flags
out=$(LD_LIBRARY_PATH=$(dirname "$pc") "$root/bin/lumina" version)
is "the installed command runs" "${out%% *}" lumina
end
