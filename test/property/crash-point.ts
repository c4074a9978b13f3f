/** Where a process ends as by a power cut: at the call with this number from now, before it takes effect or after. */
export interface CrashPoint {
  readonly after: number;
  readonly isDurable: boolean;
}

/** What becomes of a call when the process that made it has died. */
export const never = <T>(): Promise<T> => new Promise<T>(() => undefined);
