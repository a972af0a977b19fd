#!/usr/bin/env bash
# An image of a Redis or Valkey server binary at hand, for CHAOS_REDIS_IMAGE where no registry answers.
#
# usage: docker/offline/redis-image.sh [--force] BINARY NAME      (NAME: redis:8, valkey/valkey:9, ...)
#
# The image stands on redis:7 (CHAOS_BASE_IMAGE): user redis (999), /data and redis-cli are from there. The libraries that
# the binary is linked to come along, found as the loader finds them (LD_LIBRARY_PATH helps), except for the C library's
# own. Whatever the binary is called, it is reachable as redis-server, and by its own name. An image of that name
# which this script did not make, another stand-in too, is replaced only with --force.
set -euo pipefail

BASE=${CHAOS_BASE_IMAGE:-redis:7}
C_LIBRARY='^(ld-linux.*|lib(c|m|dl|rt|pthread|util|resolv|anl))\.so'

me=redis-image
# shellcheck source=docker/offline/common.sh
. "$(dirname "$0")/common.sh"
usage() { fail "$1; usage: redis-image.sh [--force] BINARY NAME"; }

force=0
if [ "${1:-}" = --force ]; then force=1; shift; fi
case "${1:-}" in -*) usage "unknown option $1" ;; esac
[ $# = 2 ] || usage "a binary and a name are needed"
binary=$1 name=$2

[ -f "$binary" ] || fail "there is no file $binary: give the path of a redis-server or valkey-server"
[ "$(head -c 4 "$binary" | tr -d '\0')" = $'\x7fELF' ] || fail "$binary is no Linux binary: give the server itself, not a script"
needs_engine
docker image inspect "$BASE" >/dev/null 2>&1 || fail "the image $BASE is not there: docker/offline/build-images.sh"

[ "$name" != "$BASE" ] || fail "$name is what the others stand on: choose another name"
if [ $force = 0 ] && docker image inspect "$name" >/dev/null 2>&1; then
  ours=$(docker image inspect --format '{{json .Config.Labels}}' "$name")
  [[ $ours == *'"taskchaos.offline.server":"1"'* ]] \
    || fail "$name is there and was not made by this script: choose another name, or --force to replace it"
fi

work=$(mktemp -d)
trial=taskchaos-trial:$$  # gets its name when it has run
trap 'rm -rf "$work"; docker image rm --force "$trial" >/dev/null 2>&1 || :' EXIT
mkdir -p "$work/bin" "$work/lib"
own=$(basename "$binary")
install -m 755 "$binary" "$work/bin/$own.real"

ldd "$binary" >"$work/ldd" 2>/dev/null || : # a static binary needs nothing
missing=$(awk '/not found/ {print $1}' "$work/ldd" | sort -u | paste -sd ' ')
[ -z "$missing" ] || fail "$binary needs $missing, which the loader does not find: say where by LD_LIBRARY_PATH"
awk '$2 == "=>" {print $1, $3}' "$work/ldd" | while read -r called path; do
  [[ $called =~ $C_LIBRARY ]] && continue
  path=$(readlink -f "$path")
  own_name=$(basename "$path")
  # A file under two names has to stay one file, or the loader would load it twice.
  cp "$path" "$work/lib/$own_name"
  [ "$called" = "$own_name" ] || ln -sf "$own_name" "$work/lib/$called"
done

# Only the server sees these libraries: redis-cli has its own.
printf '#!/bin/sh\nLD_LIBRARY_PATH=/usr/local/lib/server exec /usr/local/bin/%s.real "$@"\n' "$own" >"$work/bin/$own"
if [ -z "$(ls "$work/lib")" ]; then mv "$work/bin/$own.real" "$work/bin/$own"; fi
chmod 755 "$work/bin/$own"
[ "$own" = redis-server ] || ln -s "$own" "$work/bin/redis-server"

cat >"$work/Dockerfile" <<EOF
FROM $BASE
LABEL taskchaos.offline=1 taskchaos.offline.server=1
COPY bin/ /usr/local/bin/
COPY lib/ /usr/local/lib/server/
WORKDIR /data
VOLUME /data
ENTRYPOINT []
CMD ["redis-server"]
EOF
docker build --quiet --network none --tag "$trial" "$work" >"$work/log" 2>&1 \
  || { tail -5 "$work/log" >&2; fail "docker build failed, see above"; }
version=$(timeout 30 docker run --rm --network none --user 999:999 "$trial" redis-server --version 2>"$work/log") \
  || fail "$binary does not run on $BASE: $(head -n 1 "$work/log")"
[[ $version =~ server\ v=[0-9] ]] || fail "$binary is no Redis or Valkey server: it says $(head -n 1 <<<"$version")"
docker tag "$trial" "$name"
say "$name made: $(sed -E 's/^(.* )v=([^ ]+).*/\1\2/' <<<"$version")"
