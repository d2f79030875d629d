// Why a copy failed, as one sentence with a hint. The ends say it in their last line; which of the two is the cause, the order tells.
import { BangerError, isBangerError, operationFailed } from '../../core/errors.ts';
import type { End, EndResult } from './end.ts';

export interface Ended {
  readonly end: Pick<End, 'label'>;
  readonly result: EndResult;
  /** Its last line, when it was not shown. */
  readonly last: string | undefined;
}

/** What the receiving end says when it has put nothing in place, or only a part. */
const outcome = /(?:^|: )(nothing was put in place|\d+ entr(?:y was|ies were) in place already)$/;

/** Whether an end knows no more than that the other one is gone. */
export const saysOnlyThatTheOtherIsGone = ({ result, last }: Ended): boolean => 'code' in result && /^the (?:other end is gone|stream ended early)/.test(last ?? '');

/** Whether it is the daemon that says why an end failed: its errors carry the id of their operation. */
export const isToldByDaemon = (result: EndResult): boolean => 'error' in result && isBangerError(result.error) && result.error.detail?.['opId'] !== undefined;

/**
 * The error of a copy whose `cause` failed. `receiver` is the other end where that one received: its last line says what has become of the
 * destination.
 */
export function copyFailure(cause: Ended, receiver: Ended | undefined, target: string): Error {
  const outcomeText = outcome.exec((receiver ?? cause).last ?? '')?.[1];
  const where = outcomeText === undefined ? undefined : `${outcomeText} (${target})`;
  const { result, last } = cause;
  if ('error' in result) return isBangerError(result.error) ? withOutcome(result.error, where) : result.error;
  const reason = last?.replace(outcome, '') || `the end of the copy exited with code ${result.code} and said nothing`;
  return withOutcome(operationFailed(`${cause.end.label}: ${reason}`, { hint: hintFor(reason, cause.end.label) }), where);
}

function withOutcome(error: BangerError, where: string | undefined): BangerError {
  if (where === undefined) return error;
  const { code, hint, detail, cause } = error;
  return new BangerError(code, `${error.message}; ${where}`, { hint, detail, cause });
}

const hints: readonly (readonly [RegExp, (label: string) => string])[] = [
  [/No space left on device|Disk quota exceeded/, (label) => (label === 'host' ? 'make room on the file system of the destination' : `banger vm exec ${label} -- df -h shows the room; banger vm set --disk-size enlarges /root of a stopped VM`)],
  [/No such file or directory/, (label) => (label === 'host' ? 'the path is one of this host' : `the path is one in the VM; a relative one is below the user's home`)],
  [/Permission denied|Operation not permitted/, (label) => (label === 'host' ? 'you may not do that on this host' : 'another user in the guest may: -u')],
];

function hintFor(reason: string, label: string): string | undefined {
  return hints.find(([pattern]) => pattern.test(reason))?.[1](label);
}
