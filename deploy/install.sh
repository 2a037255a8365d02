#!/bin/sh
# Installs callbox on a machine with systemd, or upgrades it without ending a call: one program, three units, one sysctl file.
#
#   sudo deploy/install.sh [PROGRAM]     PROGRAM: a static callbox; default target/release/callbox
#
# To undo it: systemctl disable --now callbox.socket callbox.service; systemctl stop 'callbox@*'; and remove the files named below.

set -eu
here=$(dirname "$0")
program=${1:-$here/../target/release/callbox}

[ "$(id -u)" = 0 ] || { echo "install.sh: needs root: sudo $0 $*" >&2; exit 1; }
[ -d /run/systemd/system ] || { echo "install.sh: systemd does not run here" >&2; exit 1; }
"$program" --version
# Before anything is replaced. By name, since a file in this directory would come first.
settings=/etc/callbox/appliance.toml
[ ! -e $settings ] || "$program" check --config $settings >/dev/null

# By renaming, since a running program cannot be written to.
install -m 755 "$program" /usr/local/bin/callbox.new
mv /usr/local/bin/callbox.new /usr/local/bin/callbox
install -m 644 "$here/callbox.service" "$here/callbox@.service" "$here/callbox.socket" /etc/systemd/system/
install -m 644 "$here/sysctl.conf" /etc/sysctl.d/60-callbox.conf
# A container may not change these; callbox works without.
sysctl --quiet --load /etc/sysctl.d/60-callbox.conf 2>/dev/null || echo "install.sh: the kernel's settings could not be changed" >&2
# Settings are yours: what is there stays.
mkdir -p /etc/callbox
[ -e $settings ] || install -m 644 "$here/../appliance.toml" $settings

systemctl daemon-reload
systemctl enable --quiet callbox.service callbox.socket
"$here/hand-over.sh"
echo "callbox runs. Its log: journalctl -u callbox -u 'callbox@*'. Its address:"
journalctl --quiet --no-pager --output cat -u callbox -u 'callbox@*' | sed -n 's/.*url="\([^"]*\)".*/  \1/p' | tail -n 1
