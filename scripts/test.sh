#!/bin/sh
# The whole test: set-up, lint, types, tests. The last line is "N passed, N failed, N skipped"; every skip and its reason come before.
set -eu
cd "$(dirname "$0")/.."
script=test
. scripts/lib.sh

sh scripts/setup.sh --tests
use_node24
# An ordinary user's PATH lacks the folders of mke2fs and ip, which tests call.
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
export PATH

say 'lint'
oxlint --type-aware --quiet
say 'types'
tsc -p tsconfig.json
say 'tests'
exec vitest run "$@"
