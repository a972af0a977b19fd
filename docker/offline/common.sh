# shellcheck shell=bash
# What the scripts beside this one share. They set `me`, the word in front of each line they print, and source it.
# Bad use and what is missing exit with 4, and one line that says what to do.

say() { echo "${me:?}: $*"; }
fail() { echo "${me:?}: $*" >&2; exit 4; }
needs() { command -v "$1" >/dev/null || fail "$1 is missing: $2"; }

needs_engine() {
  needs docker "docker/offline/start-engine.sh installs it on Debian"
  timeout 20 docker info >/dev/null 2>&1 || fail "no Docker engine answers: docker/offline/start-engine.sh, or set DOCKER_HOST"
}

# Whether the engine has image $1, or with $2 = 1 a registry has.
there() {
  docker image inspect "$1" >/dev/null 2>&1 && { say "$1 is there"; return; }
  [ "$2" = 1 ] && timeout 20 docker pull --quiet "$1" >/dev/null 2>&1 && say "$1 pulled"
}
