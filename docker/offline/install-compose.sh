#!/usr/bin/env bash
# `docker compose` (version 2) for a Debian 12 that has none: the plugin of Debian 13's package, which runs there too.
#
# usage: docker/offline/install-compose.sh      (as root: apt-get keeps its lists in a folder of its own)
#
# Nothing of Debian 13 is installed: the package is only downloaded, and its one binary copied to ~/.docker/cli-plugins.
set -euo pipefail

PLUGIN=${DOCKER_CONFIG:-$HOME/.docker}/cli-plugins/docker-compose

fail() { echo "compose: $*" >&2; exit 4; }

docker compose version >/dev/null 2>&1 && { echo "compose: $(docker compose version --short) is there"; exit; }
command -v apt-get >/dev/null || fail "this is not Debian; install the Compose plugin of your Docker"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/lists/partial "$work"/parts "$(dirname "$PLUGIN")"
chmod 755 "$work"  # apt's own user downloads into it
# shellcheck disable=SC2016  # apt's own $(SITE)
mirror=$(apt-get indextargets --format '$(SITE)' 'Origin: Debian' 'Codename: bookworm' | head -n 1)
[ -n "$mirror" ] || fail "apt-get update first: no Debian mirror is known"
echo "deb $mirror trixie main" >"$work/sources.list"
options=(-o "Dir::Etc::SourceList=$work/sources.list" -o "Dir::Etc::SourceParts=$work/parts"
  -o "Dir::State::Lists=$work/lists" -o APT::Architecture="$(dpkg --print-architecture)")
apt-get "${options[@]}" update -qq
(cd "$work" && apt-get "${options[@]}" download -qq docker-compose)
dpkg-deb -x "$work"/docker-compose_*.deb "$work/root"
install -m 755 "$(find "$work/root" -path '*cli-plugins/docker-compose')" "$PLUGIN"
echo "compose: $(docker compose version --short) installed to $PLUGIN"
