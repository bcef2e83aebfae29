#!/usr/bin/env bash
# Makes a release of what git has committed, in dist/: wheel, source, Debian package, list of parts (SBOM), checksums, and
# what is new. All of it is built twice, in two folders, and compared octet by octet. Run by `make release`.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$PWD/.venv/bin
git=(git -c safe.directory='*')
version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' src/vouchd/__init__.py)
SOURCE_DATE_EPOCH=$("${git[@]}" log -1 --format=%ct)
export SOURCE_DATE_EPOCH PYTHONHASHSEED=0
[ -z "$("${git[@]}" status --porcelain)" ] || echo "release: what is not committed is not in it" >&2
work=$(mktemp -d /var/tmp/vouchd-release.XXXXXX)
trap 'rm -rf "$work"' EXIT

build() { # OUT
  local out=$1 tree
  tree=$(mktemp -d "$work/tree.XXXXXX")/vouchd
  mkdir -p "$out" "$tree"
  "${git[@]}" archive HEAD | tar -x -C "$tree"
  (cd "$tree" && "$bin/python" scripts/build_python.py "$out")
  "$bin/cyclonedx-py" requirements --output-reproducible --pyproject pyproject.toml --of JSON \
    -o "$out/vouchd-$version.cdx.json" requirements.txt
  [ -n "${WITHOUT_DEB:-}" ] || scripts/build-deb.sh "$out" >/dev/null
  "$bin/python" scripts/build_python.py --changes CHANGELOG.md "$version" >"$out/vouchd-$version.changes.md"
  (cd "$out" && sha256sum -- * >SHA256SUMS)
}

build "$work/first"
build "$work/second"
diff -r "$work/first" "$work/second" || {
  echo "release: two builds of one commit differ" >&2
  exit 1
}
rm -rf dist
cp -R "$work/first" dist
cat dist/SHA256SUMS
