#!/bin/sh
# Installs what mounts a FUSE file system (fusermount3, libfuse) from Debian's packages, as root. Says what went wrong.
set -eu
if [ "$(id -u)" != 0 ]; then
  echo "install-fuse: only root can install fuse3"
  exit 1
fi
{ apt-get update -qq && apt-get install -qq -y --no-install-recommends fuse3; } > /dev/null || {
  echo "install-fuse: apt-get could not install fuse3"
  exit 1
}
