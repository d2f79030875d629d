// This host's end of a copy that goes past us: the program and the guest's end are connected by a socket, and we hold the ends of a pipe.
import type { VmCopyDirect, VmCopyParams } from '../../core/api.ts';
import { BangerError, isBangerError } from '../../core/errors.ts';
import type { End, EndResult } from './end.ts';
import { HostProgram, type HostProgramOptions, type Report } from './host-program.ts';
import type { EndLines } from './lines.ts';

export interface DirectEndOptions extends HostProgramOptions {
  /** To the guest's end, as the daemon named it. */
  readonly way: VmCopyDirect;
  /** The guest's end, for messages. */
  readonly guest: Pick<VmCopyParams, 'ref' | 'direction' | 'path'>;
}

/** Exit code of the program when the guest stalled. */
const stalledCode = 4;

export class DirectEnd implements End {
  readonly label: string;
  readonly ended: Promise<EndResult>;
  readonly lines: EndLines;
  /** Resolves when a sender has sent all; nothing comes of it when it ends before. */
  readonly sent: Promise<void>;
  readonly #program: HostProgram;

  /** `words`: verb, flags, `--` and paths. */
  constructor(words: readonly string[], options: DirectEndOptions) {
    const { way, guest } = options;
    const sent = Promise.withResolvers<void>();
    let moved = 0;
    const onReport = (report: Report): void => {
      if (report.kind === 'sent') sent.resolve();
      if (report.kind === 'stalled') moved = report.bytes;
      options.onReport(report);
    };
    // stdin is the control pipe: its end means that the guest's end is over.
    this.#program = new HostProgram(withWay(words, way), { stdin: true, stdout: false }, { ...options, onReport });
    this.label = this.#program.label;
    this.lines = this.#program.lines;
    this.sent = sent.promise;
    this.ended = this.#program.closed.then((result) => (
      'code' in result && result.code === stalledCode ? { error: guestStalled(guest, way, moved) } : result));
  }

  /** The guest's end is over: what it has not sent or taken by now it never will. */
  release(): void {
    this.#program.closeStdin();
  }

  stop(): void {
    this.#program.stop();
  }
}

function withWay(words: readonly string[], way: VmCopyDirect): string[] {
  const [verb, ...rest] = words;
  return [
    verb!, '--socket', way.socket, '--hello', way.hello, '--stall', String(Math.round(way.stallLimitMs)), '--floor', String(Math.round(way.floorBytesPerSecond)), ...rest,
  ];
}

/** The words are those of the daemon for a copy through its hands (plugins/copy/guard.ts). */
function guestStalled({ ref, direction, path }: DirectEndOptions['guest'], { stallLimitMs, floorBytesPerSecond }: VmCopyDirect, bytes: number): BangerError {
  const what = direction === 'in' ? `take more for ${path}` : `send more of ${path}`;
  const pace = bytes === 0 ? '' : ` (${bytes} bytes moved, the least is ${floorBytesPerSecond} a second)`;
  return new BangerError('timeout', `Gave up waiting for the guest of ${ref} to ${what} after ${Math.round(stallLimitMs / 100) / 10} s${pace}`, {
    hint: `banger vm logs ${ref} shows its console; [plugins.copy] stall_timeout_seconds in the configuration is the limit`,
  });
}

/** Whether a result is that of a guest that stalled: the one deadline of this host's end. */
export const hasStalled = (result: EndResult): boolean => 'error' in result && isBangerError(result.error) && result.error.code === 'timeout';
