#!/usr/bin/env bash
# Builds the Debian package of what git has committed, for this release of Debian: scripts/build-deb.sh OUT
# The same commit gives the same octets.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$(mkdir -p "$1" && cd "$1" && pwd)
git=(git -c safe.directory='*')
version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' src/vouchd/__init__.py)
SOURCE_DATE_EPOCH=$("${git[@]}" log -1 --format=%ct)
export SOURCE_DATE_EPOCH DEB_BUILD_OPTIONS=${DEB_BUILD_OPTIONS:-nocheck}
work=$(mktemp -d /var/tmp/vouchd-deb.XXXXXX)
trap 'rm -rf "$work"' EXIT
source=$work/vouchd-$version
mkdir "$source"
"${git[@]}" archive HEAD | tar -x -C "$source"
cp -R "$source/deploy/debian" "$source/debian"
cat >"$source/debian/changelog" <<EOF
vouchd ($version) stable; urgency=medium

  * See /usr/share/doc/vouchd/changelog.gz.

 -- The vouchd project <vouchd@localhost>  $(date --utc --rfc-email --date "@$SOURCE_DATE_EPOCH")
EOF
log=$work/log
if ! (cd "$source" && dpkg-buildpackage --build=binary --no-sign --no-check-builddeps) >"$log" 2>&1; then
  tail -n 40 "$log" >&2
  exit 1
fi
cp "$work"/vouchd_*.deb "$out/"
ls "$out"/vouchd_"$version"_*.deb
