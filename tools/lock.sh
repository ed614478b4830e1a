#!/bin/sh
# Renew the locks: one exact release of every package, with hashes, for Python 3.11 to 3.13 on Linux and macOS.
# The locks agree with each other: what is in two has the same release in both.  Usage: tools/lock.sh PYTHON [uv's options]
set -eu
python=$1
shift
cd "$(dirname "$0")/.."
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
"$python" -m venv "$home"
"$home/bin/python" -m pip install --quiet --disable-pip-version-check 'uv>=0.13,<1'

lock() {
    source=$1
    shift
    target="${source%.txt}.lock"
    "$home/bin/uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
        --custom-compile-command "make lock" --overrides tools/lock_overrides.txt "$source" -o "$target" "$@"
    echo "$target: $(grep -c '^[a-z0-9].*==' "$target") packages"
}

lock requirements.txt "$@"
lock requirements-browse.txt --constraints requirements.lock "$@"
lock requirements-dev.txt --constraints requirements.lock "$@"
