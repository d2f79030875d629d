#!/bin/sh
# Builds the native programs, static on musl, into dist/native: `agent` for the guest and, where its sources are, `shim` for
# the host. Does nothing for a program that is newer than all of its sources. With --asan it builds agent-asan and agent-fuzz
# there instead, with the host's compiler and its sanitizers, for the tests.
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

# build <program> <directory> <compiler> <flags> [<sources>]: by way of a temporary file, so that a half-written program is never seen.
build() {
  program=$1 dir=$2 compiler=$3 flags=$4 sources=${5-$2/*.c}
  if up_to_date "$program" "$dir"; then return 0; fi
  if ! command -v "$compiler" >/dev/null 2>&1; then
    say "$compiler is missing; install it with: apt-get install $([ "$compiler" = musl-gcc ] && echo musl-tools || echo "$compiler")" >&2
    exit 1
  fi
  tmp=$program.$$
  trap 'rm -f "$tmp"' EXIT
  # shellcheck disable=SC2086 -- lists of flags
  "$compiler" $warnings $flags -o "$tmp" $sources
  mv "$tmp" "$program"
  trap - EXIT
  say "$program $(wc -c <"$program") bytes"
}

mkdir -p "$out"
if [ "${1-}" = --asan ]; then
  sanitize='-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all'
  build "$out/agent-asan" guest/agent gcc "$sanitize"
  # All but what the harness has its own of.
  parts=$(ls guest/agent/*.c | grep -v -E '/(main|exec|dial|pty|port|stage1|mounts|modules|seed|net|etc|init)\.c$')
  build "$out/agent-fuzz" guest/agent gcc "$sanitize -Wl,--wrap=say" "guest/agent/fuzz/fuzz.c guest/agent/pty.c guest/agent/port.c $parts"
  exit 0
fi
build "$out/agent" guest/agent musl-gcc "-Os -static -s $hardening"
if ls native/shim/*.c >/dev/null 2>&1; then
  build "$out/shim" native/shim musl-gcc "-Os -static -s $hardening"
fi
