#!/bin/sh
# Builds group-by.wasm. The toolchain goes to AXO_TOOLCHAINS, by default under the workspace's target.
set -eu
cd "$(dirname "$0")"
toolchains=${AXO_TOOLCHAINS:-../../../target/toolchains}
version=1.35.0
jco=$toolchains/jco-$version

if [ ! -d "$jco" ]; then
    if ! command -v npm >/dev/null; then
        echo "no npm: apt-get install nodejs npm   (Node.js 20 or newer)" >&2
        exit 1
    fi
    mkdir -p "$jco.new"
    npm install --prefix "$jco.new" --no-save --no-package-lock --no-audit --no-fund \
        --ignore-scripts "@bytecodealliance/jco@$version" componentize-qjs@0.4.5
    mv "$jco.new" "$jco"
fi

# Without async the component needs nothing but the component model of WASI 0.2. `--cwd` is what
# imports between the sources are resolved in.
"$jco/node_modules/.bin/jco" componentize src/main.js --cwd . --wit wit --world-name tool \
    --backend qjs --backend-qjs-disable-async --out group-by.wasm
