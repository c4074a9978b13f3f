/** `croupier init`: from an empty directory to a realm. */
import { readFile } from 'node:fs/promises';
import { CroupierError, errorMessage } from '#schema/errors.ts';
import { Role } from '#schema/operators.ts';
import type { Context, Outcome } from '../context.ts';
import { facts, table, type Cell } from '../output/table.ts';
import { addListenOptions, listenOf, type ListenOptions } from './listen-options.ts';
import { collect, type Register } from './registration.ts';

interface InitOptions extends ListenOptions {
  readonly realm: string;
  readonly operator: string;
  readonly name?: readonly string[];
  readonly policy?: string;
  readonly founder?: readonly string[];
}

/** The command line reaches its gateway by these, whatever the devices use. */
const LOCAL_NAMES = ['localhost', '127.0.0.1'];
const DEFAULT_FOUNDERS = [
  'key-admin=key-admin',
  'device-engineer=device-engineer',
  'approver=approver',
  'auditor=auditor',
];

export const registerInit: Register = (program, run) => {
  const init = program
    .command('init')
    .description('make a realm in the data directory: HSM tokens, certificate authorities, signers, policy, operators')
    .option('--realm <name>', 'one environment, e.g. prod or test', 'prod')
    .option('--operator <organisation>', 'organisation in the certificates', 'Casino')
    .option(
      '--name <name>',
      'how devices reach the gateway: DNS name or address, the first goes into tickets; may be given several times',
      collect,
    )
    .option('--policy <file>', 'first fleet policy, YAML (default: one to begin with)')
    .option(
      '--founder <name=role>',
      `first operator of a role; may be given several times (default: ${DEFAULT_FOUNDERS.join(', ')})`,
      collect,
    );
  addListenOptions(init).action(run((context, options: InitOptions) => initialise(context, options)));
};

function founderOf(text: string): { readonly name: string; readonly role: Role } {
  const [name = '', role = ''] = text.split('=');
  const result = Role.safeParse(role);
  if (!result.success)
    throw new CroupierError(
      'input.invalid',
      `--founder ${text}: write NAME=ROLE, where ROLE is ${Role.options.join(', ')}`,
    );
  return { name, role: result.data };
}

async function initialise(context: Context, options: InitOptions): Promise<Outcome> {
  const policy =
    options.policy === undefined
      ? undefined
      : await readFile(options.policy, 'utf8').catch((error: unknown) => {
          throw new CroupierError('config.missing', `${options.policy} cannot be read: ${errorMessage(error)}`, {
            cause: error,
          });
        });
  const founders = (options.founder ?? DEFAULT_FOUNDERS).map(founderOf);
  const { initialise: makeRealm } = await import('#gateway/installation/init.ts');
  const result = await makeRealm({
    directory: context.options.data,
    realm: options.realm,
    operator: options.operator,
    names: [...new Set([...(options.name ?? []), ...LOCAL_NAMES])],
    listen: listenOf(options),
    founders,
    ...(policy === undefined ? {} : { policy }),
    clock: context.clock,
    random: context.random,
    onStep: (step) => {
      if (context.options.json === undefined) context.terminal.stderr(`${step}\n`);
    },
  });
  const { data, realm, rootFingerprint, ceremonies, operators } = result;
  const about = facts(
    [
      ['realm', realm],
      ['data directory', data.root],
      ['root fingerprint', rootFingerprint],
    ],
    context.paint,
  );
  const made = ceremonies.map((item): Cell[] => [item.ceremony, item.commonName, item.algorithm, item.notAfter]);
  const people = operators.map((item): Cell[] => [item.name, item.role, item.tokenFile]);
  const text = [
    about,
    table(['CERTIFICATE', 'NAME', 'KEY', 'NOT AFTER'], made, context.paint),
    table(['OPERATOR', 'ROLE', 'TOKEN'], people, context.paint),
    `next: move ${data.rootToken} to a medium in a safe, hand each token to its person, then croupier --data ${data.root} gateway\n`,
  ].join('\n');
  return { document: { realm, data: data.root, rootFingerprint, ceremonies, operators }, text };
}
