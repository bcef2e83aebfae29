#!/usr/bin/env bash
# Installs the Debian packages that tests and benchmarks drive or build with; only those that are missing.
# Without root it prints the line to run instead. Usage: install-debian-packages.sh [PACKAGE…]
set -euo pipefail

packages=("$@")
if [ ${#packages[@]} -eq 0 ]; then
  packages=(
    python3-venv openssl gnutls-bin curl     # make the environment; openssl ocsp and ocsptool; agents' curl
    gcc libc6-dev libldap-dev libsasl2-dev python3-dev  # build python-ldap
    389-ds-base ldap-utils                   # the directory server
    nginx-light wrk                          # what the benchmarks compare with
    haproxy                                  # reads the example for it
    chromium chromium-driver                 # what the agent pages are tested with
    libnss3-tools softhsm2                   # NSS databases and its OCSP client, a PKCS #11 token in software
    golang-golang-x-crypto-dev               # the OCSP client of Go
    p11-kit p11-kit-modules                  # that token in a process of its own, which can be killed
    faketime                                 # a host whose clock differs
    systemd logrotate                        # systemd-analyze and logrotate read the files of a service
    prometheus                               # promtool tries the alert rules
    debootstrap                              # the Debian that a real Dogtag is tested on
    dpkg-dev debhelper                       # build the Debian package
    mandoc                                   # reads the manual pages
    checkpolicy semodule-utils setools selinux-policy-dev  # compile the SELinux policy, look into it
    selinux-policy-default
  )
  command -v go >/dev/null || packages+=(golang-go)
  command -v javac >/dev/null || packages+=(openjdk-17-jdk-headless)  # runs a single source file, which takes the compiler
fi
command -v dpkg-query >/dev/null || {
  echo "not Debian: install what stands in for: ${packages[*]}" >&2
  exit 0
}

# What the SELinux module is linked with to be looked into. The package itself would set the host's policy up.
policy=/usr/local/share/selinux/base.pp
installed() { # any nginx will do for nginx-light
  case $1 in
    nginx-light) command -v nginx >/dev/null || [ -x /usr/sbin/nginx ] ;;
    selinux-policy-default) [ -e "$policy" ] ;;
    python3-venv) python3 -c 'import ensurepip' 2>/dev/null ;;
    python3-dev) python3 -c 'import os, sysconfig as s; os.stat(s.get_path("include") + "/Python.h")' 2>/dev/null ;;
    *) [ "$(dpkg-query -W -f '${Status}' "$1" 2>/dev/null)" = "install ok installed" ] ;;
  esac
}

missing=()
for package in "${packages[@]}"; do
  installed "$package" || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" -ne 0 ]; then
  echo "missing Debian packages; as root, run:" >&2
  echo "  apt-get install --no-install-recommends ${missing[*]}" >&2
  exit 1
fi
export DEBIAN_FRONTEND=noninteractive
wait_for_lock=(-o DPkg::Lock::Timeout=300)
# A package that starts a service at once would take its port; here only tests start services.
if [ ! -e /usr/sbin/policy-rc.d ]; then
  printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
  chmod 0755 /usr/sbin/policy-rc.d
  trap 'rm -f /usr/sbin/policy-rc.d' EXIT
fi
apt-get "${wait_for_lock[@]}" update -qq </dev/null
wanted=()
for package in "${missing[@]}"; do
  [ "$package" = selinux-policy-default ] || wanted+=("$package")
done
[ ${#wanted[@]} -eq 0 ] || apt-get "${wait_for_lock[@]}" install -y -qq --no-install-recommends "${wanted[@]}" </dev/null
if [ ${#wanted[@]} -lt ${#missing[@]} ]; then
  folder=$(mktemp -d)
  (cd "$folder" && apt-get download -qq selinux-policy-default 2>/dev/null && dpkg-deb -x selinux-policy-default_*.deb .)
  mkdir -p "${policy%/*}"
  bunzip2 -c "$folder/usr/share/selinux/default/base.pp.bz2" >"$policy"
  rm -rf "$folder"
fi
