#!/usr/bin/env bash
# Installs, starts, upgrades, supervises, removes and purges the Debian package on a host that has never seen it, as root:
#   scripts/test-deb.sh PACKAGE.deb [fresh]
# The host is this one with a layer over it that is thrown away, or with `fresh` one that debootstrap makes.
set -euo pipefail
deb=$(realpath "$1") kind=${2:-layer}
base=$(mktemp -d /var/tmp/vouchd-host.XXXXXX)
host=$base/host

say() { printf '== %s\n' "$*"; }
fail() {
  printf 'FAILED: %s\n' "$*" >&2
  exit 1
}
on() { chroot "$host" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"; }
as_user() { on runuser -u vouchd -- "$@"; }

tidy() {
  set +e
  [ -e "$host/var/lib/vouchd/master/run/vouchd.pid" ] && as_user vouchd stop --instance /var/lib/vouchd/master >/dev/null 2>&1
  umount -q "$host/dev/shm" "$host/proc" 2>/dev/null
  umount -q "$host" 2>/dev/null
  umount -q "$base" 2>/dev/null
  rm -rf --one-file-system "$base"
}
trap tidy EXIT

mount -t tmpfs -o mode=0755 tmpfs "$base"
mkdir -p "$host"
if [ "$kind" = layer ]; then
  mkdir "$base/upper" "$base/work"
  # Where a layer cannot be laid (an overlay on an overlay, say) the host is made anew.
  mount -t overlay overlay -o "lowerdir=/,upperdir=$base/upper,workdir=$base/work" "$host" || kind=fresh
fi
if [ "$kind" = layer ]; then
  rm -rf "$host/opt/vouchd" "$host/var/lib/vouchd"
else
  mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | grep -v -e security -e '^$' | head -n 1)
  say "a fresh host"
  debootstrap --variant=minbase --include=python3,adduser "$(. /etc/os-release && echo "$VERSION_CODENAME")" "$host" "$mirror" >"$base/log" ||
    fail "debootstrap: $(tail -n 3 "$base/log")"
fi
mount -t proc proc "$host/proc"
mkdir -p "$host/dev/shm"
mount -t tmpfs tmpfs "$host/dev/shm"
[ -e "$host/dev/null" ] || mknod -m 666 "$host/dev/null" c 1 3
[ -e "$host/dev/urandom" ] || mknod -m 666 "$host/dev/urandom" c 1 9
printf '#!/bin/sh\nexit 101\n' >"$host/usr/sbin/policy-rc.d"
chmod 755 "$host/usr/sbin/policy-rc.d"
cp "$deb" "$host/tmp/new.deb"
chmod 644 "$host/tmp/new.deb"

# The version before: the same package, an older number, a program that says so.
say "the version before"
mkdir "$base/old"
dpkg-deb -R "$deb" "$base/old"
sed -i 's/^Version: .*/Version: 0.0.1/' "$base/old/DEBIAN/control"
sed -i 's/^__version__ = .*/__version__ = "0.0.1"/' "$base"/old/opt/vouchd/lib/python3*/site-packages/vouchd/__init__.py
find "$base/old/opt/vouchd" -path '*vouchd/__pycache__/__init__.*' -delete
dpkg-deb --build --root-owner-group -Znone "$base/old" "$host/tmp/old.deb" >/dev/null
rm -rf "$base/old"

install_package() {
  on apt-get -o APT::Sandbox::User=root install -y -qq --no-install-recommends "/tmp/$1.deb" >"$base/log" 2>&1 ||
    fail "$1.deb is not installed: $(tail -n 5 "$base/log")"
}

[ "$kind" = fresh ] && on apt-get -o APT::Sandbox::User=root update -qq
say "install"
install_package old
[ "$(on vouchd --version)" = "vouchd 0.0.1" ] || fail "another version"
[ "$(stat -c %U:%a "$host/var/lib/vouchd" | sed "s/^UNKNOWN/vouchd/")" = "vouchd:700" ] || on stat -c %U:%a /var/lib/vouchd | grep -qx vouchd:700 ||
  fail "the folder of instances"
on test -f /lib/systemd/system/vouchd@.service -a -f /usr/share/man/man1/vouchd-crl-add.1.gz || fail "unit or manual page"
on find /opt/vouchd -xtype l | grep . && fail "links that lead nowhere"
on sh -c '! grep -rIl /var/tmp/vouchd-deb /opt/vouchd' || fail "paths of the build"

say "start, as its own user"
as_user sh -ec 'cd /var/lib/vouchd
  vouchd ca create --ca ca --subject "CN=Package CA"
  vouchd create --instance master --ca ca --hostname ocsp.example.org --listen 127.0.0.1 --port 0 --health-port 0 --agent-port 0 --workers 1
  vouchd authority add ca/ca.crt --instance master
  vouchd ca crl --ca ca --out /tmp/first.crl
  vouchd crl add /tmp/first.crl --instance master
  vouchd ca issue --ca ca --subject CN=x --name DNS:x.example --out /tmp/x.crt
  vouchd start --instance master' >"$base/log" 2>&1 || fail "$(tail -n 5 "$base/log")"
asks() {
  url=$(as_user sh -c 'vouchd status --instance /var/lib/vouchd/master --json' | sed -n 's/.*"\(http:[^"]*\)".*/\1/p' | head -n 1)
  as_user vouchd query --url "$url" --issuer /var/lib/vouchd/ca/ca.crt /tmp/x.crt >/dev/null
}
asks || fail "no answer"
on vouchd service install master --init --user vouchd >/dev/null || fail "no init script"

say "upgrade while it runs"
process=$(cat "$host/var/lib/vouchd/master/run/vouchd.pid")
printf '#!/bin/sh\nexit 0\n' >"$host/usr/sbin/policy-rc.d"
install_package new
[ "$(on vouchd --version)" != "vouchd 0.0.1" ] || fail "still the version before"
asks || fail "no answer after the upgrade"
[ "$process" = "$(cat "$host/var/lib/vouchd/master/run/vouchd.pid")" ] || fail "it was stopped and started"
grep -q " restarting$" "$host/var/lib/vouchd/master/logs/vouchd.log" || fail "the instance runs the version before"

say "run by a service manager"
install -m 755 "$(dirname "$0")/supervise.py" "$host/tmp/supervise.py"
as_user vouchd stop --instance /var/lib/vouchd/master >"$base/log" 2>&1 || fail "$(tail -n 5 "$base/log")"
as_user python3 /tmp/supervise.py /var/lib/vouchd/master /var/lib/vouchd/ca/ca.crt /tmp/x.crt >"$base/log" 2>&1 ||
  fail "no notice, or no answer through the socket that was handed over: $(tail -n 5 "$base/log")"
as_user vouchd start --instance /var/lib/vouchd/master >"$base/log" 2>&1 || fail "$(tail -n 5 "$base/log")"
process=$(cat "$host/var/lib/vouchd/master/run/vouchd.pid")

say "remove"
on apt-get remove -y -qq vouchd >"$base/log" 2>&1 || fail "$(tail -n 5 "$base/log")"
[ ! -e "$host/opt/vouchd" ] || fail "left: $(find "$host/opt/vouchd" | head -n 3)"
state=$(sed -n 's/^State:[[:space:]]*//p' "/proc/$process/status" 2>/dev/null || true)
case $state in # one that has ended and that nobody has asked about yet is a zombie
  '' | Z*) ;;
  *) fail "the instance outlives its program ($state): $(tail -n 8 "$base/log")" ;;
esac
[ -e "$host/var/lib/vouchd/master/CS.cfg" ] || fail "the instance is gone"

say "purge"
on dpkg --purge vouchd >"$base/log" 2>&1
grep -q "holds instances with their keys and is left" "$base/log" || fail "it does not say that instances are left"
[ -e "$host/var/lib/vouchd/master/CS.cfg" ] || fail "keys were removed"
rm -rf "$host/var/lib/vouchd/"*
install_package new
on dpkg --purge vouchd >"$base/log" 2>&1 || fail "$(tail -n 5 "$base/log")"
left=$(find "$host"/etc "$host"/opt "$host"/usr "$host"/lib "$host"/var/lib -name '*vouchd*' ! -path '*/tmp/*' 2>/dev/null || true)
[ "$kind" = layer ] || [ -z "$left" ] || fail "left: $left"
on getent passwd vouchd >/dev/null && fail "the user is left"
say "all of it"
