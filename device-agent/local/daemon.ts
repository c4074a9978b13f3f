/** `croupier-agent run`: an agent with its surfaces, from start to signal. */
import { stat, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import type { KeyAlgorithm } from '#pki/keys/signer.ts';
import { CroupierError, errorCode, errorMessage, type ErrorCode } from '#schema/errors.ts';
import { systemClock } from '#schema/runtime/clock.ts';
import type { Ticket } from '#schema/ticket.ts';
import packageJson from '../../package.json' with { type: 'json' };
import { createAgent, openDiskState, type Agent, type StateStore } from '../agent.ts';
import { readTrustLinks } from '../trust/media.ts';
import { BusyLeases } from './busy-leases.ts';
import { logEvent } from './daemon-log.ts';
import type { ExportKeys } from './exporter.ts';
import { leaseFile } from './lease-file.ts';
import { ensurePrivateDirectory } from './private-directory.ts';
import { lockDirectory, socketPath } from './socket-path.ts';
import { startLocalSurfaces } from './surfaces.ts';
import { readTicketFile } from './ticket-file.ts';

export interface DaemonOptions {
  readonly data: string;
  readonly ticket?: string | undefined;
  readonly socket?: string | undefined;
  readonly export?: string | undefined;
  readonly exportKeys?: ExportKeys | undefined;
  readonly onChange?: string | undefined;
  readonly keyType?: KeyAlgorithm | undefined;
  readonly estLabel?: string | undefined;
  readonly trustFile?: string | undefined;
  readonly storageKeyFile?: string | undefined;
}

/**
 * Runs until `stop` aborts, then ends in order. Errors: before the agent works, whatever keeps it from working; later,
 * an enrolment that the gateway refused for good.
 */
export async function runDaemon(options: DaemonOptions, log: Logger, stop: AbortSignal): Promise<void> {
  const clock = systemClock;
  await using cleanup = new AsyncDisposableStack();
  await ensurePrivateDirectory(options.data, 'the data directory');
  cleanup.defer(await lockDirectory(join(options.data, 'run')));

  const { storageKeyFile } = options;
  const state = await openDiskState(options.data, storageKeyFile === undefined ? {} : { storageKeyFile });
  const ticket = await usableTicket(options.ticket, state, log);
  const busy = new BusyLeases(clock, {}, leaseFile(join(options.data, 'run', 'busy.json'), log));
  const agent = createAgent({
    state,
    clock,
    log,
    busy,
    version: packageJson.version,
    ...(ticket === undefined ? {} : { ticket }),
    ...(options.keyType === undefined ? {} : { keyAlgorithm: options.keyType }),
    ...(options.estLabel === undefined ? {} : { estLabel: options.estLabel }),
  });
  agent.onEvent((event) => logEvent(log, event));
  const ended = endOf(agent, stop);
  await agent.start();
  cleanup.defer(() => agent.stop());

  const surfaces = await startLocalSurfaces({
    view: agent.view,
    busy,
    clock,
    log,
    socket: socketPath(options.data, options.socket),
    exportDirectory: options.export,
    exportKeys: options.exportKeys,
    onChangeCommand: options.onChange,
    connection: () => connectionOf(agent),
  });
  cleanup.defer(() => surfaces.close());
  if (options.trustFile !== undefined) await importTrust(agent, options.trustFile, log);
  await ended;
  log.info({}, 'stopping');
}

/** A ticket that is refused so stays refused: a person must act, and repeating would only fill the log. */
const FINAL_REFUSALS: ReadonlySet<ErrorCode> = new Set([
  'enrolment.code-invalid',
  'enrolment.refused',
  'trust.root-mismatch',
]);

const isFinal = (code: ErrorCode): boolean => FINAL_REFUSALS.has(code) || code.startsWith('csr.');

/** Resolves at the signal, rejects when a device that has no identity yet is refused for good. */
function endOf(agent: Agent, stop: AbortSignal): Promise<void> {
  const ended = new Promise<void>((resolve, reject) => {
    if (stop.aborted) return resolve();
    stop.addEventListener('abort', () => resolve(), { once: true });
    agent.onEvent((event) => {
      if (event.kind !== 'error' || event.activity !== 'enrol' || agent.view.identity() !== undefined) return;
      if (isFinal(event.code)) reject(new CroupierError(event.code, event.message));
    });
  });
  // It may reject while the surfaces are still being started; whoever awaits it later hears of it.
  ended.catch(() => undefined);
  return ended;
}

/**
 * A device that is enrolled already needs no ticket, so that the same command line serves every later start: a ticket
 * that is gone or expired by then is passed over.
 */
async function usableTicket(path: string | undefined, state: StateStore, log: Logger): Promise<Ticket | undefined> {
  const enrolled = (await state.load())?.identities.current !== undefined;
  if (path === undefined) {
    if (!enrolled) throw new CroupierError('agent.not-enrolled');
    return undefined;
  }
  try {
    return await readTicketFile(path, systemClock.now());
  } catch (error) {
    if (!enrolled) throw error;
    log.info({ code: errorCode(error), reason: errorMessage(error) }, 'ticket passed over: the device is enrolled');
    return undefined;
  }
}

/** Links from a file or a directory. A fault is logged: the agent is worth more running than not. */
async function importTrust(agent: Agent, path: string, log: Logger): Promise<void> {
  try {
    const links = (await stat(path)).isDirectory() ? await readTrustLinks(path) : [await readFile(path)];
    const version = await agent.importTrust(links);
    log.info({ path, links: links.length, version }, 'trust links imported');
  } catch (error) {
    log.error({ path, code: errorCode(error), reason: errorMessage(error) }, 'trust links not imported');
  }
}

function connectionOf(agent: Agent): Record<string, unknown> {
  const { phase, lastSeq, clock, problem } = agent.status();
  return { phase, lastSeq, clockTrusted: clock.trusted, problem: problem ?? null };
}
