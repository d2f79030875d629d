#!/bin/sh
# Runs a named group of checks with the project's own Node: `sh scripts/run.sh check` is what a contributor runs before a push.
set -eu
cd "$(dirname "$0")/.."
script=run
. scripts/lib.sh
use_node24

case ${1:-} in
  check)
    oxlint --type-aware --quiet
    tsc -p tsconfig.json
    exec vitest run --project unit
    ;;
  fix) exec oxlint --type-aware --fix ;;
  *) fail 'usage: sh scripts/run.sh check|fix' ;;
esac
