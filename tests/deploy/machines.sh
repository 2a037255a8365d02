# Two machines on an Internet of their own, as far as they know: network namespaces with one cable. To be sourced.
# The addresses are documented to be nobody's (RFC 5737).

# shellcheck shell=bash
# shellcheck disable=SC2034  # the variables are for whoever sources this
server_ip=198.51.100.1 outside_ip=198.51.100.2
server=callbox-server-$$ outside=callbox-outside-$$

machines_up() {
  local namespace own other
  ip netns add "$server" || return
  ip netns add "$outside" || return
  ip link add public netns "$server" type veth peer name public netns "$outside" || return
  while read -r namespace own other; do
    ip -n "$namespace" address add "$own/24" dev public
    ip -n "$namespace" link set lo up
    ip -n "$namespace" link set public up
    ip -n "$namespace" route add default via "$other"
  done <<<"$server $server_ip $outside_ip
$outside $outside_ip $server_ip"
}

machines_down() {
  ip netns delete "$server" 2>/dev/null
  ip netns delete "$outside" 2>/dev/null
  true
}

on_server() { ip netns exec "$server" "$@"; }
from_outside() { ip netns exec "$outside" "$@"; }

# Waits until a command succeeds, far longer than it takes on a busy machine.
until_ready() {
  local deadline=$((SECONDS + 60))
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < deadline)) || fail "not within a minute: $*"
    sleep 0.1
  done
}
