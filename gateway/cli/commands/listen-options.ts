/** Options that say where the gateway listens, the same for `init` and `gateway`. */
import type { Command } from 'commander';
import { z } from 'zod';
import type { Config } from '#schema/config.ts';
import { parsedBy } from './registration.ts';

export interface ListenOptions {
  readonly host?: string;
  readonly estPort?: number;
  readonly mqttPort?: number;
  readonly apiPort?: number;
  readonly publicPort?: number;
}

const Port = z.coerce.number().int().min(0).max(65_535);

export function addListenOptions(command: Command): Command {
  return command
    .option('--host <address>', 'address to listen on')
    .option('--est-port <port>', 'EST, mutual TLS; 0 takes a free one', parsedBy(Port))
    .option('--mqtt-port <port>', 'MQTT, mutual TLS', parsedBy(Port))
    .option('--api-port <port>', 'operator API, HTTPS', parsedBy(Port))
    .option('--public-port <port>', 'CRL, trust links and health, plain HTTP', parsedBy(Port));
}

export function listenOf({ host, estPort, mqttPort, apiPort, publicPort }: ListenOptions): Partial<Config['listen']> {
  return {
    ...(host === undefined ? {} : { host }),
    ...(estPort === undefined ? {} : { est: estPort }),
    ...(mqttPort === undefined ? {} : { mqtt: mqttPort }),
    ...(apiPort === undefined ? {} : { api: apiPort }),
    ...(publicPort === undefined ? {} : { public: publicPort }),
  };
}
