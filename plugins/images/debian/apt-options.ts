// The host's apt download settings (proxy, retries, validity checks), handed on to the apt that fills an image.

export interface AptHandOver {
  /** Configuration lines for `--aptopt`. */
  readonly options: readonly string[];
  /** Environment for apt: proxies, which may hold a password and so stay off the command line. */
  readonly env: Readonly<Record<string, string>>;
}

/** Lists that apt builds in, and what concerns only the host. */
const notHandedOn = /^Acquire::(IndexTargets|Changelogs|CompressionTypes|cdrom|Languages)(::|$)/i;
const proxyVariables = ['http_proxy', 'https_proxy', 'ftp_proxy', 'all_proxy', 'no_proxy'];

/**
 * Picks from the output of `apt-config dump Acquire` what another apt needs to reach the same archive. A proxy with a password
 * becomes an environment variable.
 */
export function handOverAptOptions(dump: string, hostEnv: Readonly<Record<string, string | undefined>>): AptHandOver {
  const options: string[] = [];
  const env: Record<string, string> = {};
  for (const name of proxyVariables.flatMap((n) => [n, n.toUpperCase()])) {
    const value = hostEnv[name];
    if (value) env[name] = value;
  }
  for (const line of dump.split('\n')) {
    const match = /^(Acquire::[^\s"]+)\s+"(.*)";$/.exec(line.trim());
    const [, key = '', value = ''] = match ?? [];
    if (!match || value === '' || notHandedOn.test(key)) continue;
    const proxy = /^Acquire::(https?|ftp)::Proxy$/i.exec(key);
    if (proxy && /\/\/[^/]*@/.test(value)) env[`${(proxy[1] ?? '').toLowerCase()}_proxy`] = value;
    else options.push(`${key} "${value}";`);
  }
  return { options, env };
}

/** The same address without user and password, for the image's own sources. */
export function withoutCredentials(text: string): string {
  return text.replace(/(\/\/)[^/@\s]*@/g, '$1');
}
