#!/bin/sh
# Starts the installed callbox: for the first time, or in place of a running one, which lets its calls end and then goes.
# callbox.service and callbox@1 to callbox@9 take turns; after a boot it is the first. docs/operations.md has the details.

set -eu
if ! systemctl start callbox.socket; then
  echo "callbox.socket did not start. If another program has one of its ports, this names it:" >&2
  callbox doctor --config /etc/callbox/appliance.toml >&2 || true
  exit 1
fi
for unit in callbox.service callbox@1.service callbox@2.service callbox@3.service callbox@4.service callbox@5.service \
  callbox@6.service callbox@7.service callbox@8.service callbox@9.service; do
  case $(systemctl show --property ActiveState --value "$unit") in
    inactive | failed)
      systemctl start "$unit" && exit 0
      echo "$unit did not start; whatever ran before still runs. It said:" >&2
      # Of this start only.
      journalctl --quiet --no-pager --output cat -n 20 \
        "_SYSTEMD_INVOCATION_ID=$(systemctl show --property InvocationID --value "$unit")" >&2 || true
      # Or it would be tried again. That the sockets stay is meant.
      systemctl stop "$unit" 2>/dev/null
      exit 1
      ;;
  esac
done
echo "ten of them run already: stop the oldest, or wait for its calls to end" >&2
exit 1
