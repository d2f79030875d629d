#!/bin/sh
# Builds dist: native programs, JavaScript, the CLI bundle. Needs musl-tools and the node packages.
set -eu
cd "$(dirname "$0")/.."
script=build
. scripts/lib.sh
[ -x node_modules/.bin/node ] || fail 'node packages are missing: run sh scripts/setup.sh, or npm ci --ignore-scripts'
use_node24

sh scripts/build-native.sh
tsc -p tsconfig.build.json
[ ! -f scripts/bundle-cli.ts ] || node scripts/bundle-cli.ts
