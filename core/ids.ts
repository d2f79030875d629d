// Random identifiers. All are safe as file names, host object names and command line words.
import { randomBytes } from 'node:crypto';

/** 12 lower-case hex digits. */
export const createVmId = (): string => randomBytes(6).toString('hex');
/** `op-` and 6 hex digits; short enough to read aloud, unique enough within one daemon's log. */
export const createOpId = (): string => `op-${randomBytes(3).toString('hex')}`;
/** 8 hex digits, one per state directory. */
export const createInstallId = (): string => randomBytes(4).toString('hex');

export const isVmId = (text: string): boolean => /^[0-9a-f]{12}$/.test(text);
export const isInstallId = (text: string): boolean => /^[0-9a-f]{8}$/.test(text);
