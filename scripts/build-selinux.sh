#!/usr/bin/env bash
# Compiles the SELinux policy module: scripts/build-selinux.sh OUT
set -euo pipefail
cd "$(dirname "$0")/.."
out=$(mkdir -p "$1" && cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp deploy/selinux/vouchd.te deploy/selinux/vouchd.fc deploy/selinux/vouchd.if "$work/"
make --silent --directory "$work" --makefile /usr/share/selinux/devel/Makefile vouchd.pp >&2
cp "$work/vouchd.pp" "$out/"
