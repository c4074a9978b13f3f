/** The daemon's log: pino, as JSON lines or as lines for people. */
import { pino, type Level, type Logger } from 'pino';
import { z } from 'zod';
import type { AgentEvent } from '../events.ts';
import type { Log } from '../log.ts';

export const LOG_LEVELS = ['debug', 'info', 'warn', 'error'] as const satisfies readonly Level[];
export type LogLevel = (typeof LOG_LEVELS)[number];

/** No field of these names reaches a log, whoever writes it. */
const SECRET_FIELDS = ['key', 'privateKey', 'password', 'ticket', 'authorization'];

export function createDaemonLog(level: LogLevel, json: boolean, write: (text: string) => void): Logger {
  const redact = SECRET_FIELDS.flatMap((name) => [name, `*.${name}`]);
  const options = {
    level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    redact,
    formatters: { level: (label: string) => ({ level: label }) },
  };
  return pino(options, { write: json ? write : (line: string) => write(plainLine(line)) });
}

const Line = z.looseObject({ level: z.string(), time: z.string(), msg: z.string().default('') });

/** `2026-01-01T00:00:00.000Z info  connected serial=0a1b` */
export function plainLine(json: string): string {
  const { level, time, msg, ...fields } = Line.parse(JSON.parse(json));
  const rest = Object.entries(fields).map(
    ([name, value]) =>
      ` ${name}=${typeof value === 'string' && /^[^\s"=]+$/.test(value) ? value : JSON.stringify(value)}`,
  );
  return `${time} ${level.padEnd(5)} ${msg}${rest.join('')}\n`;
}

/** What the agent tells of itself, as log lines. It logs its own faults and refusals. */
export function logEvent(log: Log, event: AgentEvent): void {
  const { kind, ...fields } = event;
  switch (kind) {
    case 'error':
    case 'update-refused':
      return;
    case 'update-repeated':
    case 'report-sent':
      log.debug(fields, kind);
      return;
    case 'enrolled':
    case 'parked':
    case 'connected':
    case 'disconnected':
    case 'trust-advanced':
    case 'update-applied':
    case 'activated':
    case 'clock-trusted':
    case 'renewed':
    case 'promoted':
      log.info(fields, kind);
  }
}
