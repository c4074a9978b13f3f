/** Options of `npm start`. */
import { Command } from 'commander';
import { LARGEST_FLOOR, SMALLEST_FLOOR } from '../floor/composition.ts';
import { wholeNumber } from '../output/numbers.ts';

export interface StartOptions {
  readonly devices: number;
  readonly data: string;
  readonly seed: string;
  readonly estPort: number;
  readonly mqttPort: number;
  readonly apiPort: number;
  readonly publicPort: number;
  /** Ends after the summary. */
  readonly exit: boolean;
  readonly json: boolean;
}

const port = wholeNumber(0, 65_535);

export function startCommand(): Command {
  return new Command('npm start --')
    .description(
      'From an empty directory to a rotated floor: PKI in an HSM, gateway, a floor of real agents, a key rotation.',
    )
    .option('--devices <n>', 'size of the floor', wholeNumber(SMALLEST_FLOOR, LARGEST_FLOOR), 200)
    .option('--data <dir>', 'data directory; one that is in use already is continued', 'var')
    .option('--seed <text>', 'what the floor is made from', 'croupier')
    .option('--est-port <port>', 'EST; 0 takes a free one', port, 8443)
    .option('--mqtt-port <port>', 'MQTT', port, 8883)
    .option('--api-port <port>', 'operator API', port, 9443)
    .option('--public-port <port>', 'CRL, trust links, health', port, 8080)
    .option('--exit', 'stop after the summary; exit 0 only if all went well', false)
    .option('--json', 'print one JSON object as the last line on standard output', false)
    .exitOverride()
    .showHelpAfterError('(add -- --help to see all options)');
}
