#!/bin/sh
# Runs every bench, or those named: `npm run bench -- vm-run`. One JSON document a line on stdout, kept in bench/results/.
set -eu
cd "$(dirname "$0")/.."
sh scripts/setup.sh --tests >&2
export PATH="$PWD/node_modules/.bin:$PATH"
mkdir -p bench/results
names=${*:-"rpc-ping cli-start vm-list records exec-stop vm-run ssh copy workspace stats-poll forward"}
for name in $names; do
  node "bench/$name.ts" | tee "bench/results/$name.json"
done
