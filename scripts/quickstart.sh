#!/bin/sh
# From a fresh clone to a running guest in one command. Running it again changes nothing and costs next to nothing.
set -eu
cd "$(dirname "$0")/.."
script=quickstart
. scripts/lib.sh

sh scripts/setup.sh

banger=bin/banger
"$banger" image pull debian-bookworm >/dev/null
# shellcheck disable=SC1091 -- the file is the host's
"$banger" kernel pull "debian-$(. /etc/os-release && printf %s "${VERSION_CODENAME:-bookworm}")" >/dev/null

# The outbound network needs the tun device, which not every host opens to ordinary users; a guest without a network boots all the same.
network=user
tun=/dev/net/tun
if [ ! -r "$tun" ] || [ ! -w "$tun" ]; then
  network=none
  say "$tun is not open to you, so this guest gets no network; an administrator opens it with: $([ -e "$tun" ] && echo "chmod 0666 $tun" || echo 'modprobe tun')"
fi

say 'booting a VM and asking it: uname -a'
answer=$("$banger" vm run --rm --network "$network" -- uname -a)

cat <<END

The guest answered:
  $answer

Next:
  $banger vm run                      a shell in a fresh VM
  $banger vm run --rm -- cat /etc/os-release
  $banger doctor                      what this host can do, and what is missing
END
