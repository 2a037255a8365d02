#!/bin/sh
# Starts the installed callbox: for the first time, or in place of a running one, which lets its calls end and then goes.
# Two units take turns, callbox and callbox@next; after a boot it is always the first. docs/operations.md has the details.

set -eu
if systemctl is-active --quiet callbox.service; then
  unit=callbox@next.service
else
  unit=callbox.service
fi
if ! systemctl start callbox.socket "$unit"; then
  echo "callbox did not start; whatever ran before still runs:" >&2
  journalctl --quiet --no-pager -u "$unit" -n 20 >&2
  exit 1
fi
