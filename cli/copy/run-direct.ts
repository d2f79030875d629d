// A copy that goes past us: the ends are connected to each other, and we tell each what has become of the other.
import { isBangerError } from '../../core/errors.ts';
import { hasStalled, type DirectEnd } from './direct-end.ts';
import { hasFailed, type EndResult } from './end.ts';
import type { GuestEnd } from './guest-end.ts';
import { bothEnded, supervise, type Ends, type Results, type Surroundings } from './supervise.ts';

export interface DirectRun extends Surroundings {
  readonly host: DirectEnd;
  readonly guest: GuestEnd;
  /** Of the copy, as the guest sees it. */
  readonly direction: 'in' | 'out';
}

/** Answers the exit code: 0, or 1 when something was left out. @throws why it failed */
export function runDirect(run: DirectRun): Promise<number> {
  const ends: Ends = run.direction === 'in' ? { source: run.host, sink: run.guest } : { source: run.guest, sink: run.host };
  return supervise({ ...ends, progress: run.progress, interrupts: run.interrupts, target: run.target }, () => followBoth(run, ends));
}

function followBoth({ host, guest, direction }: DirectRun, ends: Ends): Promise<Results> {
  if (direction === 'in') void host.sent.then(() => guest.finish());
  const afterHost = (result: EndResult): void => {
    // Given up: it is the daemon that ends the guest's end, as no word of ours may reach it.
    if (hasStalled(result)) return guest.abandon();
    guest.finish();
    // It may still wait for a host that never came. What it has to take back may take long, so only a sender gets little time.
    if (!hasFailed(result)) return;
    if (direction === 'in') guest.askToEnd();
    else guest.stop();
  };
  const afterGuest = (result: EndResult): void => {
    host.release();
    // Without the daemon the guest's end may go on for long.
    if (isDaemonGone(result)) host.stop();
  };
  return bothEnded(ends, direction === 'in' ? { source: afterHost, sink: afterGuest } : { source: afterGuest, sink: afterHost });
}

const isDaemonGone = (result: EndResult): boolean => 'error' in result && isBangerError(result.error) && result.error.code === 'daemon_unreachable';
