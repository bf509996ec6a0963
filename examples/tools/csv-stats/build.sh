#!/bin/sh
# Builds csv-stats.wasm. The toolchain goes to AXO_TOOLCHAINS, by default under the workspace's target.
set -eu
cd "$(dirname "$0")"
toolchains=${AXO_TOOLCHAINS:-../../../target/toolchains}
version=0.25.1
componentize=$toolchains/componentize-py-$version

if [ ! -d "$componentize" ]; then
    if ! python3 -m pip --version >/dev/null 2>&1; then
        echo "no pip for Python 3: apt-get install python3 python3-pip   (Python 3.10 or newer)" >&2
        exit 1
    fi
    mkdir -p "$toolchains"
    rm -rf "$componentize.new"
    python3 -m pip install --quiet --target "$componentize.new" "componentize-py==$version"
    mv "$componentize.new" "$componentize"
fi

# From a copy: the build compiles the modules beside their source.
sources=$(mktemp -d)
trap 'rm -rf "$sources"' EXIT
cp src/*.py "$sources"
PYTHONPATH=$componentize "$componentize/bin/componentize-py" --wit-path wit --world tool \
    componentize app --python-path "$sources" --output csv-stats.wasm
