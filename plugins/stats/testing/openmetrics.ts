// Test support: a strict reader of OpenMetrics text, made from the specification (version 1.0.0) and not from the code that writes it.

export interface Sample { readonly name: string; readonly labels: Readonly<Record<string, string>>; readonly value: number }
export interface MetricFamily { readonly name: string; readonly type: string; readonly unit?: string; readonly help?: string; readonly samples: Sample[] }

const nameForm = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const suffixes: Readonly<Record<string, readonly string[]>> = {
  counter: ['_total', '_created'], gauge: [''], info: ['_info'], stateset: [''], unknown: [''],
};

/** @throws Error at the first line that the specification does not allow */
export function parseOpenMetrics(text: string): ReadonlyMap<string, MetricFamily> {
  if (text.includes('\r')) throw new Error('carriage return');
  if (!text.endsWith('# EOF\n')) throw new Error('does not end with # EOF');
  const lines = text.slice(0, -1).split('\n');
  const families = new Map<string, MetricFamily>();
  const seen = new Set<string>();
  let current: { -readonly [K in keyof MetricFamily]: MetricFamily[K] } | undefined;
  for (const [n, line] of lines.entries()) {
    const fail = (why: string): never => { throw new Error(`line ${n + 1}: ${why}: ${line}`); };
    if (line === '# EOF') {
      if (n !== lines.length - 1) fail('text after # EOF');
      continue;
    }
    const meta = /^# (TYPE|UNIT|HELP) (\S+) (.*)$/.exec(line);
    if (meta !== null) {
      const [, kind, name, value] = meta as unknown as [string, string, string, string];
      if (!nameForm.test(name)) fail('bad name');
      if (current?.name !== name) {
        if (families.has(name)) fail('a family twice, or not in one piece');
        if (kind !== 'TYPE') fail('metadata before TYPE');
        if (!(value in suffixes)) fail('unknown type');
        current = { name, type: value, samples: [] };
        families.set(name, current);
      } else {
        if (current.samples.length > 0) fail('metadata after samples');
        if (kind === 'TYPE') fail('a type twice');
        if (kind === 'UNIT') {
          if (current.unit !== undefined) fail('a unit twice');
          if (!name.endsWith(`_${value}`)) fail('the name does not end with its unit');
          if (current.type === 'info' || current.type === 'stateset') fail('such a type has no unit');
          current.unit = value;
        } else {
          if (current.help !== undefined) fail('a help twice');
          if (/\\(?![\\n"])/.test(value)) fail('bad escape');
          current.help = value;
        }
      }
      continue;
    }
    if (line === '' || line.startsWith('#')) fail('neither metadata nor sample');
    const sample = readSample(line) ?? fail('no sample');
    if (current === undefined || !suffixes[current.type]!.some((suffix) => sample.name === `${current!.name}${suffix}`)) fail('a sample outside of its family');
    requireValue(current!, sample, fail);
    const key = `${sample.name} ${JSON.stringify(Object.entries(sample.labels).sort())}`;
    if (seen.has(key)) fail('a sample twice');
    seen.add(key);
    current!.samples.push(sample);
  }
  return families;
}

function requireValue({ name, type }: MetricFamily, { value, labels }: Sample, fail: (why: string) => never): void {
  if (type === 'counter' && !(value >= 0)) fail('a counter below zero');
  if (type === 'info' && value !== 1) fail('an info that is not 1');
  if (type === 'stateset' && ((value !== 0 && value !== 1) || labels[name] === undefined)) fail('not a state');
}

function readSample(line: string): Sample | undefined {
  const name = /^[a-zA-Z_:][a-zA-Z0-9_:]*/.exec(line)?.[0];
  if (name === undefined) return undefined;
  const labels: Record<string, string> = {};
  let at = name.length;
  if (line[at] === '{') {
    at += 1;
    const label = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\n"])*)"(,|\})/y;
    for (let end = false; !end;) {
      label.lastIndex = at;
      const match = label.exec(line);
      if (match === null || Object.hasOwn(labels, match[1]!)) return undefined;
      labels[match[1]!] = match[2]!.replaceAll(/\\(.)/g, (_, what: string) => (what === 'n' ? '\n' : what));
      at = label.lastIndex;
      end = match[3] === '}';
    }
  }
  const value = /^ ([+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?|NaN|[+-]Inf)$/.exec(line.slice(at))?.[1];
  return value === undefined ? undefined : { name, labels, value: Number(value) };
}
