#!/usr/bin/env bash
# Gives the names of the hosts on which tests start directory servers and a Dogtag, a loopback address each, in /etc/hosts.
# Without root it prints the lines to add. A line that is there stays; safe to run at the same time twice.
set -euo pipefail

lines=(
  "127.0.0.2 ds1.vouchd.test"
  "127.0.0.3 ds2.vouchd.test"
  "127.0.0.4 ds3.vouchd.test"
  "127.0.0.5 ds4.vouchd.test"
  "127.0.0.6 dogtag.vouchd.test"
  "192.0.2.1 elsewhere.vouchd.test" # of no host: RFC 5737
)
missing() {
  for line in "${lines[@]}"; do
    grep -qE "^${line%% *}[[:space:]]+${line##* }([[:space:]]|\$)" /etc/hosts || echo "$line"
  done
}
[ -z "$(missing)" ] && exit 0
if [ ! -w /etc/hosts ]; then
  echo "names of test hosts are missing; as root, add to /etc/hosts:" >&2
  missing >&2
  exit 1
fi
exec 9>>/etc/hosts
flock 9
added=$(missing) # once more, under the lock
[ -z "$added" ] || printf '%s\n' "$added" >&9
