#!/usr/bin/env bash
# A Docker engine for a Debian that has none, as continuous integration needs it: installed by apt-get, started without
# an init system.
#
# usage: docker/offline/start-engine.sh           (as root) prints the engine's pid file, or that one answers already
#        docker/offline/start-engine.sh stop      ends the engine that it started, and none but that
#
# Exits with 3, and the reason in one line, where no engine can run or be installed. Nothing is left running then.
set -euo pipefail
me=engine
# shellcheck source=docker/offline/common.sh
. "$(dirname "$0")/common.sh"

PID_FILE=${CHAOS_ENGINE_PID_FILE:-/run/taskchaos-dockerd.pid}
INSTALL_S=180 START_S=60 STOP_S=40
# Of the range kept for benchmarks (RFC 2544): the usual 172.17.0.0/16 meets the networks of companies.
RANGES=(--bip 198.18.255.1/24 --default-address-pool "base=198.18.0.0/17,size=24")

cannot() { echo "$me: $*" >&2; exit 3; }
answers() { command -v docker >/dev/null && timeout 10 docker info >/dev/null 2>&1; }
alive() { [ -r "/proc/$1/stat" ] && [ "$(awk '{print $3}' "/proc/$1/stat" 2>/dev/null || echo Z)" != Z ]; }

gone_within() { # seconds, pid
  for ((i = 0; i < $1 * 5; i++)); do
    alive "$2" || return 0
    sleep 0.2
  done
  ! alive "$2"
}

stop() {
  local pid containerd
  pid=$(cat "$PID_FILE" 2>/dev/null) || { say "none was started by this script"; return; }
  if [ "$(cat "/proc/$pid/comm" 2>/dev/null)" != dockerd ]; then # it died, and the number may be another's by now
    rm -f "$PID_FILE"
    say "the one that this script started has gone"
    return
  fi
  containerd=$(ps -o pid= --ppid "$pid" | tr -d ' ')
  kill -TERM "$pid"
  if ! gone_within $STOP_S "$pid"; then
    # shellcheck disable=SC2086  # one or none
    kill -KILL "$pid" $containerd 2>/dev/null || :
    gone_within 10 "$pid" || cannot "process $pid does not end"
  fi
  rm -f "$PID_FILE"
  say "stopped"
}

install_packages() {
  local wanted=()
  command -v dockerd >/dev/null || wanted+=(docker.io)
  command -v debootstrap >/dev/null || wanted+=(debootstrap)
  [ ${#wanted[@]} -gt 0 ] || return 0
  command -v apt-get >/dev/null || cannot "this is not Debian: install Docker and debootstrap by its own means"
  say "installing ${wanted[*]}"
  # RUNLEVEL: a package's own start script would start it with other address ranges.
  RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive timeout $INSTALL_S sh -c \
    'apt-get update -qq && apt-get install -qq -y --no-install-recommends "$@"' sh "${wanted[@]}" \
    </dev/null >"$work/apt.log" 2>&1 || cannot "apt-get failed: $(reason "$work/apt.log" '^E: ')"
}

reason() { # file, what marks the line: the first such line, or the last one
  local line
  line=$(grep -m 1 -E "$2" "$1" || tail -n 1 "$1")
  [ -n "$line" ] || line="it said nothing in time"
  sed -E 's/^.*(failed to start daemon: |msg=")//; s/"$//' <<<"$line" | cut -c 1-300
}

start() {
  [ -z "${DOCKER_HOST:-}" ] || fail "no engine answers at DOCKER_HOST=$DOCKER_HOST: start that one, or unset it"
  [ "$(id -u)" = 0 ] || fail "starting an engine needs root: sudo $0"
  work=$(mktemp -d "${TMPDIR:-/tmp}/taskchaos-engine.XXXXXX")
  install_packages
  if answers; then say "the package started one"; return; fi
  setsid dockerd "${RANGES[@]}" --pidfile "$PID_FILE" </dev/null >"$work/dockerd.log" 2>&1 &
  local pid=$!
  # shellcheck disable=SC2064  # that pid
  trap "kill -TERM $pid 2>/dev/null || :" EXIT
  for ((until = SECONDS + START_S; SECONDS < until;)); do
    alive $pid || break
    if answers; then
      trap - EXIT
      say "$(docker version --format '{{.Server.Version}}') started; pid file $PID_FILE, log $work/dockerd.log"
      return
    fi
    sleep 0.3
  done
  kill -TERM $pid 2>/dev/null || :
  gone_within $STOP_S $pid || kill -KILL $pid 2>/dev/null || :
  trap - EXIT
  rm -f "$PID_FILE"
  cannot "none can run here: $(reason "$work/dockerd.log" 'failed to start daemon|level=fatal')"
}

case "${1:-}" in
  "") if answers; then say "one answers already; nothing to do"; else start; fi ;;
  stop) stop ;;
  *) fail "unknown argument $1; there is stop" ;;
esac
