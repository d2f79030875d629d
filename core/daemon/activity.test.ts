import { expect, test } from 'vitest';
import { createActivity } from './activity.ts';

test('a hold counts once, until it is let go once or more often', () => {
  const activity = createActivity();
  const first = activity.hold('ssh session');
  const second = activity.hold('ssh session');
  expect(activity.held).toBe(2);
  first();
  first();
  expect(activity.held).toBe(1);
  second();
  expect(activity.held).toBe(0);
});
