import type { Migration } from '../migrate.ts';

/** Beside the reason of a VM's end: when it was and what is known of it, as JSON `{at, detail}`. */
export const end: Migration = {
  id: 2,
  name: 'end',
  sql: 'ALTER TABLE vms ADD COLUMN ended TEXT',
};
