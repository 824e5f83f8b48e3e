# SPDX-License-Identifier: BSD-2-Clause
#
# The guide: each whole program in it (a ```c block with a main) compiles without a warning. The
# first program of README.md also runs, and prints what README.md says.
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

# The first program of README.md, with the compiler and the sanitizers of the library's build.
cached()
{
    sed -n "s/^$1:[A-Z]*=//p" "$BIN/../CMakeCache.txt"
}
first=$(grep -l '^int main(' "$work/$(basename "$SRC")"-README-*.c)
[ "$(echo "$first" | wc -l)" -eq 1 ] || fail "README.md has not one whole program but: $first"
sanitize=$(cached KITH_SANITIZE)
cc=$(cached CMAKE_C_COMPILER)
"$cc" -std=gnu17 ${sanitize:+"-fsanitize=$sanitize"} -I "$SRC/include" -o "$work/first" "$first" \
    "$BIN/../libkith.a" -Wl,--as-needed -lck -pthread >"$work/out" 2>&1 ||
    fail "README.md's program does not link" "$work/out"
timeout "$patience" "$work/first" >"$work/out" 2>"$work/err" ||
    fail "README.md's program: exit status $?" "$work/out" "$work/err"
[ "$(cat "$work/out")" = "balance: 1000" ] ||
    fail "README.md's program prints something else" "$work/out" "$work/err"
ok "README.md's program prints its balance"

# At least one program in each chapter: else this test looked for them in the wrong way.
[ "$programs" -ge 6 ] || fail "only $programs whole programs were found"
