/** `croupier-sim list`: the scenarios that there are. */
import { SCENARIOS } from '../scenario/registry.ts';
import { writeTable } from '../output/table.ts';
import type { Register } from './registration.ts';

export const registerList: Register = (program, { outputFor, stdout }) => {
  program
    .command('list')
    .description('name the scenarios that croupier-sim run can run')
    .option('--json', 'print them as one JSON array', false)
    .action(({ json }: { readonly json: boolean }) => {
      if (json) {
        const list = SCENARIOS.map(({ name, away, back, needs }) => ({ name, away, back, gateway: needs }));
        stdout(`${JSON.stringify(list)}\n`);
        return;
      }
      writeTable(
        outputFor(false),
        [
          { title: 'scenario', align: 'left' },
          { title: 'the device was away while', align: 'left' },
          { title: 'and comes back to', align: 'left' },
          { title: 'gateway', align: 'left' },
        ],
        SCENARIOS.map(({ name, away, back, needs }) => [name, away, back, needs === 'own' ? 'its own' : 'any']),
      );
    });
};
