import { describe, expect, test } from 'vitest';
import { rulesOf, sectionOf, usernetSection } from './schema.ts';

describe('section usernet', () => {
  test('has a default for every key', () => {
    expect(usernetSection.parse({})).toEqual({ network: 'user', publish: [] });
    expect(sectionOf({})).toEqual({ network: 'user', publish: [] });
  });

  test.each([
    ['8080:80', '8080:80'],
    [' 08080:0080 ', '8080:80'],
    ['127.0.0.1:8080:80', '127.0.0.1:8080:80'],
    ['0.0.0.0:1:65535', '0.0.0.0:1:65535'],
  ])('takes %j as %j, which parses to itself', (text, normal) => {
    const parsed = usernetSection.parse({ publish: [text] });
    expect(parsed.publish).toEqual([normal]);
    expect(usernetSection.parse(parsed)).toEqual(parsed);
  });

  test.each(['', '80', ':80', '80:', '0:80', '80:0', '65536:80', '80:65536', '-1:80', '8x:80', '1e3:80', 'a:8080:80', '256.0.0.1:80:80', '::1:80:80', '1:2:3:4', '127.0.0.1:80:80:80'])(
    'refuses %j', (text) => {
      const result = usernetSection.safeParse({ publish: ['1:1', text] });
      expect(result.success).toBe(false);
      expect(result.error?.issues.map((issue) => issue.path.join('.'))).toEqual(['publish.1']);
    });

  test('refuses a host port published twice, but not on two addresses', () => {
    const twice = usernetSection.safeParse({ publish: ['80:1', '127.0.0.1:80:1', '080:2'] });
    expect(twice.error?.issues).toEqual([expect.objectContaining({ path: ['publish', 2], message: 'host port 80 is published twice' })]);
    expect(usernetSection.safeParse({ publish: ['80:1', '127.0.0.1:80:1'] }).success).toBe(true);
  });

  test.each([{ network: 'bridge' }, { publish: '80:80' }, { publish: [80] }, { nat: true }])('refuses %j', (value) => {
    expect(usernetSection.safeParse(value).success).toBe(false);
  });

  test('gives rules back from their text', () => {
    expect(rulesOf(usernetSection.parse({ publish: ['8080:80', '10.1.2.3:53:5353'] }))).toEqual([
      { hostPort: 8080, guestPort: 80 }, { address: '10.1.2.3', hostPort: 53, guestPort: 5353 },
    ]);
  });
});
