#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# aarch64.sh SOURCE_DIR: builds contexts and their test for aarch64 with a cross compiler and runs it
# under qemu; the assembly for that processor is otherwise built by nobody on x86-64. Where one of
# the two is missing the test is skipped (77), and says so.
set -eu
source=$1
compiler=aarch64-linux-gnu-gcc

for tool in "$compiler" qemu-aarch64; do
    if ! command -v "$tool" >/dev/null 2>&1; then
        echo "skipped: there is no $tool (Debian: gcc-aarch64-linux-gnu, qemu-user)"
        exit 77
    fi
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$source"
# Optimised and not, with signed return addresses and landing pads, and without the assembly.
for options in "-O2" "-O0" "-O2 -mbranch-protection=standard" "-O2 -DKITH__UCONTEXT"; do
    echo "== $options"
    # shellcheck disable=SC2086 # the options are words
    "$compiler" -static -std=c17 -D_GNU_SOURCE= -Wall -Wextra -Werror -I . -I include $options \
        tests/unit/csp_context.c csp/context.c csp/switch_aarch64.S csp/switch_x86_64.S \
        base/assert.c -pthread -o "$work/csp_context"
    qemu-aarch64 "$work/csp_context"
done
