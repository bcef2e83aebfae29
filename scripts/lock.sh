#!/usr/bin/env bash
# Writes the pinned, hashed requirements from pyproject.toml; the files name no index and no host.
# Run by `make lock`. To take newer versions: make lock UPGRADE=--upgrade
set -euo pipefail
cd "$(dirname "$0")/.."
export CUSTOM_COMPILE_COMMAND="make lock"
compile=("${LOCK_WITH:-.venv/bin/pip-compile}" --quiet --generate-hashes --strip-extras --allow-unsafe
  --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-emit-options ${UPGRADE:-})
"${compile[@]}" --build-deps-for editable --extra hsm --extra snmp --output-file requirements.txt pyproject.toml
"${compile[@]}" --constraint requirements.txt --build-deps-for editable --extra dev \
  --output-file requirements-dev.txt pyproject.toml
# Apart, because python-ldap is built from source and needs a compiler and two header packages.
"${compile[@]}" --constraint requirements-dev.txt --output-file requirements-ldap.txt scripts/ldap.in
# Apart, because only `make fuzz` needs it.
"${compile[@]}" --constraint requirements-dev.txt --output-file requirements-fuzz.txt scripts/fuzz.in
# Apart, because only `make mutate` needs it.
"${compile[@]}" --constraint requirements-dev.txt --output-file requirements-mutate.txt scripts/mutate.in
# Apart, because only `make release` needs it.
"${compile[@]}" --constraint requirements-dev.txt --output-file requirements-release.txt scripts/release.in
# Apart, because only `make docs` needs it.
"${compile[@]}" --constraint requirements-dev.txt --output-file requirements-docs.txt scripts/docs.in
