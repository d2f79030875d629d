// VM names: DNS labels (RFC 1035 and 1123, lower case only), because a VM answers to `<name>.vm`.
import { randomInt } from 'node:crypto';
import type { Issue } from './errors.ts';

/** What is wrong with a VM name; empty when it is good. */
export function nameIssues(name: string, path = 'name'): Issue[] {
  const issues: Issue[] = [];
  if (name.length < 1 || name.length > 63) issues.push({ path, message: `must have 1 to 63 characters, has ${name.length}` });
  const bad = [...new Set(name.match(/[^a-z0-9-]/gu) ?? [])];
  if (bad.length > 0) issues.push({ path, message: `may hold a-z, 0-9 and - only, not ${bad.slice(0, 5).map((c) => JSON.stringify(c)).join(' ')}` });
  if (name.startsWith('-') || name.endsWith('-')) issues.push({ path, message: 'must not begin or end with -' });
  return issues;
}

export const isName = (name: string): boolean => nameIssues(name).length === 0;

/** A free name such as `brave-otter`; with a number at the end when words run out. */
export function generateName(isTaken: (name: string) => boolean, pick: (limit: number) => number = randomInt): string {
  const draw = (words: readonly string[]): string => words[pick(words.length)] ?? 'vm';
  for (let tries = 0; tries < 20; tries += 1) {
    const name = `${draw(adjectives)}-${draw(nouns)}`;
    if (!isTaken(name)) return name;
  }
  const base = `${draw(adjectives)}-${draw(nouns)}`;
  for (let n = 2; ; n += 1) if (!isTaken(`${base}-${n}`)) return `${base}-${n}`;
}

const adjectives = `able agile amber ample azure bold brave bright brisk broad calm clear clever coral cosy crisp dapper deft eager early easy fair fast fine firm fleet
fond fresh gentle glad golden good grand great green happy hardy honest humble jolly keen kind light lively loyal lucky mellow merry mild modest neat nimble noble
patient plain plucky polite proud prompt quick quiet rapid ready rosy royal silent silver simple sleek smart smooth snug solid spry steady still strong sturdy sunny
sure swift tidy tough trusty upbeat vivid warm wise witty young zesty`.split(/\s+/);
const nouns = `alder badger bay beacon bear beaver birch bison brook canyon cedar cliff clover condor coral crane creek crow dale deer delta dolphin dove eagle elk elm
falcon fern field finch fjord fox gecko glade grove gull hare harbor hawk hazel heron hill ibis island ivy jay kestrel lake lark leaf lemur lily linnet lynx maple
marten meadow mole moose moss newt oak orca osprey otter owl panda pebble pine plover pond puffin quail raven reef ridge river robin seal shore sparrow spruce stone
stork swan thrush tiger trout vale willow wolf wren yak`.split(/\s+/);
