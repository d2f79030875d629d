// What the Debian image holds. Changing this file changes what new builds get; existing images stay as they are.

/** Recommended packages stay out: mmdebstrap's apt does not install them. */
export const packages = [
  'systemd', 'systemd-sysv', 'dbus', 'openssh-server', 'git', 'curl', 'ca-certificates', 'python3', 'rsync', 'build-essential',
  'iproute2', 'procps', 'less',
] as const;

/** Documentation and translations stay out (copyright files stay in); dpkg keeps this rule in the guest. */
export const dpkgOptions = [
  'path-exclude=/usr/share/doc/*', 'path-include=/usr/share/doc/*/copyright', 'path-exclude=/usr/share/man/*',
  'path-exclude=/usr/share/info/*', 'path-exclude=/usr/share/locale/*', 'path-exclude=/usr/share/lintian/*',
  // Only while building: a build that is cut short is thrown away. The hook takes it out again.
  'force-unsafe-io',
] as const;

/**
 * Units that serve nothing in a microVM or wait for hardware it lacks. Each costs boot time, most under software emulation.
 * networkd and resolved are not here: they are off by default and the daemon enables them at run time when they are wanted.
 */
export const maskedUnits = [
  'apt-daily.timer', 'apt-daily-upgrade.timer', 'dpkg-db-backup.timer', 'e2scrub_all.timer', 'e2scrub_reap.service', 'fstrim.timer',
  'getty@tty1.service', 'serial-getty@ttyS0.service', 'console-getty.service', 'systemd-pstore.service', 'ldconfig.service',
  'systemd-hwdb-update.service', 'systemd-journal-catalog-update.service', 'systemd-firstboot.service', 'systemd-machine-id-commit.service',
  'dev-hugepages.mount', 'sys-kernel-debug.mount', 'sys-kernel-tracing.mount', 'proc-sys-fs-binfmt_misc.automount', 'sys-fs-fuse-connections.mount',
] as const;

/** Each VM makes its own host key when its sshd is first reached: an image holds none. */
const hostKeyUnit = `[Unit]
Description=Make this machine's ssh host key
ConditionPathExists=!/etc/ssh/ssh_host_ed25519_key

[Service]
Type=oneshot
ExecStart=/usr/bin/ssh-keygen -q -N "" -t ed25519 -f /etc/ssh/ssh_host_ed25519_key
`;
const hostKeyDropIn = `[Unit]
Wants=banger-host-key.service
After=banger-host-key.service
`;

/**
 * Shell text mmdebstrap runs on the host after installation, with the tree's path as \`$1\`. It is constant: nothing from the host
 * is put into it. Writing only happens below \`$1\`, on files of packages just installed.
 */
export const customizeHook = `set -eu
root="$1"
rm -f "$root"/etc/ssh/ssh_host_*_key "$root"/etc/ssh/ssh_host_*_key.pub
rm -f "$root"/etc/apt/apt.conf.d/99mmdebstrap
sed -i /force-unsafe-io/d "$root"/etc/dpkg/dpkg.cfg.d/99mmdebstrap
sed -i 's#//[^/@ ]*@#//#' "$root"/etc/apt/sources.list
rm -f "$root"/etc/resolv.conf "$root"/etc/hostname
: > "$root"/etc/resolv.conf
: > "$root"/etc/machine-id
: > "$root"/etc/fstab
echo debian > "$root"/etc/hostname
printf '127.0.0.1 localhost debian\\n::1 localhost ip6-localhost ip6-loopback\\n' > "$root"/etc/hosts
chmod 0644 "$root"/etc/resolv.conf "$root"/etc/hostname "$root"/etc/hosts "$root"/etc/fstab "$root"/etc/machine-id
rm -rf "$root"/var/lib/dbus/machine-id "$root"/var/log/apt "$root"/var/log/bootstrap.log "$root"/var/log/dpkg.log "$root"/var/log/alternatives.log
units="$root"/etc/systemd/system
mkdir -p "$units"/multi-user.target.wants "$units"/sockets.target.wants "$units"/ssh@.service.d "$units"/ssh.service.d
for unit in ${maskedUnits.join(' ')}; do ln -sfn /dev/null "$units/$unit"; done
rm -f "$units"/multi-user.target.wants/ssh.service "$units"/sshd.service
ln -sfn /lib/systemd/system/ssh.socket "$units"/sockets.target.wants/ssh.socket
ln -sfn /lib/systemd/system/multi-user.target "$units"/default.target
cat > "$units"/banger-host-key.service <<'END'
${hostKeyUnit}END
cat > "$units"/ssh@.service.d/host-key.conf <<'END'
${hostKeyDropIn}END
cat > "$units"/ssh.service.d/host-key.conf <<'END'
${hostKeyDropIn}END
`;
