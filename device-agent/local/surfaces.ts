/** All that the agent offers to the applications of its device, started and stopped in the right order. */
import { resolve } from 'node:path';
import type { Clock } from '#schema/runtime/clock.ts';
import type { AgentView } from '../view.ts';
import type { BusyLeases } from './busy-leases.ts';
import { Exporter, type ExportKeys } from './exporter.ts';
import { ChangeHook } from './hook.ts';
import type { Log } from '../log.ts';
import { startSocketServer } from './socket-server.ts';

export interface LocalSurfacesOptions {
  readonly view: AgentView;
  readonly busy: BusyLeases;
  readonly clock: Clock;
  readonly log: Log;
  readonly socket: string;
  readonly exportDirectory?: string | undefined;
  readonly exportKeys?: ExportKeys | undefined;
  readonly onChangeCommand?: string | undefined;
  /** Added to the answer of `/health`. */
  readonly connection?: (() => Readonly<Record<string, unknown>>) | undefined;
}

export interface LocalSurfaces {
  readonly socket: string;
  close(): Promise<void>;
}

/** Errors: as the socket server and the exporter; nothing is left running then. */
export async function startLocalSurfaces(options: LocalSurfacesOptions): Promise<LocalSurfaces> {
  const {
    view,
    busy,
    clock,
    log,
    socket,
    exportDirectory,
    exportKeys = 'memory',
    onChangeCommand,
    connection,
  } = options;
  await using opened = new AsyncDisposableStack();

  const exporter =
    exportDirectory === undefined
      ? undefined
      : opened.adopt(
          await Exporter.start({ directory: exportDirectory, view, clock, log, workingKeys: exportKeys }),
          (it) => it.close(),
        );
  const identityKeyFile = exporter?.identityKeyFile;
  const server = opened.adopt(
    await startSocketServer({ path: socket, view, busy, clock, log, identityKeyFile, connection }),
    (it) => it.close(),
  );

  let hook: ChangeHook | undefined;
  if (onChangeCommand !== undefined) {
    const environment = {
      CROUPIER_SOCKET: resolve(server.path),
      ...(exporter === undefined ? {} : { CROUPIER_EXPORT: exporter.currentDirectory }),
    };
    const ready = (): Promise<void> => exporter?.settled() ?? Promise.resolve();
    hook = new ChangeHook({ command: onChangeCommand, view, clock, log, environment, ready });
    if (view.identity() !== undefined) hook.trigger();
  }

  const running = opened.move();
  return {
    socket: server.path,
    close: async () => {
      // The hook may wait for files: both end together.
      await Promise.all([hook?.close(), running.disposeAsync()]);
    },
  };
}
