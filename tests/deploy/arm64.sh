# A static callbox for 64-bit ARM, compiled on another processor, serves and relays in an emulator. To be sourced by `run`.

# shellcheck shell=bash
# shellcheck disable=SC2154  # of `run` and of machines.sh

((EUID == 0)) || skip "needs root"
for program in aarch64-linux-gnu-gcc qemu-aarch64-static turnutils_uclient readelf curl ip; do
  command -v "$program" >/dev/null || skip "$program is not installed"
done
machines_up || skip "network namespaces cannot be made on this machine"

binary=$(tests/deploy/binary trial arm64)
LC_ALL=C readelf --wide --file-header --program-headers --dynamic "$binary" >"$work/elf"
grep -q 'Machine: *AArch64' "$work/elf" || fail "$binary is not for ARM"
! grep -E 'INTERP|NEEDED' "$work/elf" >&2 || fail "$binary wants a loader or a library"
arm=(qemu-aarch64-static "$binary")
[[ $("${arm[@]}" --version) == callbox* ]] || fail "it does not run"
ok "static, for AArch64, and runs"

mkdir "$work/state"
cat >"$work/appliance.toml" <<EOF
state_dir = "$work/state"
[turn]
allow_peers = ["$outside_ip"]
EOF
"${arm[@]}" check --config "$work/appliance.toml" >"$work/check" || fail "check"
grep -q allow_peers "$work/check" || fail "check does not say what is in force"
ip netns exec "$server" "${arm[@]}" serve --config "$work/appliance.toml" >"$work/callbox.log" 2>&1 & static=$! && background+=("$static")
get() { from_outside curl --silent --insecure --fail-with-body --max-time 20 "$@"; }
until_ready get "https://$server_ip/"
get "https://$server_ip/" | grep -i '<!doctype html>' >/dev/null || fail "the page"
# A WebSocket never ends by itself: what curl got by its deadline is what counts. RFC 6455 section 1.3 has key and answer.
get --http1.1 --include --max-time 3 --header 'Connection: Upgrade' --header 'Upgrade: websocket' --header 'Sec-WebSocket-Version: 13' \
  --header 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==' "https://$server_ip/ws" >"$work/ws" || true
grep -qi '^sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=' "$work/ws" || fail "wss"
ok "the page over HTTPS, wss"

# Pairs of clients that relay through us to each other, and with -e to somebody outside who does not.
ip netns exec "$outside" turnutils_peer -L "$outside_ip" -p 3480 >/dev/null 2>&1 & background+=($!)
turn() {
  get "https://$server_ip/ice" >"$work/ice"
  local username password
  username=$(sed -n 's/.*"username" *: *"\([^"]*\)".*/\1/p' "$work/ice" | head -n 1)
  password=$(sed -n 's/.*"password" *: *"\([^"]*\)".*/\1/p' "$work/ice" | head -n 1)
  # Where a packet comes before its peer has asked for a permission, it is rightly dropped.
  from_outside timeout 100 turnutils_uclient -u "$username" -w "$password" -c -n 20 -m 2 "$@" "$server_ip" >"$work/turn" 2>&1 &&
    awk '/Total lost packets/ {found = 1; lost = substr($7, 2) + 0} END {exit !(found && lost <= 10)}' "$work/turn" ||
    { tail -n 30 "$work/turn" >&2; fail "TURN: $*"; }
}
turn -y -p 3478
turn -e "$outside_ip" -p 3478
turn -y -t -p 3478
turn -e "$outside_ip" -t -S -p 443
ok "TURN over UDP, TCP and TLS, among our clients and with a peer outside"

kill "$static"
wait "$static" || fail "it ends with $?"
! grep -E 'ERROR|panicked' "$work/callbox.log" >&2 || fail "it complains"
ok "it ends in good order"
