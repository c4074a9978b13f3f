/** The part of a logger that the agent uses; a pino logger is one. */
export interface Log {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

const nothing = (): void => undefined;

/** For a caller that watches events instead. */
export const silentLog: Log = { debug: nothing, info: nothing, warn: nothing, error: nothing };
