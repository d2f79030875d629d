#!/bin/sh
# Gets this checkout ready: system packages, node packages, build. Fast when nothing is to be done: quickstart and the tests call it
# every time. Options: --tests also gets what only the tests need.
set -eu
cd "$(dirname "$0")/.."
script=setup
. scripts/lib.sh
# System programs of an ordinary user's PATH, too.
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
export PATH

want_tests=no
for option in "$@"; do
  case $option in
    --tests) want_tests=yes ;;
    *) fail "unknown option $option" ;;
  esac
done

missing=''
reasons=''
# need <package> <program or file> <what for>
need() {
  case $2 in
    /*) [ -e "$2" ] && return ;;
    *) command -v "$2" >/dev/null 2>&1 && return ;;
  esac
  missing="$missing $1"
  reasons="$reasons
  $1: $3"
}

need qemu-system-x86 qemu-system-x86_64 'runs the virtual machines'
need qemu-utils qemu-img 'grows their disks'
need e2fsprogs mke2fs 'makes their file systems'
need mmdebstrap mmdebstrap 'makes the Debian image'
need slirp4netns slirp4netns 'connects them to the network without root'
need uidmap newuidmap 'makes images without root'
need xz-utils xz 'unpacks kernel modules'
need zstd zstd 'unpacks images'
need ca-certificates /etc/ssl/certs/ca-certificates.crt 'fetches node packages'
need musl-tools musl-gcc 'compiles the guest agent'
if [ "$want_tests" = yes ]; then
  need cpio cpio 'the tests unpack archives of ours with it'
  need lz4 lz4 'the tests pack data for our decoder with it'
  need gcc gcc 'the tests compile the agent with sanitizers'
  need libc6-dev /usr/include/stdlib.h 'the tests compile the agent with sanitizers'
  need valgrind valgrind 'the tests run the agent under it'
  need git git 'the tests use real repositories'
  need iproute2 ip 'the tests look at network namespaces'
  need openssh-client ssh 'the tests reach VMs with its programs'
  need openssh-sftp-server /usr/lib/openssh/sftp-server 'the tests compare our SFTP server with it'
  need attr setfattr 'the tests give files extended attributes'
  need rsync rsync 'the tests copy with it over ssh'
fi
# A built package needs no compiler.
if [ "$want_tests" = no ] && [ -x dist/native/agent ] && [ -x dist/native/shim ]; then
  missing=$(printf '%s' "$missing" | sed 's/ musl-tools//')
fi

install_packages() {
  say "these packages are missing:$reasons"
  # shellcheck disable=SC1091 -- the file is the host's
  distribution=$(. /etc/os-release 2>/dev/null && printf '%s %s' "${ID:-}" "${ID_LIKE:-}") || distribution=unknown
  case " $distribution " in
    *' debian '* | *' ubuntu '*) ;;
    *) fail "this is not Debian or Ubuntu: install the equivalents of$missing, then run this again" ;;
  esac
  as_root=''
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null 2>&1 || fail "neither root nor sudo: ask an administrator to run: apt-get install$missing"
    as_root=sudo
  fi
  attempt=1
  # shellcheck disable=SC2086 -- a list of words
  until $as_root apt-get update -q && $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y -o Dpkg::Use-Pty=0 --no-install-recommends $missing; do
    [ "$attempt" -lt 3 ] || fail 'apt failed three times; its messages are above'
    say "apt failed, trying again in $((attempt * 5)) s"
    sleep $((attempt * 5))
    attempt=$((attempt + 1))
  done
}
[ -z "$missing" ] || install_packages

command -v node >/dev/null 2>&1 && command -v npm >/dev/null 2>&1 || fail 'Node 20 or newer with npm is needed: install nodejs and npm'
lock=$(sha256sum package-lock.json | cut -d ' ' -f 1)
# Packages installed by hand, after the lockfile was last written, count too.
if [ ! -e node_modules/.banger-lock ] && [ node_modules/.package-lock.json -nt package-lock.json ]; then
  printf '%s\n' "$lock" > node_modules/.banger-lock
fi
if [ "$(cat node_modules/.banger-lock 2>/dev/null || true)" != "$lock" ]; then
  say 'installing node packages from the lockfile'
  attempt=1
  # No install scripts: every package brings what it needs, checked against the lockfile.
  until npm ci --ignore-scripts --no-audit --no-fund --loglevel=error; do
    [ "$attempt" -lt 3 ] || fail 'npm ci failed three times; its messages are above'
    say "npm ci failed, trying again in $((attempt * 5)) s"
    sleep $((attempt * 5))
    attempt=$((attempt + 1))
  done
  printf '%s\n' "$lock" > node_modules/.banger-lock
fi

# What the build reads. Tests do not go into it.
sources=$({ find bin core plugins cli native guest -type f ! -name '*.test.ts' ! -name '*.test-d.ts' ! -name '*.md' 2>/dev/null
  printf '%s\n' package.json package-lock.json tsconfig.json tsconfig.build.json scripts/build.sh scripts/build-native.sh scripts/bundle-cli.ts; } | hash_files)
if [ "$(cat dist/.banger-sources 2>/dev/null || true)" != "$sources" ]; then
  say 'building'
  sh scripts/build.sh
  printf '%s\n' "$sources" > dist/.banger-sources
fi
