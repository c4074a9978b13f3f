/** What to try while it runs. */
import type { RunFile } from '#schema/config.ts';
import type { Output } from '../output/terminal.ts';
import type { StartOptions } from './options.ts';

export function writeHints(output: Output, { data }: StartOptions, { host, ports }: RunFile): void {
  const where = data === 'var' ? '' : ` --data ${data}`;
  const croupier = `bin/croupier${where}`;
  const hints: readonly (readonly [string, string])[] = [
    ['how the gateway is', `${croupier} status`],
    ['the floor', `${croupier} device list`],
    ['one device with its keys', `${croupier} device show EGM-000001`],
    ['who holds which version', `${croupier} keyset show wallet-kek`],
    ['rotate again, live', `${croupier} --as kim rotate wallet-kek`],
    ['and approve it, elsewhere', `${croupier} approval list; ${croupier} approval approve ID`],
    ['what happened', `${croupier} audit export trail.jsonl && ${croupier} audit verify trail.jsonl`],
    ['trust links, as devices see them', `curl http://${host}:${ports.public}/trust`],
    ['the log', `tail -f ${data}/log/gateway.log`],
  ];
  const width = Math.max(...hints.map(([what]) => what.length));
  output.write(
    `\n  Gateway and floor go on. EST ${ports.est}, MQTT ${ports.mqtt}, operator API ${ports.api}, public ${ports.public} on ${host}.\n\n`,
  );
  for (const [what, command] of hints) output.write(`  ${what.padEnd(width)}  ${output.paint('cyan', command)}\n`);
  output.write('\n  Ctrl-C stops both.\n');
}
