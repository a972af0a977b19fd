#!/usr/bin/env bash
# Stand-ins for the public images of docker-compose.chaos.yml, for machines that reach package registries but no image
# registry. Each is made only when it can be neither found nor pulled, and stays in the engine's store afterwards.
#
# usage: docker/offline/build-images.sh [--no-pull]      (as root: debootstrap makes a root file system)
#
# Redis and Python are those of this machine's Debian release, under the names that the compose file expects: a stand-in
# called redis:7 has whatever redis-server that release has. `docker inspect` tells them apart by the label
# "taskchaos.offline"; `docker image rm` makes room for the real ones.
set -euo pipefail

REDIS_IMAGE=${CHAOS_REDIS_IMAGE:-redis:7}
PYTHON_IMAGE=${CHAOS_PYTHON_IMAGE:-python:3.11-slim-bookworm}
TOXIPROXY_IMAGE=${CHAOS_TOXIPROXY_IMAGE:-ghcr.io/shopify/toxiproxy:2.12.0}
TOXIPROXY_VERSION=v2.12.0
TRUST=/etc/ssl/certs/ca-certificates.crt

me=images
# shellcheck source=docker/offline/common.sh
. "$(dirname "$0")/common.sh"

pull=1
case "${1:-}" in
  "") ;;
  --no-pull) pull=0 ;;
  *) fail "unknown option $1; there is --no-pull" ;;
esac

needs_engine

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# One root file system serves Redis and Python: it is made once.
root() {
  [ -e "$work/root.tar" ] && return
  needs debootstrap "Debian: apt-get install debootstrap"
  [ "$(id -u)" = 0 ] || fail "making a root file system needs root"
  local release packages=redis-server,redis-sentinel,python3,python3-pip,python3-venv,ca-certificates
  # shellcheck source=/dev/null
  release=$(. /etc/os-release && echo "$VERSION_CODENAME")
  say "making a root file system of Debian $release"
  debootstrap --variant=minbase --include="$packages" "$release" "$work/root" >"$work/log" 2>&1 \
    || { tail -5 "$work/log" >&2; fail "debootstrap failed"; }
  rm -rf "$work/root/var/cache/apt/archives" "$work/root/var/lib/apt/lists"
  cp "$TRUST" "$work/root$TRUST"  # pip inside a build has to trust what this machine trusts
  chroot "$work/root" sh -c 'usermod -u 999 redis && groupmod -g 999 redis && mkdir -p /data && chown redis:redis /data'
  ln -sf python3 "$work/root/usr/bin/python"
  # The official image's pip installs anywhere; Debian's refuses outside of a virtual environment.
  rm -f "$work"/root/usr/lib/python3*/EXTERNALLY-MANAGED
  tar -C "$work/root" -cf "$work/root.tar" .
}

standin() { # name, then changes
  local name=$1 changes=(--change 'LABEL taskchaos.offline=1')
  shift
  for change in "$@"; do changes+=(--change "$change"); done
  docker import "${changes[@]}" "$work/root.tar" "$name" >/dev/null
  say "$name made"
}

there "$REDIS_IMAGE" $pull || { root; standin "$REDIS_IMAGE" 'WORKDIR /data' 'VOLUME /data' 'CMD ["redis-server"]'; }

there "$PYTHON_IMAGE" $pull || {
  root
  standin "$PYTHON_IMAGE" "ENV PIP_CERT=$TRUST" "ENV SSL_CERT_FILE=$TRUST" 'ENV PYTHONUNBUFFERED=1' 'CMD ["python3"]'
}

there "$TOXIPROXY_IMAGE" $pull || {
  needs go "install Go 1.23 or newer: Toxiproxy is built from its module"
  say "building Toxiproxy $TOXIPROXY_VERSION"
  mkdir "$work/toxiproxy"
  for command in server cli; do
    GOBIN="$work/bin" CGO_ENABLED=0 go install "github.com/Shopify/toxiproxy/v2/cmd/$command@$TOXIPROXY_VERSION" \
      >"$work/log" 2>&1 || { tail -5 "$work/log" >&2; fail "go install failed"; }
  done
  mv "$work/bin/server" "$work/toxiproxy/toxiproxy"
  mv "$work/bin/cli" "$work/toxiproxy/toxiproxy-cli"
  tar -C "$work/toxiproxy" -cf "$work/toxiproxy.tar" .
  docker import --change 'LABEL taskchaos.offline=1' --change 'ENV LOG_LEVEL=info' --change 'EXPOSE 8474' \
    --change 'ENTRYPOINT ["/toxiproxy"]' --change 'CMD ["-host=0.0.0.0"]' "$work/toxiproxy.tar" "$TOXIPROXY_IMAGE" >/dev/null
  say "$TOXIPROXY_IMAGE made"
}
