/** `croupier gateway`: runs the server until it is told to stop. */
import { once } from 'node:events';
import { loadConfig } from '#gateway/installation/config-file.ts';
import { dataDirectory } from '#gateway/installation/data-directory.ts';
import type { Context, Outcome } from '../context.ts';
import { facts } from '../output/table.ts';
import { addListenOptions, listenOf, type ListenOptions } from './listen-options.ts';
import type { Register } from './registration.ts';

export const registerGateway: Register = (program, run) => {
  const gateway = program.command('gateway').description('run the gateway; SIGTERM or SIGINT ends it in order');
  addListenOptions(gateway).action(run((context, options: ListenOptions) => serve(context, options)));
};

async function serve(context: Context, options: ListenOptions): Promise<Outcome> {
  const data = dataDirectory(context.options.data);
  // A missing or broken configuration is told before TLS, MQTT and the database are loaded.
  const { realm } = await loadConfig(data);
  const { startGateway } = await import('#gateway/main.ts');
  const gateway = await startGateway({
    directory: data.root,
    listen: listenOf(options),
    clock: context.clock,
    random: context.random,
  });
  const { run } = gateway;
  const { host, ports } = run;
  if (context.options.json === undefined) {
    context.terminal.stdout(
      facts(
        [
          ['realm', realm],
          ['EST', `https://${host}:${ports.est}`],
          ['MQTT', `mqtts://${host}:${ports.mqtt}`],
          ['operator API', `https://${host}:${ports.api}`],
          ['public', `http://${host}:${ports.public}`],
          ['process', run.pid],
        ],
        context.paint,
      ),
    );
  } else context.terminal.stdout(`${JSON.stringify(run)}\n`);
  const stop = context.terminal.stopSignal();
  if (!stop.aborted) await once(stop, 'abort');
  await gateway.close();
  return { document: undefined, text: '' };
}
