# SPDX-License-Identifier: BSD-2-Clause
#
# 07_chat_server: driven by nc, socat and load_client, none of which knows kith.
. "$2/tests/examples/common.inc"

start_server 07_chat_server

# enter NAME FD: a client by nc that is typed to through descriptor FD and heard in $work/NAME.
enter()
{
    mkfifo "$work/$1.in"
    nc 127.0.0.1 "$port" <"$work/$1.in" >"$work/$1" 2>/dev/null &
    eval "$1_pid=\$!"
    client_pids="$client_pids $!"
    eval "exec $2>\"$work/$1.in\""
    wait_for "$work/$1" "* you are in lobby"
    echo "/nick $1" >&"$2"
    wait_for "$work/$1" "* you are $1"
}

# heard NAME TEXT / not_heard NAME TEXT
heard()
{
    wait_for "$work/$1" "$2"
}
not_heard()
{
    if grep -qF -- "$2" "$work/$1"; then
        fail "$1 heard: $2" "$work/$1"
    fi
}

enter alice 3
grep -q '^\* welcome, guest1; /help' "$work/alice" || fail "no welcome" "$work/alice"
ok "a client is welcomed, is in the lobby and has the name it asked for"
enter bob 4
heard alice "* guest2 has joined"
heard alice "* guest2 is now bob"
ok "the others in the room hear who comes and who takes which name"

echo "hello, bob" >&3
heard bob "alice: hello, bob"
printf 'hello, alice\r\n' >&4
heard alice "bob: hello, alice"
not_heard alice "alice: hello, bob"
not_heard bob "bob: hello, alice"
grep -q "$(printf '\r')" "$work/alice" && fail "a carriage return was passed on" "$work/alice"
ok "what one says the other hears, once, and the speaker does not"

echo "/nick alice" >&4
heard bob "* the name alice is taken"
echo "still bob" >&4
heard alice "bob: still bob"
echo "/nick bob" >&4
heard bob "* you are bob" 2
echo "bob as before" >&4
heard alice "bob: bob as before" # a renaming would have come before it
not_heard alice "* bob is now bob"
ok "a name that is taken is refused, one's own is not, and is no news to the room"

echo "/who" >&3
heard alice "* 2 in lobby:"
heard alice "* - alice"
heard alice "* - bob"
ok "/who lists who is here"

enter carol 5
enter dave 6
printf '/join garden\n' >&6
heard dave "* you are in garden"
heard alice "* dave has left"
printf '/join garden\nfrom carol in the garden\n' >&5
heard dave "carol: from carol in the garden"
ok "/join and the line that came with it: the line is said in the new room"
echo "from alice in the lobby" >&3
heard bob "alice: from alice in the lobby"
echo "from dave in the garden" >&6
heard carol "dave: from dave in the garden"
for lobby in alice bob; do
    not_heard "$lobby" "in the garden"
done
for garden in carol dave; do
    not_heard "$garden" "from alice in the lobby"
done
echo "/who" >&6
heard dave "* 2 in garden:"
ok "a room does not hear the other"

# Nonsense is answered, and does no harm.
echo "/dance" >&3
heard alice "* there is no such command"
echo "/quitter" >&3
heard alice "* there is no such command" 2
for name in "" "two words" "much-too-long-for-a-name" "a/b" "$(printf 'caf\303\251')"; do
    echo "/nick $name" >&3
done
heard alice "* a name is 1 to 16 letters" 5
echo "/join" >&3
heard alice "* a room is called by"
printf 'bell \007 and escape \033[31m\n' >&3
heard alice "* a line is plain text"
printf 'nul \000 in the middle\n' >&3
heard alice "* a line is plain text" 2
{ head -c 100000 /dev/zero | tr '\0' x; echo; } >&3
heard alice "* that line is too long"
{ head -c 512 /dev/zero | tr '\0' y; echo; } >&3
heard bob "alice: $(head -c 512 /dev/zero | tr '\0' y)"
{ head -c 513 /dev/zero | tr '\0' z; echo; } >&3
heard alice "* that line is too long" 2
printf '\n\n   \n' >&3
echo "still here" >&3
heard bob "alice: still here"
for other in bob carol dave; do
    not_heard "$other" "xxxx"
    not_heard "$other" "zzzz"
    not_heard "$other" "bell"
    not_heard "$other" "nul"
done
ok "bad commands, names and lines are answered, not passed on, and the client stays"

# Comes, speaks without a newline, asks, closes its side: gets its answers, and is heard.
printf 'in passing\n/who\nlast words' | timeout "$patience" nc -N 127.0.0.1 "$port" >"$work/passer" ||
    fail "the passer-by: exit status $?" "$work/passer"
heard bob ": in passing"
heard bob ": last words"
heard passer "* 3 in lobby:"
heard passer "* bye"
passer=$(sed -n 's/^\* welcome, \(guest[0-9]*\);.*$/\1/p' "$work/passer")
heard bob "* $passer has left"
ok "a client that half-closes is heard and answered to its end"

printf 'one\ntwo\n/quit\nthree\n' >&6
heard carol "dave: two"
heard carol "* dave has left"
heard dave "* bye"
exec 6>&-
wait_gone "$dave_pid"
not_heard carol "dave: three"
[ "$(grep -n 'dave: two\|dave has left' "$work/carol" | tail -n 2 | head -n 1 | grep -c two)" -eq 1 ] ||
    fail "dave left before he was heard" "$work/carol"
ok "/quit: what was said before is heard first, then the leaving; the connection is closed"
echo "/nick dave" >&4
heard bob "* you are dave"
heard alice "* bob is now dave"
echo "/nick bob" >&4
heard alice "* dave is now bob"
ok "the name of who left is free"

timeout 60 "$BIN/load_client" reset "$port" 50 >"$work/load" 2>&1 || fail "resets" "$work/load"
turns=$((patience * 5))
count=0
while :; do
    echo "/who" >&3
    count=$((count + 1))
    heard alice " in lobby:" $((count + 1))
    [ "$(grep ' in lobby:' "$work/alice" | tail -n 1)" = "* 2 in lobby:" ] && break
    turns=$((turns - 1))
    [ "$turns" -gt 0 ] || fail "some that were reset are still in the lobby" "$work/alice"
    sleep 0.1
done
not_heard bob "cut of"
server_lives
ok "after $(cat "$work/load"), the lobby holds the two that are there"

# A client that does not read, and others that do, while one floods the room.
mkfifo "$work/stuck.in"
socat -u "PIPE:$work/stuck.in" "TCP:127.0.0.1:$port" 2>/dev/null &
stuck_pid=$!
client_pids="$client_pids $stuck_pid"
exec 7>"$work/stuck.in"
echo "/nick stuck" >&7
heard alice "is now stuck"
echo "/join garden" >&3
echo "/join garden" >&4
heard carol "* alice has joined"
heard carol "* bob has joined"
timeout 120 "$BIN/load_client" flood "$port" 600 >"$work/load" 2>&1 || fail "flood" "$work/load"
ok "$(cat "$work/load")"
exec 7>&-

timeout 300 "$BIN/load_client" chat "$port" 1000 >"$work/load" 2>&1 || fail "1,000 clients" "$work/load"
ok "$(cat "$work/load")"

echo "after all this" >&3
heard bob "alice: after all this"
server_lives
ok "the server is well, and alice and bob still talk"

# All the others are gone: what is open is the listener, alice, bob and carol.
turns=$((patience * 50))
while [ "$(find "/proc/$server_pid/fd" -lname 'socket:*' | wc -l)" -gt 4 ]; do
    turns=$((turns - 1))
    [ "$turns" -gt 0 ] || fail "$(find "/proc/$server_pid/fd" -lname 'socket:*' | wc -l) sockets are open"
    sleep 0.02
done
ok "no connection of those who went is left open in the server"
server_lives
