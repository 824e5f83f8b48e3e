#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# install.sh BUILD_DIR STAGE: installs the build, moves the tree to STAGE (so that whatever kept an
# absolute path would break), and looks whether everything is there.
set -eu
build=$1
stage=$2
first=$stage.first

rm -rf "$stage" "$first"
cmake --install "$build" --prefix "$first" >/dev/null
mv "$first" "$stage"

for pattern in include/kith.h include/kith/actor.h 'lib*/libkith.a' 'lib*/libkith.so.0' \
    'lib*/pkgconfig/kith.pc' 'lib*/cmake/kith/kithConfig.cmake' \
    'lib*/cmake/kith/kithConfigVersion.cmake' share/doc/kith/LICENSE; do
    # Debian's libraries may lie one folder deeper.
    deeper=$(echo "$pattern" | sed 's,^lib\*/,lib*/*/,')
    found=no
    for file in "$stage"/$pattern "$stage"/$deeper; do
        [ -e "$file" ] && found=yes
    done
    [ $found = yes ] || { echo "FAIL: not installed: $pattern"; exit 1; }
done

stray=$(cd "$stage" && find include -type f ! -name kith.h ! -path 'include/kith/*.h')
[ -z "$stray" ] || { echo "FAIL: headers in foreign places: $stray"; exit 1; }
if grep -rlF -e "$first" -e "$build" "$stage" --include='*.cmake' --include='*.pc'; then
    echo "FAIL: these files contain an absolute path"
    exit 1
fi
echo "ok: installed and moved"
