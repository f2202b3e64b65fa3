#!/bin/bash
# Makes this machine a render node: a Python that is new enough, then the node program does the rest.
# Batch runs it when a node starts, starts again, or when it failed; running it again does no harm.
set -euo pipefail

OLDEST='import sys; sys.exit(sys.version_info < (3, 10))'

fail() {
    echo "renderfarm: $1 — $2" >&2
    exit 1
}

has_python() {
    command -v python3 >/dev/null && python3 -c "$OLDEST"
}

install_python() {
    export DEBIAN_FRONTEND=noninteractive
    apt-get -o DPkg::Lock::Timeout=300 update &&
        apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends python3
}

if ! has_python; then
    command -v apt-get >/dev/null ||
        fail "There is no Python 3.10 or newer on this image, and no apt-get" "choose an image of Ubuntu or Debian"
    install_python || true
    has_python ||
        fail "This image has no Python 3.10 or newer" "choose Ubuntu 22.04, Debian 12 or newer"
fi

exec python3 node.pyz cloud setup
