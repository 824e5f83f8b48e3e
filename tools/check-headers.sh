#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# check-headers.sh [ROOT]: every source file and script opens with its licence line; every header
# of the library has a guard that is named after it.
set -eu
cd "${1:-$(dirname "$0")/..}"

status=0
count=0
for file in $(find . \( -path ./build -o -path './build-*' -o -path ./.git \) -prune -o -type f \
    \( -name '*.c' -o -name '*.h' -o -name '*.cc' -o -name '*.sh' -o -name '*.cmake' \
    -o -name CMakeLists.txt -o -name dev \) -print | sort); do
    count=$((count + 1))
    if ! head -n 2 "$file" | grep -q 'SPDX-License-Identifier: BSD-2-Clause'; then
        echo "$file: no SPDX line at the top"
        status=1
    fi
    case $file in
    ./include/*.h | ./base/*.h | ./mailbox/*.h | ./sched/*.h | ./csp/*.h | ./io/*.h | ./actors/*.h) ;;
    *) continue ;;
    esac
    # KITH_ACTOR_H, KITH__BASE_ATOMIC_H or KITH_BASE_ATOMIC_H: the name's last part is enough.
    end=$(basename "$file" | tr 'a-z.-' 'A-Z__')
    guard=$(sed -n "s/^#ifndef \(KITH_[A-Z0-9_]*$end\)\$/\1/p; s/^#ifndef \($end\)\$/\1/p" "$file" |
        head -n 1)
    if [ -z "$guard" ] || ! grep -q "^#define $guard\$" "$file"; then
        echo "$file: no guard named after it ($end)"
        status=1
    fi
done
[ $count -gt 0 ] || { echo "no source files under $(pwd)"; exit 1; }
exit $status
