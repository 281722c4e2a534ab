#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# demo.sh BUILD: two runs to look at, each with its timing ledger.
set -eu
lumina=$1/lumina

say() { printf '\n$ lumina run --timing %s\n' "$1"; }

say "-- uname -a"
"$lumina" run --timing -- uname -a

# Code nobody has read: it gets a machine of its own, is told to break it, and all that comes back is what was asked for.
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cat > "$dir/job.sh" <<'JOB'
sum=0; i=1
while [ $i -le 20000 ]; do sum=$((sum + i * i)); i=$((i + 1)); done
echo "sum of squares: $sum" > /tmp/result
echo "I am $(id -un) on $(hostname) with $(nproc) CPUs. Now I delete everything:"
rm -rf /etc /home /root /usr /var
ls /
JOB
say "--cpus 2 --put job.sh:/tmp/ --get /tmp/result:. -- sh /tmp/job.sh"
"$lumina" run --timing --cpus 2 --put "$dir/job.sh:/tmp/" --get "/tmp/result:$dir/" -- sh /tmp/job.sh
printf '\n$ cat result\n'
cat "$dir/result"
printf '\nThe machine is gone; this one still has its %s.\n' "/etc/debian_version: $(cat /etc/debian_version)"
