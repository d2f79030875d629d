#!/bin/sh
# Builds the native programs, static on musl, into dist/native: `agent` for the guest and, where its sources are, `shim` for
# the host. Does nothing for a program that is newer than all of its sources. With --asan it builds dist/native/agent-asan
# instead, with the host's compiler and its sanitizers, for the tests.
set -eu
cd "$(dirname "$0")/.."
out=dist/native
warnings='-std=c11 -Wall -Wextra -Werror'
hardening='-fstack-protector-strong -D_FORTIFY_SOURCE=2'

say() { echo "build-native: $*"; }

# up_to_date <program> <directory>: no source (nor this script) is newer.
up_to_date() {
  [ -x "$1" ] && [ -z "$(find "$2" scripts/build-native.sh -newer "$1" -name '*.[ch]' -o -newer "$1" -name 'build-native.sh' | head -n 1)" ]
}

# build <program> <directory> <compiler> <flags>: by way of a temporary file, so that a half-written program is never seen.
build() {
  program=$1 dir=$2 compiler=$3 flags=$4
  if up_to_date "$program" "$dir"; then return 0; fi
  if ! command -v "$compiler" >/dev/null 2>&1; then
    say "$compiler is missing; install it with: apt-get install $([ "$compiler" = musl-gcc ] && echo musl-tools || echo "$compiler")" >&2
    exit 1
  fi
  tmp=$program.$$
  trap 'rm -f "$tmp"' EXIT
  # shellcheck disable=SC2086 -- lists of flags
  "$compiler" $warnings $flags -o "$tmp" "$dir"/*.c
  mv "$tmp" "$program"
  trap - EXIT
  say "$program $(wc -c <"$program") bytes"
}

mkdir -p "$out"
if [ "${1-}" = --asan ]; then
  build "$out/agent-asan" guest/agent gcc '-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all'
  exit 0
fi
build "$out/agent" guest/agent musl-gcc "-Os -static -s $hardening"
if ls native/shim/*.c >/dev/null 2>&1; then
  build "$out/shim" native/shim musl-gcc "-Os -static -s $hardening"
fi
