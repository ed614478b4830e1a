#!/usr/bin/env bash
# Makes explorer/ui/vendor/plotly-plane-VERSION.min.js: the part of plotly.js that our figures use (scatter, bar, heatmap).
# The whole takes a browser five times as long to read. Needs Node.js with npm. Usage: tools/plotly_bundle.sh 4.1.1
set -euo pipefail
version=${1:?the version of plotly.js, as of the Python package: python -c 'import plotly.offline as o; print(o.get_plotlyjs_version())'}
target=$(cd "$(dirname "$0")/.." && pwd)/explorer/ui/vendor
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init --yes > /dev/null
npm install --silent --ignore-scripts "plotly.js@$version" esbuild@0.28
node node_modules/esbuild/install.js
cat > entry.js <<'SCRIPT'
const Plotly = require("plotly.js/lib/core");
Plotly.register([require("plotly.js/lib/bar"), require("plotly.js/lib/heatmap")]);
window.Plotly = Plotly;
SCRIPT
npx esbuild entry.js --bundle --minify --platform=browser --target=es2018 --define:global=window --legal-comments=inline \
  --banner:js="/* plotly.js v$version (scatter, bar, heatmap). Copyright 2012-2026, Plotly, Inc. MIT licence. */" \
  --outfile="plotly-plane-$version.min.js"
rm -f "$target"/plotly-plane-*.min.js
cp "plotly-plane-$version.min.js" "$target/"
cp node_modules/plotly.js/LICENSE "$target/plotly-LICENSE.txt"
