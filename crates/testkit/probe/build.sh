#!/bin/sh
# Builds the probe.
#   build.sh               probe.wasm, which is committed
#   build.sh native FILE   the static Linux program, for bundles, images and microVMs
set -eu
cd "$(dirname "$0")"

if [ "${1:-}" = native ]; then
    ${CC:-gcc} -std=c11 -O2 -Wall -Wextra -pthread -static -s -o "$2" probe.c
    exit
fi

if ! echo 'int main(void) { return 0; }' | clang --target=wasm32-wasi -x c - -o /dev/null 2>/dev/null; then
    echo "no C compiler for WebAssembly: apt-get install clang lld wasi-libc libclang-rt-14-dev-wasm32" >&2
    exit 1
fi
# -mbulk-memory: the op `fill` has to be one memory.fill instruction.
clang --target=wasm32-wasi -std=c11 -O2 -mbulk-memory -Wall -Wextra \
    -Wl,--strip-all -Wl,-z,stack-size=131072 -o probe.wasm probe.c
chmod 644 probe.wasm
