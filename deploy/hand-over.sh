#!/bin/sh
# Starts the installed callbox: for the first time, or in place of a running one, which lets its calls end and then goes.
# callbox.service and callbox@1 to callbox@9 take turns; after a boot it is the first. docs/operations.md has the details.

set -eu
systemctl start callbox.socket
for unit in callbox.service callbox@1.service callbox@2.service callbox@3.service callbox@4.service callbox@5.service \
  callbox@6.service callbox@7.service callbox@8.service callbox@9.service; do
  case $(systemctl show --property ActiveState --value "$unit") in
    inactive | failed)
      systemctl start "$unit" && exit 0
      echo "$unit did not start; whatever ran before still runs:" >&2
      journalctl --quiet --no-pager -u "$unit" -n 20 >&2
      systemctl stop "$unit"
      exit 1
      ;;
  esac
done
echo "ten of them run already: stop the oldest, or wait for its calls to end" >&2
exit 1
