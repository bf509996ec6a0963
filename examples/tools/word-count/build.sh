#!/bin/sh
# Builds word-count.wasm, which is committed.
set -eu
cd "$(dirname "$0")"

if ! echo 'int main(void) { return 0; }' | clang --target=wasm32-wasi -x c - -o /dev/null 2>/dev/null; then
    echo "no C compiler for WebAssembly: apt-get install clang lld wasi-libc libclang-rt-14-dev-wasm32" >&2
    exit 1
fi
clang --target=wasm32-wasi -std=c11 -O2 -Wall -Wextra -Wl,--strip-all -o word-count.wasm src/*.c
chmod 644 word-count.wasm
