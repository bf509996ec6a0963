#!/bin/sh
# Nothing to build: slugify.wat runs as it is.
set -eu
cd "$(dirname "$0")"
test -f slugify.wat
