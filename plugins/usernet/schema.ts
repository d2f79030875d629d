// The VM's section `usernet` and its flags: `--network` and `--publish`.
import { isIPv4 } from 'node:net';
import { z } from 'zod';

/** One published port. */
export interface PublishRule {
  /** Host address; absent: the VM's own loopback address. */
  readonly address?: string;
  readonly hostPort: number;
  /** Port on the guest's loopback or any of its addresses. */
  readonly guestPort: number;
}

/** Reads `[addr:]host:guest`; a text is the problem, for people. */
export function parsePublish(text: string): PublishRule | string {
  const parts = text.trim().split(':');
  if (parts.length < 2 || parts.length > 3) return 'must be [address:]host:guest, such as 8080:80';
  const [guest, host, address] = parts.toReversed();
  const hostPort = parsePort(host);
  const guestPort = parsePort(guest);
  if (hostPort === undefined || guestPort === undefined) return 'ports must be numbers from 1 to 65535';
  if (address !== undefined && !isIPv4(address)) return `address ${address} is not an IPv4 address`;
  return { hostPort, guestPort, ...(address === undefined ? {} : { address }) };
}

/** The one spelling of a rule, as kept in the VM's spec. */
export function formatPublish(rule: PublishRule): string {
  return `${rule.address === undefined ? '' : `${rule.address}:`}${rule.hostPort}:${rule.guestPort}`;
}

function parsePort(text: string | undefined): number | undefined {
  if (text === undefined || !/^\d{1,5}$/.test(text)) return undefined;
  const port = Number(text);
  return port >= 1 && port <= 65_535 ? port : undefined;
}

const publishText = z.string().transform((text, ctx) => {
  const rule = parsePublish(text);
  if (typeof rule !== 'string') return formatPublish(rule);
  ctx.addIssue({ code: 'custom', message: rule });
  return z.NEVER;
});

const maxPublished = 256;

export const usernetSection = z.strictObject({
  network: z.enum(['user', 'none']).default('user').describe('user: outbound only; none: no network interface'),
  publish: z.array(publishText).max(maxPublished).default([]).superRefine((rules, ctx) => {
    const seen = new Set<string>();
    rules.forEach((text, index) => {
      const listener = text.slice(0, text.lastIndexOf(':'));
      if (seen.has(listener)) ctx.addIssue({ code: 'custom', path: [index], message: `host port ${listener} is published twice` });
      seen.add(listener);
    });
  }).describe('Ports of the guest to offer on the host, each [address:]host:guest'),
});
export type UsernetSection = z.output<typeof usernetSection>;

/** Section `[plugins.usernet]`. */
export const usernetConfig = z.strictObject({
  slirp4netns: z.string().min(1).default('slirp4netns').describe('slirp4netns program, a name in PATH or an absolute path'),
});
export type UsernetConfig = z.output<typeof usernetConfig>;

/** The section of a VM's spec, with defaults for a VM made before this plugin was there. */
export function sectionOf(sections: Readonly<Record<string, unknown>>): UsernetSection {
  return usernetSection.parse(sections['usernet'] ?? {});
}

/** Rules of a parsed section. */
export function rulesOf(section: UsernetSection): PublishRule[] {
  return section.publish.map(parsePublish).filter((rule) => typeof rule !== 'string');
}
