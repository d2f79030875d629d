// Signals of the person or the system to this process, handed to whoever is in charge of the current phase.

export type InterruptSignal = 'INT' | 'TERM' | 'HUP';
export type InterruptHandler = (signal: InterruptSignal) => void;

const exitCodes: Readonly<Record<InterruptSignal, number>> = { HUP: 129, INT: 130, TERM: 143 };
/** 128 + the signal's number. */
export const interruptExitCode = (signal: InterruptSignal): number => exitCodes[signal];

/** One handler at a time; `dispose` gives the signals their usual effect back. */
export class Interrupts {
  #handler: InterruptHandler;
  readonly #listeners: readonly (readonly [NodeJS.Signals, () => void])[];
  constructor(handler: InterruptHandler) {
    this.#handler = handler;
    this.#listeners = (['INT', 'TERM', 'HUP'] as const).map((signal) => [`SIG${signal}` as const, () => this.#handler(signal)] as const);
    for (const [name, listener] of this.#listeners) process.on(name, listener);
  }
  handle(handler: InterruptHandler): void {
    this.#handler = handler;
  }
  dispose(): void {
    for (const [name, listener] of this.#listeners) process.off(name, listener);
  }
}
