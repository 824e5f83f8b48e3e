# SPDX-License-Identifier: BSD-2-Clause
#
# 06_echo_server: driven by nc, socat and load_client, none of which knows kith.
. "$2/tests/examples/common.inc"

start_server 06_echo_server

# echo_by WHAT FILE COMMAND...: COMMAND sends FILE, half-closes, and gets every byte back, then the end.
echo_by()
{
    what=$1
    file=$2
    shift 2
    timeout "$patience" "$@" <"$file" >"$work/back" 2>"$work/client.err" ||
        fail "$what: the client's exit status is $?" "$work/client.err"
    cmp -s "$file" "$work/back" ||
        fail "$what: $(wc -c <"$file") bytes were sent, $(wc -c <"$work/back") came back"
    ok "$what"
}

printf 'hello\n' >"$work/line"
: >"$work/nothing"
head -c 1048576 /dev/urandom >"$work/mega"
head -c 20000000 /dev/urandom >"$work/large"

echo_by "a line by nc" "$work/line" nc -N 127.0.0.1 "$port"
echo_by "nothing but a half-close" "$work/nothing" nc -N 127.0.0.1 "$port"
echo_by "1 MiB by nc, byte for byte, after a half-close" "$work/mega" nc -N 127.0.0.1 "$port"
echo_by "1 MiB by socat, byte for byte, after a half-close" "$work/mega" \
    socat -t "$patience" - "TCP:127.0.0.1:$port"
server_lives

# A client that sends and never reads: it stalls itself, not the server and not the others.
socat -u OPEN:/dev/zero "TCP:127.0.0.1:$port" 2>/dev/null &
greedy=$!
client_pids="$client_pids $greedy"
echo_by "1 MiB while another client does not read" "$work/mega" nc -N 127.0.0.1 "$port"
echo_by "20 MB while another client does not read" "$work/large" \
    socat -t "$patience" - "TCP:127.0.0.1:$port"
kb=$(awk '/^VmRSS:/ { print $2 }' "/proc/$server_pid/status")
[ "$kb" -lt 500000 ] || fail "the server holds $kb KiB for a client that does not read"
ok "what the client does not read is not piled up in the server"
kill "$greedy" 2>/dev/null
server_lives

timeout 120 "$BIN/load_client" late "$port" 256 >"$work/load" 2>&1 || fail "late" "$work/load"
ok "a client that reads late: $(cat "$work/load")"
timeout 120 "$BIN/load_client" shut "$port" 256 >"$work/load" 2>&1 || fail "shut" "$work/load"
ok "$(cat "$work/load")"

timeout 120 "$BIN/load_client" echo "$port" 1000 20 64 >"$work/load" 2>&1 ||
    fail "1,000 connections" "$work/load"
ok "$(cat "$work/load")"
timeout 120 "$BIN/load_client" echo "$port" 50 20 4096 >"$work/load" 2>&1 ||
    fail "large rounds" "$work/load"
ok "$(cat "$work/load")"

timeout 120 "$BIN/load_client" reset "$port" 200 >"$work/load" 2>&1 || fail "resets" "$work/load"
echo_by "after $(cat "$work/load"): 1 MiB" "$work/mega" nc -N 127.0.0.1 "$port"

# All of them are gone: the server holds its own descriptors and no connection's.
turns=$((patience * 50))
while [ "$(find "/proc/$server_pid/fd" -lname 'socket:*' | wc -l)" -gt 1 ]; do
    turns=$((turns - 1))
    [ "$turns" -gt 0 ] || fail "$(find "/proc/$server_pid/fd" -lname 'socket:*' | wc -l) sockets are open"
    sleep 0.02
done
ok "no connection is left open in the server"
server_lives

"$BIN/06_echo_server" "$port" >"$work/out" 2>"$work/err" && fail "two servers on one port"
grep -q 'address already in use' "$work/err" || fail "a second server does not say why" "$work/err"
ok "a second server on the same port says that it is in use"
for bad in x 70000 -1; do
    timeout 10 "$BIN/06_echo_server" "$bad" >"$work/out" 2>"$work/err"
    [ $? -eq 2 ] || fail "port '$bad' was accepted"
done
ok "nonsense for a port is refused"
