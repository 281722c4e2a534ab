#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# pack.sh --out PAYLOAD --prefix PREFIX [DLL...]: as much of Wine as a console program needs, for the nested bench.
#
# PAYLOAD/sysroot gets Wine's loader, its server and the libraries that a console program loads, with DLL... beside
# those; PAYLOAD/wine is a copy of PREFIX (made by run.sh) whose services are all off. In the outer machine:
#   WINEPREFIX=/t/wine WINEDEBUG=-all DISPLAY= /usr/lib/wine/wine64 program.exe
set -euo pipefail
export LC_ALL=C

die() { echo "pack.sh: $*" >&2; exit 1; }

out='' prefix=''
while [ $# -gt 0 ]; do
    case $1 in
    --out) out=$2 ;;
    --prefix) prefix=$2 ;;
    *) break ;;
    esac
    shift 2
done
[ -n "$out" ] && [ -d "$prefix/drive_c" ] || die "usage: pack.sh --out PAYLOAD --prefix PREFIX [DLL...]"

lib=/usr/lib/x86_64-linux-gnu
loader=/usr/lib/wine
windows="advapi32.dll apisetschema.dll combase.dll gdi32.dll imm32.dll kernel32.dll kernelbase.dll msvcrt.dll ntdll.dll
    ole32.dll oleaut32.dll rpcrt4.dll sechost.dll services.exe setupapi.dll shcore.dll shell32.dll shlwapi.dll ucrtbase.dll
    user32.dll userenv.dll version.dll win32u.dll wineboot.exe ws2_32.dll zlib1.dll $*"

sysroot=$out/sysroot
mkdir -p "$sysroot$loader" "$sysroot$lib/wine/x86_64-unix" "$sysroot$lib/wine/x86_64-windows" "$sysroot/usr/share/wine" "$sysroot/lib"
cp -L "$loader/wine64" "$loader/wineserver64" "$sysroot$loader/"
ln -sf wineserver64 "$sysroot$loader/wineserver" # Debian's is a shell script around it
[ ! -e "$loader/wine64-preloader" ] || cp -L "$loader/wine64-preloader" "$sysroot$loader/"
cp -RL /usr/share/wine/nls "$sysroot/usr/share/wine/"
cp -L /usr/share/wine/wine.inf "$sysroot/usr/share/wine/"
for name in ntdll win32u ws2_32; do
    cp -L "$lib/wine/x86_64-unix/$name.so" "$sysroot$lib/wine/x86_64-unix/"
done
for name in $windows; do
    [ -e "$lib/wine/x86_64-windows/$name" ] || die "$name: not in this Wine"
    cp -L "$lib/wine/x86_64-windows/$name" "$sysroot$lib/wine/x86_64-windows/"
done

# What those need of the host, flat where the loader looks without a cache.
for program in "$loader/wine64" "$loader/wineserver64" "$lib"/wine/x86_64-unix/{ntdll,win32u,ws2_32}.so; do
    while read -r name arrow path _; do
        if [ "$arrow" = '=>' ] && [ -f "$path" ]; then
            cp -L "$path" "$sysroot/lib/$name"
        elif [ "${name#/}" != "$name" ]; then
            mkdir -p "$sysroot${name%/*}"
            cp -L "$name" "$sysroot$name"
        fi
    done < <(ldd "$program")
done
cp -L /lib/x86_64-linux-gnu/libgcc_s.so.1 "$sysroot/lib/" # for the end of threads

# A prefix of symbolic links; no service has anything to do here, and each would cost seconds of a software CPU.
mkdir -p "$out/wine/drive_c/windows/system32" "$out/wine/dosdevices" "$out/wine/drive_c/users/root/Temp"
sed 's/^"Start"=dword:0000000[0-3]/"Start"=dword:00000004/' "$prefix/system.reg" >"$out/wine/system.reg"
cp "$prefix/user.reg" "$prefix/userdef.reg" "$out/wine/"
echo disable >"$out/wine/.update-timestamp"
ln -sfn ../drive_c "$out/wine/dosdevices/c:"
ln -sfn / "$out/wine/dosdevices/z:"
for name in $windows; do
    ln -sf "$lib/wine/x86_64-windows/$name" "$out/wine/drive_c/windows/system32/$name"
done
