#!/bin/sh
# Make a virtual environment with the first Python that Sonoscope runs on.  Usage: tools/venv.sh FOLDER [PYTHON]
set -eu

folder=$1
wanted=${2:-}

is_fit() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1; }
version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }

chosen=""
seen=""
for candidate in ${wanted:-python3.12 python3.11 python3.13 python3 python}; do
    command -v "$candidate" >/dev/null 2>&1 || continue
    if is_fit "$candidate"; then
        chosen=$candidate
        break
    fi
    seen="$seen $candidate ($(version_of "$candidate" || echo 'does not start'))"
done
if [ -z "$chosen" ]; then
    {
        echo "Sonoscope needs Python 3.11, 3.12 or 3.13. Found:${seen:- none${wanted:+ called $wanted}}."
        echo "Install one (Debian: apt-get install python3 python3-venv; macOS: brew install python@3.12),"
        echo "or say where it is: make PYTHON=/path/to/python3.12 install"
    } >&2
    exit 1
fi
echo "Making $folder with $chosen (Python $(version_of "$chosen"))"

try_venv() { "$chosen" -m venv "$folder" >/dev/null 2>&1; }
package="python$(version_of "$chosen")-venv"

# Debian ships Python without the part that makes environments.
if ! try_venv && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "$chosen cannot make environments; installing $package"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package"; } >&2 || true
fi
if [ ! -x "$folder/bin/pip" ] && ! try_venv; then
    # The package virtualenv does the same work; a copy of its own is enough.
    helper=$(mktemp -d)
    trap 'rm -rf "$helper"' EXIT
    if "$chosen" -m pip --version >/dev/null 2>&1 &&
        "$chosen" -m pip install --quiet --disable-pip-version-check --target "$helper" virtualenv &&
        PYTHONPATH="$helper" "$chosen" -m virtualenv --quiet "$folder"; then
        echo "Made with virtualenv, since $chosen has no working venv"
    else
        rm -rf "$folder"
        {
            echo "$chosen cannot make virtual environments, and neither $package nor virtualenv could be installed."
            echo "On Debian or Ubuntu: sudo apt-get install $package. Then run make again."
        } >&2
        exit 1
    fi
fi
