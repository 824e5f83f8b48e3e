# SPDX-License-Identifier: BSD-2-Clause
#
# The guide: each whole program in it (a ```c block with a main) compiles without a warning.
. "$2/tests/examples/common.inc"

cc=${CC:-cc}
programs=0
for page in "$SRC"/docs/guide/*.md "$SRC"/README.md; do
    [ -f "$page" ] || continue
    # Each block goes into a file of its own, named after the page and the line that it begins in.
    awk -v to="$work/$(basename "$(dirname "$page")")-$(basename "$page" .md)" '
        /^```c$/ { open = 1; file = to "-" NR ".c"; next }
        /^```$/ { open = 0; close(file); next }
        open { print > file }' "$page"
done
for block in "$work"/*.c; do
    grep -q '^int main(' "$block" || continue
    "$cc" -std=gnu17 -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror -fsyntax-only \
        -I "$SRC/include" "$block" >"$work/out" 2>&1 ||
        fail "${block##*/} does not compile" "$work/out"
    ok "${block##*/} compiles"
    programs=$((programs + 1))
done
# At least one program in each chapter: else this test looked for them in the wrong way.
[ "$programs" -ge 6 ] || fail "only $programs whole programs were found"
