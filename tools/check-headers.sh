#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# check-headers.sh [ROOT]: every source file and script opens with its licence line; every header
# of the library has a guard that is named after it. In the public headers no line is longer than
# 100 columns, and each KITH_API function stands under a comment that says which thread may call
# it; functions that follow each other without an empty line share one.
set -eu
cd "${1:-$(dirname "$0")/..}"

status=0
count=0
for file in $(find . \( -path ./build -o -path './build-*' -o -path ./.git \) -prune -o -type f \
    \( -name '*.c' -o -name '*.h' -o -name '*.cc' -o -name '*.S' -o -name '*.sh' -o -name '*.cmake' \
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

# Of a tree without public headers (those of the tools' own tests) nothing is asked.
for file in ./include/*.h ./include/*/*.h; do
    [ -f "$file" ] || continue
    awk -v file="$file" '
        length($0) > 100 { print file ":" NR ": longer than 100 columns"; bad = 1 }
        /^$/ { said = 0 }
        /\/\*/ { said = 0; inside = 1 }
        inside && /Thread:/ { said = 1 }
        /\*\// { inside = 0 }
        /^KITH_API .*\(/ && !said { print file ":" NR ": no comment with Thread: above it"; bad = 1 }
        END { exit bad }' "$file" || status=1
done
[ $count -gt 0 ] || { echo "no source files under $(pwd)"; exit 1; }
exit $status
