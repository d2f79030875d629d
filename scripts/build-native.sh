#!/bin/sh
# Builds the native programs, static on musl, into dist/native: `agent` for the guest; `shim`, `copy` and `ssh-proxy` for the host.
# The agent has the sources of `copy` in it, too: both ends of a copy are the same code. Does nothing for a program that is newer than all of its sources. With --asan it builds agent-asan and agent-fuzz
# there instead (and copy-asan), with the host's compiler and its sanitizers, for the tests.
set -eu
cd "$(dirname "$0")/.."
out=dist/native
warnings='-std=c11 -Wall -Wextra -Werror'
hardening='-fstack-protector-strong -D_FORTIFY_SOURCE=2'
# Unwind tables serve exceptions and debuggers, of which there are none here; with unused functions they were a tenth of the agent.
small='-ffunction-sections -fdata-sections -Wl,--gc-sections -fno-asynchronous-unwind-tables -fno-unwind-tables'

say() { echo "build-native: $*"; }

# up_to_date <program> <directories>: no source (nor this script) is newer.
up_to_date() {
  # shellcheck disable=SC2086 -- a list of directories
  [ -x "$1" ] && [ -z "$(find $2 scripts/build-native.sh -newer "$1" -name '*.[ch]' -o -newer "$1" -name 'build-native.sh' | head -n 1)" ]
}

# build <program> <directories> <compiler> <flags> [<sources>]: by way of a temporary file, so that a half-written program is never seen.
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
agent_rooms='guest/agent guest/sftp native/copy'
# Both programs have a main of their own.
agent_extra=$(ls guest/sftp/*.c native/copy/*.c | grep -v native/copy/main.c)
if [ "${1-}" = --asan ]; then
  sanitize='-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all'
  # shellcheck disable=SC2086 -- a list of files
  build "$out/agent-asan" "$agent_rooms" gcc "$sanitize" "$(echo guest/agent/*.c $agent_extra)"
  # All but what the harness has its own of.
  parts=$(ls guest/agent/*.c | grep -v -E '/(main|exec|dial|opener|listen|keep|pty|port|stage1|mounts|modules|seed|net|etc|init|console|tmp|claim|tree|tree-check|figures|ports|holders|clock|udp)\.c$')
  build "$out/agent-fuzz" guest/agent gcc "$sanitize -Wl,--wrap=say" "guest/agent/fuzz/fuzz.c guest/agent/pty.c guest/agent/port.c $parts"
  build "$out/copy-asan" native/copy gcc "$sanitize"
  exit 0
fi
# shellcheck disable=SC2086 -- a list of files
build "$out/agent" "$agent_rooms" musl-gcc "-Os -static -s $small $hardening" "$(echo guest/agent/*.c $agent_extra)"
for program in shim copy ssh-proxy; do
  build "$out/$program" "native/$program" musl-gcc "-Os -static -s $small $hardening"
done
