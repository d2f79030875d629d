#!/bin/sh
# Builds dist: native programs, JavaScript, the CLI bundle. Needs musl-tools and the node packages. With --clean what an earlier build
# left of sources that are gone goes first.
set -eu
cd "$(dirname "$0")/.."
script=build
. scripts/lib.sh
[ -x node_modules/.bin/node ] || fail 'node packages are missing: run sh scripts/setup.sh, or npm ci --ignore-scripts'
use_node24

[ "${1-}" != --clean ] || rm -rf dist
sh scripts/build-native.sh
tsc -p tsconfig.build.json
[ ! -f scripts/bundle-cli.ts ] || node scripts/bundle-cli.ts
