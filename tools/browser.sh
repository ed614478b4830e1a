#!/bin/sh
# Print the path of a Chromium that starts; without one, say why and return 1.  Usage: tools/browser.sh [--install]
# SONOSCOPE_BROWSER names one. With --install, and as root on Debian, a missing one is installed through apt-get.
set -eu

starts() { [ -n "$1" ] && "$1" --version >/dev/null 2>&1; }

find_browser() {
    for candidate in "${SONOSCOPE_BROWSER:-}" chromium chromium-browser google-chrome google-chrome-stable \
        "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome" \
        "/Applications/Chromium.app/Contents/MacOS/Chromium"; do
        path=$(command -v "$candidate" 2>/dev/null) || continue
        if starts "$path"; then
            echo "$path"
            return 0
        fi
    done
    return 1
}

find_browser && exit 0
reason="none was found"
if [ "${1:-}" = "--install" ]; then
    if ! command -v apt-get >/dev/null 2>&1; then
        reason="none was found, and there is no apt-get to install one"
    elif [ "$(id -u)" != 0 ]; then
        reason="none was found, and only root can install one"
    else
        echo "Installing Chromium for the browser tests" >&2
        { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core; } >&2 || true
        find_browser && exit 0
        reason="apt-get installed none that starts"
    fi
fi
echo "No Chromium: $reason. Install one (Debian: sudo apt-get install chromium fonts-dejavu-core) or set SONOSCOPE_BROWSER to its path." >&2
exit 1
