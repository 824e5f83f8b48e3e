#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# outside.sh WAY SOURCE_DIR STAGE WORK VERSION C_COMPILER: builds the project in outside/, a copy
# that lies elsewhere, against kith in one of the ways that the README names, from C and from C++,
# runs both programs and checks what they print.
set -eu
way=$1
source=$2
stage=$3
work=$4
version=$5
cc=$6
case $(basename "$cc") in
*clang*) cxx=clang++ ;;
*) cxx=g++ ;;
esac
command -v $cxx >/dev/null || cxx=c++

fail()
{
    echo "FAIL $way: $*"
    exit 1
}

rm -rf "$work"
mkdir -p "$work"
cp "$source"/tests/api/outside/* "$work"
cd "$work"

# check PROGRAM shared|static: it prints the right sum, and is linked as it should be
check()
{
    expected="kith $version: balance 1000"
    printed=$("$1") || fail "$1 ended with status $?"
    [ "$printed" = "$expected" ] || fail "$1 printed '$printed', not '$expected'"
    if ldd "$1" | grep -q 'libkith\.so\.0'; then linked=shared; else linked=static; fi
    [ $linked = "$2" ] || fail "$1 is linked $linked, not $2"
}

# by_cmake OPTION...: configures and builds the project
by_cmake()
{
    cmake -S . -B build -G Ninja -DCMAKE_C_COMPILER="$cc" -DCMAKE_CXX_COMPILER="$cxx" \
        "$@" >cmake.log 2>&1 || { cat cmake.log; fail "cmake failed"; }
    cmake --build build >build.log 2>&1 || { cat build.log; fail "the build failed"; }
}

# by_pkg_config shared|static: compiles with what pkg-config says
by_pkg_config()
{
    warnings="-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror"
    flags=$(pkg-config --cflags kith)
    if [ "$1" = static ]; then
        # The archive by its name, since -lkith takes the shared one where both are installed.
        libs=$(pkg-config --libs --static kith | sed 's/-lkith/-l:libkith.a/')
    else
        libs="$(pkg-config --libs kith) -Wl,-rpath,$(pkg-config --variable=libdir kith)"
    fi
    # shellcheck disable=SC2086
    "$cc" -std=c17 $warnings $flags main.c -o from_c $libs || fail "from C"
    # shellcheck disable=SC2086
    "$cxx" -std=c++17 $warnings $flags main.cc -o from_cxx $libs || fail "from C++"
}

pc=$(find "$stage" -name kith.pc 2>/dev/null | head -n 1)
PKG_CONFIG_PATH=$(dirname "${pc:-none}")
export PKG_CONFIG_PATH

case $way in
find_package_static | find_package_shared)
    kind=${way#find_package_}
    shared=OFF
    [ "$kind" = static ] || shared=ON
    by_cmake -DCMAKE_PREFIX_PATH="$stage" -DBUILD_SHARED_LIBS=$shared -DWANTED="$version"
    check build/from_c "$kind"
    check build/from_cxx "$kind"
    ;;
find_package_wrong_version)
    if cmake -S . -B build -G Ninja -DCMAKE_PREFIX_PATH="$stage" -DWANTED=99.0 >cmake.log 2>&1; then
        fail "version 99.0 was found"
    fi
    grep -q 'requested version "99.0"' cmake.log || { cat cmake.log; fail "failed otherwise"; }
    ;;
pkg_config_static | pkg_config_shared)
    kind=${way#pkg_config_}
    by_pkg_config "$kind"
    check ./from_c "$kind"
    check ./from_cxx "$kind"
    ;;
pkg_config_wrong_version)
    pkg-config --exact-version="$version" kith || fail "version $version was not found"
    if pkg-config --atleast-version=99.0 kith; then fail "version 99.0 was found"; fi
    ;;
add_subdirectory)
    by_cmake -DKITH_SOURCE="$source"
    check build/from_c static
    check build/from_cxx static
    cmake --build build --target help | grep -q 'unit_' && fail "kith's tests came along"
    ;;
*)
    fail "no such way"
    ;;
esac
echo "ok: $way"
