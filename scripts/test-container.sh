#!/usr/bin/env bash
# Builds the image with Podman and runs the commands of docs/operate/containers.md as they stand there, by Docker Compose,
# as root; then a CRL is published to the master, and both members give the same octets. Run by `make test-container`.
# Debian's image is made here by debootstrap, or with PULL=1 taken from its makers. What was built is kept for the next
# time in VOUCHD_CONTAINERS (/var/tmp/vouchd-containers).
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
store=${VOUCHD_CONTAINERS:-/var/tmp/vouchd-containers}
work=$(mktemp -d /var/tmp/vouchd-compose.XXXXXX)
services=()
# The program of the wheel itself: its Python entry point ends with 0 whatever comes of it.
compose=$(.venv/bin/python -c 'import compose; print(compose.__path__[0])')/docker-compose

say() { printf '== %s\n' "$*"; }
fail() {
  printf 'FAILED: %s\n' "$*" >&2
  exit 1
}
tidy() {
  set +e
  (cd "$work/tree/deploy/container" && docker compose down --volumes --timeout 5) >"$work/down.log" 2>&1
  [ ${#services[@]} -eq 0 ] || kill "${services[@]}" 2>/dev/null
  podman network prune --force >/dev/null 2>&1
  rm -rf --one-file-system "$work"
}
docker() { # docker compose WORDS…
  shift
  case $1 in
    build) build_image "$2" ;;
    *) "$compose" --progress quiet --file compose.yaml --file "$work/here.yaml" "$@" ;;
  esac
}
build_image() { # SERVICE: as compose.yaml has it; what a registry needs of this host (its CAs) goes along
  local tag=vouchd file=Containerfile
  [ "$1" = master ] || { tag=vouchd-directory && file=Containerfile.directory; }
  nice podman build --quiet --isolation chroot --network host --pull=never --format docker "${trust[@]}" --tag "$tag" \
    --file "$work/tree/deploy/container/$file" "$work/tree" >/dev/null
}

say "what it takes"
scripts/install-debian-packages.sh podman runc netavark aardvark-dns iptables debootstrap
mkdir -p "$store" "$work/networks" "$work/tree"
git -c safe.directory='*' archive HEAD | tar -x -C "$work/tree"
find "$work/tree" -exec touch --no-dereference --date=@0 {} + # what is the same is not built again
limit=$(ulimit -Hn)
cat >"$work/containers.conf" <<EOF
[containers]
default_ulimits = ["nofile=1024:$limit", "nproc=4096:4096"]
[network]
network_backend = "netavark"
network_config_dir = "$work/networks"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
EOF
cat >"$work/storage.conf" <<EOF
[storage]
driver = "overlay"
graphroot = "$store/images"
runroot = "$store/run"
EOF
# Ports of the host may be taken: the members are asked within their network. Its own limits are not ours to raise.
cat >"$work/here.yaml" <<EOF
x-here: &here {pull_policy: never, ulimits: {nofile: {soft: 1024, hard: $limit}, nproc: 4096}, ports: !reset []}
services: {ds1: *here, ds2: *here, master: *here, clone: *here}
EOF
export CONTAINERS_CONF=$work/containers.conf CONTAINERS_STORAGE_CONF=$work/storage.conf DOCKER_HOST=unix://$work/podman.sock
export DISABLE_HC_SYSTEMD=true # its timers for health checks are systemd's, which does not run everywhere
trust=()
if [ -e /etc/ssl/certs/ca-certificates.crt ]; then
  printf '[global]\ncert = /run/host-ca.crt\n' >"$work/pip.conf"
  trust=(--volume "/etc/ssl/certs/ca-certificates.crt:/run/host-ca.crt:ro" --volume "$work/pip.conf:/etc/pip.conf:ro")
fi
trap tidy EXIT

say "the image that all begins with"
debian=docker.io/library/debian:bookworm-slim
if [ -n "${PULL:-}" ]; then
  podman pull --quiet "$debian"
elif ! podman image exists "$debian"; then
  mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | grep -v -e security -e '^$' | head -n 1)
  debootstrap --variant=minbase bookworm "$work/debian" "$mirror" >"$work/log" || {
    tail -n 3 "$work/log" >&2
    exit 1
  }
  tar -C "$work/debian" -c . | podman import --quiet - "$debian" >/dev/null
  rm -rf "$work/debian"
fi

podman system service --time 0 "$DOCKER_HOST" >"$work/service.log" 2>&1 &
services+=($!)
# In the place of the timers: a health check of each container that runs, one after the other.
(while :; do
  for container in $(podman ps --quiet); do podman healthcheck run "$container" >/dev/null 2>&1 || true; done
  sleep 2
done) &
services+=($!)
for _ in $(seq 100); do [ -S "$work/podman.sock" ] && break || sleep 0.2; done

say "the commands of docs/operate/containers.md"
awk '/^<!-- run by scripts\/test-container.sh/ {marked = 1} marked && /^```$/ {exit} inside {print} marked && /^```sh$/ {inside = 1}' \
  docs/operate/containers.md >"$work/walk.sh"
cd "$work/tree"
set -x
. "$work/walk.sh"
{ set +x; } 2>/dev/null

say "a certificate is revoked; the CRL goes to the master"
# Beside members that run a container must not have their names; its own host name is that of its service.
beside() { docker compose run --rm --no-deps --volume "$PWD/pki:/pki" "$@"; }
beside master ca issue --ca /pki/ca --subject "CN=www.example.org" --out /pki/www.crt
beside master ca revoke --ca /pki/ca /pki/www.crt --reason keyCompromise
beside master ca crl --ca /pki/ca --out /pki/second.crl
docker compose exec -T master sh -c 'cat >second.crl && vouchd crl add second.crl' <pki/second.crl
docker compose exec -T clone vouchd clone verify --settle 60
for pair in clone:ocsp1 master:ocsp2; do
  member=${pair#*:}
  beside "${pair%:*}" query --no-nonce --url "http://$member.pki.example:8080/" --issuer /pki/ca/ca.crt /pki/www.crt --out "/pki/$member.der" >"$work/answer"
  grep -q '^status  *revoked' "$work/answer" || fail "$member does not say that it is revoked: $(cat "$work/answer")"
done
cmp pki/ocsp1.der pki/ocsp2.der
for service in master clone ds1 ds2; do # as the file has it: nobody can change the image, or is more than a user
  docker compose exec -T "$service" sh -c 'touch /opt/vouchd/x' 2>/dev/null && fail "$service can write to its image"
  docker compose exec -T "$service" sh -c 'id -u; grep -E "^(CapEff|NoNewPrivs)" /proc/1/status' | tr -s '\n\t' ' ' |
    grep -q '^10443 CapEff: 0* NoNewPrivs: 1' || fail "$service may do more than it has to"
done
say "all of it: both members answer with the same $(stat -c %s pki/ocsp1.der) octets"
