/** What every command gets, and what it gives back. */
import type { Action } from '#schema/operators.ts';
import type { Clock } from '#schema/runtime/clock.ts';
import type { Random } from '#schema/runtime/random.ts';
import { createApiClient, type ApiClient } from './client/api-client.ts';
import { chooseToken } from './client/credentials.ts';
import { locateGateway } from './client/location.ts';
import type { Terminal } from './output/terminal.ts';
import type { Paint } from './output/text.ts';

/** Options of `croupier` itself, before the command. */
export interface GlobalOptions {
  readonly data: string;
  readonly as?: string;
  readonly tokenFile?: string;
  readonly api?: string;
  readonly ca?: string;
  readonly json?: true;
}

export interface Context {
  readonly options: GlobalOptions;
  readonly terminal: Terminal;
  /** For results on stdout. */
  readonly paint: Paint;
  readonly clock: Clock;
  readonly random: Random;
  /** A client that speaks as an operator who may do `action`. Closed when the command has ended. */
  connect(action: Action): Promise<ApiClient>;
}

/** What a command found or did: one document for programs, the same as text for people. */
export interface Outcome {
  readonly document: unknown;
  readonly text: string;
  /** 0 unless told. */
  readonly exitCode?: number;
}

export type Connect = Context['connect'];

/** Finds the gateway and the token for each command; `close` ends every connection made. */
export function createConnector(options: GlobalOptions): { readonly connect: Connect; readonly close: () => void } {
  const clients: ApiClient[] = [];
  const keep = (client: ApiClient): ApiClient => {
    clients.push(client);
    return client;
  };
  return {
    async connect(action) {
      const location = await locateGateway(options);
      const whoIs = async (token: string) => {
        const client = createApiClient(location, token);
        try {
          return await client.call('self.show', {});
        } finally {
          client.close();
        }
      };
      return keep(createApiClient(location, await chooseToken(options, action, whoIs)));
    },
    close: () => clients.forEach((client) => client.close()),
  };
}
