#!/bin/sh
# Every smoke scenario against the built CLI: `npm run smoke -- --list`, `npm run smoke -- --only bare_run`.
set -eu
cd "$(dirname "$0")/.."
exec node_modules/.bin/node smoke/run.ts "$@"
